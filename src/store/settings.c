/*
 * settings.c: reads the options of a server and of a user's mapping into DmStoreSettings.
 *
 * The validator has checked them when they were set; here a value that does not parse is still an error, since the
 * catalog can be older than the code.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "base/options.h"
#include "store/kind.h"

#define DM_STORE_DEFAULT_REGION "us-east-1"
#define DM_STORE_MAX_CONCURRENCY 64
#define DM_STORE_MAX_PART_BYTES (512 * 1024 * 1024)

static void read_server_option(DmStoreSettings *settings, DefElem *def);
static void read_mapping(DmStoreSettings *settings, Oid user_oid);
static void check_credentials(const char *value);

/* Reads the settings of a server for a user, in the current memory context. Raises HV000-class errors on bad values. */
DmStoreSettings *
dm_store_settings_read(Oid server_oid, Oid user_oid)
{
	ForeignServer *server = GetForeignServer(server_oid);
	DmStoreSettings *settings = palloc0(sizeof(DmStoreSettings));
	ListCell *lc;

	settings->server = server_oid;
	settings->owner = server->owner;
	settings->server_name = server->servername;
	settings->region = DM_STORE_DEFAULT_REGION;
	settings->verify_tls = true;
	settings->connect_timeout_ms = 10 * 1000;
	settings->timeout_ms = 60 * 1000;
	settings->max_retries = 8;
	settings->max_concurrency = 8;
	settings->part_size_bytes = 8 * 1024 * 1024;
	foreach (lc, server->options)
		read_server_option(settings, lfirst(lc));
	if (!settings->endpoint)
		settings->endpoint = psprintf("https://s3.%s.amazonaws.com", settings->region);
	for (Size len = strlen(settings->endpoint); len > 8 && settings->endpoint[len - 1] == '/'; len--)
		settings->endpoint[len - 1] = '\0';
	if (strncmp(settings->endpoint, "file://", 7) == 0 || settings->anonymous)
		return settings;
	if (settings->env)
		dm_credentials_env_read(settings);
	else
		read_mapping(settings, user_oid);
	return settings;
}

/* Reads a whole number within bounds. */
static int
read_number(DefElem *def, int low, int high)
{
	int value;

	if (!parse_int(defGetString(def), &value, 0, NULL) || value < low || value > high)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", def->defname, defGetString(def))));
	return value;
}

/* Stores one server option. Options of other parts of the extension are none of its business. */
static void
read_server_option(DmStoreSettings *settings, DefElem *def)
{
	const char *name = def->defname;

	if (strcmp(name, "endpoint") == 0)
		settings->endpoint = pstrdup(defGetString(def));
	else if (strcmp(name, "region") == 0)
		settings->region = defGetString(def);
	else if (strcmp(name, "url_style") == 0)
		settings->virtual_host = pg_strcasecmp(defGetString(def), "virtual") == 0;
	else if (strcmp(name, "credentials") == 0)
	{
		check_credentials(defGetString(def));
		settings->anonymous = strcmp(defGetString(def), "anonymous") == 0;
		settings->env = strcmp(defGetString(def), "env") == 0;
	}
	else if (strcmp(name, "ca_file") == 0)
		settings->ca_file = defGetString(def);
	else if (strcmp(name, "verify_tls") == 0)
		settings->verify_tls = dm_option_bool(name, defGetString(def));
	else if (strcmp(name, "buckets") == 0)
		settings->buckets = defGetString(def);
	else if (strcmp(name, "connect_timeout") == 0)
		settings->connect_timeout_ms = dm_option_duration_ms(name, defGetString(def));
	else if (strcmp(name, "timeout") == 0)
		settings->timeout_ms = dm_option_duration_ms(name, defGetString(def));
	else if (strcmp(name, "max_retries") == 0)
		settings->max_retries = read_number(def, 0, 100);
	else if (strcmp(name, "max_concurrency") == 0)
		settings->max_concurrency = read_number(def, 1, DM_STORE_MAX_CONCURRENCY);
	else if (strcmp(name, "part_size") == 0)
		settings->part_size_bytes = (int) Min(dm_option_size(name, defGetString(def)), DM_STORE_MAX_PART_BYTES);
}

/* Raises 0A000 for a way to find credentials that does not exist yet. */
static void
check_credentials(const char *value)
{
	if (strcmp(value, "mapping") != 0 && strcmp(value, "anonymous") != 0 && strcmp(value, "env") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("credentials \"%s\" are not supported yet", value),
				 errhint("Use mapping (a user mapping holds the keys), anonymous or env.")));
}

/* True if the user, or PUBLIC, has a mapping for the server. */
static bool
has_mapping(Oid server_oid, Oid user_oid)
{
	return SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(user_oid), ObjectIdGetDatum(server_oid)) ||
		   SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server_oid));
}

/* Reads the keys of the user's mapping. Raises 42704, with the command to run, when they are not there. */
static void
read_mapping(DmStoreSettings *settings, Oid user_oid)
{
	ListCell *lc;

	if (has_mapping(settings->server, user_oid))
	{
		foreach (lc, GetUserMapping(user_oid, settings->server)->options)
		{
			DefElem *def = lfirst(lc);

			if (strcmp(def->defname, "access_key_id") == 0)
				settings->access_key_id = defGetString(def);
			else if (strcmp(def->defname, "secret_access_key") == 0)
				settings->secret_access_key = defGetString(def);
			else if (strcmp(def->defname, "session_token") == 0)
				settings->session_token = defGetString(def);
		}
	}
	if (!settings->access_key_id || !settings->secret_access_key)
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no credentials for server \"%s\" and user \"%s\"",
					settings->server_name,
					GetUserNameFromId(user_oid, true)),
			 errhint("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (access_key_id '...', secret_access_key '...');",
					 quote_identifier(GetUserNameFromId(user_oid, false)),
					 quote_identifier(settings->server_name))));
}
