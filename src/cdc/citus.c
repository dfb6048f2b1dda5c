/*
 * citus.c: tables that Citus keeps: which ones a merge can run on, and distributing those that belong to it.
 *
 * On the coordinator a distributed or reference table is an empty shell: what reads or writes its pages would find no
 * rows in it and write rows that no query sees. So only merges, plans and undos go there, by SQL (citus_merge.c), where the
 * table is distributed by the hash of a key; everything else refuses. Citus is looked up at run time, by its catalog and its
 * public functions; nothing of it is linked.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/names.h"
#include "cdc/citus.h"

/* What Citus's catalog says of a table. */
typedef struct CitusTable
{
	int64 colocation;
	char *column; /* by whose hash it is distributed; NULL for reference, append and other tables */
} CitusTable;

static bool table_find(Oid relid, CitusTable *table);
static void settings_check(void);
static const char *unsupported_option(const DmDataset *dataset);

/* Raises 0A000 if the table is one of Citus. */
void
dm_citus_refuse(Oid relid)
{
	CitusTable table;

	if (!table_find(relid, &table))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" is distributed by Citus", get_rel_name(relid)),
			 errdetail("Only tables of this node can be read and written here; the rows of \"%s\" are in shards.",
					   get_rel_name(relid)),
			 errhint("Merges, plans and undos work on a current table that is distributed by the hash of a key. "
					 "docs/operations.md shows what to do about other tables.")));
}

/* Returns the column by whose hash Citus distributes the table, palloc'd, or NULL if it does not. */
const char *
dm_citus_column(Oid relid)
{
	CitusTable table;

	return table_find(relid, &table) ? table.column : NULL;
}

/* Raises 0A000 unless a merge can run on the shards of the dataset, whose current table is distributed by a hash. */
void
dm_citus_check(const DmDataset *dataset)
{
	const char *option = unsupported_option(dataset);

	settings_check();
	if (!dm_names_has(dataset->keys, dataset->distributed_by))
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s is distributed by column \"%s\", which is not one of the keys of its dataset",
					dataset->name,
					dataset->distributed_by),
			 errdetail("Its keys are %s; a row and the one that replaces it have to be in one shard.",
					   dm_names_join(dataset->keys)),
			 errhint("Distribute it by a key: SELECT alter_distributed_table('%s', distribution_column => '%s').",
					 dataset->name,
					 (char *) linitial(dataset->keys))));
	if (OidIsValid(dataset->feed))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"feed\" is not for a dataset that is distributed by Citus"),
				 errdetail("Its merges run as SQL on the shards of %s.", dataset->name),
				 errhint("Keep the feed in tables of this node: docs/operations.md.")));
	if (option)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" is not for a dataset that is distributed by Citus", option),
				 errdetail("Its merges run as SQL on the shards of %s.", dataset->name),
				 errhint("Leave the option out, or keep the dataset in tables of this node: docs/operations.md.")));
	if (get_rel_relkind(dataset->current) != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is distributed by Citus and partitioned", dataset->name),
				 errhint("Distribute an ordinary table, or keep the partitioned one on this node.")));
}

/*
 * Raises 55000 if Citus is set to run statements of a function, outside of a transaction block, each in a transaction of
 * its own, or to commit on its nodes without preparing that. Settings that this version of Citus lacks do not matter.
 */
static void
settings_check(void)
{
	static const char *const settings[][2] = {{"citus.function_opens_transaction_block", "on"},
											  {"citus.multi_shard_commit_protocol", "2pc"}};

	for (int i = 0; i < lengthof(settings); i++)
	{
		const char *value = GetConfigOption(settings[i][0], true, false);

		if (value && pg_strcasecmp(value, settings[i][1]) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s is %s", settings[i][0], value),
					 errdetail("The statements of a merge would not be one transaction on all nodes of Citus."),
					 errhint("SET %s = '%s'.", settings[i][0], settings[i][1])));
	}
}

