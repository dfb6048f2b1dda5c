/*
 * undo_part.c: takes the last merge out of one part of a dataset: a current table and its history.
 *
 * Invariants:
 * 1. A row of current that the merge made goes if the merge ended no version of its key, and is updated to that version if
 *    it did; a version of another key is inserted. So triggers and foreign keys see what the merge did, the other way round.
 * 2. Rows that the merge inserted go first; then its deletes and updates are taken back from the last to the first, as they
 *    lie in history: values that must be unique besides the key pass back the way they came.
 * 3. A row that a BEFORE trigger skips raises 09000.
 * 4. Keys are matched by hashes and compared by the types' own equality, as in a merge, and in as much memory.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/guc.h"
#include "cdc/history.h"
#include "cdc/keytable.h"
#include "cdc/undo_part.h"
#include "rows/row_sort.h"
#include "rows/table_leaves.h"
#include "rows/table_writer.h"

/* Columns of a row that tells where a version is that the merge ended. */
enum
{
	PLACE_ENDED,   /* in history: its packed tuple id, negated, so that the last ones are sorted first */
	PLACE_CURRENT, /* in current, likewise, the row of its key that the merge made; NULL: there is none */
	PLACE_COLUMNS
};

typedef struct Undo
{
	const DmShape *shape; /* of the part */
	int64 merge_id;
	DmUndoCounts *counts;
	Snapshot snapshot;
	Relation current;
	Relation history; /* the partition that the merge wrote, if there are any */
	DmLeaves *current_leaves;
	DmLeaves *history_leaves;
	DmTableWriter *current_writer;
	DmTableWriter *history_writer;
	TupleTableSlot *stored;	  /* a row of current */
	TupleTableSlot *ended;	  /* a row of history */
	TupleTableSlot *row;	  /* what current gets, virtual */
	TupleTableSlot *place;	  /* virtual */
	TupleTableSlot *put;	  /* a place that was set aside */
	DmKeyTable *made;		  /* keys of the rows of current that the merge made */
	Tuplesortstate *places;	  /* of versions that it ended, the last ones first */
	AttrNumber *ended_column; /* attribute of history of each wanted column */
	Datum *values;			  /* of the wanted columns */
	bool *nulls;
	uint64 hash_mask;
	MemoryContext row_context; /* reset for each row */
	pg_uuid_t key_hash;
	pg_uuid_t row_hash;
} Undo;

static void undo_begin(Undo *undo, const DmDataset *dataset);
static void undo_end(Undo *undo);
static void made_find(Undo *undo);
static void row_unstamp(Undo *undo);
static void ended_find(Undo *undo);
static void ended_take(Undo *undo, uint64 hash, uint64 ended);
static int64 made_match(Undo *undo, uint64 hash);
static bool keys_equal(Undo *undo);
static void set_aside_take(Undo *undo);
static void inserted_remove(Undo *undo);
static void ended_restore(Undo *undo);
static void row_restore(Undo *undo, bool is_stored);
static void row_fill(Undo *undo, TupleTableSlot *row);
static uint64 key_hash64(Undo *undo, TupleTableSlot *slot, const AttrNumber *columns);
static void row_fetch(Undo *undo, DmLeaves *leaves, uint64 place, TupleTableSlot *slot);

/*
 * Removes the versions that the last merge made and restores those that it ended: of a history with partitions, they are in
 * one. Adds to *counts. The active snapshot is the one that is looked at. Raises for tables that are not of this database.
 */
void
dm_undo_part(const DmDataset *dataset, Oid current, Oid history, DmUndoCounts *counts)
{
	Undo undo = {.merge_id = dataset->last_merge, .counts = counts, .snapshot = GetActiveSnapshot()};
	Oid leaf = dm_history_find(dataset, history, dataset->last_effective);

	undo.current = table_open(current, NoLock);
	undo.history = table_open(OidIsValid(leaf) ? leaf : history, ShareRowExclusiveLock);
	undo_begin(&undo, dataset);
	made_find(&undo);
	if (OidIsValid(leaf))
	{
		undo.history_leaves = dm_leaves_open(undo.history);
		undo.history_writer = dm_writer_open(
			undo.history, bms_make_singleton(undo.shape->history_end - FirstLowInvalidHeapAttributeNumber), false);
		dm_writer_must_write(undo.history_writer);
		ended_find(&undo);
	}
	inserted_remove(&undo);
	while (dm_keytable_next_partition(undo.made))
	{
		set_aside_take(&undo);
		inserted_remove(&undo);
	}
	ended_restore(&undo);
	undo_end(&undo);
	table_close(undo.history, NoLock);
	table_close(undo.current, NoLock);
}

