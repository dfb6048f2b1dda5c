/*
 * settings.c: reads the options of a server into DmStoreSettings.
 *
 * The validator has checked them when they were set; here a value that does not parse is still an error, since the
 * catalog can be older than the code.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/guc.h"
#include "base/options.h"
#include "store/kind.h"

#define DM_STORE_DEFAULT_REGION "us-east-1"
#define DM_STORE_MAX_CONCURRENCY 64
#define DM_STORE_MAX_PART_BYTES (512 * 1024 * 1024)

static void read_server_option(DmStoreSettings *settings, DefElem *def);
static bool read_credential_option(DmStoreSettings *settings, DefElem *def);
static DmCredentialSource read_source(DefElem *def);

/* Reads the settings of a server for a user, in the current memory context. Raises HV000-class errors on bad values. */
DmStoreSettings *
dm_store_settings_read(Oid server_oid, Oid user_oid)
{
	ForeignServer *server = GetForeignServer(server_oid);
	DmStoreSettings *settings = palloc0(sizeof(DmStoreSettings));
	ListCell *lc;

	settings->server = server_oid;
	settings->owner = server->owner;
	settings->user = user_oid;
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
	if (dm_guc_allowed_hosts && *dm_guc_allowed_hosts && !superuser_arg(settings->owner))
		settings->allowed_hosts = pstrdup(dm_guc_allowed_hosts);
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
	else if (read_credential_option(settings, def))
		return;
	else if (strcmp(name, "ca_file") == 0)
		settings->ca_file = defGetString(def);
	else if (strcmp(name, "verify_tls") == 0)
		settings->verify_tls = dm_option_bool(name, defGetString(def));
	else if (strcmp(name, "requester_pays") == 0)
		settings->requester_pays = dm_option_bool(name, defGetString(def));
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

/* Stores an option that says where keys come from. False if it is another one. */
static bool
read_credential_option(DmStoreSettings *settings, DefElem *def)
{
	const char *name = def->defname;

	if (strcmp(name, "credentials") == 0)
		settings->source = read_source(def);
	else if (strcmp(name, "role_arn") == 0)
		settings->role_arn = defGetString(def);
	else if (strcmp(name, "external_id") == 0)
		settings->external_id = defGetString(def);
	else if (strcmp(name, "role_session_name") == 0)
		settings->role_session_name = defGetString(def);
	else if (strcmp(name, "role_duration") == 0)
		settings->role_duration_s = (dm_option_duration_ms(name, defGetString(def)) + 999) / 1000;
	else if (strcmp(name, "sts_endpoint") == 0)
		settings->sts_endpoint = pstrdup(defGetString(def));
	else if (strcmp(name, "profile") == 0)
		settings->profile = defGetString(def);
	else if (strcmp(name, "web_identity_token_file") == 0)
		settings->web_identity_token_file = defGetString(def);
	else
		return false;
	return true;
}

/* The source that option credentials names. Raises HV024 for a word that the validator would have refused. */
static DmCredentialSource
read_source(DefElem *def)
{
	static const char *const names[] = {"mapping", "anonymous", "env", "profile", "imds", "ecs", "web_identity"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(defGetString(def), names[i]) == 0)
			return (DmCredentialSource) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", def->defname, defGetString(def))));
}
