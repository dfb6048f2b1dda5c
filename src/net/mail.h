/*
 * mail.h: handing a mail over to an SMTP server (RFC 5321), driven like any other request (http.h).
 */
#ifndef DM_MAIL_H
#define DM_MAIL_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "net/http.h"

typedef struct DmMail
{
	const char *url;	  /* smtp://host:port or smtps://host:port */
	bool require_tls;	  /* smtp: nothing is said before STARTTLS has worked */
	const char *username; /* NULL: no AUTH */
	const char *password;
	const char *from;  /* address alone */
	List *to;		   /* of addresses, char* */
	const char *bytes; /* headers and body, lines ended with CR LF */
	Size len;
} DmMail;

/*
 * Makes the request of a mail in the current memory context; config and mail must outlive it. Once it is over, its status is the server's
 * last reply code: of a failed one that may be 4xx or 5xx, or 0 if there was none.
 */
extern DmHttpRequest *dm_mail_make(const DmHttpConfig *config, DmMail *mail);
/* The last line with the status that the server said, palloc'd; NULL if it said none. */
extern char *dm_mail_reply(const DmHttpRequest *request);

#endif
