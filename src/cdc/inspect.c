/*
 * inspect.c: questions about a dataset (is it sound, what differs between two moments), and its end.
 *
 * All of it runs as the caller, with the caller's rights on the tables; only the catalog is read and written as the
 * extension's owner.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "base/names.h"
#include "cdc/cdc.h"
#include "cdc/inspect.h"

static void dataset_read_as_caller(const char *target, DmDataset *dataset, char **history);
static char *key_list(const DmDataset *dataset, const char *prefix);
static char *key_json(const DmDataset *dataset, const char *prefix);
static char *as_of_query(const DmDataset *dataset, const char *history, int number);
static void rows_put(ReturnSetInfo *result, const char *sql, int nargs, Oid *types, Datum *values);
static void overlaps_find(const DmDataset *dataset, const char *history, ReturnSetInfo *result);
static void edits_find(const DmDataset *dataset, ReturnSetInfo *result);

/*
 * Puts one row (problem, key, detail) for each thing wrong with the dataset into the result: versions of one key that
 * overlap, versions that end before they start, two current rows of a key, rows of current edited behind its back.
 */
void
dm_dataset_check(const char *target, ReturnSetInfo *result)
{
	DmDataset dataset;
	char *history;

	dataset_read_as_caller(target, &dataset, &history);
	overlaps_find(&dataset, history, result);
	rows_put(result,
			 psprintf("SELECT 'ends before it starts', %s, pg_catalog.format('from %%s to %%s', " DM_COL_START
					  ", " DM_COL_END ") FROM %s h WHERE " DM_COL_END " < " DM_COL_START " ORDER BY %s",
					  key_json(&dataset, "h."),
					  history,
					  key_list(&dataset, "h.")),
			 0,
			 NULL,
			 NULL);
	edits_find(&dataset, result);
}

/*
 * Puts one row (operation, key, before, after) for each key that differs between two moments into the result: I came, D
 * went, U changed; before and after are the versions as jsonb.
 */
void
dm_dataset_diff(const char *target, TimestampTz from, TimestampTz to, ReturnSetInfo *result)
{
	DmDataset dataset;
	char *history;
	Oid types[2];
	Datum values[2];

	dataset_read_as_caller(target, &dataset, &history);
	types[0] = types[1] = dataset.effective_type;
	values[0] = dm_effective_make(dataset.effective_type, from);
	values[1] = dm_effective_make(dataset.effective_type, to);
	rows_put(result,
			 psprintf("SELECT CASE WHEN b.version IS NULL THEN 'I' WHEN a.version IS NULL THEN 'D' ELSE 'U' END"
					  "::pg_catalog.\"char\", %s, b.version, a.version FROM (%s) b FULL JOIN (%s) a USING (%s) "
					  "WHERE b.version IS DISTINCT FROM a.version ORDER BY %s",
					  key_json(&dataset, ""),
					  as_of_query(&dataset, history, 1),
					  as_of_query(&dataset, history, 2),
					  key_list(&dataset, ""),
					  key_list(&dataset, "")),
			 2,
			 types,
			 values);
}

/* Returns the query for keys and versions (jsonb, without the columns that a dataset adds) as of parameter $number. */
static char *
as_of_query(const DmDataset *dataset, const char *history, int number)
{
	const char *version = "pg_catalog.to_jsonb(c) - '{" DM_COL_OPERATION "," DM_COL_START "," DM_COL_END
						  "," DM_COL_KEY_HASH "," DM_COL_ROW_HASH "," DM_COL_MERGE "," DM_COL_ENDED_BY
						  "," DM_COL_ENDED_MERGE "}'::pg_catalog.text[] AS version";
	const char *keys = key_list(dataset, "c.");

	return psprintf("SELECT %s, %s FROM %s c WHERE " DM_COL_START
					" <= $%d UNION ALL SELECT %s, %s FROM %s c WHERE " DM_COL_START " <= $%d AND " DM_COL_END
					" > $%d",
					keys,
					version,
					dataset->name,
					number,
					keys,
					version,
					history,
					number,
					number);
}

/* Ends a dataset: forgets it and its log and, unless the tables are kept, drops its views and tables. Owner only. */
void
dm_dataset_drop(const char *target, bool keep_tables)
{
	DmDataset dataset;
	char *history;
	Oid types[] = {INT8OID};
	Datum values[1];
	DmCatalogScope scope;
	StringInfoData drop;
	const char *feed = "";

	PreventCommandIfReadOnly("drop_dataset()");
	PreventCommandIfParallelMode("drop_dataset()");
	dm_dataset_lock(dm_dataset_parse(target));
	dataset_read_as_caller(target, &dataset, &history);
	if (!dm_relation_is_owned(dataset.current))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(dataset.current));
	if (OidIsValid(dataset.feed))
		feed = psprintf(", %s",
						quote_qualified_identifier(get_namespace_name(get_rel_namespace(dataset.feed)),
												   get_rel_name(dataset.feed)));
	values[0] = Int64GetDatum(dataset.id);
	initStringInfo(&drop);
	dm_catalog_begin(&scope);
	dm_catalog_execute("DELETE FROM datamill.dataset_catalog WHERE dataset_id = $1 RETURNING versions_view::oid, "
					   "changes_view::oid",
					   1,
					   types,
					   values,
					   NULL);
	for (int i = 1; i <= 2; i++)
	{
		bool isnull;
		Oid view = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i, &isnull));

		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view)))
			appendStringInfo(
				&drop,
				"DROP VIEW %s; ",
				quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)), get_rel_name(view)));
	}
	dm_catalog_end(&scope);
	if (keep_tables)
		return;
	SPI_connect();
	if (SPI_execute(drop.len > 0 ? drop.data : "SELECT 1", false, 0) < 0 ||
		SPI_execute(psprintf("DROP TABLE %s, %s%s", dataset.name, history, feed), false, 0) < 0)
		elog(ERROR, "could not drop dataset %s", dataset.name);
	SPI_finish();
}

