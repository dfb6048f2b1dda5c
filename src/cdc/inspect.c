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
#include "storage/lmgr.h"
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
static char *keys_named(const DmDataset *dataset, const char *prefix);
static char *keys_listed(const DmDataset *dataset, const char *prefix);
static char *keys_coalesced(const DmDataset *dataset);
static char *key_json(const DmDataset *dataset, const char *prefix);
static char *version_json(const DmDataset *dataset, Oid table, Oid other);
static char *versions_query(const DmDataset *dataset, Oid current, Oid history);
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
	overlaps_find(dataset, current, history, result);
	rows_put(result,
			 psprintf("SELECT 'ends before it starts', %s, pg_catalog.format('from %%s to %%s', since, until) FROM "
					  "(SELECT %s, h.%s AS since, h.%s AS until FROM %s h) v "
					  "WHERE until OPERATOR(pg_catalog.<) since ORDER BY %s",
					  key_json(dataset, "v."),
					  keys_named(dataset, "h."),
					  dm_name_quoted(dataset, DM_NAME_START),
					  dm_name_quoted(dataset, DM_NAME_END),
					  history,
					  keys_listed(dataset, "v.")),
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
					  "b.version AS before, a.version AS after FROM (%s) b FULL JOIN (%s) a ON %s "
					  "WHERE coalesce(b.version OPERATOR(pg_catalog.<>) a.version, true)) d ORDER BY %s",
					  key_json(&dataset, "d."),
					  keys_coalesced(&dataset),
					  as_of_query(&dataset, history, 1),
					  as_of_query(&dataset, history, 2),
					  dm_keys_equal(&dataset, "b.", "a.", true),
					  keys_listed(&dataset, "d.")),
			 2,
			 types,
			 values);
}

/* Returns the query for keys and versions (jsonb, of the columns that both tables have) as of parameter $number. */
static char *
as_of_query(const DmDataset *dataset, const char *history, int number)
{
	const char *keys = keys_named(dataset, "c.");
	const char *start = dm_name_quoted(dataset, DM_NAME_START);

	return psprintf("SELECT %s, %s AS version FROM %s c WHERE c.%s OPERATOR(pg_catalog.<=) $%d "
					"UNION ALL SELECT %s, %s AS version FROM %s c WHERE c.%s OPERATOR(pg_catalog.<=) $%d AND "
					"c.%s OPERATOR(pg_catalog.>) $%d",
					keys,
					version_json(dataset, dataset->current, dataset->history),
					dataset->name,
					start,
					number,
					keys,
					version_json(dataset, dataset->history, dataset->current),
					history,
					start,
					number,
					dm_name_quoted(dataset, DM_NAME_END),
					number);
}

/* Returns an expression for a row c of a table as jsonb, without what the dataset adds and what the other table lacks (generated columns). */
static char *
version_json(const DmDataset *dataset, Oid table, Oid other)
{
	Relation rel = table_open(table, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	List *left_out = NIL;

	for (int i = 0; i < DM_NAMES; i++)
	{
		if (i != DM_NAME_VALID && i != DM_NAME_EFFECTIVE && (i != DM_NAME_MADE_BY || dataset->settings.stamp))
			left_out = lappend(left_out, quote_literal_cstr(dataset->settings.names[i]));
	}
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (!TupleDescAttr(desc, i)->attisdropped && get_attnum(other, name) == InvalidAttrNumber)
			left_out = lappend(left_out, quote_literal_cstr(name));
	}
	table_close(rel, NoLock);
	return psprintf("pg_catalog.to_jsonb(c.*) OPERATOR(pg_catalog.-) ARRAY[%s]::pg_catalog.text[]",
					dm_names_join(left_out));
}

/* Ends a dataset: forgets it and its log and, unless the tables are kept, drops its views and tables. Owner only. */
void
dm_dataset_drop(const char *target, bool keep_tables)
{
	DmDataset dataset;
	Oid types[] = {INT8OID};
	Datum values[1];
	DmCatalogScope scope;

	PreventCommandIfReadOnly("drop_dataset()");
	PreventCommandIfParallelMode("drop_dataset()");
	dm_dataset_lock(dm_dataset_parse(target));
	dm_dataset_require(target, dm_dataset_parse(target), &dataset);
	if (!dm_relation_is_owned(dataset.current))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(dataset.current));
	/* before its history: who asks about a dataset locks them in this order */
	LockRelationOid(dataset.current, keep_tables ? ShareRowExclusiveLock : AccessExclusiveLock);
	values[0] = Int64GetDatum(dataset.id);
	dm_catalog_begin(&scope);
	dm_catalog_execute("DELETE FROM datamill.dataset_catalog WHERE dataset_id = $1", 1, types, values, NULL);
	dm_catalog_end(&scope);
	if (keep_tables)
		return;
	for (int i = 0; i < DM_VIEWS; i++)
		relation_drop("VIEW", dm_dataset_view(&dataset, i));
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

