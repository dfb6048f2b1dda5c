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
#include "cdc/feed.h"
#include "cdc/inspect.h"
#include "rows/table_leaves.h"

static void dataset_read_as_caller(const char *target, DmDataset *dataset, char **history);
static char *key_list(const DmDataset *dataset, const char *prefix);
static char *key_json(const DmDataset *dataset, const char *prefix);
static char *key_coalesced(const DmDataset *dataset);
static char *key_record(const DmDataset *dataset, const char *prefix);
static char *as_of_query(const DmDataset *dataset, const char *history, int number);
static void rows_put(ReturnSetInfo *result, const char *sql, int nargs, Oid *types, Datum *values);
static void part_check(const DmDataset *dataset, const char *current, const char *history, ReturnSetInfo *result);
static void overlaps_find(const DmDataset *dataset, const char *current, const char *history,
						  ReturnSetInfo *result);
static void parts_compare(const DmDataset *dataset, ReturnSetInfo *result);
static void edits_find(const DmDataset *dataset, Oid current_oid, Oid history_oid, ReturnSetInfo *result);
static void relation_drop(const char *kind, Oid relid);

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
	dm_dataset_check_sensitive(&dataset);
	part_check(&dataset, dataset.name, history, result);
	edits_find(&dataset, dataset.current, dataset.history, result);
	if (OidIsValid(dataset.feed))
		dm_feed_check(&dataset, result);
	if (!OidIsValid(dataset.sensitive))
		return;
	part_check(&dataset, dm_relation_name(dataset.sensitive), dm_relation_name(dataset.sensitive_history), result);
	edits_find(&dataset, dataset.sensitive, dataset.sensitive_history, result);
	parts_compare(&dataset, result);
}

/* What is wrong with the versions in two tables. */
static void
part_check(const DmDataset *dataset, const char *current, const char *history, ReturnSetInfo *result)
{
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *end = dm_name_quoted(dataset, DM_NAME_END);

	overlaps_find(dataset, current, history, result);
	rows_put(result,
			 psprintf("SELECT 'ends before it starts', %s, pg_catalog.format('from %%s to %%s', %s, %s) FROM %s h "
					  "WHERE %s < %s ORDER BY %s",
					  key_json(dataset, "h."),
					  start,
					  end,
					  history,
					  end,
					  start,
					  key_list(dataset, "h.")),
			 0,
			 NULL,
			 NULL);
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
			 psprintf("SELECT operation, %s, before, after FROM (SELECT CASE WHEN b.version IS NULL THEN 'I' "
					  "WHEN a.version IS NULL THEN 'D' ELSE 'U' END::pg_catalog.\"char\" AS operation, %s, "
					  "b.version AS before, a.version AS after FROM (%s) b FULL JOIN (%s) a ON %s = %s "
					  "WHERE b.version IS DISTINCT FROM a.version) d ORDER BY %s",
					  key_json(&dataset, "d."),
					  key_coalesced(&dataset),
					  as_of_query(&dataset, history, 1),
					  as_of_query(&dataset, history, 2),
					  key_record(&dataset, "b."),
					  key_record(&dataset, "a."),
					  key_list(&dataset, "d.")),
			 2,
			 types,
			 values);
}

/* Returns the query for keys and versions (jsonb, without the columns that a dataset adds) as of parameter $number. */
static char *
as_of_query(const DmDataset *dataset, const char *history, int number)
{
	const char *keys = key_list(dataset, "c.");
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	List *added = NIL;
	char *version;

	for (int i = 0; i < DM_NAMES; i++)
	{
		if (i != DM_NAME_VALID && i != DM_NAME_EFFECTIVE && (i != DM_NAME_MADE_BY || dataset->settings.stamp))
			added = lappend(added, quote_literal_cstr(dataset->settings.names[i]));
	}
	version = psprintf("pg_catalog.to_jsonb(c) - ARRAY[%s]::pg_catalog.text[] AS version", dm_names_join(added));
	return psprintf("SELECT %s, %s FROM %s c WHERE %s <= $%d UNION ALL SELECT %s, %s FROM %s c WHERE %s <= $%d AND "
					"%s > $%d",
					keys,
					version,
					dataset->name,
					start,
					number,
					keys,
					version,
					history,
					start,
					number,
					dm_name_quoted(dataset, DM_NAME_END),
					number);
}

