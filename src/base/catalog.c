/*
 * catalog.c: runs statements on the extension's own tables.
 *
 * A scope switches to the owner of the extension with search_path pinned to pg_catalog, so that neither the caller's
 * lack of rights nor the caller's objects matter; ERROR undoes both with the transaction. Inside a scope only texts
 * fixed in this library are executed, with all values as parameters.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"

/* A plan of dm_catalog_run(), by its text's address. */
typedef struct KeptPlan
{
	const char *sql; /* key */
	SPIPlanPtr plan;
} KeptPlan;

static HTAB *kept_plans = NULL;

static uint64 run_kept(const char *sql, const DmCatalogArgs *args);
static Form_pg_extension extension_read(FormData_pg_extension *form);

/*
 * Opens a scope: SPI connected, user = owner of the extension. Every begin needs its end, in the same function where
 * possible; results in SPI_tuptable are gone after the end.
 */
void
dm_catalog_begin(DmCatalogScope *scope)
{
	FormData_pg_extension extension;

	extension_read(&extension);
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(extension.extowner, scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option(
		"search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	scope->has_snapshot = !ActiveSnapshotSet();
	if (scope->has_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

/* Closes a scope: back to the user and settings before it. */
void
dm_catalog_end(DmCatalogScope *scope)
{
	SPI_finish();
	if (scope->has_snapshot)
		PopActiveSnapshot();
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/*
 * Executes one statement in the open scope and returns the number of rows processed; a query's rows are in
 * SPI_tuptable. The memory context stays what it was. nulls is as for SPI (one character an argument, 'n' for NULL) or NULL.
 */
uint64
dm_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	MemoryContext caller = CurrentMemoryContext;
	int code = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);

	MemoryContextSwitchTo(caller);
	if (code < 0)
		elog(ERROR, "catalog statement failed: %s: %s", SPI_result_code_string(code), sql);
	return SPI_processed;
}

/* Adds a parameter. */
void
dm_args_add(DmCatalogArgs *args, Oid type, Datum value, bool is_null)
{
	Assert(args->n < DM_CATALOG_ARGS);
	args->types[args->n] = type;
	args->values[args->n] = value;
	args->nulls[args->n] = is_null ? 'n' : ' ';
	args->n++;
}

/* Adds a text; NULL for NULL. */
void
dm_args_text(DmCatalogArgs *args, const char *value)
{
	dm_args_add(args, TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, !value);
}

/* Adds a bigint. */
void
dm_args_int8(DmCatalogArgs *args, int64 value)
{
	dm_args_add(args, INT8OID, Int64GetDatum(value), false);
}

/* Adds an integer. */
void
dm_args_int4(DmCatalogArgs *args, int32 value)
{
	dm_args_add(args, INT4OID, Int32GetDatum(value), false);
}

/* Adds a timestamptz; NULL for DT_NOEND. */
void
dm_args_time(DmCatalogArgs *args, TimestampTz value)
{
	dm_args_add(args, TIMESTAMPTZOID, TimestampTzGetDatum(value), TIMESTAMP_IS_NOEND(value));
}

/* Adds an OID. */
void
dm_args_oid(DmCatalogArgs *args, Oid value)
{
	dm_args_add(args, OIDOID, ObjectIdGetDatum(value), false);
}

/* Makes this process keep the plans of what dm_catalog_run() executes: for one that executes the same again and again. */
void
dm_catalog_keep_plans(void)
{
	HASHCTL control = {.keysize = sizeof(const char *), .entrysize = sizeof(KeptPlan), .hcxt = TopMemoryContext};

	kept_plans = hash_create("datamill plans", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Executes one statement as dm_catalog_execute() does; args may be NULL. */
uint64
dm_catalog_run(const char *sql, const DmCatalogArgs *args)
{
	static const DmCatalogArgs none = {0};

	if (kept_plans)
		return run_kept(sql, args ? args : &none);
	if (!args)
		return dm_catalog_execute(sql, 0, NULL, NULL, NULL);
	return dm_catalog_execute(sql, args->n, (Oid *) args->types, (Datum *) args->values, args->nulls);
}

/* Executes a statement by the plan that is kept for it. Texts are constants of this library, known by their addresses. */
static uint64
run_kept(const char *sql, const DmCatalogArgs *args)
{
	MemoryContext caller = CurrentMemoryContext;
	bool found;
	KeptPlan *kept = hash_search(kept_plans, &sql, HASH_ENTER, &found);
	int code;

	if (!found)
		kept->plan = NULL;
	if (!kept->plan)
	{
		SPIPlanPtr plan = SPI_prepare(sql, args->n, (Oid *) args->types);

		if (!plan || SPI_keepplan(plan) != 0)
			elog(ERROR, "catalog statement failed: %s: %s", SPI_result_code_string(SPI_result), sql);
		kept->plan = plan;
	}
	code = SPI_execute_plan(kept->plan, (Datum *) args->values, args->nulls, false, 0);
	MemoryContextSwitchTo(caller);
	if (code < 0)
		elog(ERROR, "catalog statement failed: %s: %s", SPI_result_code_string(code), sql);
	return SPI_processed;
}

/* Raises 40001 unless the last statement gave the row: what was found before is changed or gone by another session. */
static void
row_require(uint64 row)
{
	if (!SPI_tuptable || row >= SPI_tuptable->numvals)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("what was asked about was changed by another session"),
				 errhint("Try again.")));
}

/* Returns a value of the last statement's rows; valid until the scope ends. */
Datum
dm_catalog_value(uint64 row, int column, bool *is_null)
{
	row_require(row);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, is_null);
}

/* Returns a value as text, palloc'd in the current memory context; NULL for NULL. */
char *
dm_catalog_text(uint64 row, int column)
{
	row_require(row);
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* Returns a bigint; 0 for NULL. */
int64
dm_catalog_int8(uint64 row, int column)
{
	bool is_null;
	Datum value = dm_catalog_value(row, column, &is_null);

	return is_null ? 0 : DatumGetInt64(value);
}

/* Returns a timestamptz; DT_NOEND for NULL. */
TimestampTz
dm_catalog_time(uint64 row, int column)
{
	bool is_null;
	Datum value = dm_catalog_value(row, column, &is_null);

	return is_null ? DT_NOEND : DatumGetTimestampTz(value);
}

/* Returns the OID of the extension; raises when it is not installed in this database. */
Oid
dm_catalog_extension(void)
{
	FormData_pg_extension extension;

	return extension_read(&extension)->oid;
}

/* Reads the extension's row of pg_extension into form and returns it. */
static Form_pg_extension
extension_read(FormData_pg_extension *form)
{
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key,
				Anum_pg_extension_extname,
				BTEqualStrategyNumber,
				F_NAMEEQ,
				DirectFunctionCall1(namein, CStringGetDatum("datamill")));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"datamill\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION datamill.")));
	memcpy(form, GETSTRUCT(tuple), sizeof(FormData_pg_extension));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return form;
}
