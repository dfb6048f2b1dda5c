/*
 * undo.c: takes the last merge of a dataset back, and replaces the batch of the last effective date.
 *
 * What a merge wrote carries its id: versions it made are in current, versions it ended in history. So the state before
 * it is current without the former and with the latter. Untracked columns that it brought up to date are not kept
 * anywhere: such a merge cannot be taken back exactly, and is refused.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/catalog.h"
#include "cdc/cdc.h"
#include "cdc/citus.h"
#include "cdc/feed.h"
#include "cdc/history.h"
#include "receipt/receipt.h"
#include "rows/table_leaves.h"
#include "rows/table_writer.h"

typedef struct Undo
{
	const DmShape *shape; /* of the part */
	Relation current;
	Relation history;
	int64 merge_id;
	DmTableWriter *current_writer;
	DmTableWriter *history_writer;
	DmUndoCounts *counts;
	pg_uuid_t key_hash;
	pg_uuid_t row_hash;
} Undo;

static void dataset_open(const char *target, DmDataset *dataset);
static char *merge_forget(const DmDataset *dataset);
static void pruned_check(const DmDataset *dataset, int64 ended);
static void part_undo(const DmDataset *dataset, Oid current, Oid history, DmUndoCounts *counts);
static void shards_undo(const DmDataset *dataset, DmUndoCounts *counts);
static void events_undo(const DmDataset *dataset, DmUndoCounts *counts);
static void made_remove(Undo *undo);
static void row_unstamp(Undo *undo, TupleTableSlot *stored, TupleTableSlot *new);
static void ended_restore(Undo *undo);
static void row_restore(Undo *undo, TupleTableSlot *from);
static bool is_last_effective(const DmDataset *dataset, TimestampTz effective);

/* Takes the last merge of the dataset back. Fills *counts; returns the id of the undo's receipt. */
char *
dm_cdc_undo(const char *target, DmUndoCounts *counts)
{
	DmDataset dataset;
	DmReceipt *receipt;
	DmReceiptOutput output = {0};
	DmUndoCounts sensitive = {0};
	char *undone;

	PreventCommandIfReadOnly("cdc_undo()");
	PreventCommandIfParallelMode("cdc_undo()");
	memset(counts, 0, sizeof(*counts));
	dataset_open(target, &dataset);
	if (dataset.last_merge == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dataset %s has no merge to take back", dataset.name)));
	undone = merge_forget(&dataset);
	if (dataset.distributed_by)
		shards_undo(&dataset, counts);
	receipt = dm_receipt_begin(
		"cdc_undo",
		dataset.name,
		psprintf("{\"merge_id\": " INT64_FORMAT ", \"receipt\": \"%s\"}", dataset.last_merge, undone));
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(dataset.feed))
		events_undo(&dataset, counts);
	else if (!dataset.distributed_by)
		part_undo(&dataset, dataset.current, dataset.history, counts);
	if (OidIsValid(dataset.sensitive))
		part_undo(&dataset, dataset.sensitive, dataset.sensitive_history, &sensitive);
	PopActiveSnapshot();
	CommandCounterIncrement();
	counts->merge_id = dataset.last_merge;
	output.uri = dataset.name;
	output.counts = psprintf(
		"{\"removed\": " INT64_FORMAT ", \"restored\": " INT64_FORMAT "}", counts->removed, counts->restored);
	dm_receipt_output(receipt, &output);
	return dm_receipt_write(receipt);
}

/*
 * Takes back every merge of the last effective date, which must be the one given, and merges the source in their place.
 * Returns as dm_cdc_merge().
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
	while (dataset.last_merge != 0 && is_last_effective(&dataset, spec->effective))
	{
		dm_cdc_undo(spec->target, &undone);
		dm_dataset_find(dataset.current, &dataset);
	}
	return dm_cdc_merge(spec, counts);
}

/* Finds the dataset of a target, locks it and checks rights. Raises if there is none. */
static void
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
	if (!OidIsValid(dataset->sensitive))
		return;
	LockRelationOid(dataset->sensitive, ShareRowExclusiveLock);
	LockRelationOid(dataset->sensitive_history, ShareRowExclusiveLock);
}

/* Takes the last merge out of the log and returns its receipt's id. Raises 0A000 if it refreshed untracked columns. */
static char *
merge_forget(const DmDataset *dataset)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(dataset->last_merge)};
	DmCatalogScope scope;
	bool isnull;
	int64 refreshed;
	int64 ended;
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
	ended = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	is_adoption = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	dm_catalog_end(&scope);
	if (is_adoption)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dataset %s has no merge to take back", dataset->name),
				 errdetail("Its rows were there when it was adopted."),
				 errhint("drop_dataset(..., keep_tables => true) makes it an ordinary table again.")));
	pruned_check(dataset, ended);
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
pruned_check(const DmDataset *dataset, int64 ended)
{
	if (ended == 0 || OidIsValid(dataset->feed) || !dm_history_is_pruned(dataset, dataset->last_effective))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("the last merge of %s cannot be taken back", dataset->name),
		 errdetail("It ended " INT64_FORMAT " versions, which prune_history has taken out of history.", ended)));
}

/*
 * Removes the versions of one part that the last merge made and restores those that it ended: of a history with
 * partitions, they are in one.
 */