/* Ends a dataset: forgets it and its log and, unless the tables are kept, drops its views and tables. Owner only. */
void
dm_dataset_drop(const char *target, bool keep_tables)
{
	DmDataset dataset;
	Oid types[] = {INT8OID};
	Datum values[1];
	DmCatalogScope scope;
	Oid views[3];

	PreventCommandIfReadOnly("drop_dataset()");
	PreventCommandIfParallelMode("drop_dataset()");
	dm_dataset_lock(dm_dataset_parse(target));
	dm_dataset_require(target, dm_dataset_parse(target), &dataset);
	if (!dm_relation_is_owned(dataset.current))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(dataset.current));
	values[0] = Int64GetDatum(dataset.id);
	dm_catalog_begin(&scope);
	dm_catalog_execute("DELETE FROM datamill.dataset_catalog WHERE dataset_id = $1 RETURNING versions_view::oid, "
					   "changes_view::oid, coalesce(sensitive_versions_view::oid, 0)",
					   1,
					   types,
					   values,
					   NULL);
	for (int i = 0; i < lengthof(views); i++)
	{
		bool isnull;

		views[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull));
	}
	dm_catalog_end(&scope);
	if (keep_tables)
		return;
	for (int i = 0; i < lengthof(views); i++)
		relation_drop("VIEW", views[i]);
	relation_drop("TABLE", dataset.feed);
	relation_drop("TABLE", dataset.sensitive_history);
	relation_drop("TABLE", dataset.sensitive);
	relation_drop("TABLE", dataset.history);
	relation_drop("TABLE", dataset.current);
}

/* Drops a relation as the caller, unless it is gone already. Raises 2BP01 with a hint that fits if others depend on it. */
static void
relation_drop(const char *kind, Oid relid)
{
	MemoryContext caller = CurrentMemoryContext;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;
	PG_TRY();
	{
		dm_dataset_execute(psprintf("DROP %s %s", kind, dm_relation_name(relid)));
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode == ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
			error->hint = pstrdup(
				"Drop what depends on it first, or keep the tables: drop_dataset(..., keep_tables => true).");
		ReThrowError(error);
	}
	PG_END_TRY();
}

/* Finds the dataset of a target and the qualified name of its history; raises if there is none. */
static void
dataset_read_as_caller(const char *target, DmDataset *dataset, char **history)
{
	dm_dataset_require(target, dm_dataset_parse(target), dataset);
	dm_dataset_check_rights(dataset, true);
	*history = dm_relation_name(dataset->history);
}

/* Returns an expression for the key as a record, to which NULL equals NULL; or, without NULLs, as a row to be compared. */
static char *
key_record(const DmDataset *dataset, const char *prefix)
{
	return psprintf(dataset->settings.null_keys ? "ROW(%s)::record" : "(%s)", key_list(dataset, prefix));
}

