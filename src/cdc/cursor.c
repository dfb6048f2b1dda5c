/*
 * cursor.c: fetches rows of the current table by tuple id, in ascending order.
 *
 * To fetch one row costs a look-up of its page among the shared buffers, a lock of it and a check of visibility. A scan pays for
 * the first two once a page. So where a good part of the rows is wanted, a scan of that range runs along, and rows
 * between the wanted ones are passed over.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "utils/rel.h"

#include "cdc/cursor.h"
#include "cdc/keytable.h"

/* Share of the rows from which on to pass over the others is cheaper than to fetch each. */
#define SCAN_DENSITY 0.25

struct DmCursor
{
	DmLeaves *leaves;
	Relation relation;
	Snapshot snapshot;
	TupleTableSlot *slot;
	TableScanDesc scan; /* NULL: rows are fetched one by one */
	uint64 scanned;		/* packed tuple id the scan is at */
	uint64 in_slot;		/* tuple id of the row in the slot; 0: none */
};

/* Begins to fetch rows. */
DmCursor *
dm_cursor_begin(DmLeaves *leaves, Relation relation, Snapshot snapshot, TupleTableSlot *slot, uint64 first,
				uint64 last, double density)
{
	DmCursor *cursor = palloc0(sizeof(DmCursor));
	ItemPointerData from;
	ItemPointerData to;

	cursor->leaves = leaves;
	cursor->relation = relation;
	cursor->snapshot = snapshot;
	cursor->slot = slot;
	ExecClearTuple(slot);
	if (density < SCAN_DENSITY || dm_leaves_are_many(leaves) || !relation->rd_tableam->scan_set_tidrange)
		return cursor;
	dm_tid_unpack(first, &from);
	dm_tid_unpack(last, &to);
	cursor->scan = table_beginscan_tidrange(relation, snapshot, &from, &to);
	return cursor;
}

/* Lets the scan go on up to a tuple id; true if it is at a row with it. */
static bool
scan_to(DmCursor *cursor, uint64 tid)
{
	while (cursor->scanned < tid)
	{
		if (!table_scan_getnextslot_tidrange(cursor->scan, ForwardScanDirection, cursor->slot))
		{
			cursor->scanned = PG_UINT64_MAX;
			return false;
		}
		cursor->scanned = cursor->in_slot = dm_tid_pack(0, &cursor->slot->tts_tid);
	}
	return cursor->scanned == tid && cursor->in_slot == tid;
}

/* Puts a row into the slot. */
void
dm_cursor_fetch(DmCursor *cursor, uint64 tid)
{
	ItemPointerData item;

	if (cursor->in_slot == tid || (cursor->scan && scan_to(cursor, tid)))
		return;
	dm_tid_unpack(tid, &item);
	if (!dm_leaves_fetch(cursor->leaves, dm_tid_leaf(tid), &item, cursor->snapshot, cursor->slot))
		elog(ERROR,
			 "row (%u,%u) of \"%s\" has vanished",
			 ItemPointerGetBlockNumber(&item),
			 ItemPointerGetOffsetNumber(&item),
			 RelationGetRelationName(cursor->relation));
	cursor->in_slot = tid;
}

/* Ends; the slot is empty. */
void
dm_cursor_end(DmCursor *cursor)
{
	ExecClearTuple(cursor->slot);
	if (cursor->scan)
		table_endscan(cursor->scan);
	pfree(cursor);
}