/* Returns the key columns as k1, k2 and so on: whatever their names are, they are no other's in a query. */
static char *
keys_named(const DmDataset *dataset, const char *prefix)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < list_length(dataset->keys); i++)
		appendStringInfo(
			&out, "%s%s%s AS k%d", i == 0 ? "" : ", ", prefix, quote_identifier(list_nth(dataset->keys, i)), i + 1);
	return out.data;
}

/* Returns the columns k1, k2 and so on with a prefix and commas. */
static char *
keys_listed(const DmDataset *dataset, const char *prefix)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < list_length(dataset->keys); i++)
		appendStringInfo(&out, "%s%sk%d", i == 0 ? "" : ", ", prefix, i + 1);
	return out.data;
}

/* Returns k1, k2 and so on of two sides, a and b, of which one may be missing. */
static char *
keys_coalesced(const DmDataset *dataset)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 1; i <= list_length(dataset->keys); i++)
		appendStringInfo(&out, "%scoalesce(b.k%d, a.k%d) AS k%d", i == 1 ? "" : ", ", i, i, i);
	return out.data;
}

/* Returns an expression for k1, k2 and so on as a jsonb object with the names of the key columns. */
static char *
key_json(const DmDataset *dataset, const char *prefix)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "pg_catalog.jsonb_build_object(");
	for (int i = 0; i < list_length(dataset->keys); i++)
		appendStringInfo(
			&out, "%s%s, %sk%d", i == 0 ? "" : ", ", quote_literal_cstr(list_nth(dataset->keys, i)), prefix, i + 1);
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
	const char *keys = keys_listed(dataset, "");
	const char *named = keys_named(dataset, "t.");
	const char *start = dm_name_quoted(dataset, DM_NAME_START);

	rows_put(
		result,
		psprintf(
			"SELECT CASE WHEN until IS NULL AND next_until IS NULL THEN 'two current rows' ELSE 'overlap' END, "
			"%1$s, pg_catalog.format('from %%s to %%s, and from %%s', since, "
			"coalesce(until::pg_catalog.text, 'now'), next) FROM "
			"(SELECT %2$s, since, until, pg_catalog.lead(since) OVER w AS next, pg_catalog.lead(until) OVER w AS "
			"next_until FROM (SELECT %3$s, t.%4$s AS since, NULL AS until FROM %5$s t UNION ALL "
			"SELECT %3$s, t.%4$s, t.%6$s FROM %7$s t) v "
			"WINDOW w AS (PARTITION BY %2$s ORDER BY since, until NULLS LAST)) v "
			"WHERE until OPERATOR(pg_catalog.>) next OR (until IS NULL AND next IS NOT NULL) ORDER BY %2$s, since",
			key_json(dataset, ""),
			keys,
			named,
			start,
			current,
			dm_name_quoted(dataset, DM_NAME_END),
			history),
		0,
		NULL,
		NULL);
}

/* Versions that only one of the plain and the sensitive tables has. */
static void
parts_compare(const DmDataset *dataset, ReturnSetInfo *result)
{
	const char *plain = versions_query(dataset, dataset->current, dataset->history);
	const char *sensitive = versions_query(dataset, dataset->sensitive, dataset->sensitive_history);
	const char *key = key_json(dataset, "d.");

	rows_put(result,
			 psprintf("SELECT 'not in both the plain and the sensitive table', %1$s, "
					  "pg_catalog.format('of merge %%s', d.merge) FROM (%2$s EXCEPT ALL %3$s) d "
					  "UNION ALL SELECT 'not in both the plain and the sensitive table', %1$s, "
					  "pg_catalog.format('of merge %%s', d.merge) FROM (%3$s EXCEPT ALL %2$s) d",
					  key,
					  plain,
					  sensitive),
			 0,
			 NULL,
			 NULL);
}

/* Returns the query, in parentheses, for the versions of one part: k1, k2 and so on, merge, until. */
static char *
versions_query(const DmDataset *dataset, Oid current, Oid history)
{
	const char *keys = keys_named(dataset, "t.");
	const char *merge = dm_name_quoted(dataset, DM_NAME_MERGE);

	return psprintf("(SELECT %s, t.%s AS merge, NULL AS until FROM %s t UNION ALL SELECT %s, t.%s, t.%s FROM %s t)",
					keys,
					merge,
					dm_relation_name(current),
					keys,
					merge,
					dm_name_quoted(dataset, DM_NAME_END),
					dm_relation_name(history));
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
