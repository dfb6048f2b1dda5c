/*
 * readopt.c: takes up tables that were those of a dataset before: drop_dataset() kept them, or they came out of a dump that did not have the
 * extension's catalogs.
 *
 * Versions and history stay. What is lost is the log of merges, so nothing before can be taken back. Merges to come have higher numbers than those
 * that rows bear.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "cdc/adopt.h"
#include "cdc/citus.h"
#include "cdc/history.h"
#include "cdc/readopt.h"

static Oid added_type(DmName name);
static TupleDesc business_columns(Oid current, const DmSettings *settings);
static TupleDesc columns_joined(TupleDesc plain, TupleDesc sensitive, List *keys);
static void history_find(const RangeVar *target, TupleDesc columns, DmDataset *dataset);
static void history_check(Oid history, const DmDataset *dataset);
static void current_check(Oid current, const DmDataset *dataset);
static void columns_check(Oid table, const DmDataset *dataset, const DmName *names, int count);
static int64 highest_merge(const DmDataset *dataset);
static Datum value_read(const char *sql, bool *is_null);
static bool last_effective_read(const DmDataset *dataset, TimestampTz *effective);

/* Does the table have all columns that a dataset with these settings adds to its current table? */
bool
dm_dataset_is_former(Oid current, const DmSettings *settings)
{
	static const DmName added[] = {
		DM_NAME_OPERATION, DM_NAME_START, DM_NAME_MERGE, DM_NAME_KEY_HASH, DM_NAME_ROW_HASH};

	for (int i = 0; i < lengthof(added); i++)
	{
		AttrNumber number = get_attnum(current, settings->names[added[i]]);
		Oid type = added_type(added[i]);

		if (number <= 0 || (OidIsValid(type) && get_atttype(current, number) != type))
			return false;
	}
	return true;
}

/* Returns the type of a column that a dataset adds; InvalidOid for those whose type is the dataset's. */
static Oid
added_type(DmName name)
{
	switch (name)
	{
		case DM_NAME_OPERATION:
		case DM_NAME_ENDED_BY:
		case DM_NAME_MADE_BY: return CHAROID;
		case DM_NAME_MERGE:
		case DM_NAME_ENDED_MERGE: return INT8OID;
		case DM_NAME_KEY_HASH:
		case DM_NAME_ROW_HASH: return UUIDOID;
		default: return InvalidOid;
	}
}

/*
 * Makes such a table the current table of *dataset again, with the history beside it, or an empty one if there is none, and stores the
 * dataset. The caller owns the table and has locked it. Sets *effective to the last date of the versions that are there, unless there are none, and
 * *merge_id to a number above those that they bear.
 * Returns how many rows there are.
 */
int64
dm_dataset_readopt(const RangeVar *target, Oid current, List *keys, const DmMergeOptions *options,
				   DmDataset *dataset, int64 *merge_id, TimestampTz *effective)
{
	TupleDesc columns = business_columns(current, &options->settings);
	TupleDesc all = columns;
	Oid sensitive = dm_dataset_sibling(target, "_sensitive");
	int64 rows;

	dm_citus_refuse(current);
	dataset->current = current;
	dataset->effective_type = get_atttype(current, get_attnum(current, options->settings.names[DM_NAME_START]));
	if (options->settings.sensitive && OidIsValid(sensitive))
		all = columns_joined(columns, business_columns(sensitive, &options->settings), keys);
	dm_dataset_define(target, all, keys, options, dataset);
	if ((dataset->effective_type != DATEOID && dataset->effective_type != TIMESTAMPTZOID) ||
		OidIsValid(dm_dataset_sibling(target, "_feed")))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" was a feed, which cannot be taken up again", target->relname),
				 errhint("Dump a feed together with the extension, or merge its events once more.")));
	if (OidIsValid(options->effective_type) && options->effective_type != dataset->effective_type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dates of \"%s\" are of type %s", target->relname, format_type_be(dataset->effective_type)),
				 errhint("Leave effective_type out.")));
	history_find(target, columns, dataset);
	current_check(current, dataset);
	if (dataset->settings.sensitive)
		current_check(sensitive, dataset);
	dm_dataset_complete(target, dataset, true);
	*merge_id = dm_dataset_next_merge_above(highest_merge(dataset));
	UpdateActiveSnapshotCommandId();
	rows = dm_dataset_rehash(dataset);
	UpdateActiveSnapshotCommandId();
	if (last_effective_read(dataset, effective))
		ereport(NOTICE,
				(errmsg("tables of dataset %s were taken up again, with their versions", dataset->name),
				 errdetail("The next merge is to be of the last effective date there is or a later one.")));
	return rows;
}

