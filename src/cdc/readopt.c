/*
 * readopt.c: takes up tables that were those of a dataset before: drop_dataset() kept them, or they came out of a dump that did not have the
 * extension's catalogs.
 *
 * Versions and history stay. What is lost is the log of merges, so nothing before can be taken back; the numbers of merges that rows bear are
 * changed where merges to come would have the same.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/names.h"
#include "cdc/adopt.h"
#include "cdc/citus.h"
#include "cdc/readopt.h"

static Oid added_type(DmName name);
static TupleDesc business_columns(Oid current, const DmSettings *settings);
static TupleDesc columns_joined(TupleDesc plain, TupleDesc sensitive, List *keys);
static void history_find(const RangeVar *target, TupleDesc columns, DmDataset *dataset);
static void merges_renumber(const DmDataset *dataset, int64 merge_id);
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
		case DM_NAME_MADE_BY: return CHAROID;
		case DM_NAME_MERGE: return INT8OID;
		case DM_NAME_KEY_HASH:
		case DM_NAME_ROW_HASH: return UUIDOID;
		default: return InvalidOid;
	}
}

/*
 * Makes such a table the current table of *dataset again, with the history beside it, or an empty one if there is none, and stores the
 * dataset. The caller owns the table and has locked it. Sets *effective to where the versions end that are there, unless there are none.
 * Returns how many rows there are.
 */
int64
dm_dataset_readopt(const RangeVar *target, Oid current, List *keys, const DmMergeOptions *options,
				   DmDataset *dataset, int64 merge_id, TimestampTz *effective)
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
	dm_adopt_check_table(current, dataset);
	dm_adopt_check_keys(current, dataset);
	if (!dataset->settings.null_keys && !dm_adopt_has_key(current, dataset->keys))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" was a dataset with other keys", target->relname),
				 errdetail("It has no unique key of the columns %s.", dm_names_join(dataset->keys))));
	history_find(target, columns, dataset);
	dm_dataset_complete(target, dataset, true);
	merges_renumber(dataset, merge_id);
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
	bool is_partitioned;

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
	if (!dm_relation_is_owned(history))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(history));
	is_partitioned = get_rel_relkind(history) == RELKIND_PARTITIONED_TABLE;
	if (is_partitioned != (dataset->settings.partition != DM_PERIOD_NONE))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg(
				 "history table \"%s_history\" %s partitioned", target->relname, is_partitioned ? "is" : "is not"),
			 errhint("%s",
					 is_partitioned ? "Give setting history_partition." : "Leave setting history_partition out.")));
}

/* Gives versions whose numbers of merges are not below merge_id this one: they came from another database. */
static void
merges_renumber(const DmDataset *dataset, int64 merge_id)
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

	for (int i = 0; i < lengthof(numbers); i++)
	{
		if (OidIsValid(numbers[i].table))
			dm_dataset_execute(psprintf("UPDATE %s SET %s = " INT64_FORMAT
										" WHERE %s OPERATOR(pg_catalog.>=) " INT64_FORMAT,
										dm_relation_name(numbers[i].table),
										numbers[i].column,
										merge_id,
										numbers[i].column,
										merge_id));
	}
	CommandCounterIncrement();
}

/* Reads the last date at which a version begins or ends. False if there are no versions. */
static bool
last_effective_read(const DmDataset *dataset, TimestampTz *effective)
{
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	bool is_null = true;
	Datum last = 0;

	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.max(x)::pg_catalog.timestamptz FROM (SELECT %1$s AS x FROM %2$s "
							 "UNION ALL SELECT %1$s FROM %3$s UNION ALL SELECT %4$s FROM %3$s) v",
							 start,
							 dataset->name,
							 dm_relation_name(dataset->history),
							 dm_name_quoted(dataset, DM_NAME_END)),
					false,
					1) == SPI_OK_SELECT &&
		SPI_processed == 1)
		last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (!is_null)
		*effective = DatumGetTimestampTz(last);
	SPI_finish();
	return !is_null;
}
