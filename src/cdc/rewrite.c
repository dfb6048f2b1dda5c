/*
 * rewrite.c: writes columns of the current tables that no user writes: all rows are reached, and no trigger fires.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "cdc/rewrite.h"
#include "rows/table_leaves.h"
#include "rows/table_writer.h"

static int64 part_rewrite(const DmDataset *dataset, Oid current_oid, Oid history_oid, DmRewrite fill);
static void row_copy(TupleTableSlot *stored, TupleTableSlot *new);

/* Has fill change the rows of both current tables, under the active snapshot. Returns how many rows the plain one has. */
int64
dm_dataset_rewrite(const DmDataset *dataset, DmRewrite fill)
{
	int64 rows = part_rewrite(dataset, dataset->current, dataset->history, fill);

	if (OidIsValid(dataset->sensitive))
		part_rewrite(dataset, dataset->sensitive, dataset->sensitive_history, fill);
	CommandCounterIncrement();
	return rows;
}

/* As dm_dataset_rewrite, of one part. */
static int64
part_rewrite(const DmDataset *dataset, Oid current_oid, Oid history_oid, DmRewrite fill)
{
	Relation current = table_open(current_oid, ShareRowExclusiveLock);
	Relation history = table_open(history_oid, AccessShareLock);
	DmShape *shape = dm_shape_make(dataset, current, history);
	TupleTableSlot *slot = table_slot_create(current, NULL);
	TupleTableSlot *new = MakeSingleTupleTableSlot(RelationGetDescr(current), &TTSOpsVirtual);
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill rewritten row", ALLOCSET_DEFAULT_SIZES);
	Bitmapset *updated = bms_make_singleton(shape->row_hash - FirstLowInvalidHeapAttributeNumber);
	DmLeaves *leaves = dm_leaves_open(current);
	DmTableWriter *writer;
	int leaf;
	int64 rows = 0;

	dm_writers_begin();
	writer = dm_writer_open_silent(current, updated);
	dm_leaves_scan(leaves, GetActiveSnapshot(), 0);
	while (dm_leaves_next(leaves, slot, &leaf))
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		caller = MemoryContextSwitchTo(row_context);
		row_copy(slot, new);
		if (fill(shape, new))
			dm_writer_update(writer, slot, new);
		MemoryContextSwitchTo(caller);
		rows++;
	}
	dm_writer_close(writer);
	dm_writers_end();
	ExecDropSingleTupleTableSlot(slot);
	dm_leaves_close(leaves);
	ExecDropSingleTupleTableSlot(new);
	MemoryContextDelete(row_context);
	table_close(history, NoLock);
	table_close(current, NoLock);
	return rows;
}

/* Fills a virtual slot with the stored row, whose values stay where they are. */
static void
row_copy(TupleTableSlot *stored, TupleTableSlot *new)
{
	int natts = new->tts_tupleDescriptor->natts;

	slot_getallattrs(stored);
	ExecClearTuple(new);
	memcpy(new->tts_values, stored->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	ExecStoreVirtualTuple(new);
}
