/*
 * alter.c: changes settings of a dataset.
 *
 * What can change is what later merges read, and what the tables can be brought in line with. Keys, names, the type of
 * dates, sensitive columns, NULL keys, previous-value columns and the partitions of history are what the tables are.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/names.h"
#include "cdc/adopt.h"
#include "cdc/citus.h"
#include "cdc/create.h"
#include "cdc/rewrite.h"
#include "rows/table_leaves.h"

static const char *const alterable[] = {"deletes",
										"untracked",
										"kinds",
										"duplicates",
										"sequence_column",
										"on_new_column",
										"on_missing_column",
										"on_type_change",
										"stamp_operation",
										"history_index"};

static void options_check(Jsonb *options);
static void feed_check(const DmDataset *dataset, Jsonb *options);
static void settings_merge(DmDataset *dataset, Jsonb *options);
static void stamp_set(const DmDataset *dataset);
static bool row_set(const DmShape *shape, TupleTableSlot *new);
static bool row_unset(const DmShape *shape, TupleTableSlot *new);
static void made_by_alter(const DmDataset *dataset, const char *verb, const char *rest);

/* Changes the settings given in options, and the tables with them. For the owner of the dataset. */
void
dm_dataset_alter(const char *target, Jsonb *options)
{
	RangeVar *name = dm_dataset_parse(target);
	DmDataset dataset;
	DmDataset before;

	PreventCommandIfReadOnly("alter_dataset()");
	PreventCommandIfParallelMode("alter_dataset()");
	options_check(options);
	dm_dataset_lock(name);
	dm_dataset_require(target, name, &before);
	if (!dm_relation_is_owned(before.current))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(before.current));
	dm_dataset_check_tables(&before);
	dm_citus_refuse(before.current);
	dm_table_lock(before.current, ShareRowExclusiveLock);
	if (OidIsValid(before.feed))
		feed_check(&before, options);
	dataset = before;
	settings_merge(&dataset, options);
	dm_dataset_check_settings(&dataset, dm_dataset_columns(&before));
	if (!dm_names_same(dataset.settings.previous, before.settings.previous))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("kind 3 cannot be given to or taken from a column of an existing dataset"),
				 errhint("Create another dataset with it and merge the rows of this one into it.")));
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (dataset.settings.stamp != before.settings.stamp)
		dm_dataset_views_lock(&before);
	if (dataset.settings.stamp && !before.settings.stamp)
		stamp_set(&dataset);
	else if (before.settings.stamp && !dataset.settings.stamp)
		dm_dataset_rewrite(&before, row_unset);
	if (dataset.settings.stamp != before.settings.stamp)
		dm_dataset_views_replace(&dataset);
	if (before.settings.stamp && !dataset.settings.stamp)
		made_by_alter(&before, "DROP", "");
	dm_dataset_index_history(&dataset, &before.settings);
	dm_dataset_set(&dataset);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	if (!dm_names_same(dataset.untracked, before.untracked) ||
		!dm_names_same(dataset.settings.keep_first, before.settings.keep_first))
		dm_dataset_rehash(&dataset);
	PopActiveSnapshot();
}

/* Raises for options that are not settings, or that an existing dataset cannot change. */
static void
options_check(Jsonb *options)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	Jsonb *rest;
	List *known = NIL;

	(void) dm_merge_options_parse(options, &rest);
	for (int i = 0; i < lengthof(alterable); i++)
		known = lappend(known, unconstify(char *, alterable[i]));
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *option;

		if (token != WJB_KEY)
			continue;
		option = pnstrdup(value.val.string.val, value.val.string.len);
		if (!dm_names_has(known, option))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" of an existing dataset cannot be altered", option),
					 errdetail("These can: %s.", dm_names_join(known)),
					 dm_settings_is_option(option) || strcmp(option, "effective_type") == 0
						 ? errhint("Create another dataset with it and merge the rows of this one into it.")
						 : errhint("It is an option of a merge: give it to cdc_merge.")));
	}
}

/* Raises for options that a feed cannot change: all its versions are made of all its events. */
static void
feed_check(const DmDataset *dataset, Jsonb *options)
{
	JsonbIterator *iterator = JsonbIteratorInit(&options->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *option;

		if (token != WJB_KEY)
			continue;
		option = pnstrdup(value.val.string.val, value.val.string.len);
		if (strcmp(option, "history_index") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("option \"%s\" of feed %s cannot be altered", option, dataset->name),
					 errdetail("Only history_index can: what is stored was made with the other settings.")));
	}
}

/* Sets what the options give over what the dataset has. */
static void
settings_merge(DmDataset *dataset, Jsonb *options)
{
	Jsonb *rest;
	DmMergeOptions *given = dm_merge_options_parse(options, &rest);
	List *untracked = given->has_untracked ? given->untracked : NIL;
	ListCell *cell;

	/* of the untracked columns before, those that were so by kind are given anew by the kinds that hold now */
	foreach (cell, dataset->untracked)
	{
		if (!given->has_untracked && !dm_names_has(dataset->settings.overwritten, lfirst(cell)))
			untracked = lappend(untracked, lfirst(cell));
	}
	dataset->stored_settings = DatumGetJsonbP(DirectFunctionCall2(
		jsonb_concat, JsonbPGetDatum(dataset->stored_settings), JsonbPGetDatum(given->given_settings)));
	dm_settings_parse(dataset->stored_settings, &dataset->settings);
	foreach (cell, dataset->settings.overwritten)
	{
		if (!dm_names_has(untracked, lfirst(cell)))
			untracked = lappend(untracked, lfirst(cell));
	}
	dataset->untracked = untracked;
	if (given->has_deletes)
		dataset->close_deletes = given->close_deletes;
}

/* Adds the column that keeps what made a version, where operation will tell what the last merge found. */
static void
stamp_set(const DmDataset *dataset)
{
	made_by_alter(dataset, "ADD", " pg_catalog.\"char\"");
	dm_dataset_rewrite(dataset, row_set);
	made_by_alter(dataset, "ALTER", " SET NOT NULL");
}

/* Notes what made a version. A DmRewrite. */
static bool
row_set(const DmShape *shape, TupleTableSlot *new)
{
	new->tts_values[shape->made_by - 1] = new->tts_values[shape->operation - 1];
	new->tts_isnull[shape->made_by - 1] = false;
	return true;
}

/* Has operation tell again what made the version. A DmRewrite. */
static bool
row_unset(const DmShape *shape, TupleTableSlot *new)
{
	Datum made_by = new->tts_values[shape->made_by - 1];

	if (new->tts_isnull[shape->made_by - 1] ||
		DatumGetChar(new->tts_values[shape->operation - 1]) == DatumGetChar(made_by))
		return false;
	new->tts_values[shape->operation - 1] = made_by;
	return true;
}

/* Alters the column that keeps what made a version, in both current tables. No view uses it when it is dropped. */
static void
made_by_alter(const DmDataset *dataset, const char *verb, const char *rest)
{
	Oid tables[] = {dataset->current, dataset->sensitive};

	for (int i = 0; i < lengthof(tables) && OidIsValid(tables[i]); i++)
		dm_dataset_execute(psprintf("ALTER TABLE %s %s COLUMN %s%s",
									dm_relation_name(tables[i]),
									verb,
									dm_name_quoted(dataset, DM_NAME_MADE_BY),
									rest));
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}
