/*
 * mime.h: mails as bytes (RFC 5322, 2045 to 2047).
 */
#ifndef DM_MIME_H
#define DM_MIME_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "pgtime.h"

typedef struct DmMailbox
{
	char *name; /* NULL: none */
	char *address;
} DmMailbox;

/* All texts are UTF-8. */
typedef struct DmMime
{
	const char *from; /* mailboxes as text */
	List *to;
	const char *reply_to; /* NULL: none */
	const char *subject;
	const char *text;
	const char *html;
	const char *message_id;	 /* without angle brackets */
	const char *in_reply_to; /* message id of the mail that this one belongs to; NULL: none */
	pg_time_t date;
} DmMime;

/* Takes a mailbox apart into palloc'd texts: "ann@example.com", or "Ann <ann@example.com>". False if it is none. */
extern bool dm_mailbox_parse(const char *text, DmMailbox *mailbox);
/* Writes a mail: multipart/alternative, lines ended with CR LF and at most 998 bytes long. */
extern void dm_mime_write(const DmMime *mime, StringInfo out);

#endif