/* Finds the dataset of a target and the qualified name of its history; raises if there is none. */
static void
dataset_read_as_caller(const char *target, DmDataset *dataset, char **history)
{
	Oid current = RangeVarGetRelid(dm_dataset_parse(target), NoLock, false);

	if (!dm_dataset_find(current, dataset))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a dataset", target),
				 errhint("datamill.datasets lists them.")));
	dm_dataset_check_rights(dataset, true);
	*history = quote_qualified_identifier(get_namespace_name(get_rel_namespace(dataset->history)),
										  get_rel_name(dataset->history));
}

/* Returns the key columns, quoted, with a prefix and commas. */
static char *
key_list(const DmDataset *dataset, const char *prefix)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, dataset->keys)
		appendStringInfo(&out, "%s%s%s", out.len > 0 ? ", " : "", prefix, quote_identifier(lfirst(cell)));
	return out.data;
}

/* Returns an expression for the key as a jsonb object. */
static char *
key_json(const DmDataset *dataset, const char *prefix)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	appendStringInfoString(&out, "pg_catalog.jsonb_build_object(");
	foreach (cell, dataset->keys)
		appendStringInfo(&out,
						 "%s%s, %s%s",
						 cell == list_head(dataset->keys) ? "" : ", ",
						 quote_literal_cstr(lfirst(cell)),
						 prefix,
						 quote_identifier(lfirst(cell)));
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* Runs a query as the caller and puts its rows, which are of the result's types, into the result. */
static void
rows_put(ReturnSetInfo *result, const char *sql, int nargs, Oid *types, Datum *values)
{
	int code;

	SPI_connect();
	code = SPI_execute_with_args(sql, nargs, types, values, NULL, true, 0);
	if (code != SPI_OK_SELECT)
		elog(ERROR, "query failed: %s: %s", SPI_result_code_string(code), sql);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
}

/* Versions of one key, in current and history, that last beyond the start of the next. */
static void
overlaps_find(const DmDataset *dataset, const char *history, ReturnSetInfo *result)
{
	const char *keys = key_list(dataset, "");

	rows_put(
		result,
		psprintf(
			"SELECT CASE WHEN until IS NULL AND next_until IS NULL THEN 'two current rows' ELSE 'overlap' END, "
			"%1$s, "
			"pg_catalog.format('from %%s to %%s, and from %%s', since, coalesce(until::text, 'now'), next) FROM "
			"(SELECT %2$s, since, until, lead(since) OVER w AS next, lead(until) OVER w AS next_until FROM "
			"(SELECT %2$s, " DM_COL_START " AS since, NULL AS until FROM %3$s UNION ALL "
			"SELECT %2$s, " DM_COL_START ", " DM_COL_END " FROM %4$s) v "
			"WINDOW w AS (PARTITION BY %2$s ORDER BY since, until NULLS LAST)) v "
			"WHERE until > next OR (until IS NULL AND next IS NOT NULL) ORDER BY %2$s, since",
			key_json(dataset, ""),
			keys,
			dataset->name,
			history),
		0,
		NULL,
		NULL);
}

/* Rows of current whose stored hashes are not those of their values: somebody else wrote them. */
static void
edits_find(const DmDataset *dataset, ReturnSetInfo *result)
{
	Relation current = table_open(dataset->current, AccessShareLock);
	Relation history = table_open(dataset->history, AccessShareLock);
	DmShape *shape = dm_shape_make(dataset, current, history);
	TupleTableSlot *slot = table_slot_create(current, NULL);
	TableScanDesc scan = table_beginscan(current, GetActiveSnapshot(), 0, NULL);
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill check row", ALLOCSET_DEFAULT_SIZES);
	Datum *values = palloc(sizeof(Datum) * shape->wanted->natts);
	bool *nulls = palloc(sizeof(bool) * shape->wanted->natts);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext caller;
		uint8 hash[DM_HASH_BYTES];

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		caller = MemoryContextSwitchTo(row_context);
		slot_getallattrs(slot);
		for (int i = 0; i < shape->wanted->natts; i++)
		{
			values[i] = slot->tts_values[shape->current_attribute[i] - 1];
			nulls[i] = slot->tts_isnull[shape->current_attribute[i] - 1];
		}
		dm_row_hash(shape->ops, values, nulls, shape->hashed, shape->nhashed, hash);
		if (slot->tts_isnull[shape->row_hash - 1] ||
			memcmp(hash, DatumGetUUIDP(slot->tts_values[shape->row_hash - 1])->data, DM_HASH_BYTES) != 0)
		{
			Datum row[] = {CStringGetTextDatum("edited by hand"),
						   DirectFunctionCall1(jsonb_in, CStringGetDatum(dm_shape_key_json(shape, values, nulls))),
						   CStringGetTextDatum(
							   "its values do not have the stored row_hash; the next merge compares the values")};
			bool row_nulls[] = {false, false, false};

			tuplestore_putvalues(result->setResult, result->setDesc, row, row_nulls);
		}
		MemoryContextSwitchTo(caller);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(history, NoLock);
	table_close(current, NoLock);
}
