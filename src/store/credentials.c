/*
 * credentials.c: keys that come from the server's host and not from a user mapping.
 *
 * 1. They are the host's own identity: the validator lets only a superuser ask for them, and here the server's owner must still
 *    be one, since ownership can change without the validator.
 * 2. Keys are copied into the settings of one store and nowhere else; no message holds a value, only names of variables.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "store/kind.h"

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

/* Returns a copy of an environment variable in the current memory context; NULL if it is not set or empty. */
static char *
env_value(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] != '\0' ? pstrdup(value) : NULL;
}

/*
 * Stores the keys of the server process's environment in settings, in the current memory context. Raises 42501 if the
 * server's owner is no superuser, 42704 if a variable is missing.
 */
void
dm_credentials_env_read(DmStoreSettings *settings)
{
	check_owner(settings);
	settings->access_key_id = env_value("AWS_ACCESS_KEY_ID");
	settings->secret_access_key = env_value("AWS_SECRET_ACCESS_KEY");
	settings->session_token = env_value("AWS_SESSION_TOKEN");
	if (settings->access_key_id && settings->secret_access_key)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no credentials for server \"%s\" in the environment", settings->server_name),
			 errdetail("%s is not set in the environment of the database server's process.",
					   settings->access_key_id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"),
			 errhint("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where the database server is started, and "
					 "restart it.")));
}
