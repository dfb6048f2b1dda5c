/*
 * credentials.h: the keys that a store signs with: where they come from, and their renewal. Inside store/ only.
 *
 * credentials.c keeps them for one store; credentials_cache.c remembers temporary ones for the backend's next store;
 * env and mapping are read in credentials.c, the others in credentials_profile.c, credentials_host.c and
 * credentials_sts.c. Those return false with a fault instead of raising, so that keys which are still good can be used on.
 */
#ifndef DM_STORE_CREDENTIALS_H
#define DM_STORE_CREDENTIALS_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "base/compat.h"
#include "net/http.h"
#include "store/credentials_parse.h"
#include "store/kind.h"

typedef struct DmKeys
{
	char *access_key_id;
	char *secret_access_key;
	char *session_token; /* NULL: the keys are no temporary ones */
	TimestampTz expires; /* DT_NOEND: never, or not known */
} DmKeys;

typedef struct DmCredentials DmCredentials;

/*
 * Makes the credentials of a store in the current memory context, and wipes them when it goes. Does not touch the
 * network. Raises 42501 if the server's owner may not use the host's identity, 42704 if there is no user mapping.
 */
extern DmCredentials *dm_credentials_open(const DmStoreSettings *settings);
/*
 * The keys to sign a request with now, got or renewed if need be (which waits for the network, interruptibly), and the
 * serial number of this set. NULL: requests are not signed. Raises what is wrong with the source.
 */
extern const DmKeys *dm_credentials_keys(DmCredentials *credentials, uint64 *serial);
/* The store took keys of this serial. */
extern void dm_credentials_accept(DmCredentials *credentials, uint64 serial);
/* The store refused keys of this serial as unknown or expired. True if others are to be had: sign again. */
extern bool dm_credentials_reject(DmCredentials *credentials, uint64 serial);
/* Blanks the keys out of a text. */
extern void dm_credentials_redact(const DmCredentials *credentials, char *text);
/* What to do about a store's error code on keys; hint where it does not depend on the source. */
extern const char *dm_credentials_hint(const DmCredentials *credentials, const char *code, const char *hint);

/* One try to get keys, and what went wrong with it. All is in the current memory context. */
typedef struct DmKeysFetch
{
	const DmStoreSettings *settings;
	int sqlstate;
	char *reason; /* goes after "no credentials for server ..." */
	char *detail;
	char *hint;
} DmKeysFetch;

/* Notes a fault, unless there is one. Strings may be NULL. Always false. */
extern bool dm_keys_fault(DmKeysFetch *fetch, int sqlstate, char *reason, char *detail, char *hint);
/* A variable of the process's environment; NULL if it is not set or empty. */
extern const char *dm_keys_env(const char *name);
extern void dm_keys_wipe(DmKeys *keys);
extern void dm_keys_copy(DmKeys *to, const DmKeys *from);
/* Overwrites a string that holds a secret; NULL is none. */
extern void dm_keys_wipe_text(char *text);
/* Reads a small file whole, palloc'd; NULL with errno if it cannot be read, EFBIG if it is longer than max. */
extern char *dm_keys_read_file(const char *path, Size max);

/* A request for keys: to a metadata service or a token service. */
typedef struct DmKeysCall
{
	const char *what; /* "from the instance metadata service" */
	const char *method;
	char *url;
	char *headers[6]; /* "Name: value" */
	int nheaders;
	char *body; /* NULL: none */
	const char *hint;
	DmHttpConfig http;
} DmKeysCall;

/* Does the request. NULL with a fault if there is no answer; the caller looks at the status. */
extern DmHttpRequest *dm_keys_call(DmKeysFetch *fetch, DmKeysCall *call);
/* Takes keys over from an answer, which is wiped. False with a fault if some are missing. */
extern bool dm_keys_take(DmKeysFetch *fetch, const char *what, DmKeysAnswer *answer, DmKeys *keys);

/* A role to be assumed. Strings are NULL, numbers 0, where not given. */
typedef struct DmRole
{
	const char *arn;
	const char *external_id;
	const char *session_name;
	int duration_s;
} DmRole;

extern bool dm_keys_from_env(DmKeysFetch *fetch, DmKeys *keys);
extern bool dm_keys_from_profile(DmKeysFetch *fetch, DmKeys *keys);
/* Names the files that a profile is read from, and their state: another text when one of them has changed. */
extern char *dm_profile_fingerprint(void);
extern bool dm_keys_from_imds(DmKeysFetch *fetch, DmKeys *keys);
extern bool dm_keys_from_ecs(DmKeysFetch *fetch, DmKeys *keys);
/* file and role->arn may be NULL: those of the environment. */
extern bool dm_keys_from_web_identity(DmKeysFetch *fetch, const char *file, DmRole *role, DmKeys *keys);
extern bool dm_keys_assume_role(DmKeysFetch *fetch, const DmKeys *base, const DmRole *role, DmKeys *keys);

/* credentials_cache.c */
typedef struct DmCachedKeys
{
	DmKeys keys;
	uint64 serial;
	TimestampTz renew_at;
} DmCachedKeys;

extern const DmCachedKeys *dm_keys_cache_find(const char *what);
/* The state of the cache: what is got from now on may be put in later, if nothing was altered meanwhile. */
extern uint64 dm_keys_cache_state(void);
extern void dm_keys_cache_put(const char *what, uint64 state, const DmCachedKeys *cached);
extern void dm_keys_cache_drop(uint64 serial);

#endif
