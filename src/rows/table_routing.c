/*
 * table_routing.c: the rows of a partitioned table, each written to its partition.
 *
 * Invariants:
 * 1. A partition has a writer of its own, made when its first row comes. Which one a new row belongs to is asked of
 *    Postgres; a row that is none's raises 23514.
 * 2. An update that takes a row to another partition deletes it there and inserts it here, as UPDATE does: row triggers
 *    see that, transition tables and foreign keys that refer to the table see an update. BEFORE UPDATE triggers come
 *    first, since they may set the partition key. A BEFORE INSERT trigger that skips such a row raises 09000: the row is
 *    out of its partition by then.
 * 3. Rows that wait for their batch are bounded in number and bytes over all partitions together.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tupconvert.h"
#include "catalog/pg_trigger.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "utils/hsearch.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "rows/table_writer_internal.h"

#define QUEUED_ROWS 4000
#define QUEUED_BYTES (4 * 1024 * 1024)

/* A partition that was written. */
typedef struct Leaf
{
	Oid relid; /* the key in the table of partitions */
	DmTableWriter *writer;
	TupleConversionMap *map;  /* from rows of the whole to its own; NULL: they have the same columns */
	TupleTableSlot *new_slot; /* a row that is updated */
} Leaf;

struct DmRouting
{
	DmTableWriter *root;
	ModifyTableState *state;
	PartitionTupleRouting *tuples;
	TupleTableSlot *row;   /* to be inserted */
	TupleTableSlot *moved; /* that leaves its partition */
	HTAB *leaves;
	List *order;	   /* of Leaf*, as they were made */
	int queued_rows;   /* since all partitions were flushed */
	Size queued_bytes; /* likewise */
};

static Leaf *leaf_get(DmRouting *routing, Oid relid);
static Leaf *leaf_find(DmRouting *routing, TupleTableSlot *row);
static void row_convert(TupleConversionMap *map, TupleTableSlot *from, TupleTableSlot *to);
static bool before_update(DmRouting *routing, Leaf *leaf, TupleTableSlot *old_slot);
static bool row_stay(Leaf *leaf, TupleTableSlot *old_slot);
static bool row_move(DmRouting *routing, Leaf *from, TupleTableSlot *old_slot);
static bool row_take_out(Leaf *from, TupleTableSlot *old_slot);
static void references_update(DmRouting *routing, Leaf *from, Leaf *to, ItemPointer tid, TupleTableSlot *new_slot);

/* Begins routing for the writer of a partitioned table, in the current memory context. */
DmRouting *
dm_routing_begin(DmTableWriter *root)
{
	DmRouting *routing = palloc0(sizeof(DmRouting));
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(Leaf), .hcxt = CurrentMemoryContext};

	routing->root = root;
	routing->state = makeNode(ModifyTableState);
	routing->state->ps.state = root->estate;
	routing->state->operation = CMD_INSERT;
	routing->state->resultRelInfo = root->result;
	routing->state->rootResultRelInfo = root->result;
	routing->tuples = ExecSetupPartitionTupleRouting(root->estate, root->rel);
	routing->row = MakeSingleTupleTableSlot(RelationGetDescr(root->rel), &TTSOpsVirtual);
	routing->moved = MakeSingleTupleTableSlot(RelationGetDescr(root->rel), &TTSOpsVirtual);
	routing->leaves = hash_create("datamill partitions", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return routing;
}

/* Returns a cleared slot of the whole table's shape. */
TupleTableSlot *
dm_routing_slot(DmRouting *routing)
{
	ExecClearTuple(routing->row);
	return routing->row;
}

/* Inserts a row into its partition; false if a BEFORE trigger kept it out. */
bool
dm_routing_insert(DmRouting *routing, TupleTableSlot *slot)
{
	Leaf *leaf = leaf_find(routing, slot);
	TupleTableSlot *row = dm_writer_slot(leaf->writer);
	Size before = leaf->writer->queued_bytes;
	bool written;

	row_convert(leaf->map, slot, row);
	written = dm_writer_insert(leaf->writer, row);
	ResetPerTupleExprContext(routing->root->estate);
	routing->queued_rows++;
	routing->queued_bytes += leaf->writer->queued_bytes > before ? leaf->writer->queued_bytes - before : 0;
	if (routing->queued_rows >= QUEUED_ROWS || routing->queued_bytes >= QUEUED_BYTES)
		dm_routing_flush(routing);
	return written;
}

