/*
 * undo.c: takes the last merge of a dataset back, and replaces the batch of the last effective date.
 *
 * What a merge wrote carries its id: versions it made are in current, versions it ended in history. So the state before
 * it is current without the former and with the latter. Untracked columns that it brought up to date are not kept
 * anywhere: such a merge cannot be taken back exactly, and is refused.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "cdc/cdc.h"
#include "cdc/citus.h"
#include "cdc/feed.h"
#include "cdc/target.h"
#include "cdc/undo_part.h"
#include "receipt/receipt.h"
#include "rows/table_leaves.h"

static const RangeVar *dataset_open(const char *target, DmDataset *dataset);
static char *undo_make(const DmDataset *dataset, DmUndoCounts *counts);
static char *merge_forget(const DmDataset *dataset, int64 *ended);
static void ended_check(const DmDataset *dataset, int64 ended, int64 restored);
static void shards_undo(const DmDataset *dataset, DmUndoCounts *counts);
static void events_undo(const DmDataset *dataset, DmUndoCounts *counts);
static bool is_last_effective(const DmDataset *dataset, TimestampTz effective);
static bool is_adoption(const DmDataset *dataset);

/* Takes the last merge of the dataset back. Fills *counts; returns the id of the undo's receipt. */
char *
dm_cdc_undo(const char *target, DmUndoCounts *counts)
{
	DmDataset dataset;
	DmRunning running;
	char *volatile id = NULL;

	PreventCommandIfReadOnly("cdc_undo()");
	PreventCommandIfParallelMode("cdc_undo()");
	memset(counts, 0, sizeof(*counts));
	dm_running_begin(&running, dataset_open(target, &dataset));
	PG_TRY();
	{
		id = undo_make(&dataset, counts);
	}
	PG_FINALLY();
	{
		dm_running_end(&running);
	}
	PG_END_TRY();
	return id;
}

/* Takes the last merge of the dataset, which is open, back; returns the id of the undo's receipt. */
static char *
undo_make(const DmDataset *dataset, DmUndoCounts *counts)
{
	DmReceipt *receipt;
	DmReceiptOutput output = {0};
	DmUndoCounts sensitive = {0};
	char *undone;
	int64 ended;

	if (dataset->last_merge == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dataset %s has no merge to take back", dataset->name)));
	undone = merge_forget(dataset, &ended);
	if (dataset->distributed_by)
		shards_undo(dataset, counts);
	receipt = dm_receipt_begin(
		"cdc_undo",
		dataset->name,
		psprintf("{\"merge_id\": " INT64_FORMAT ", \"receipt\": \"%s\"}", dataset->last_merge, undone));
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(dataset->feed))
		events_undo(dataset, counts);
	else if (!dataset->distributed_by)
		dm_undo_part(dataset, dataset->current, dataset->history, counts);
	if (OidIsValid(dataset->sensitive))
	{
		dm_undo_part(dataset, dataset->sensitive, dataset->sensitive_history, &sensitive);
		ended_check(dataset, ended, sensitive.restored);
	}
	if (!OidIsValid(dataset->feed))
		ended_check(dataset, ended, counts->restored);
	PopActiveSnapshot();
	CommandCounterIncrement();
	counts->merge_id = dataset->last_merge;
	output.uri = dataset->name;
	output.counts = psprintf(
		"{\"removed\": " INT64_FORMAT ", \"restored\": " INT64_FORMAT "}", counts->removed, counts->restored);
	dm_receipt_output(receipt, &output);
	return dm_receipt_write(receipt);
}

/*
 * Takes back every merge of the last effective date, which must be the one given, and merges the source in their place: of
 * the date of an adoption those after it, whose rows the source is merged over. Returns as dm_cdc_merge().
 */
char *
dm_cdc_restate(const DmMergeSpec *spec, DmMergeCounts *counts)
{
	DmDataset dataset;
	DmUndoCounts undone;

	PreventCommandIfReadOnly("cdc_restate()");
	PreventCommandIfParallelMode("cdc_restate()");
	dataset_open(spec->target, &dataset);
	if (OidIsValid(dataset.feed))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("dataset %s is a feed, which has no effective dates to restate", dataset.name),
				 errhint("Take the last merge back with cdc_undo, and merge again.")));
	if (dataset.last_merge == 0 || !is_last_effective(&dataset, spec->effective))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only the last effective date of %s can be restated", dataset.name),
				 errhint("SELECT max(effective) FROM datamill.merges WHERE dataset = '%s'::regclass tells it.",
						 dataset.name)));
	while (dataset.last_merge != 0 && is_last_effective(&dataset, spec->effective) && !is_adoption(&dataset))
	{
		dm_cdc_undo(spec->target, &undone);
		dm_dataset_find(dataset.current, &dataset);
	}
	return dm_cdc_merge(spec, counts);
}

