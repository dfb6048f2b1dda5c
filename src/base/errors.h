/*
 * errors.h: the SQLSTATEs that are datamill's own, and redaction of secrets in texts.
 *
 * Own codes exist only where a caller must branch; class DM is in the implementation-defined range of SQL
 * ("I" to "Z" as first character of the class are left to implementations in spirit; we use 'DM').
 */
#ifndef DM_ERRORS_H
#define DM_ERRORS_H

#include "postgres.h"
#include "utils/elog.h"

/* An object was replaced while it was being read: retry the statement. */
#define DM_ERRCODE_OBJECT_CHANGED MAKE_SQLSTATE('D', 'M', '0', '0', '1')
/* A remote said no in a way that may pass: throttled or unavailable after all retries. */
#define DM_ERRCODE_REMOTE_UNAVAILABLE MAKE_SQLSTATE('D', 'M', '0', '0', '2')

/* Makes a text of a remote fit for a message: one line, valid in any database's encoding. */
extern void dm_text_clean(char *text);
extern void dm_redact_urls(char *text);
extern void dm_redact(char *text, const char *const *secrets, int nsecrets);

#endif
