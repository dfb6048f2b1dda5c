/*
 * s3_options.c: the one table of datamill_s3's options, and who may set which.
 *
 * 1. Secrets stand on user mappings only: everybody can read the options of servers and tables.
 * 2. What lends out the server's own files or identity is for superusers, or for the predefined role of file readers.
 *    A validator gets all options of an object on every ALTER, so these checks hold for whoever alters it last.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/options.h"
#include "codec/json.h"
#include "fdw/s3_options.h"
#include "source/format_options.h"
#include "store/store.h"

#define SERVER DM_OPTION_SERVER
#define MAPPING DM_OPTION_MAPPING
#define TABLE DM_OPTION_TABLE
#define COLUMN DM_OPTION_COLUMN
#define KB INT64CONST(1024)

static const DmOption s3_table[] = {
	{"endpoint",
	 DM_OPTION_STRING,
	 SERVER,
	 .help = "http(s)://host[:port], or file:///folder whose subfolders are buckets"},
	{"region", DM_OPTION_STRING, SERVER, .help = "region that requests are signed for (default: us-east-1)"},
	{"url_style",
	 DM_OPTION_ENUM,
	 SERVER,
	 .values = "path, virtual",
	 .help = "where the bucket stands in a request"},
	{"credentials",
	 DM_OPTION_ENUM,
	 SERVER,
	 .values = "mapping, anonymous, env, profile, imds, ecs, web_identity",
	 .help = "where keys come from (default: the user mapping)"},
	{"role_arn", DM_OPTION_STRING, SERVER, .help = "role to assume with the keys that credentials gives"},
	{"external_id", DM_OPTION_STRING, SERVER, .help = "what the role asks for as a sign of who wants to be it"},
	{"role_session_name", DM_OPTION_STRING, SERVER, .help = "name of the role's sessions (default: datamill)"},
	{"role_duration",
	 DM_OPTION_DURATION,
	 SERVER,
	 .min = 1000,
	 .max = 43200000,
	 .help = "life of a role's keys (default: that of the token service)"},
	{"sts_endpoint",
	 DM_OPTION_STRING,
	 SERVER,
	 .help = "http(s)://host[:port] of the token service that gives a role's keys"},
	{"profile",
	 DM_OPTION_STRING,
	 SERVER,
	 .help = "credentials 'profile': its name (default: AWS_PROFILE, else default)"},
	{"web_identity_token_file",
	 DM_OPTION_STRING,
	 SERVER,
	 .help = "credentials 'web_identity': the token's file (default: AWS_WEB_IDENTITY_TOKEN_FILE)"},
	{"ca_file", DM_OPTION_STRING, SERVER, .help = "certificates to trust, a file on the server's host"},
	{"verify_tls", DM_OPTION_BOOL, SERVER, .help = "check certificates (default: true)"},
	{"buckets",
	 DM_OPTION_STRING,
	 SERVER,
	 .help = "patterns of the buckets allowed, separated by commas (default: all)"},
	{"requester_pays",
	 DM_OPTION_BOOL,
	 SERVER,
	 .help = "the requester, not the bucket's owner, pays (default: false)"},
	{"connect_timeout", DM_OPTION_DURATION, SERVER, .min = 1, .max = 600000, .help = "to connect (default: 10s)"},
	{"timeout", DM_OPTION_DURATION, SERVER, .min = 1, .max = 86400000, .help = "of one request (default: 60s)"},
	{"max_retries", DM_OPTION_INT, SERVER, .min = 0, .max = 100, .help = "of one request (default: 8)"},
	{"max_concurrency", DM_OPTION_INT, SERVER, .min = 1, .max = 64, .help = "requests at once (default: 8)"},
	{"part_size",
	 DM_OPTION_SIZE,
	 SERVER,
	 .min = 64 * KB,
	 .max = 512 * KB * KB,
	 .help = "of a ranged GET; of an upload, at least 5MB (default: 8MB)"},
	{"access_key_id", DM_OPTION_STRING, MAPPING, .secret = true, .help = "id of the access key"},
	{"secret_access_key", DM_OPTION_STRING, MAPPING, .secret = true, .help = "secret of the access key"},
	{"session_token", DM_OPTION_STRING, MAPPING, .secret = true, .help = "token of temporary credentials"},
	{"async_capable",
	 DM_OPTION_BOOL,
	 SERVER | TABLE,
	 .help = "scans of an Append fetch at the same time (default: true)"},
	{"url", DM_OPTION_STRING, TABLE, .help = "s3://bucket/key; the key may have wildcards"},
	{"name", DM_OPTION_STRING, COLUMN, .help = "the column's name in the header (default: its own)"},
	{"path", DM_OPTION_STRING, COLUMN, .help = "where the column's value is in a JSON record (default: $.name)"},
	{"force_null", DM_OPTION_BOOL, COLUMN, .help = "the null text is NULL in quotes, too"},
	{"force_not_null", DM_OPTION_BOOL, COLUMN, .help = "the null text is a value like any other"},
};

static const DmOptionSet s3_options = {s3_table, lengthof(s3_table), &dm_format_options};

/* Returns the place that a catalog's options stand in, or 0 for one that takes none. */
static int
place_of(Oid catalog)
{
	switch (catalog)
	{
		case ForeignServerRelationId: return SERVER;
		case UserMappingRelationId: return MAPPING;
		case ForeignTableRelationId: return TABLE;
		case AttributeRelationId: return COLUMN;
		default: return 0;
	}
}