/* Updates a row, which stays in its partition or moves to another; false if a BEFORE trigger kept it as it was. */
bool
dm_routing_update(DmRouting *routing, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	Leaf *leaf = leaf_get(routing, old_slot->tts_tableOid);

	row_convert(leaf->map, new_slot, leaf->new_slot);
	if (!before_update(routing, leaf, old_slot))
		return false;
	if (!ExecPartitionCheck(leaf->writer->result, leaf->new_slot, routing->root->estate, false))
		return row_move(routing, leaf, old_slot);
	return row_stay(leaf, old_slot);
}

/* Deletes a row; false if a BEFORE trigger kept it. */
bool
dm_routing_delete(DmRouting *routing, TupleTableSlot *old_slot)
{
	return dm_writer_delete(leaf_get(routing, old_slot->tts_tableOid)->writer, old_slot);
}

/* Writes the rows that wait, and gives their slots back where there are many partitions. */
void
dm_routing_flush(DmRouting *routing)
{
	ListCell *cell;

	foreach (cell, routing->order)
	{
		DmTableWriter *writer = ((Leaf *) lfirst(cell))->writer;

		dm_writer_flush(writer);
		for (; list_length(routing->order) > 1 && writer->nslots > 0; writer->nslots--)
			ExecDropSingleTupleTableSlot(writer->slots[writer->nslots - 1]);
	}
	routing->queued_rows = 0;
	routing->queued_bytes = 0;
}

/* Closes the partitions; all rows have been written. */
void
dm_routing_end(DmRouting *routing)
{
	ListCell *cell;

	foreach (cell, routing->order)
	{
		Leaf *leaf = lfirst(cell);

		table_finish_bulk_insert(leaf->writer->rel, leaf->writer->options);
		dm_writer_close_leaf(leaf->writer);
		ExecDropSingleTupleTableSlot(leaf->new_slot);
		table_close(leaf->writer->rel, NoLock);
	}
	ExecCleanupTupleRouting(routing->state, routing->tuples);
	ExecDropSingleTupleTableSlot(routing->row);
	ExecDropSingleTupleTableSlot(routing->moved);
	hash_destroy(routing->leaves);
}

/* Returns a partition by its OID, opened when it is asked for first. */
static Leaf *
leaf_get(DmRouting *routing, Oid relid)
{
	bool found;
	Leaf *leaf = hash_search(routing->leaves, &relid, HASH_FIND, &found);
	MemoryContext caller;
	Relation rel;
	DmTableWriter *writer;

	if (found)
		return leaf;
	caller = MemoryContextSwitchTo(routing->root->context);
	rel = table_open(relid, RowExclusiveLock);
	writer = dm_writer_open_leaf(routing->root, rel);
	leaf = hash_search(routing->leaves, &relid, HASH_ENTER, &found);
	leaf->writer = writer;
	leaf->map = convert_tuples_by_name(RelationGetDescr(routing->root->rel), RelationGetDescr(rel));
	leaf->new_slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	routing->order = lappend(routing->order, leaf);
	MemoryContextSwitchTo(caller);
	return leaf;
}

/* Returns the partition that a row of the whole belongs to. Raises 23514 if there is none. */
static Leaf *
leaf_find(DmRouting *routing, TupleTableSlot *row)
{
	ResultRelInfo *found =
		ExecFindPartition(routing->state, routing->root->result, routing->tuples, row, routing->root->estate);

	return leaf_get(routing, RelationGetRelid(found->ri_RelationDesc));
}

/* Fills a slot with a row of another slot, whose columns may stand elsewhere; the values are those of the other. */
static void
row_convert(TupleConversionMap *map, TupleTableSlot *from, TupleTableSlot *to)
{
	int natts = to->tts_tupleDescriptor->natts;

	if (map)
	{
		execute_attr_map_slot(map->attrMap, from, to);
		return;
	}
	slot_getallattrs(from);
	ExecClearTuple(to);
	memcpy(to->tts_values, from->tts_values, sizeof(Datum) * natts);
	memcpy(to->tts_isnull, from->tts_isnull, sizeof(bool) * natts);
	ExecStoreVirtualTuple(to);
}

/* Fires the BEFORE UPDATE triggers on the new values in the partition's new_slot; false if one keeps the row as it is. */
static bool
before_update(DmRouting *routing, Leaf *leaf, TupleTableSlot *old_slot)
{
	DmTableWriter *root = routing->root;
	TriggerDesc *triggers = leaf->writer->result->ri_TrigDesc;
	TM_FailureData failure;
	TM_Result result;

	if (!triggers || !triggers->trig_update_before_row)
		return true;
	return dm_before_update(
		root->estate, root->epq, leaf->writer->result, &old_slot->tts_tid, leaf->new_slot, &result, &failure);
}

