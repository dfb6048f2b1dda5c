/*
 * adopt.c: makes an existing table the current table of a dataset, and fills in the hashes of stored rows.
 *
 * No row is lost, and no business column changes: the added columns are filled in without firing triggers. The caller
 * owns the table, which is locked against everybody else until the end of the transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "base/names.h"
#include "cdc/adopt.h"
#include "cdc/citus.h"
#include "cdc/rewrite.h"
#include "rows/table_leaves.h"

static List *partition_columns(Relation rel);
static void key_add(Oid current, const DmDataset *dataset);
static void columns_add(Oid current, TupleDesc columns, const DmDataset *dataset, Datum effective, int64 merge_id);
static bool is_hash(const TupleTableSlot *slot, AttrNumber column, const pg_uuid_t *hash);
static bool row_rehash(const DmShape *shape, TupleTableSlot *new);

/* Returns the columns of a table that the source of a merge would give: not dropped, not generated. */
TupleDesc
dm_adopt_columns(Oid current)
{
	Relation rel = table_open(current, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	TupleDesc columns;
	int count = 0;

	for (int i = 0; i < desc->natts; i++)
		count += !TupleDescAttr(desc, i)->attisdropped && !TupleDescAttr(desc, i)->attgenerated;
	columns = CreateTemplateTupleDesc(count);
	count = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped && !TupleDescAttr(desc, i)->attgenerated)
			TupleDescCopyEntry(columns, ++count, desc, i + 1);
	}
	table_close(rel, NoLock);
	return columns;
}

/*
 * True if the table has a unique index on exactly these columns, which are not NULL. Such an index of a partitioned table
 * may have columns of its partition key besides, since it must.
 */
bool
dm_adopt_has_key(Oid current, List *keys)
{
	Relation rel = table_open(current, AccessShareLock);
	List *indexes = RelationGetIndexList(rel);
	List *partitioned_by = partition_columns(rel);
	bool found = false;
	ListCell *cell;

	foreach (cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		int nkeys = IndexRelationGetNumberOfKeyAttributes(index);
		bool fits = index->rd_index->indisunique && index->rd_index->indimmediate && index->rd_index->indisvalid &&
					RelationGetIndexPredicate(index) == NIL;
		int nfound = 0;

		for (int i = 0; i < nkeys && fits; i++)
		{
			AttrNumber attribute = index->rd_index->indkey.values[i];
			Form_pg_attribute column = attribute > 0 ? TupleDescAttr(RelationGetDescr(rel), attribute - 1) : NULL;
			bool is_key = column && dm_names_has(keys, NameStr(column->attname));

			nfound += is_key;
			fits = column && (is_key ? column->attnotnull : dm_names_has(partitioned_by, NameStr(column->attname)));
		}
		found |= fits && nfound == list_length(keys);
		index_close(index, AccessShareLock);
	}
	table_close(rel, NoLock);
	return found;
}

/* Returns the columns (char*) of a table's partition key, and of those of its partitions; NIL if it has none. */
static List *
partition_columns(Relation rel)
{
	List *names = NIL;
	List *tables;
	ListCell *cell;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return NIL;
	tables = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
	foreach (cell, tables)
	{
		Relation table = table_open(lfirst_oid(cell), NoLock);
		PartitionKey key = RelationGetPartitionKey(table);

		for (int i = 0; key && i < key->partnatts; i++)
		{
			const char *name = key->partattrs[i] > 0
								   ? NameStr(TupleDescAttr(RelationGetDescr(table), key->partattrs[i] - 1)->attname)
								   : NULL;

			if (name && !dm_names_has(names, name))
				names = lappend(names, pstrdup(name));
		}
		table_close(table, NoLock);
	}
	return names;
}

/*
 * Adds to the table what makes it the current table of *dataset (whose keys and settings are set): columns, key, history
 * and views, and stores the dataset. All rows are versions that start at the effective date and that the merge made.
 * Returns how many there are. Raises if something is in the way. The caller owns the table and has locked it.
 */