/* Returns the keys of two sides, a and b, of which one may be missing. */
static char *
key_coalesced(const DmDataset *dataset)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, dataset->keys)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(&out, "%scoalesce(b.%s, a.%s) AS %s", out.len > 0 ? ", " : "", name, name, name);
	}
	return out.data;
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
overlaps_find(const DmDataset *dataset, const char *current, const char *history, ReturnSetInfo *result)
{
	const char *keys = key_list(dataset, "");
	const char *start = dm_name_quoted(dataset, DM_NAME_START);

	rows_put(
		result,
		psprintf(
			"SELECT CASE WHEN until IS NULL AND next_until IS NULL THEN 'two current rows' ELSE 'overlap' END, "
			"%1$s, "
			"pg_catalog.format('from %%s to %%s, and from %%s', since, coalesce(until::text, 'now'), next) FROM "
			"(SELECT %2$s, since, until, lead(since) OVER w AS next, lead(until) OVER w AS next_until FROM "
			"(SELECT %2$s, %5$s AS since, NULL AS until FROM %3$s UNION ALL "
			"SELECT %2$s, %5$s, %6$s FROM %4$s) v "
			"WINDOW w AS (PARTITION BY %2$s ORDER BY since, until NULLS LAST)) v "
			"WHERE until > next OR (until IS NULL AND next IS NOT NULL) ORDER BY %2$s, since",
			key_json(dataset, ""),
			keys,
			current,
			history,
			start,
			dm_name_quoted(dataset, DM_NAME_END)),
		0,
		NULL,
		NULL);
}

/* Versions that only one of the plain and the sensitive tables has. */
static void
parts_compare(const DmDataset *dataset, ReturnSetInfo *result)
{
	const char *version = psprintf("%s, %s", key_list(dataset, ""), dm_name_quoted(dataset, DM_NAME_MERGE));
	const char *end = dm_name_quoted(dataset, DM_NAME_END);
	const char *key = key_json(dataset, "");

	rows_put(
		result,
		psprintf("SELECT 'not in both the plain and the sensitive table', %s, 'of merge ' || %s FROM "
				 "((SELECT %s, NULL FROM %s UNION ALL SELECT %s, %s FROM %s) EXCEPT ALL "
				 "(SELECT %s, NULL FROM %s UNION ALL SELECT %s, %s FROM %s)) d "
				 "UNION ALL SELECT 'not in both the plain and the sensitive table', %s, 'of merge ' || %s FROM "
				 "((SELECT %s, NULL FROM %s UNION ALL SELECT %s, %s FROM %s) EXCEPT ALL "
				 "(SELECT %s, NULL FROM %s UNION ALL SELECT %s, %s FROM %s)) d",
				 key,
				 dm_name_quoted(dataset, DM_NAME_MERGE),
				 version,
				 dataset->name,
				 version,
				 end,
				 dm_relation_name(dataset->history),
				 version,
				 dm_relation_name(dataset->sensitive),
				 version,
				 end,
				 dm_relation_name(dataset->sensitive_history),
				 key,
				 dm_name_quoted(dataset, DM_NAME_MERGE),
				 version,
				 dm_relation_name(dataset->sensitive),
				 version,
				 end,
				 dm_relation_name(dataset->sensitive_history),
				 version,
				 dataset->name,
				 version,
				 end,
				 dm_relation_name(dataset->history)),
		0,
		NULL,
		NULL);
}

/* Rows of current whose stored hashes are not those of their values: somebody else wrote them. */
static void
edits_find(const DmDataset *dataset, Oid current_oid, Oid history_oid, ReturnSetInfo *result)
{
	Relation current = table_open(current_oid, AccessShareLock);
	Relation history = table_open(history_oid, AccessShareLock);
	DmShape *shape = dm_shape_make(dataset, current, history);
	TupleTableSlot *slot = table_slot_create(current, NULL);
	DmLeaves *leaves = dm_leaves_open(current);
	int leaf;
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill check row", ALLOCSET_DEFAULT_SIZES);
	Datum *values = palloc(sizeof(Datum) * shape->wanted->natts);
	bool *nulls = palloc(sizeof(bool) * shape->wanted->natts);

	dm_leaves_scan(leaves, GetActiveSnapshot(), 0);
	while (dm_leaves_next(leaves, slot, &leaf))
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
	ExecDropSingleTupleTableSlot(slot);
	dm_leaves_close(leaves);
	table_close(history, NoLock);
	table_close(current, NoLock);
}