/* Opens what reads and writes current, and makes room for places. */
static void
undo_begin(Undo *undo, const DmDataset *dataset)
{
	static AttrNumber order[] = {PLACE_ENDED + 1};
	TupleDesc places = CreateTemplateTupleDesc(PLACE_COLUMNS);
	DmShape *shape = dm_shape_make(dataset, undo->current, undo->history);
	int natts = shape->wanted->natts;

	for (int i = 0; i < PLACE_COLUMNS; i++)
		TupleDescInitEntry(places, i + 1, NULL, INT8OID, -1, 0);
	undo->shape = shape;
	undo->current_leaves = dm_leaves_open(undo->current);
	undo->stored = table_slot_create(undo->current, NULL);
	undo->ended = table_slot_create(undo->history, NULL);
	undo->row = MakeSingleTupleTableSlot(RelationGetDescr(undo->current), &TTSOpsVirtual);
	undo->place = MakeSingleTupleTableSlot(places, &TTSOpsVirtual);
	undo->put = MakeSingleTupleTableSlot(places, &TTSOpsMinimalTuple);
	undo->places = dm_row_sort_begin(places, order, lengthof(order));
	undo->values = palloc0(sizeof(Datum) * natts);
	undo->nulls = palloc0(sizeof(bool) * natts);
	undo->ended_column = palloc0(sizeof(AttrNumber) * natts);
	for (int i = 0; i < RelationGetNumberOfAttributes(undo->history); i++)
	{
		for (int k = 0; shape->history_from[i] != 0 && k < natts; k++)
		{
			if (shape->current_attribute[k] == shape->history_from[i])
				undo->ended_column[k] = i + 1;
		}
	}
	undo->hash_mask = dm_guc_hash_bits >= 64 ? ~UINT64CONST(0) : (UINT64CONST(1) << dm_guc_hash_bits) - 1;
	undo->row_context = AllocSetContextCreate(CurrentMemoryContext, "datamill undo row", ALLOCSET_DEFAULT_SIZES);
	dm_writers_begin();
	undo->current_writer = dm_writer_open(undo->current, dm_shape_updated(shape), false);
	dm_writer_must_write(undo->current_writer);
}

/* Fires triggers and closes all. */
static void
undo_end(Undo *undo)
{
	if (undo->history_writer)
		dm_writer_close(undo->history_writer);
	dm_writer_close(undo->current_writer);
	dm_writers_end();
	tuplesort_end(undo->places);
	ExecDropSingleTupleTableSlot(undo->put);
	ExecDropSingleTupleTableSlot(undo->place);
	ExecDropSingleTupleTableSlot(undo->row);
	ExecDropSingleTupleTableSlot(undo->ended);
	ExecDropSingleTupleTableSlot(undo->stored);
	if (undo->history_leaves)
		dm_leaves_close(undo->history_leaves);
	dm_leaves_close(undo->current_leaves);
	MemoryContextDelete(undo->row_context);
}

/*
 * Notes the keys of the rows of current that the merge made. Of the others, operation tells again what made them: what the
 * merge before found of them, where it was stamped, is not kept.
 */
static void
made_find(Undo *undo)
{
	DmLeaves *leaves = undo->current_leaves;
	BlockNumber blocks = dm_leaves_are_many(leaves) ? 0 : dm_leaves_blocks(leaves);
	int leaf;

	undo->made = dm_keytable_make(get_hash_memory_limit(), 0, blocks);
	dm_leaves_scan(leaves, undo->snapshot, 0);
	while (dm_leaves_next(leaves, undo->stored, &leaf))
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(undo->row_context);
		caller = MemoryContextSwitchTo(undo->row_context);
		slot_getallattrs(undo->stored);
		if (DatumGetInt64(undo->stored->tts_values[undo->shape->merge - 1]) == undo->merge_id)
		{
			dm_keytable_add(undo->made,
							key_hash64(undo, undo->stored, undo->shape->current_attribute),
							dm_tid_pack(leaf, &undo->stored->tts_tid));
			undo->counts->removed++;
		}
		else if (undo->shape->made_by != 0)
			row_unstamp(undo);
		MemoryContextSwitchTo(caller);
	}
	ExecClearTuple(undo->stored);
	dm_leaves_scan_end(leaves);
}

