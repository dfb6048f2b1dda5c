/*
 * credentials.c: the keys that one store signs with: who may use which, when they are renewed, and what to say when a store
 * refuses them.
 *
 * 1. All sources but mapping and anonymous are the host's own identity: the validator lets only a superuser ask for them, and here the
 *    server's owner must still be one, since ownership can change without the validator.
 * 2. Keys are here and in the backend's cache and nowhere else, and wiped when they are replaced or given up; no message holds
 *    one, only names of variables, files, profiles and roles.
 * 3. Keys that expire are renewed before a request is signed, when five minutes or a quarter of their life are left; if that
 *    fails, they are used on until they expire. While one request waits for new keys no other is signed, so one renewal does for all.
 * 4. Keys that a store refuses as expired or unknown are replaced once; new ones that were never accepted are not replaced again.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/errors.h"
#include "base/handle.h"
#include "store/credentials.h"

#define DM_KEYS_RENEW_BEFORE_US (INT64CONST(300) * USECS_PER_SEC)
/* Keys that come expired (a metadata service may hand out old ones when it is in trouble): the store says if they still serve. */
#define DM_KEYS_EXPIRED_US (INT64CONST(60) * USECS_PER_SEC)

struct DmCredentials
{
	const DmStoreSettings *settings;
	MemoryContext context;
	DmKeys base;   /* of a mapping whose role is assumed */
	DmKeys keys;   /* to sign with */
	DmKeys before; /* those replaced last: an answer that quotes them may still come */
	uint64 serial; /* of keys; 0: there are none yet */
	TimestampTz renew_at;
	bool refused;  /* by the store: others are needed */
	bool renewed;  /* keys were got because those before were refused */
	bool accepted; /* the store took keys at least once */
	char *what;	   /* name of the keys in the cache */
};

static void check_owner(const DmStoreSettings *settings);
static void read_mapping(const DmStoreSettings *settings, DmKeys *keys);
static char *cache_name(const DmCredentials *credentials);
static void renew(DmCredentials *credentials);

/* Serial numbers are given within a backend. */
static uint64 last_serial = 0;

/* True for the host's own identity. */
static bool
is_of_host(const DmStoreSettings *settings)
{
	return settings->source != DM_CREDENTIALS_MAPPING && settings->source != DM_CREDENTIALS_ANONYMOUS;
}

/* True if asking again may give other keys. */
static bool
is_renewable(const DmStoreSettings *settings)
{
	return settings->role_arn || (is_of_host(settings) && settings->source != DM_CREDENTIALS_ENV);
}

/* Wipes what a handle owns. */
static void
release_keys(void *resource)
{
	DmCredentials *credentials = resource;

	dm_keys_wipe(&credentials->base);
	dm_keys_wipe(&credentials->keys);
	dm_keys_wipe(&credentials->before);
	dm_keys_wipe_text(credentials->what);
}

/* Makes the credentials of a store; see credentials.h. */
DmCredentials *
dm_credentials_open(const DmStoreSettings *settings)
{
	DmCredentials *credentials = palloc0(sizeof(DmCredentials));

	credentials->settings = settings;
	credentials->context = CurrentMemoryContext;
	(void) dm_handle_make(CurrentMemoryContext, credentials, release_keys);
	if (is_of_host(settings))
		check_owner(settings);
	else if (settings->source == DM_CREDENTIALS_MAPPING)
		read_mapping(settings, &credentials->base);
	credentials->what = cache_name(credentials);
	return credentials;
}

/* Raises 42501 unless the server still belongs to a superuser. */
static void
check_owner(const DmStoreSettings *settings)
{
	if (superuser_arg(settings->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("server \"%s\" may not use the host's own identity", settings->server_name),
			 errdetail("Its owner \"%s\" is no superuser.", GetUserNameFromId(settings->owner, true)),
			 errhint("ALTER SERVER ... OWNER TO a superuser, or take the keys from user mappings: "
					 "ALTER SERVER ... OPTIONS (SET credentials 'mapping').")));
}

/* True if the user, or PUBLIC, has a mapping for the server. */
static bool
has_mapping(Oid server_oid, Oid user_oid)
{
	return SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(user_oid), ObjectIdGetDatum(server_oid)) ||
		   SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server_oid));
}

/* A copy of an option's value in the current memory context; the catalog's text is wiped. */
static char *
take_secret(DefElem *def)
{
	char *copy = pstrdup(defGetString(def));

	dm_keys_wipe_text(defGetString(def));
	return copy;
}

