/*
 * notifier.c: makes, changes and drops notifiers.
 *
 * 1. A notifier belongs to its owner, and is told of jobs of that role only. Whoever may become the owner may change it.
 * 2. Secrets are in a table of their own, on which nobody has rights, which no view shows and no dump holds. What is read of them here is for
 *    checks, and appears in no message.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "notify/notify.h"

#define MAX_NAME_BYTES 200
/* News for people is not repeated more often than this unless they say so. */
#define PEOPLE_REPEAT_MS (5 * 60 * 1000)

static void check_context(void);
static void check_file(Jsonb *config);
static Jsonb *read_jsonb(uint64 row, int column);
static int64 repeat_us(DmNotifierKind kind, const Jsonb *config);
static void store_secret(int64 id, Jsonb *secret);

/* Stores a new notifier of the current user. */
void
dm_notifier_create(const char *name, const char *kind_name, Jsonb *config, Jsonb *secret)
{
	DmNotifierKind kind = dm_notifier_kind_find(kind_name);
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	check_context();
	if (name[0] == '\0' || strlen(name) > MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a notifier must have 1 to %d bytes", MAX_NAME_BYTES)));
	dm_config_check(kind, config, secret);
	check_file(config);
	dm_args_text(&args, name);
	dm_args_oid(&args, GetUserId());
	dm_args_text(&args, kind_name);
	dm_args_add(&args, JSONBOID, JsonbPGetDatum(config), false);
	dm_args_int8(&args, repeat_us(kind, config));
	dm_args_int8(&args, (int64) GetSystemIdentifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_begin(&scope);
	if (dm_catalog_run(
			"INSERT INTO datamill.notifier_catalog (name, owner, kind, config, repeat_after, system_identifier, "
			"database_id) VALUES ($1, $2::regrole, $3, $4, $5 * interval '1 us', $6, $7) "
			"ON CONFLICT (owner, name) DO NOTHING RETURNING notifier_id",
			&args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("notifier \"%s\" exists already", name),
				 errhint("Use datamill.alter_notifier().")));
	store_secret(dm_catalog_int8(0, 1), secret);
	dm_catalog_end(&scope);
}

/* Changes the keys that are given; a null takes one away. What could not be sent is tried again at once. */
void
dm_notifier_alter(const char *name, Jsonb *config, Jsonb *secret)
{
	MemoryContext caller = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmNotifier notifier;

	check_context();
	dm_notifier_find(name, &notifier);
	if (!JB_ROOT_IS_OBJECT(config) || !JB_ROOT_IS_OBJECT(secret))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("config and secret of a notifier must be JSON objects")));
	dm_args_int8(&args, notifier.id);
	dm_args_add(&args, JSONBOID, JsonbPGetDatum(config), false);
	dm_args_add(&args, JSONBOID, JsonbPGetDatum(secret), false);
	dm_catalog_begin(&scope);
	if (dm_catalog_run("SELECT jsonb_strip_nulls(n.config || $2), jsonb_strip_nulls(coalesce((SELECT s.secret "
					   "FROM datamill.notifier_secret_catalog s WHERE s.notifier_id = $1), '{}') || $3) "
					   "FROM datamill.notifier_catalog n WHERE n.notifier_id = $1 FOR NO KEY UPDATE",
					   &args) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("notifier \"%s\" does not exist", name)));
	MemoryContextSwitchTo(caller);
	config = read_jsonb(0, 1);
	secret = read_jsonb(0, 2);
	dm_catalog_end(&scope);
	dm_config_check(notifier.kind, config, secret);
	check_file(config);
	args.n = 1;
	dm_args_add(&args, JSONBOID, JsonbPGetDatum(config), false);
	dm_args_int8(&args, repeat_us(notifier.kind, config));
	dm_args_int8(&args, (int64) GetSystemIdentifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_begin(&scope);
	dm_catalog_run("UPDATE datamill.notifier_catalog SET config = $2, repeat_after = $3 * interval '1 us', "
				   "system_identifier = $4, database_id = $5 WHERE notifier_id = $1",
				   &args);
	store_secret(notifier.id, secret);
	args.n = 1;
	dm_catalog_run("UPDATE datamill.outbox_catalog SET next_attempt_at = clock_timestamp() WHERE notifier_id = $1 "
				   "AND state = 'pending' AND attempts > 0",
				   &args);
	dm_catalog_end(&scope);
}