/* Raises HV00D on a secret that is not on a user mapping, with where it belongs; its value is not shown. */
static void
check_secrets(List *options, int place)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *def = lfirst(cell);
		const DmOption *option = dm_option_find(&s3_options, def->defname, MAPPING);

		if (option && option->secret && place != MAPPING)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" is a secret and belongs on a user mapping", def->defname),
					 errhint("CREATE USER MAPPING FOR ... SERVER ... OPTIONS (%s '...');", def->defname)));
	}
}

/* Raises 42501 for an option that only superusers, or also members of pg_read_server_files, may set. */
static void
check_right(const char *what, bool file_readers_too)
{
	if (superuser())
		return;
	if (file_readers_too && has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set %s", what),
			 file_readers_too ? errhint("Only superusers and members of pg_read_server_files may, "
										"since it reads files of the server's host.")
							  : errhint("Only superusers may.")));
}

/* Checks an endpoint: its scheme, and who may name a folder of the host. Raises HV024 or 42501. */
static void
check_endpoint(const char *endpoint)
{
	if (strncmp(endpoint, "file://", 7) == 0)
	{
		check_right("an endpoint of the server's own files", true);
		if (endpoint[7] != '/')
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
					 errmsg("endpoint \"%s\" is not an absolute folder", endpoint),
					 errhint("Write three slashes: file:///srv/buckets.")));
		return;
	}
	if (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"endpoint\": \"%s\"", endpoint),
				 errhint("It must begin with https://, http:// or file:///.")));
	if (strchr(endpoint, '@'))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("option \"endpoint\" must not hold a user or password"),
				 errhint("Keys belong on a user mapping.")));
}

/* Checks the address of the token service. Raises HV024. */
static void
check_sts_endpoint(const char *endpoint)
{
	const char *host = strstr(endpoint, "://");

	if ((strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0) || host[3] == '\0' ||
		host[3 + strcspn(host + 3, "/?#@ ")] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"sts_endpoint\": \"%s\"", endpoint),
				 errhint("Write https://host[:port] or http://host[:port].")));
}

/* Raises HV024 for an option that does nothing without another. */
static void
check_pair(List *options, const char *name, bool fits, const char *hint)
{
	if (dm_option_get(options, name) && !fits)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("option \"%s\" has no use here", name),
				 errhint("%s", hint)));
}

/* Checks that the options which say where keys come from go together. */
static void
check_credentials(List *options)
{
	const char *credentials = dm_option_get(options, "credentials");
	bool web_identity = credentials && strcmp(credentials, "web_identity") == 0;
	bool has_role = dm_option_get(options, "role_arn") || web_identity;

	check_pair(options,
			   "role_arn",
			   !credentials || strcmp(credentials, "anonymous") != 0,
			   "Requests of credentials 'anonymous' are not signed.");
	check_pair(options,
			   "external_id",
			   has_role && !web_identity,
			   "It goes with role_arn, and credentials other than 'web_identity'.");
	check_pair(options, "role_session_name", has_role, "It goes with role_arn.");
	check_pair(options, "role_duration", has_role, "It goes with role_arn.");
	check_pair(options,
			   "profile",
			   credentials && strcmp(credentials, "profile") == 0,
			   "It goes with credentials 'profile'.");
	check_pair(options, "web_identity_token_file", web_identity, "It goes with credentials 'web_identity'.");
}

