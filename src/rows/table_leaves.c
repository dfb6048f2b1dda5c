/*
 * table_leaves.c: the rows of a table, or of all partitions of a partitioned table, one after another.
 *
 * Of an ordinary table, a row goes to the caller's slot as it is. Of a partition, it is read into a slot of the
 * partition's, whose columns may stand elsewhere, and its values are put into the caller's slot, which is one of the
 * whole; the slot's tuple id and table say where it is.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "rows/table_leaves.h"

typedef struct Leaf
{
	Relation rel;
	TupleTableSlot *slot; /* a row of it; NULL for an ordinary table */
	AttrMap *map;		  /* from its rows to those of the whole; NULL: they have the same columns */
	BlockNumber first;	  /* pages of the leaves before it, as dm_leaves_blocks() found them */
} Leaf;

struct DmLeaves
{
	MemoryContext context; /* of scans */
	Relation whole;
	int count;
	Leaf *leaves;
	Snapshot snapshot;
	BlockNumber keep;	/* pages of an ordinary table that the scan shall leave in the buffers */
	BlockNumber left;	/* pages that it has still to come to, once it is at its end */
	TableScanDesc scan; /* of one leaf; NULL outside of a scan */
	int scanned;		/* which */
};

static void leaf_open(DmLeaves *leaves, Oid relid);
static void leaf_scan(DmLeaves *leaves);
static void scan_begin(DmLeaves *leaves, bool keep);
static bool row_take(Leaf *leaf, TupleTableSlot *slot);

/* Locks a table and all its partitions until the end of the transaction. */
void
dm_table_lock(Oid relid, LOCKMODE mode)
{
	LockRelationOid(relid, mode);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		list_free(find_all_inheritors(relid, mode, NULL));
}

/*
 * Opens a table that the caller holds open, and its partitions, in the current memory context. The partitions have the same
 * numbers whenever they are opened in one transaction that holds a lock on the table. Raises 42809 for foreign ones.
 */
DmLeaves *
dm_leaves_open(Relation rel)
{
	DmLeaves *leaves = palloc0(sizeof(DmLeaves));
	List *relids;
	ListCell *cell;

	leaves->context = CurrentMemoryContext;
	leaves->whole = rel;
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		if (!RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is not a table of this database", RelationGetRelationName(rel)),
					 errhint("Detach it if it is a partition: a dataset's rows are in tables of this database.")));
		leaves->leaves = palloc0(sizeof(Leaf));
		leaves->leaves[0].rel = rel;
		leaves->count = 1;
		return leaves;
	}
	relids = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
	leaves->leaves = palloc0(sizeof(Leaf) * list_length(relids));
	foreach (cell, relids)
		leaf_open(leaves, lfirst_oid(cell));
	if (leaves->count > DM_MAX_LEAVES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("\"%s\" has more than %d partitions", RelationGetRelationName(rel), DM_MAX_LEAVES)));
	return leaves;
}

/* Opens a partition, unless it is partitioned itself. */
static void
leaf_open(DmLeaves *leaves, Oid relid)
{
	char kind = get_rel_relkind(relid);
	Leaf *leaf = &leaves->leaves[leaves->count];

	if (kind == RELKIND_PARTITIONED_TABLE)
		return;
	if (kind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("partition \"%s\" of \"%s\" is a foreign table",
						get_rel_name(relid),
						RelationGetRelationName(leaves->whole)),
				 errhint("Detach it: a dataset's rows are in tables of this database.")));
	leaf->rel = table_open(relid, NoLock);
	leaf->slot = table_slot_create(leaf->rel, NULL);
	leaf->map = dm_attrmap_by_name(RelationGetDescr(leaf->rel), RelationGetDescr(leaves->whole));
	leaves->count++;
}

/* True if the table is partitioned: rows are found by partition and tuple id. */
bool
dm_leaves_are_many(const DmLeaves *leaves)
{
	return leaves->count != 1 || leaves->leaves[0].slot;
}

/* Returns how many tables hold the rows. */
int
dm_leaves_count(const DmLeaves *leaves)
{
	return leaves->count;
}

/* Returns how many pages the rows are on; 0 if that says nothing: a table is no heap, or there are too many. */
BlockNumber
dm_leaves_blocks(DmLeaves *leaves)
{
	uint64 blocks = 0;

	for (int i = 0; i < leaves->count; i++)
	{
		Leaf *leaf = &leaves->leaves[i];

		if (leaf->rel->rd_rel->relam != HEAP_TABLE_AM_OID)
			return 0;
		leaf->first = (BlockNumber) blocks;
		blocks += RelationGetNumberOfBlocks(leaf->rel);
	}
	return blocks <= MaxBlockNumber ? (BlockNumber) blocks : 0;
}

/* Returns which of them is a block of one table. */
BlockNumber
dm_leaves_page(const DmLeaves *leaves, int leaf, BlockNumber block)
{
	return leaves->leaves[leaf].first + block;
}

/* Returns one of the tables. */
Relation
dm_leaves_relation(const DmLeaves *leaves, int leaf)
{
	return leaves->leaves[leaf].rel;
}