/* Returns the columns of the table that a dataset with these settings did not add. */
static TupleDesc
business_columns(Oid current, const DmSettings *settings)
{
	DmDataset named = {.settings = *settings};
	TupleDesc all = dm_adopt_columns(current);
	TupleDesc columns;
	ListCell *cell;
	List *previous = NIL;
	int count = 0;

	foreach (cell, settings->previous)
		previous = lappend(previous, dm_settings_previous_name(lfirst(cell)));
	for (int pass = 0; pass < 2; pass++)
	{
		columns = pass == 0 ? NULL : CreateTemplateTupleDesc(count);
		count = 0;
		for (int i = 0; i < all->natts; i++)
		{
			const char *name = NameStr(TupleDescAttr(all, i)->attname);

			if (!settings->stamp && strcmp(name, settings->names[DM_NAME_MADE_BY]) == 0 &&
				TupleDescAttr(all, i)->atttypid == added_type(DM_NAME_MADE_BY))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the dataset had stamp_operation: column \"%s\" is there", name),
						 errhint("Give that setting.")));
			if (dm_name_is_added(&named, name) || dm_names_has(previous, name))
				continue;
			count++;
			if (columns)
				TupleDescCopyEntry(columns, count, all, i + 1);
		}
	}
	return columns;
}

/* Returns the columns of the plain table, and those of the sensitive one that are no keys. */
static TupleDesc
columns_joined(TupleDesc plain, TupleDesc sensitive, List *keys)
{
	int count = plain->natts;
	TupleDesc joined;

	for (int i = 0; i < sensitive->natts; i++)
		count += !dm_names_has(keys, NameStr(TupleDescAttr(sensitive, i)->attname));
	joined = CreateTemplateTupleDesc(count);
	for (int i = 0; i < plain->natts; i++)
		TupleDescCopyEntry(joined, i + 1, plain, i + 1);
	count = plain->natts;
	for (int i = 0; i < sensitive->natts; i++)
	{
		if (!dm_names_has(keys, NameStr(TupleDescAttr(sensitive, i)->attname)))
			TupleDescCopyEntry(joined, ++count, sensitive, i + 1);
	}
	return joined;
}

/* Finds the history beside the table, or makes one; finds the tables of sensitive columns. */
static void
history_find(const RangeVar *target, TupleDesc columns, DmDataset *dataset)
{
	Oid history = dm_dataset_sibling(target, "_history");

	if (dataset->settings.sensitive &&
		(!OidIsValid(history) || !OidIsValid(dm_dataset_sibling(target, "_sensitive")) ||
		 !OidIsValid(dm_dataset_sibling(target, "_sensitive_history"))))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("not all tables of sensitive dataset \"%s\" are there", target->relname),
				 errdetail("It needs %1$s_history, %1$s_sensitive and %1$s_sensitive_history.", target->relname)));
	if (!dataset->settings.sensitive && OidIsValid(dm_dataset_sibling(target, "_sensitive")))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the dataset had sensitive columns: \"%s_sensitive\" is there", target->relname),
				 errhint("Name them in setting sensitive.")));
	if (!OidIsValid(history))
	{
		dm_dataset_history_create(target, "", columns, dataset);
		return;
	}
	history_check(history, dataset);
	if (dataset->settings.sensitive)
		history_check(dm_dataset_sibling(target, "_sensitive_history"), dataset);
}

/* Raises for a table that cannot be a history of the dataset. */
static void
history_check(Oid history, const DmDataset *dataset)
{
	static const DmName names[] = {
		DM_NAME_OPERATION, DM_NAME_START, DM_NAME_END, DM_NAME_ENDED_BY, DM_NAME_MERGE, DM_NAME_ENDED_MERGE};
	Relation rel;
	bool is_partitioned;

	dm_adopt_check_table(history, dataset);
	columns_check(history, dataset, names, lengthof(names));
	rel = table_open(history, AccessShareLock);
	is_partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (is_partitioned != (dataset->settings.partition != DM_PERIOD_NONE))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("history table \"%s\" %s partitioned",
					RelationGetRelationName(rel),
					is_partitioned ? "is" : "is not"),
			 errhint("%s",
					 is_partitioned ? "Give setting history_partition." : "Leave setting history_partition out.")));
	if (is_partitioned)
		dm_history_check_partitions(dataset, rel);
	table_close(rel, NoLock);
}