/* Finds the dataset of a target, locks it and checks rights. Raises if there is none. Returns its name. */
static const RangeVar *
dataset_open(const char *target, DmDataset *dataset)
{
	RangeVar *name = dm_dataset_parse(target);

	dm_dataset_lock(name);
	dm_dataset_require(target, name, dataset);
	dataset->distributed_by = dm_citus_column(dataset->current);
	dm_dataset_check_rights(dataset, false);
	dm_dataset_check_undo_rights(dataset);
	if (dataset->distributed_by)
		dm_citus_check(dataset);
	dm_table_lock(dataset->current, ShareRowExclusiveLock);
	LockRelationOid(dataset->history, ShareRowExclusiveLock);
	if (dataset->distributed_by)
		dm_citus_colocate(dataset);
	if (OidIsValid(dataset->sensitive))
	{
		LockRelationOid(dataset->sensitive, ShareRowExclusiveLock);
		LockRelationOid(dataset->sensitive_history, ShareRowExclusiveLock);
	}
	return name;
}

/*
 * Takes the last merge out of the log and returns its receipt's id; *ended: how many versions it ended. Raises 0A000 if it
 * refreshed untracked columns.
 */
static char *
merge_forget(const DmDataset *dataset, int64 *ended)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(dataset->last_merge)};
	DmCatalogScope scope;
	bool isnull;
	int64 refreshed;
	bool is_adoption;
	char *receipt;

	dm_catalog_begin(&scope);
	dm_catalog_execute("DELETE FROM datamill.merge_catalog WHERE merge_id = $1 RETURNING receipt, refreshed, "
					   "updated + deleted, mode = 'adopt'",
					   lengthof(types),
					   types,
					   values,
					   NULL);
	receipt = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	refreshed = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	*ended = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	is_adoption = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	dm_catalog_end(&scope);
	if (is_adoption)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dataset %s has no merge to take back", dataset->name),
				 errdetail("Its rows were there when it was adopted."),
				 errhint("drop_dataset(..., keep_tables => true) makes it an ordinary table again.")));
	if (refreshed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the last merge of %s cannot be taken back exactly", dataset->name),
				 errdetail("It brought untracked columns of " INT64_FORMAT
						   " unchanged rows up to date, and their values before are not kept.",
						   refreshed),
				 errhint("Merge the batch before it again.")));
	return receipt;
}

/* Raises if versions that the last merge ended, of which there were so many, are no longer in history. */
static void
ended_check(const DmDataset *dataset, int64 ended, int64 restored)
{
	if (restored != ended)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the last merge of %s cannot be taken back", dataset->name),
				 errdetail("It ended " INT64_FORMAT " versions, of which history has " INT64_FORMAT
						   ": prune_history or somebody else took the others out.",
						   ended,
						   restored)));
}

/* Takes the merge out of the shards that Citus keeps the rows in. */
static void
shards_undo(const DmDataset *dataset, DmUndoCounts *counts)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	dm_citus_undo(dataset, counts);
	PopActiveSnapshot();
}

/* Makes the versions of a feed what they are without the last merge's events. */
static void
events_undo(const DmDataset *dataset, DmUndoCounts *counts)
{
	DmMergeCounts ignored = {0};
	DmFeedChanges changes = {0};
	DmFeedSpec spec = {.dataset = dataset,
					   .merge_id = dataset->last_merge,
					   .is_undo = true,
					   .max_delete_percent = 100,
					   .counts = &ignored,
					   .changes = &changes};

	spec.current = table_open(dataset->current, NoLock);
	spec.history = table_open(dataset->history, NoLock);
	spec.points = table_open(dataset->feed, RowExclusiveLock);
	spec.shape = dm_shape_make(dataset, spec.current, spec.history);
	dm_feed_finish(dm_feed_begin(&spec));
	counts->removed = changes.removed;
	counts->restored = changes.restored;
	table_close(spec.points, NoLock);
	table_close(spec.history, NoLock);
	table_close(spec.current, NoLock);
}

/* True if the moment is, in the dataset's type, the effective date of its last merge. */
static bool
is_last_effective(const DmDataset *dataset, TimestampTz effective)
{
	Datum moment = dm_effective_make(dataset->effective_type, effective);

	if (dataset->effective_type == DATEOID)
		return DatumGetDateADT(dataset->last_effective) == DatumGetDateADT(moment);
	return DatumGetTimestampTz(dataset->last_effective) == DatumGetTimestampTz(moment);
}

/* True if the last merge of the dataset is its adoption. */
static bool
is_adoption(const DmDataset *dataset)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(dataset->last_merge)};
	DmCatalogScope scope;
	bool isnull;
	bool result;

	dm_catalog_begin(&scope);
	dm_catalog_execute("SELECT mode = 'adopt' FROM datamill.merge_catalog WHERE merge_id = $1",
					   lengthof(types),
					   types,
					   values,
					   NULL);
	result = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	dm_catalog_end(&scope);
	return result;
}