/* Returns the option of the dataset that merges on shards do not know, or NULL. */
static const char *
unsupported_option(const DmDataset *dataset)
{
	const DmSettings *settings = &dataset->settings;

	return settings->sensitive							? "sensitive"
		   : settings->null_keys						? "null_keys"
		   : settings->stamp							? "stamp_operation"
		   : settings->partition != DM_PERIOD_NONE		? "history_partition"
		   : settings->keep_first || settings->previous ? "kinds"
		   : settings->on_new == DM_COLUMN_ADD			? "on_new_column"
		   : settings->on_missing != DM_COLUMN_ERROR	? "on_missing_column"
		   : settings->widen							? "on_type_change"
														: NULL;
}

/*
 * Distributes the history table as the current table is, unless it is so already. Raises 42501 if the caller does not
 * own it, 0A000 if it is distributed in another way.
 */
void
dm_citus_colocate(const DmDataset *dataset)
{
	CitusTable current = {0};
	CitusTable history;

	if (!table_find(dataset->history, &history))
	{
		if (!dm_relation_is_owned(dataset->history))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of table %s to distribute it", get_rel_name(dataset->history)),
					 errdetail("%s is distributed by Citus and its history table is not yet.", dataset->name),
					 errhint("Have the owner merge once, or call create_distributed_table.")));
		dm_citus_distribute(dataset->history, dataset);
		return;
	}
	(void) table_find(dataset->current, &current);
	if (history.column && history.colocation == current.colocation &&
		strcmp(history.column, dataset->distributed_by) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("history table %s is not colocated with %s", dm_relation_name(dataset->history), dataset->name),
			 errdetail("A version moves from one to the other within a shard."),
			 errhint("SELECT undistribute_table('%s'); the next merge distributes it by column \"%s\".",
					 dm_relation_name(dataset->history),
					 dataset->distributed_by)));
}

/* Has Citus distribute a table, and the rows in it, as the dataset's current table is, without the notices it gives. */
void
dm_citus_distribute(Oid relid, const DmDataset *dataset)
{
	Oid types[] = {OIDOID, TEXTOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(relid),
					  CStringGetTextDatum(dataset->distributed_by),
					  CStringGetTextDatum(dm_relation_name(dataset->current))};
	int level = NewGUCNestLevel();

	if (client_min_messages < WARNING)
		(void) set_config_option(
			"client_min_messages", "warning", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	SPI_execute_with_args("SELECT pg_catalog.create_distributed_table($1::pg_catalog.regclass, $2, "
						  "colocate_with => $3)",
						  lengthof(types),
						  types,
						  values,
						  NULL,
						  false,
						  0);
	SPI_finish();
	AtEOXact_GUC(true, level);
}

/* Looks a table up in Citus's catalog. Returns false if it is not there, or Citus is not. */
static bool
table_find(Oid relid, CitusTable *table)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(relid)};
	bool found;

	if (!OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE)))
		return false;
	SPI_connect();
	SPI_execute_with_args("SELECT colocationid::pg_catalog.int8, "
						  "CASE WHEN partmethod OPERATOR(pg_catalog.=) 'h'::pg_catalog.\"char\" "
						  "THEN pg_catalog.column_to_column_name(logicalrelid, partkey::pg_catalog.text) END "
						  "FROM pg_catalog.pg_dist_partition WHERE logicalrelid OPERATOR(pg_catalog.=) "
						  "$1::pg_catalog.regclass",
						  lengthof(types),
						  types,
						  values,
						  NULL,
						  false,
						  1);
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple row = SPI_tuptable->vals[0];
		char *column = SPI_getvalue(row, SPI_tuptable->tupdesc, 2);
		bool isnull;

		table->colocation = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		table->column = column ? MemoryContextStrdup(caller, column) : NULL;
	}
	SPI_finish();
	return found;
}