/* Raises for a table that cannot be a current table of the dataset. */
static void
current_check(Oid current, const DmDataset *dataset)
{
	static const DmName names[] = {
		DM_NAME_OPERATION, DM_NAME_START, DM_NAME_MERGE, DM_NAME_KEY_HASH, DM_NAME_ROW_HASH, DM_NAME_MADE_BY};
	bool has_key = dm_adopt_has_key(current, dataset->keys);

	dm_adopt_check_table(current, dataset);
	columns_check(current, dataset, names, dataset->settings.stamp ? lengthof(names) : lengthof(names) - 1);
	dm_adopt_check_keys(current, dataset);
	if (has_key == dataset->settings.null_keys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" was a dataset with other keys", get_rel_name(current)),
				 has_key ? errdetail(
							   "It has a unique key of the columns %s, which cannot be NULL: null_keys was error.",
							   dm_names_join(dataset->keys))
						 : errdetail("It has no unique key of the columns %s.", dm_names_join(dataset->keys))));
}

/* Raises unless the caller owns the table, sees all of it, and it has columns that a dataset adds as they were made. */
static void
columns_check(Oid table, const DmDataset *dataset, const DmName *names, int count)
{
	Relation rel = table_open(table, AccessShareLock);

	if (!dm_relation_is_owned(table))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	dm_dataset_check_policies(table);
	for (int i = 0; i < count; i++)
	{
		const char *name = dataset->settings.names[names[i]];
		AttrNumber number = get_attnum(table, name);
		Oid type =
			names[i] == DM_NAME_START || names[i] == DM_NAME_END ? dataset->effective_type : added_type(names[i]);
		Form_pg_attribute column = number > 0 ? TupleDescAttr(RelationGetDescr(rel), number - 1) : NULL;

		if (!column || column->atttypid != type || !column->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("table \"%s\" has no column \"%s\" of type %s that is not null",
							RelationGetRelationName(rel),
							name,
							format_type_be(type)),
					 errdetail("A dataset's tables have it.")));
	}
	table_close(rel, NoLock);
}

/* Returns the highest number of a merge that a row of the dataset bears, or 0. */
static int64
highest_merge(const DmDataset *dataset)
{
	const char *made = dm_name_quoted(dataset, DM_NAME_MERGE);
	const char *ended = dm_name_quoted(dataset, DM_NAME_ENDED_MERGE);
	const struct
	{
		Oid table;
		const char *column;
	} numbers[] = {{dataset->current, made},
				   {dataset->history, made},
				   {dataset->history, ended},
				   {dataset->sensitive, made},
				   {dataset->sensitive_history, made},
				   {dataset->sensitive_history, ended}};
	int64 highest = 0;

	for (int i = 0; i < lengthof(numbers); i++)
	{
		bool is_null;
		Datum max;

		if (!OidIsValid(numbers[i].table))
			continue;
		max = value_read(
			psprintf("SELECT pg_catalog.max(%s) FROM %s", numbers[i].column, dm_relation_name(numbers[i].table)),
			&is_null);
		highest = is_null ? highest : Max(highest, DatumGetInt64(max));
	}
	return highest;
}

/* Returns the value (of a type that is passed by value) of a query of one row and column, of names that are quoted and operators of pg_catalog. */
static Datum
value_read(const char *sql, bool *is_null)
{
	Datum value = 0;

	*is_null = true;
	SPI_connect();
	if (SPI_execute(sql, true, 1) == SPI_OK_SELECT && SPI_processed == 1)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, is_null);
	SPI_finish();
	return value;
}

/*
 * Reads the last date at which a version begins or ends. False if there are no versions. Raises for dates that no merge gives: infinite ones,
 * and versions that end before they start.
 */
static bool
last_effective_read(const DmDataset *dataset, TimestampTz *effective)
{
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *end = dm_name_quoted(dataset, DM_NAME_END);
	const char *history = dm_relation_name(dataset->history);
	const char *dates =
		psprintf("(SELECT %1$s AS x FROM %2$s UNION ALL SELECT %1$s FROM %3$s UNION ALL SELECT %4$s FROM %3$s) v",
				 start,
				 dataset->name,
				 history,
				 end);
	bool is_null;
	Datum last;

	(void) value_read(psprintf("SELECT true FROM %s WHERE NOT pg_catalog.isfinite(x) UNION ALL SELECT true FROM %s "
							   "WHERE %s OPERATOR(pg_catalog.<) %s LIMIT 1",
							   dates,
							   history,
							   end,
							   start),
					  &is_null);
	if (!is_null)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("versions of %s have infinite dates, or end before they start", dataset->name)));
	last = value_read(psprintf("SELECT pg_catalog.max(x)::pg_catalog.timestamptz FROM %s", dates), &is_null);
	if (!is_null)
		*effective = DatumGetTimestampTz(last);
	return !is_null;
}