/* Reads the keys of the user's mapping. Raises 42704, with the command to run, when they are not there. */
static void
read_mapping(const DmStoreSettings *settings, DmKeys *keys)
{
	ListCell *lc;

	keys->expires = DT_NOEND;
	if (has_mapping(settings->server, settings->user))
	{
		foreach (lc, GetUserMapping(settings->user, settings->server)->options)
		{
			DefElem *def = lfirst(lc);

			if (strcmp(def->defname, "access_key_id") == 0)
				keys->access_key_id = take_secret(def);
			else if (strcmp(def->defname, "secret_access_key") == 0)
				keys->secret_access_key = take_secret(def);
			else if (strcmp(def->defname, "session_token") == 0)
				keys->session_token = take_secret(def);
		}
	}
	if (!keys->access_key_id || !keys->secret_access_key)
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no credentials for server \"%s\" and user \"%s\"",
					settings->server_name,
					GetUserNameFromId(settings->user, true)),
			 errhint("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (access_key_id '...', secret_access_key '...');",
					 quote_identifier(GetUserNameFromId(settings->user, false)),
					 quote_identifier(settings->server_name))));
}

/* Appends a text so that no two lists of texts look the same. */
static void
append_part(StringInfo list, const char *text)
{
	if (text)
		appendStringInfo(list, "%zu:%s,", strlen(text), text);
	else
		appendStringInfoString(list, "-,");
}

/* All that temporary keys depend on, palloc'd; NULL where there are none to remember. */
static char *
cache_name(const DmCredentials *credentials)
{
	const DmStoreSettings *settings = credentials->settings;
	StringInfoData name;

	if (!is_renewable(settings))
		return NULL;
	initStringInfo(&name);
	appendStringInfo(&name,
					 "%u,%u,%d,%d,%d,",
					 settings->server,
					 settings->user,
					 (int) settings->source,
					 settings->role_duration_s,
					 settings->verify_tls);
	append_part(&name, settings->role_arn);
	append_part(&name, settings->external_id);
	append_part(&name, settings->role_session_name);
	append_part(&name, settings->sts_endpoint);
	append_part(&name, settings->endpoint);
	append_part(&name, settings->region);
	append_part(&name, settings->profile);
	append_part(&name, settings->web_identity_token_file);
	append_part(&name, credentials->base.access_key_id);
	append_part(&name, settings->source == DM_CREDENTIALS_PROFILE ? dm_profile_fingerprint() : NULL);
	return name.data;
}

/* The keys to sign a request with now; see credentials.h. */
const DmKeys *
dm_credentials_keys(DmCredentials *credentials, uint64 *serial)
{
	if (credentials->settings->source == DM_CREDENTIALS_ANONYMOUS)
		return NULL;
	if (credentials->serial == 0 || credentials->refused || credentials->renew_at <= GetCurrentTimestamp())
		renew(credentials);
	*serial = credentials->serial;
	return &credentials->keys;
}

/* When keys that were got now are due for renewal. */
static TimestampTz
renewal_time(TimestampTz expires)
{
	TimestampTz now = GetCurrentTimestamp();

	if (expires == DT_NOEND)
		return DT_NOEND;
	if (expires <= now)
		return now + DM_KEYS_EXPIRED_US;
	return expires - Min(DM_KEYS_RENEW_BEFORE_US, (expires - now) / 4);
}

/* Makes keys the ones to sign with. */
static void
adopt(DmCredentials *credentials, const DmCachedKeys *cached)
{
	MemoryContext old = MemoryContextSwitchTo(credentials->context);

	dm_keys_wipe(&credentials->before);
	credentials->before = credentials->keys;
	memset(&credentials->keys, 0, sizeof(credentials->keys));
	dm_keys_copy(&credentials->keys, &cached->keys);
	credentials->serial = cached->serial;
	credentials->renew_at = cached->renew_at;
	credentials->renewed = credentials->refused;
	credentials->refused = credentials->accepted = false;
	MemoryContextSwitchTo(old);
}

/* Gets keys from the source that the server's options name. False with a fault. */
static bool
fetch_keys(const DmCredentials *credentials, DmKeysFetch *fetch, DmKeys *keys)
{
	const DmStoreSettings *settings = fetch->settings;
	DmRole role = {
		settings->role_arn, settings->external_id, settings->role_session_name, settings->role_duration_s};
	DmKeys base = {0};
	bool done = false;

	switch (settings->source)
	{
		case DM_CREDENTIALS_ANONYMOUS: return false;
		case DM_CREDENTIALS_WEB_IDENTITY:
			return dm_keys_from_web_identity(fetch, settings->web_identity_token_file, &role, keys);
		case DM_CREDENTIALS_MAPPING:
			dm_keys_copy(&base, &credentials->base);
			done = true;
			break;
		case DM_CREDENTIALS_ENV: done = dm_keys_from_env(fetch, &base); break;
		case DM_CREDENTIALS_PROFILE: done = dm_keys_from_profile(fetch, &base); break;
		case DM_CREDENTIALS_IMDS: done = dm_keys_from_imds(fetch, &base); break;
		case DM_CREDENTIALS_ECS: done = dm_keys_from_ecs(fetch, &base); break;
	}
	if (!done)
		return false;
	if (!role.arn)
	{
		*keys = base;
		return true;
	}
	done = dm_keys_assume_role(fetch, &base, &role, keys);
	dm_keys_wipe(&base);
	return done;
}