/* Sets operation of the stored row to what made the version, if it is something else. */
static void
row_unstamp(Undo *undo)
{
	const DmShape *shape = undo->shape;
	const TupleTableSlot *stored = undo->stored;
	TupleTableSlot *new = undo->row;
	int natts = new->tts_tupleDescriptor->natts;

	if (DatumGetChar(stored->tts_values[shape->operation - 1]) ==
		DatumGetChar(stored->tts_values[shape->made_by - 1]))
		return;
	ExecClearTuple(new);
	memcpy(new->tts_values, stored->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	new->tts_values[shape->operation - 1] = new->tts_values[shape->made_by - 1];
	ExecStoreVirtualTuple(new);
	dm_writer_update(undo->current_writer, undo->stored, new);
}

/* Finds the versions in history that the merge ended, and takes them. */
static void
ended_find(Undo *undo)
{
	int leaf;

	dm_leaves_scan(undo->history_leaves, undo->snapshot, 0);
	while (dm_leaves_next(undo->history_leaves, undo->ended, &leaf))
	{
		MemoryContext caller;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(slot_getattr(undo->ended, undo->shape->history_ended_merge, &isnull)) != undo->merge_id)
			continue;
		MemoryContextReset(undo->row_context);
		caller = MemoryContextSwitchTo(undo->row_context);
		ended_take(
			undo, key_hash64(undo, undo->ended, undo->ended_column), dm_tid_pack(leaf, &undo->ended->tts_tid));
		MemoryContextSwitchTo(caller);
		undo->counts->restored++;
	}
	ExecClearTuple(undo->ended);
	dm_leaves_scan_end(undo->history_leaves);
}

/* Takes those whose keys are of the partition in memory, which were set aside. */
static void
set_aside_take(Undo *undo)
{
	uint64 hash;

	while (dm_keytable_get_row(undo->made, undo->put, &hash))
	{
		MemoryContext caller;
		uint64 ended;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(undo->row_context);
		caller = MemoryContextSwitchTo(undo->row_context);
		ended = (uint64) -DatumGetInt64(slot_getattr(undo->put, PLACE_ENDED + 1, &isnull));
		row_fetch(undo, undo->history_leaves, ended, undo->ended);
		ended_take(undo, hash, ended);
		MemoryContextSwitchTo(caller);
	}
	ExecClearTuple(undo->ended);
}

/* Takes the version in undo->ended, at that place: sorts it in with the row of current of its key, or sets it aside. */
static void
ended_take(Undo *undo, uint64 hash, uint64 ended)
{
	bool is_here = dm_keytable_is_here(undo->made, hash);
	int64 position = is_here ? made_match(undo, hash) : DM_KEY_NONE;
	TupleTableSlot *place = undo->place;

	ExecClearTuple(place);
	place->tts_values[PLACE_ENDED] = Int64GetDatum(-(int64) ended);
	place->tts_isnull[PLACE_ENDED] = false;
	place->tts_isnull[PLACE_CURRENT] = position == DM_KEY_NONE;
	if (position != DM_KEY_NONE)
		place->tts_values[PLACE_CURRENT] = Int64GetDatum(-(int64) dm_keytable_tid(undo->made, position));
	ExecStoreVirtualTuple(place);
	if (is_here)
		tuplesort_puttupleslot(undo->places, place);
	else
		dm_keytable_put_row(undo->made, hash, place);
}

/* Marks the row that the merge made of the key in undo->ended and returns its position, or DM_KEY_NONE. */
static int64
made_match(Undo *undo, uint64 hash)
{
	int64 position = dm_keytable_find(undo->made, hash);

	for (; position != DM_KEY_NONE; position = dm_keytable_find_next(undo->made, hash, position))
	{
		row_fetch(undo, undo->current_leaves, dm_keytable_tid(undo->made, position), undo->stored);
		if (keys_equal(undo) && dm_keytable_mark(undo->made, position))
			break;
	}
	ExecClearTuple(undo->stored);
	return position;
}

/* True if the rows in undo->ended and undo->stored have the same key. */
static bool
keys_equal(Undo *undo)
{
	const DmShape *shape = undo->shape;

	slot_getallattrs(undo->ended);
	for (int i = 0; i < shape->nkeys; i++)
	{
		int key = shape->keys[i];
		int stored = shape->current_attribute[key] - 1;
		int ended = undo->ended_column[key] - 1;

		if (!dm_value_equal(&shape->ops->columns[key],
							undo->ended->tts_values[ended],
							undo->ended->tts_isnull[ended],
							undo->stored->tts_values[stored],
							undo->stored->tts_isnull[stored]))
			return false;
	}
	return true;
}

/* Deletes the rows of the partition in memory that have no version that the merge ended. */
static void
inserted_remove(Undo *undo)
{
	uint64 count;
	uint64 *places = dm_keytable_unmarked(undo->made, &count);

	(void) dm_tids_sort(places, count, 0);
	for (uint64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		undo->stored->tts_tableOid =
			RelationGetRelid(dm_leaves_relation(undo->current_leaves, dm_tid_leaf(places[i])));
		dm_tid_unpack(places[i], &undo->stored->tts_tid);
		dm_writer_delete(undo->current_writer, undo->stored);
	}
	pfree(places);
}