/* Updates a row that stays in its partition, after before_update(). Returns true. */
static bool
row_stay(Leaf *leaf, TupleTableSlot *old_slot)
{
	ResultRelInfo *result = leaf->writer->result;
	TriggerDesc *all = result->ri_TrigDesc;
	TriggerDesc others = {0};

	/* a copy of the result would make slots of its own for each row */
	if (all)
	{
		others = *all;
		others.trig_update_before_row = false;
		result->ri_TrigDesc = &others;
	}
	(void) dm_writer_update(leaf->writer, old_slot, leaf->new_slot);
	result->ri_TrigDesc = all;
	return true;
}

/* Moves a row, whose new values are in the partition's new_slot, to another partition; as dm_routing_update. */
static bool
row_move(DmRouting *routing, Leaf *from, TupleTableSlot *old_slot)
{
	DmTableWriter *root = routing->root;
	Leaf *to;
	TupleTableSlot *row;

	row_convert(ExecGetChildToRootMap(from->writer->result), from->new_slot, routing->moved);
	to = leaf_find(routing, routing->moved);
	if (!row_take_out(from, old_slot))
		return false;
	row = dm_writer_slot(to->writer);
	row_convert(to->map, routing->moved, row);
	row->tts_tableOid = to->relid;
	ItemPointerSetInvalid(&row->tts_tid);
	ExecSimpleRelationInsert(to->writer->result, root->estate, row);
	if (!ItemPointerIsValid(&row->tts_tid))
		dm_writer_raise_skipped(to->writer);
	dm_writer_capture(to->writer, DM_CAPTURE_UPDATE, NULL, row);
	references_update(routing, from, to, &old_slot->tts_tid, row);
	ResetPerTupleExprContext(root->estate);
	return true;
}

/* Deletes a row that goes to another partition; false if a BEFORE trigger kept it. */
static bool
row_take_out(Leaf *from, TupleTableSlot *old_slot)
{
	DmTableWriter *writer = from->writer;
	ResultRelInfo *result = writer->result;
	TriggerDesc *all = result->ri_TrigDesc;
	TriggerDesc before_only = {0};

	/* what fires after it has to be told that the row only moves */
	if (all)
	{
		before_only = *all;
		before_only.trig_delete_after_row = false;
		result->ri_TrigDesc = &before_only;
	}
	ExecSimpleRelationDelete(result, writer->estate, writer->epq, old_slot);
	result->ri_TrigDesc = all;
	if (before_only.trig_delete_before_row && dm_writer_is_stored(writer, &old_slot->tts_tid))
		return false;
	ExecARDeleteTriggers(writer->estate, writer->result, &old_slot->tts_tid, NULL, NULL, true);
	dm_writer_capture(writer, DM_CAPTURE_UPDATE, &old_slot->tts_tid, NULL);
	return true;
}

/* Has foreign keys that refer to the partitioned table see an update of the row. */
static void
references_update(DmRouting *routing, Leaf *from, Leaf *to, ItemPointer tid, TupleTableSlot *new_slot)
{
	DmTableWriter *root = routing->root;
	TriggerDesc *triggers = from->writer->result->ri_TrigDesc;
	MemoryContext caller;
	List *ancestors;
	ListCell *cell;

	if (!triggers || !triggers->trig_update_after_row)
		return;
	caller = MemoryContextSwitchTo(root->context); /* the list is kept */
	ancestors = ExecGetAncestorResultRels(root->estate, from->writer->result);
	MemoryContextSwitchTo(caller);
	foreach (cell, ancestors)
	{
		ResultRelInfo *ancestor = lfirst(cell);
		TriggerDesc *own = ancestor->ri_TrigDesc;

		if (ancestor == root->result || !own)
			continue;
		for (int i = 0; i < own->numtriggers; i++)
		{
			if (!own->triggers[i].tgisclone && RI_FKey_trigger_type(own->triggers[i].tgfoid) == RI_TRIGGER_PK)
				ereport(
					ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a row of \"%s\" cannot move to another partition", RelationGetRelationName(root->rel)),
					 errdetail("A foreign key refers to \"%s\", which the row would leave.",
							   RelationGetRelationName(ancestor->ri_RelationDesc)),
					 errhint("Let the foreign key refer to \"%s\".", RelationGetRelationName(root->rel))));
		}
	}
	ExecARUpdateTriggers(
		root->estate, root->result, from->writer->result, to->writer->result, tid, NULL, new_slot, NIL, NULL, true);
}