/* Raises what a try to get keys has failed with. */
static void
raise_fault(const DmKeysFetch *fetch)
{
	ereport(ERROR,
			(errcode(fetch->sqlstate),
			 errmsg("no credentials for server \"%s\" %s", fetch->settings->server_name, fetch->reason),
			 fetch->detail ? errdetail("%s", fetch->detail) : 0,
			 fetch->hint ? errhint("%s", fetch->hint) : 0));
}

/* Gets keys, or newer ones than there are: those that another store of this backend has got, or from the source. */
static void
renew(DmCredentials *credentials)
{
	const DmCachedKeys *found = credentials->what ? dm_keys_cache_find(credentials->what) : NULL;
	uint64 state = dm_keys_cache_state();
	TimestampTz now = GetCurrentTimestamp();
	DmKeysFetch fetch = {credentials->settings};
	DmCachedKeys fresh = {{0}};
	MemoryContext context;
	MemoryContext old;

	if (found && found->serial != credentials->serial && found->renew_at > now)
	{
		adopt(credentials, found);
		return;
	}
	context = AllocSetContextCreate(credentials->context, "datamill keys fetch", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (fetch_keys(credentials, &fetch, &fresh.keys))
	{
		fresh.serial = ++last_serial;
		fresh.renew_at = renewal_time(fresh.keys.expires);
		adopt(credentials, &fresh);
		if (credentials->what && fresh.keys.expires != DT_NOEND)
			dm_keys_cache_put(credentials->what, state, &fresh);
		dm_keys_wipe(&fresh.keys);
	}
	else if (credentials->serial != 0 && !credentials->refused && credentials->keys.expires > now)
		credentials->renew_at = now + Max((credentials->keys.expires - now) / 2, USECS_PER_SEC);
	else
		raise_fault(&fetch);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The store took keys of this serial. */
void
dm_credentials_accept(DmCredentials *credentials, uint64 serial)
{
	if (serial == credentials->serial)
		credentials->accepted = true;
}

/* The store refused keys of this serial; see credentials.h. */
bool
dm_credentials_reject(DmCredentials *credentials, uint64 serial)
{
	if (serial == 0 || !is_renewable(credentials->settings))
		return false;
	if (serial != credentials->serial || credentials->refused)
		return true; /* others are there, or on their way */
	if (credentials->renewed && !credentials->accepted)
		return false;
	credentials->refused = true;
	dm_keys_cache_drop(serial);
	return true;
}

/* Blanks the keys out of a text. */
void
dm_credentials_redact(const DmCredentials *credentials, char *text)
{
	const DmKeys *sets[] = {&credentials->keys, &credentials->before, &credentials->base};

	for (int i = 0; i < lengthof(sets); i++)
	{
		const char *secrets[] = {sets[i]->secret_access_key, sets[i]->session_token, sets[i]->access_key_id};

		dm_redact(text, secrets, lengthof(secrets));
	}
}

/* True for an error code whose cure is other keys, or more rights for them. */
static bool
is_about_keys(const char *code)
{
	return strcmp(code, "AccessDenied") == 0 || strcmp(code, "InvalidAccessKeyId") == 0 ||
		   strcmp(code, "SignatureDoesNotMatch") == 0 || strcmp(code, "ExpiredToken") == 0 ||
		   strcmp(code, "InvalidToken") == 0;
}

/* What to do about a store's error code on keys; see credentials.h. */
const char *
dm_credentials_hint(const DmCredentials *credentials, const char *code, const char *hint)
{
	const DmStoreSettings *settings = credentials->settings;

	if (!is_about_keys(code))
		return hint;
	if (settings->role_arn)
		return psprintf("The keys are temporary ones of role \"%s\" (option role_arn). Check what the role may do.",
						settings->role_arn);
	switch (settings->source)
	{
		case DM_CREDENTIALS_ENV:
			return "The keys are those of the database server's environment (credentials 'env'). Check them and "
				   "what they may do; a change needs a restart.";
		case DM_CREDENTIALS_PROFILE:
			return "The keys are those of a profile of the database server's user (credentials 'profile'). Check "
				   "them "
				   "and what they may do.";
		case DM_CREDENTIALS_IMDS:
			return "The keys are those of the role of the database server's machine (credentials 'imds'). Check "
				   "what "
				   "it may do.";
		case DM_CREDENTIALS_ECS:
			return "The keys are those of the role of the database server's container (credentials 'ecs'). Check "
				   "what "
				   "it may do.";
		case DM_CREDENTIALS_WEB_IDENTITY:
			return "The keys are those of the role in AWS_ROLE_ARN (credentials 'web_identity'). Check what it may "
				   "do.";
		case DM_CREDENTIALS_ANONYMOUS: return "The requests are not signed (credentials 'anonymous').";
		case DM_CREDENTIALS_MAPPING: break;
	}
	/* Some servers forget temporary keys when they expire. */
	if (strcmp(code, "InvalidAccessKeyId") == 0 && credentials->base.session_token)
		return "The temporary credentials may have expired. Put new ones into the user mapping (ALTER USER "
			   "MAPPING).";
	return hint;
}