int64
dm_dataset_adopt(const RangeVar *target, Oid current, DmDataset *dataset, Datum effective, int64 merge_id)
{
	TupleDesc columns = dm_adopt_columns(current);

	dataset->current = current;
	dataset->distributed_by = dm_citus_column(current);
	dm_adopt_check_table(current, dataset);
	if (dataset->settings.sensitive)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"sensitive\" is not for a table that is adopted"),
				 errdetail("Its columns would have to leave the table."),
				 errhint("Create a dataset of another name and merge from it.")));
	dm_dataset_check_columns(columns, dataset);
	dm_adopt_check_keys(current, dataset);
	columns_add(current, columns, dataset, effective, merge_id);
	if (!dm_adopt_has_key(current, dataset->keys))
		key_add(current, dataset);
	dm_dataset_history_create(target, "", columns, dataset);
	dm_dataset_complete(target, dataset, false);
	if (dataset->distributed_by)
	{
		dm_citus_colocate(dataset);
		CommandCounterIncrement();
	}
	UpdateActiveSnapshotCommandId();
	return dataset->distributed_by ? dm_citus_rehash(dataset, effective, merge_id) : dm_dataset_rehash(dataset);
}

/* Raises 55000 if the table is another dataset's: its history, say. */
void
dm_adopt_check_free(Oid table)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(table)};
	DmCatalogScope scope;
	char *of = NULL;

	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"SELECT current_table::text FROM datamill.dataset_catalog WHERE $1 IN (history_table, feed_table, "
		"sensitive_table, sensitive_history_table)",
		lengthof(types),
		types,
		values,
		NULL);
	if (SPI_processed > 0)
		of = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	dm_catalog_end(&scope);
	if (of)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s belongs to dataset %s", dm_relation_name(table), of),
				 errdetail("A merge into that dataset writes it."),
				 errhint("Create a dataset of another name and merge from it.")));
}

/* Adds the primary key, which of a partitioned table has the columns of its partition key, too. */
static void
key_add(Oid current, const DmDataset *dataset)
{
	Relation rel = table_open(current, NoLock);
	DmDataset with = *dataset;
	List *columns = partition_columns(rel);
	ListCell *cell;

	table_close(rel, NoLock);
	with.keys = list_copy(dataset->keys);
	foreach (cell, columns)
	{
		if (!dm_names_has(with.keys, lfirst(cell)))
			with.keys = lappend(with.keys, lfirst(cell));
	}
	dm_dataset_add_key(&with);
}

/* Raises for a table that cannot be a current table. */
void
dm_adopt_check_table(Oid current, const DmDataset *dataset)
{
	Relation rel = table_open(current, NoLock);
	bool is_partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;

	if ((rel->rd_rel->relkind != RELKIND_RELATION && !is_partitioned) || rel->rd_rel->relispartition ||
		(!is_partitioned && find_inheritance_children(current, NoLock) != NIL) || has_superclass(current))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not an ordinary or partitioned table", dm_relation_name(current)),
				 errdetail("Views, foreign tables, partitions and tables that inherit cannot be adopted."),
				 errhint("Create a dataset of another name and merge from it.")));
	if (dataset->distributed_by)
		dm_citus_check(dataset);
	else
		dm_citus_refuse(current);
	if (rel->rd_rel->relhasrules)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s has rules", dm_relation_name(current)),
				 errdetail("A merge writes the table itself, past its rules."),
				 errhint("Drop them.")));
	if (rel->rd_rel->relrowsecurity && check_enable_rls(current, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security hides rows of %s from the current user", dm_relation_name(current))));
	table_close(rel, NoLock);
}

/* Raises for rows without a key or with the same one. */
void
dm_adopt_check_keys(Oid current, const DmDataset *dataset)
{
	const char *keys = dm_names_quoted(dataset->keys);
	const char *found = NULL;
	MemoryContext caller = CurrentMemoryContext;
	StringInfoData nulls;
	ListCell *cell;

	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.to_jsonb(k) FROM (SELECT %s FROM %s GROUP BY %s "
							 "HAVING pg_catalog.count(*) > 1 LIMIT 1) k",
							 keys,
							 dm_relation_name(current),
							 keys),
					false,
					1) == SPI_OK_SELECT &&
		SPI_processed > 0)
		found = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("%s has several rows with one key", dataset->name),
				 errdetail("One such key is %s.", found),
				 errhint("Remove all but one of them, or choose other keys.")));
	if (dataset->settings.null_keys)
		return;
	SPI_connect();
	initStringInfo(&nulls);
	foreach (cell, dataset->keys)
		appendStringInfo(&nulls, "%s%s IS NULL", nulls.len > 0 ? " OR " : "", quote_identifier(lfirst(cell)));
	if (SPI_execute(psprintf("SELECT 1 FROM %s WHERE %s", dm_relation_name(current), nulls.data), false, 1) ==
			SPI_OK_SELECT &&
		SPI_processed > 0)
		found = "";
	SPI_finish();
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("%s has rows whose key is NULL", dataset->name),
				 errhint("Remove them, choose other keys, or set null_keys to allow.")));
}