static void
part_undo(const DmDataset *dataset, Oid current, Oid history, DmUndoCounts *counts)
{
	Undo undo = {.merge_id = dataset->last_merge, .counts = counts};
	Bitmapset *none = bms_make_singleton(1 - FirstLowInvalidHeapAttributeNumber);

	Oid leaf = dm_history_find(dataset, history, dataset->last_effective);

	undo.current = table_open(current, NoLock);
	undo.history = table_open(OidIsValid(leaf) ? leaf : history, ShareRowExclusiveLock);
	undo.shape = dm_shape_make(dataset, undo.current, undo.history);
	dm_writers_begin();
	undo.current_writer = dm_writer_open(undo.current, none, false);
	made_remove(&undo);
	if (OidIsValid(leaf))
	{
		undo.history_writer = dm_writer_open(undo.history, none, false);
		ended_restore(&undo);
		dm_writer_close(undo.history_writer);
	}
	dm_writer_close(undo.current_writer);
	dm_writers_end();
	table_close(undo.history, NoLock);
	table_close(undo.current, NoLock);
}

/* Does the same by SQL on the shards that Citus keeps the rows in. */
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

/*
 * Deletes the rows of current that the merge made. Of the others, operation tells again what made them: what the merge
 * before found of them, where it was stamped, is not kept.
 */
static void
made_remove(Undo *undo)
{
	TupleTableSlot *slot = table_slot_create(undo->current, NULL);
	TupleTableSlot *unstamped = MakeSingleTupleTableSlot(RelationGetDescr(undo->current), &TTSOpsVirtual);
	DmLeaves *leaves = dm_leaves_open(undo->current);
	int leaf;

	dm_leaves_scan(leaves, GetActiveSnapshot(), 0);
	while (dm_leaves_next(leaves, slot, &leaf))
	{
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(slot_getattr(slot, undo->shape->merge, &isnull)) != undo->merge_id)
		{
			if (undo->shape->made_by != 0)
				row_unstamp(undo, slot, unstamped);
			continue;
		}
		dm_writer_delete(undo->current_writer, slot);
		undo->counts->removed++;
	}
	ExecDropSingleTupleTableSlot(slot);
	dm_leaves_close(leaves);
	ExecDropSingleTupleTableSlot(unstamped);
}

/* Sets operation to what made the version, if it is something else. new is a virtual slot of current's shape. */
static void
row_unstamp(Undo *undo, TupleTableSlot *stored, TupleTableSlot *new)
{
	const DmShape *shape = undo->shape;
	int natts = new->tts_tupleDescriptor->natts;

	slot_getallattrs(stored);
	if (DatumGetChar(stored->tts_values[shape->operation - 1]) ==
		DatumGetChar(stored->tts_values[shape->made_by - 1]))
		return;
	ExecClearTuple(new);
	memcpy(new->tts_values, stored->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	new->tts_values[shape->operation - 1] = new->tts_values[shape->made_by - 1];
	ExecStoreVirtualTuple(new);
	dm_writer_update(undo->current_writer, stored, new);
}

/* Moves the rows of history that the merge ended back to current. */
static void
ended_restore(Undo *undo)
{
	TupleTableSlot *slot = table_slot_create(undo->history, NULL);
	TableScanDesc scan = table_beginscan(undo->history, GetActiveSnapshot(), 0, NULL);
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill undo row", ALLOCSET_DEFAULT_SIZES);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext caller;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(slot_getattr(slot, undo->shape->history_ended_merge, &isnull)) != undo->merge_id)
			continue;
		MemoryContextReset(row_context);
		caller = MemoryContextSwitchTo(row_context);
		slot_getallattrs(slot);
		row_restore(undo, slot);
		dm_writer_delete(undo->history_writer, slot);
		undo->counts->restored++;
		MemoryContextSwitchTo(caller);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

/* Inserts a version from history into current, with its hashes computed anew. */
static void
row_restore(Undo *undo, TupleTableSlot *from)
{
	const DmShape *shape = undo->shape;
	TupleTableSlot *row = dm_writer_slot(undo->current_writer);
	int natts = row->tts_tupleDescriptor->natts;
	Datum *values = palloc0(sizeof(Datum) * shape->wanted->natts);
	bool *nulls = palloc0(sizeof(bool) * shape->wanted->natts);

	memset(row->tts_isnull, true, sizeof(bool) * natts);
	memset(row->tts_values, 0, sizeof(Datum) * natts);
	for (int i = 0; i < from->tts_tupleDescriptor->natts; i++)
	{
		AttrNumber to = shape->history_from[i];

		if (to == 0 || TupleDescAttr(row->tts_tupleDescriptor, to - 1)->attgenerated)
			continue;
		row->tts_values[to - 1] = from->tts_values[i];
		row->tts_isnull[to - 1] = from->tts_isnull[i];
	}
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		values[i] = row->tts_values[shape->current_attribute[i] - 1];
		nulls[i] = row->tts_isnull[shape->current_attribute[i] - 1];
	}
	dm_row_hash(shape->ops, values, nulls, shape->keys, shape->nkeys, undo->key_hash.data);
	dm_row_hash(shape->ops, values, nulls, shape->hashed, shape->nhashed, undo->row_hash.data);
	if (shape->made_by != 0)
	{
		row->tts_values[shape->operation - 1] = row->tts_values[shape->made_by - 1];
		row->tts_isnull[shape->operation - 1] = false;
	}
	row->tts_values[shape->key_hash - 1] = UUIDPGetDatum(&undo->key_hash);
	row->tts_isnull[shape->key_hash - 1] = false;
	row->tts_values[shape->row_hash - 1] = UUIDPGetDatum(&undo->row_hash);
	row->tts_isnull[shape->row_hash - 1] = false;
	ExecStoreVirtualTuple(row);
	dm_writer_insert(undo->current_writer, row);
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