/* Returns a partition's own slot. */
TupleTableSlot *
dm_leaves_slot(const DmLeaves *leaves, int leaf)
{
	return leaves->leaves[leaf].slot;
}

/* Puts the row in a partition's own slot into one of the whole, whose values stay the partition's. */
void
dm_leaves_take(DmLeaves *leaves, int leaf, TupleTableSlot *slot)
{
	(void) row_take(&leaves->leaves[leaf], slot);
}

/*
 * Begins to read all rows. keep: so many pages of an ordinary table, the first ones, are wanted again from the first one
 * on, and shall be in the buffers then; where there are more, these are read last.
 */
void
dm_leaves_scan(DmLeaves *leaves, Snapshot snapshot, BlockNumber keep)
{
	bool is_heap = !dm_leaves_are_many(leaves) && leaves->whole->rd_rel->relam == HEAP_TABLE_AM_OID;

	leaves->keep = is_heap ? keep : 0;
	leaves->snapshot = snapshot;
	leaves->scanned = 0;
	leaf_scan(leaves);
}

/* Begins to read the rows of the next leaf, if there is one. */
static void
leaf_scan(DmLeaves *leaves)
{
	Relation rel;
	BlockNumber blocks;

	leaves->scan = NULL;
	leaves->left = 0;
	if (leaves->scanned == leaves->count)
		return;
	rel = leaves->leaves[leaves->scanned].rel;
	if (leaves->keep == 0)
	{
		scan_begin(leaves, false);
		return;
	}
	blocks = RelationGetNumberOfBlocks(rel);
	if (blocks <= leaves->keep)
	{
		scan_begin(leaves, true);
		return;
	}
	leaves->left = leaves->keep;
	scan_begin(leaves, false);
	heap_setscanlimits(leaves->scan, leaves->keep, blocks - leaves->keep);
}

/* Begins to read the rows of a leaf. keep: its pages stay in the buffers. */
static void
scan_begin(DmLeaves *leaves, bool keep)
{
	MemoryContext caller = MemoryContextSwitchTo(leaves->context);

	/* a scan that begins where another one is would not come to its pages in their order */
	leaves->scan = table_beginscan_strat(
		leaves->leaves[leaves->scanned].rel, leaves->snapshot, 0, NULL, !keep, leaves->keep == 0);
	MemoryContextSwitchTo(caller);
}

/* Puts the next row into a slot made for the table (table_slot_create); *leaf: where it is. False after the last. */
bool
dm_leaves_next(DmLeaves *leaves, TupleTableSlot *slot, int *leaf)
{
	while (leaves->scan)
	{
		Leaf *at = &leaves->leaves[leaves->scanned];

		*leaf = leaves->scanned;
		if (table_scan_getnextslot(leaves->scan, ForwardScanDirection, at->slot ? at->slot : slot))
			return !at->slot || row_take(at, slot);
		table_endscan(leaves->scan);
		if (leaves->left > 0)
		{
			scan_begin(leaves, true);
			heap_setscanlimits(leaves->scan, 0, leaves->left);
			leaves->left = 0;
			continue;
		}
		leaves->scanned++;
		leaf_scan(leaves);
	}
	ExecClearTuple(slot);
	return false;
}

/* Ends the scan; no slot holds a row of it. */
void
dm_leaves_scan_end(DmLeaves *leaves)
{
	if (leaves->scan)
		table_endscan(leaves->scan);
	leaves->scan = NULL;
	for (int i = 0; i < leaves->count; i++)
	{
		if (leaves->leaves[i].slot)
			ExecClearTuple(leaves->leaves[i].slot);
	}
}

/* Puts the row with a tuple id into the slot; false if there is none that the snapshot sees. */
bool
dm_leaves_fetch(DmLeaves *leaves, int leaf, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	Leaf *at = &leaves->leaves[leaf];

	if (!table_tuple_fetch_row_version(at->rel, tid, snapshot, at->slot ? at->slot : slot))
		return false;
	return !at->slot || row_take(at, slot);
}

/* Closes the partitions, whose locks stay. */
void
dm_leaves_close(DmLeaves *leaves)
{
	dm_leaves_scan_end(leaves);
	for (int i = 0; i < leaves->count; i++)
	{
		if (!leaves->leaves[i].slot)
			continue;
		ExecDropSingleTupleTableSlot(leaves->leaves[i].slot);
		table_close(leaves->leaves[i].rel, NoLock);
	}
}

/* Puts the row in the partition's slot into one of the whole, whose values stay the partition's. Returns true. */
static bool
row_take(Leaf *leaf, TupleTableSlot *slot)
{
	TupleTableSlot *from = leaf->slot;

	if (leaf->map)
		execute_attr_map_slot(leaf->map, from, slot);
	else
	{
		int natts = slot->tts_tupleDescriptor->natts;

		slot_getallattrs(from);
		ExecClearTuple(slot);
		memcpy(slot->tts_values, from->tts_values, sizeof(Datum) * natts);
		memcpy(slot->tts_isnull, from->tts_isnull, sizeof(bool) * natts);
		ExecStoreVirtualTuple(slot);
	}
	slot->tts_tid = from->tts_tid;
	slot->tts_tableOid = RelationGetRelid(leaf->rel);
	return true;
}