/* Adds the columns that a current table has, with the values of all rows but for the hashes. */
static void
columns_add(Oid current, TupleDesc columns, const DmDataset *dataset, Datum effective, int64 merge_id)
{
	static const char no_hash[] = "'00000000-0000-0000-0000-000000000000'";
	const char *table = dm_relation_name(current);
	const DmEffectiveType *type = dm_effective_type(dataset->effective_type);
	char *start = OidOutputFunctionCall(type->type == DATEOID ? F_DATE_OUT : F_TIMESTAMPTZ_OUT, effective);
	struct
	{
		DmName name;
		const char *type;
		const char *value;
	} added[] = {{DM_NAME_OPERATION, "pg_catalog.\"char\"", "'I'"},
				 {DM_NAME_START, type->sql_type, quote_literal_cstr(start)},
				 {DM_NAME_MERGE, "pg_catalog.int8", psprintf(INT64_FORMAT, merge_id)},
				 {DM_NAME_KEY_HASH, "pg_catalog.uuid", no_hash},
				 {DM_NAME_ROW_HASH, "pg_catalog.uuid", no_hash},
				 {DM_NAME_MADE_BY, "pg_catalog.\"char\"", "'I'"}};
	int count = dataset->settings.stamp ? lengthof(added) : lengthof(added) - 1;
	StringInfoData add;
	StringInfoData defaults;

	initStringInfo(&add);
	initStringInfo(&defaults);
	appendStringInfo(&add, "ALTER TABLE %s ", table);
	appendStringInfo(&defaults, "ALTER TABLE %s ", table);
	for (int i = 0; i < count; i++)
	{
		const char *name = dm_name_quoted(dataset, added[i].name);

		appendStringInfo(&add,
						 "%sADD COLUMN %s %s NOT NULL DEFAULT %s",
						 i == 0 ? "" : ", ",
						 name,
						 added[i].type,
						 added[i].value);
		appendStringInfo(&defaults, "%sALTER COLUMN %s DROP DEFAULT", i == 0 ? "" : ", ", name);
	}
	appendStringInfoString(&add, dm_previous_definitions(", ADD COLUMN ", columns, dataset));
	dm_dataset_execute(add.data);
	dm_dataset_execute(defaults.data);
	CommandCounterIncrement();
}

/*
 * Gives the rows of the current tables the hashes that belong to their values and to the settings. Returns how many rows
 * the plain one has. Fires no triggers.
 */
int64
dm_dataset_rehash(const DmDataset *dataset)
{
	return dm_dataset_rewrite(dataset, row_rehash);
}

/* Does the column of a row hold this hash? Somebody may have set it to NULL. */
static bool
is_hash(const TupleTableSlot *slot, AttrNumber column, const pg_uuid_t *hash)
{
	return !slot->tts_isnull[column - 1] &&
		   memcmp(DatumGetUUIDP(slot->tts_values[column - 1]), hash, sizeof(*hash)) == 0;
}

/* Gives a row its right hashes; false if it has them. A DmRewrite. */
static bool
row_rehash(const DmShape *shape, TupleTableSlot *new)
{
	Datum *values = palloc(sizeof(Datum) * shape->wanted->natts);
	bool *nulls = palloc(sizeof(bool) * shape->wanted->natts);
	pg_uuid_t *key_hash = palloc(sizeof(pg_uuid_t));
	pg_uuid_t *row_hash = palloc(sizeof(pg_uuid_t));

	for (int i = 0; i < shape->wanted->natts; i++)
	{
		values[i] = new->tts_values[shape->current_attribute[i] - 1];
		nulls[i] = new->tts_isnull[shape->current_attribute[i] - 1];
	}
	dm_row_hash(shape->ops, values, nulls, shape->keys, shape->nkeys, key_hash->data);
	dm_row_hash(shape->ops, values, nulls, shape->hashed, shape->nhashed, row_hash->data);
	if (is_hash(new, shape->key_hash, key_hash) && is_hash(new, shape->row_hash, row_hash))
		return false;
	new->tts_values[shape->key_hash - 1] = UUIDPGetDatum(key_hash);
	new->tts_values[shape->row_hash - 1] = UUIDPGetDatum(row_hash);
	new->tts_isnull[shape->key_hash - 1] = new->tts_isnull[shape->row_hash - 1] = false;
	return true;
}