/* Drops a notifier with all that hangs on it. */
void
dm_notifier_drop(const char *name)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmNotifier notifier;

	check_context();
	dm_notifier_find(name, &notifier);
	dm_args_int8(&args, notifier.id);
	dm_catalog_begin(&scope);
	dm_catalog_run("DELETE FROM datamill.notifier_catalog WHERE notifier_id = $1", &args);
	dm_catalog_run("DELETE FROM datamill.outbox_catalog WHERE notifier_id = $1", &args);
	dm_catalog_end(&scope);
}

/* Reads the notifier of a name: the caller's own, else the only one of those whose owners the caller may become. */
void
dm_notifier_find(const char *name, DmNotifier *notifier)
{
	MemoryContext caller_context = CurrentMemoryContext;
	Oid caller = GetUserId();
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	int candidates = 0;
	DmNotifier *found;
	uint64 n;

	dm_args_text(&args, name);
	dm_catalog_begin(&scope);
	n = dm_catalog_run("SELECT notifier_id, owner::oid, kind, config FROM datamill.notifier_catalog "
					   "WHERE name = $1 ORDER BY notifier_id",
					   &args);
	MemoryContextSwitchTo(caller_context);
	found = palloc0((n + 1) * sizeof(DmNotifier));
	for (uint64 i = 0; i < n; i++)
	{
		bool is_null;

		found[i].id = dm_catalog_int8(i, 1);
		found[i].name = pstrdup(name);
		found[i].owner = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));
		found[i].kind = dm_notifier_kind_find(dm_catalog_text(i, 3));
		found[i].config = read_jsonb(i, 4);
	}
	dm_catalog_end(&scope);
	for (uint64 i = 0; i < n; i++)
	{
		if (found[i].owner != caller && !dm_role_can_become(caller, found[i].owner))
			continue;
		*notifier = found[i];
		candidates++;
		if (found[i].owner == caller)
			return;
	}
	if (candidates == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("notifier \"%s\" does not exist", name),
				 errhint("See datamill.notifiers.")));
	if (candidates > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("several roles have a notifier \"%s\"", name),
				 errhint("SET ROLE to the one that is meant.")));
}

/* Lets notifiers send from a copy; what the original had not sent is given up. */
void
dm_notifier_accept(Oid caller)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	dm_args_int8(&args, (int64) GetSystemIdentifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_args_oid(&args, caller);
	dm_catalog_begin(&scope);
	dm_catalog_run(
		"WITH accepted AS (UPDATE datamill.notifier_catalog SET system_identifier = $1, database_id = $2 "
		"WHERE (system_identifier <> $1 OR database_id <> $2) AND pg_has_role($3, owner, 'MEMBER') "
		"RETURNING notifier_id) UPDATE datamill.outbox_catalog o SET state = 'failed', "
		"last_error = 'this database was restored or copied before it was sent' FROM accepted a "
		"WHERE o.notifier_id = a.notifier_id AND o.state IN ('pending', 'sending')",
		&args);
	dm_catalog_end(&scope);
}

/* Raises where a user's code runs with another's rights, as in an index expression. */
static void
check_context(void)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("notifiers cannot be changed within a security-restricted operation")));
}

/* Raises if the caller names a file of the server that it has no right to read. */
static void
check_file(Jsonb *config)
{
	if (dm_config_text(config, "ca_file") && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("ca_file can be given only by members of role pg_read_server_files")));
}

/* Returns a jsonb of the last statement, copied to the current memory context. */
static Jsonb *
read_jsonb(uint64 row, int column)
{
	bool is_null;

	return DatumGetJsonbPCopy(dm_catalog_value(row, column, &is_null));
}

/* Returns how long news of the same kind waits after the last. */
static int64
repeat_us(DmNotifierKind kind, const Jsonb *config)
{
	bool for_people = kind == DM_NOTIFIER_SLACK || kind == DM_NOTIFIER_SMTP;

	return dm_config_ms(config, "repeat_after", for_people ? PEOPLE_REPEAT_MS : 0) * INT64CONST(1000);
}

/* Stores the secret of a notifier, in a catalog scope; an empty one is none. */
static void
store_secret(int64 id, Jsonb *secret)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, id);
	dm_catalog_run("DELETE FROM datamill.notifier_secret_catalog WHERE notifier_id = $1", &args);
	if (JB_ROOT_COUNT(secret) == 0)
		return;
	dm_args_add(&args, JSONBOID, JsonbPGetDatum(secret), false);
	dm_catalog_run("INSERT INTO datamill.notifier_secret_catalog (notifier_id, secret) VALUES ($1, $2)", &args);
}