/* Moves the versions that the merge ended back to current, the last ones first. */
static void
ended_restore(Undo *undo)
{
	tuplesort_performsort(undo->places);
	while (tuplesort_gettupleslot(undo->places, true, false, undo->put, NULL))
	{
		MemoryContext caller;
		bool is_null;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(undo->row_context);
		caller = MemoryContextSwitchTo(undo->row_context);
		slot_getallattrs(undo->put);
		is_null = undo->put->tts_isnull[PLACE_CURRENT];
		row_fetch(
			undo, undo->history_leaves, (uint64) -DatumGetInt64(undo->put->tts_values[PLACE_ENDED]), undo->ended);
		if (!is_null)
			row_fetch(undo,
					  undo->current_leaves,
					  (uint64) -DatumGetInt64(undo->put->tts_values[PLACE_CURRENT]),
					  undo->stored);
		row_restore(undo, !is_null);
		dm_writer_delete(undo->history_writer, undo->ended);
		MemoryContextSwitchTo(caller);
	}
	ExecClearTuple(undo->ended);
	ExecClearTuple(undo->stored);
}

/* Writes the version in undo->ended to current: over the row in undo->stored if is_stored, else as a new one. */
static void
row_restore(Undo *undo, bool is_stored)
{
	TupleTableSlot *row = is_stored ? undo->row : dm_writer_slot(undo->current_writer);
	int natts = row->tts_tupleDescriptor->natts;

	if (!is_stored)
	{
		memset(row->tts_isnull, true, sizeof(bool) * natts);
		memset(row->tts_values, 0, sizeof(Datum) * natts);
		row_fill(undo, row);
		dm_writer_insert(undo->current_writer, row);
		return;
	}
	ExecClearTuple(row);
	memcpy(row->tts_values, undo->stored->tts_values, sizeof(Datum) * natts);
	memcpy(row->tts_isnull, undo->stored->tts_isnull, sizeof(bool) * natts);
	row_fill(undo, row);
	dm_writer_update(undo->current_writer, undo->stored, row);
}

/* Sets a column of a slot that is being filled. */
static inline void
column_set(TupleTableSlot *slot, AttrNumber attribute, Datum value)
{
	slot->tts_values[attribute - 1] = value;
	slot->tts_isnull[attribute - 1] = false;
}

/* Sets the columns of a row of current to those of the version in undo->ended, with its hashes computed anew. */
static void
row_fill(Undo *undo, TupleTableSlot *row)
{
	const DmShape *shape = undo->shape;
	const TupleTableSlot *from = undo->ended;

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
		undo->values[i] = row->tts_values[shape->current_attribute[i] - 1];
		undo->nulls[i] = row->tts_isnull[shape->current_attribute[i] - 1];
	}
	dm_row_hash(shape->ops, undo->values, undo->nulls, shape->keys, shape->nkeys, undo->key_hash.data);
	dm_row_hash(shape->ops, undo->values, undo->nulls, shape->hashed, shape->nhashed, undo->row_hash.data);
	if (shape->made_by != 0)
		column_set(row, shape->operation, row->tts_values[shape->made_by - 1]);
	column_set(row, shape->key_hash, UUIDPGetDatum(&undo->key_hash));
	column_set(row, shape->row_hash, UUIDPGetDatum(&undo->row_hash));
	ExecStoreVirtualTuple(row);
}

/* Returns the hash by which the key of a row is looked up; columns: its attribute of each wanted column. */
static uint64
key_hash64(Undo *undo, TupleTableSlot *slot, const AttrNumber *columns)
{
	const DmShape *shape = undo->shape;
	uint8 hash[DM_HASH_BYTES];
	uint64 low;

	slot_getallattrs(slot);
	for (int i = 0; i < shape->nkeys; i++)
	{
		int key = shape->keys[i];

		undo->values[key] = slot->tts_values[columns[key] - 1];
		undo->nulls[key] = slot->tts_isnull[columns[key] - 1];
	}
	dm_row_hash(shape->ops, undo->values, undo->nulls, shape->keys, shape->nkeys, hash);
	memcpy(&low, hash, sizeof(low));
	return low & undo->hash_mask;
}

/* Fetches the row at a place that a scan found it at. */
static void
row_fetch(Undo *undo, DmLeaves *leaves, uint64 place, TupleTableSlot *slot)
{
	ItemPointerData tid;

	dm_tid_unpack(place, &tid);
	if (!dm_leaves_fetch(leaves, dm_tid_leaf(place), &tid, undo->snapshot, slot))
		elog(ERROR, "a row that was found is gone");
	slot_getallattrs(slot);
}