/* Checks what goes beyond the type of a server's options. */
static void
check_server(List *options)
{
	const char *endpoint = dm_option_get(options, "endpoint");
	const char *verify_tls = dm_option_get(options, "verify_tls");
	const char *credentials = dm_option_get(options, "credentials");
	bool flag;

	if (endpoint)
		check_endpoint(endpoint);
	if (dm_option_get(options, "ca_file"))
		check_right("option \"ca_file\"", true);
	if (verify_tls && !(parse_bool(verify_tls, &flag) && flag))
		check_right("option \"verify_tls\" to false", false);
	if (credentials && strcmp(credentials, "mapping") != 0 && strcmp(credentials, "anonymous") != 0)
		check_right("option \"credentials\" to the host's own identity", false);
	if (dm_option_get(options, "sts_endpoint"))
		check_sts_endpoint(dm_option_get(options, "sts_endpoint"));
}

/* Raises HV024 unless a mapping's keys come in pairs. */
static void
check_mapping(List *options)
{
	bool has_id = dm_option_get(options, "access_key_id") != NULL;
	bool has_secret = dm_option_get(options, "secret_access_key") != NULL;

	if (has_id != has_secret || (dm_option_get(options, "session_token") && !has_id))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" is missing", has_id ? "secret_access_key" : "access_key_id"),
				 errhint("Set access_key_id and secret_access_key together.")));
}

/* Checks what goes beyond the type of a table's options: a URL of objects, a format without contradictions. */
static void
check_table(List *options)
{
	const char *url = dm_option_get(options, "url");
	DmObjScanSpec spec = {0};
	char *bucket;
	char *key;

	if (!url)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"url\" is missing"),
				 errhint("Say which objects the table reads: OPTIONS (url 's3://bucket/prefix/*.csv').")));
	dm_url_split(url, &bucket, &key);
	dm_format_read(&spec, options);
}

/*
 * Checks options as CREATE and ALTER of a server, mapping, table or column give them (all that the object will have),
 * for the current user. Raises class HV on unknown ones and bad values, 42501 on a right that is missing, 0A000 on
 * what is not supported yet.
 */
void
dm_s3_options_check(List *options, Oid catalog)
{
	int place = place_of(catalog);

	check_secrets(options, place);
	/* Rights come before values: who may not set credentials need not learn what is supported. */
	if (place == SERVER)
		check_server(options);
	dm_options_check(&s3_options, place, options);
	if (place == SERVER)
		check_credentials(options);
	else if (place == MAPPING)
		check_mapping(options);
	else if (place == TABLE)
		check_table(options);
	else if (place == COLUMN && dm_option_get(options, "path"))
		(void) dm_json_path_parse(dm_option_get(options, "path"));
}

/* Stores the options of one column in a spec, whose field_names has room for natts. Strings are in the current context. */
static void
column_spec(DmObjScanSpec *spec, Oid table, AttrNumber attnum, int natts)
{
	List *options = GetForeignColumnOptions(table, attnum);
	const char *name = dm_option_get(options, "name");
	const char *path = dm_option_get(options, "path");
	const char *force_null = dm_option_get(options, "force_null");
	const char *force_not_null = dm_option_get(options, "force_not_null");

	if (name && !spec->field_names)
		spec->field_names = palloc0(natts * sizeof(char *));
	if (name)
		spec->field_names[attnum - 1] = pstrdup(name);
	if (path && !spec->paths)
		spec->paths = palloc0(natts * sizeof(char *));
	if (path)
		spec->paths[attnum - 1] = pstrdup(path);
	if (force_null && dm_option_bool("force_null", force_null))
		spec->force_null = bms_add_member(spec->force_null, attnum);
	if (force_not_null && dm_option_bool("force_not_null", force_not_null))
		spec->force_not_null = bms_add_member(spec->force_not_null, attnum);
}

/*
 * Fills in a foreign table's server, url, format and what its columns say, to be read as user. The caller holds a lock on the
 * table, and sets desc and what is needed.
 */
void
dm_s3_table_spec(DmObjScanSpec *spec, Oid table, Oid user)
{
	ForeignTable *foreign_table = GetForeignTable(table);
	Relation relation = table_open(table, NoLock);
	int natts = RelationGetNumberOfAttributes(relation);

	memset(spec, 0, sizeof(*spec));
	spec->desc = CreateTupleDescCopy(RelationGetDescr(relation));
	table_close(relation, NoLock);
	spec->server = foreign_table->serverid;
	spec->user = user;
	spec->url = dm_option_get(foreign_table->options, "url");
	for (AttrNumber attnum = 1; attnum <= natts; attnum++)
		column_spec(spec, table, attnum, natts);
	dm_format_read(spec, foreign_table->options);
	dm_objscan_find_hive(spec);
}
