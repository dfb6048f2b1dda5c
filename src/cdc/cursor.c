/*
 * cursor.c: fetches rows of the current table by tuple id, in ascending order.
 *
 * To fetch one row through the table's access method costs a look-up of its page among the shared buffers, a lock of it and
 * a check of visibility. Of one heap, pages are read here instead, each once for all of its rows, and a few of them ahead
 * (with dm_cursor_prefetch), so that rows are near when they are wanted. The pages stay pinned, which keeps rows in place.
 * Only rows that the scan of current has seen under the same snapshot are asked for: what a serializable transaction
 * has to note of its reads was noted then.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "catalog/pg_am.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "cdc/cursor.h"
#include "cdc/keytable.h"

/* Pages pinned at once. */
#define PAGES 8
/* Bytes of a row that are asked for ahead. */
#define ROW_BYTES 256

typedef struct CursorPage
{
	BlockNumber block;
	Buffer buffer;
	bool all_visible;
} CursorPage;

struct DmCursor
{
	DmLeaves *leaves;
	Relation relation;
	Snapshot snapshot;
	TupleTableSlot *slot;
	uint64 in_slot; /* tuple id of the row in the slot; 0: none */
	bool is_heap;	/* pages are read here */
	CursorPage pages[PAGES];
	uint64 first;	  /* number of the first page that is wanted still; a page is at its number modulo PAGES */
	uint64 end;		  /* number of the next page to be pinned */
	CursorPage stray; /* a page that was not announced; buffer InvalidBuffer for none */
};

/* Begins to fetch rows. */
DmCursor *
dm_cursor_begin(DmLeaves *leaves, Relation relation, Snapshot snapshot, TupleTableSlot *slot)
{
	DmCursor *cursor = palloc0(sizeof(DmCursor));

	cursor->leaves = leaves;
	cursor->relation = relation;
	cursor->snapshot = snapshot;
	cursor->slot = slot;
	cursor->is_heap = !dm_leaves_are_many(leaves) && relation->rd_rel->relam == HEAP_TABLE_AM_OID &&
					  TTS_IS_BUFFERTUPLE(slot) && IsMVCCSnapshot(snapshot);
	ExecClearTuple(slot);
	return cursor;
}

/* Reads and pins a page. */
static void
page_read(DmCursor *cursor, CursorPage *page, BlockNumber block)
{
	page->buffer = ReadBuffer(cursor->relation, block);
	page->block = block;
	LockBuffer(page->buffer, BUFFER_LOCK_SHARE);
	page->all_visible = PageIsAllVisible(BufferGetPage(page->buffer)) && !cursor->snapshot->takenDuringRecovery;
	LockBuffer(page->buffer, BUFFER_LOCK_UNLOCK);
}

/* Lets go of the pages before a block. */
static void
pages_release(DmCursor *cursor, BlockNumber block)
{
	for (; cursor->first < cursor->end && cursor->pages[cursor->first % PAGES].block < block; cursor->first++)
		ReleaseBuffer(cursor->pages[cursor->first % PAGES].buffer);
}

/* Lets go of the page that was not announced. */
static void
stray_release(DmCursor *cursor)
{
	if (BufferIsValid(cursor->stray.buffer))
		ReleaseBuffer(cursor->stray.buffer);
	cursor->stray.buffer = InvalidBuffer;
}

/* Returns the page of a block. */
static const CursorPage *
page_enter(DmCursor *cursor, BlockNumber block)
{
	pages_release(cursor, block);
	if (cursor->first < cursor->end && cursor->pages[cursor->first % PAGES].block == block)
		return &cursor->pages[cursor->first % PAGES];
	if (!BufferIsValid(cursor->stray.buffer) || cursor->stray.block != block)
	{
		stray_release(cursor);
		page_read(cursor, &cursor->stray, block);
	}
	return &cursor->stray;
}

/* Puts a row into the slot from its page; false if it has to be fetched otherwise. */
static bool
row_take(DmCursor *cursor, ItemPointer item)
{
	HeapTuple tuple = &((BufferHeapTupleTableSlot *) cursor->slot)->base.tupdata;
	const CursorPage *entry = page_enter(cursor, ItemPointerGetBlockNumber(item));
	OffsetNumber offset = ItemPointerGetOffsetNumber(item);
	bool is_visible = true;
	Page page;
	ItemId id;

	page = BufferGetPage(entry->buffer);
	if (!entry->all_visible)
		LockBuffer(entry->buffer, BUFFER_LOCK_SHARE);
	id = PageGetItemId(page, offset);
	if (offset > PageGetMaxOffsetNumber(page) || !ItemIdIsNormal(id))
		is_visible = false;
	else
	{
		ExecClearTuple(cursor->slot);
		tuple->t_data = (HeapTupleHeader) PageGetItem(page, id);
		tuple->t_len = ItemIdGetLength(id);
		tuple->t_self = *item;
		tuple->t_tableOid = RelationGetRelid(cursor->relation);
		if (!entry->all_visible)
			is_visible = HeapTupleSatisfiesVisibility(tuple, cursor->snapshot, entry->buffer);
	}
	if (!entry->all_visible)
		LockBuffer(entry->buffer, BUFFER_LOCK_UNLOCK);
	if (is_visible)
		ExecStoreBufferHeapTuple(tuple, cursor->slot, entry->buffer);
	return is_visible;
}

/* Brings near a row that will be fetched soon. */
void
dm_cursor_prefetch(DmCursor *cursor, uint64 tid)
{
	BlockNumber block = (BlockNumber) (tid >> 16);
	const CursorPage *last;
	const char *page;
	ItemId id;

	if (!cursor->is_heap)
		return;
	if (cursor->end == cursor->first || cursor->pages[(cursor->end - 1) % PAGES].block < block)
	{
		if (cursor->end - cursor->first >= PAGES)
			return;
		page_read(cursor, &cursor->pages[cursor->end++ % PAGES], block);
	}
	last = &cursor->pages[(cursor->end - 1) % PAGES];
	if (last->block != block)
		return;
	page = (const char *) BufferGetPage(last->buffer);
	/* without a lock: whatever is read here decides nothing */
	id = PageGetItemId((Page) page, (OffsetNumber) (tid & 0xffff));
	for (int at = 0; at < ROW_BYTES; at += 64)
		__builtin_prefetch(page + ItemIdGetOffset(id) + at);
}

/* Puts a row into the slot. */
void
dm_cursor_fetch(DmCursor *cursor, uint64 tid)
{
	ItemPointerData item;

	if (cursor->in_slot == tid)
		return;
	cursor->in_slot = 0;
	dm_tid_unpack(tid, &item);
	if (!(cursor->is_heap && row_take(cursor, &item)) &&
		!dm_leaves_fetch(cursor->leaves, dm_tid_leaf(tid), &item, cursor->snapshot, cursor->slot))
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
	pages_release(cursor, InvalidBlockNumber);
	stray_release(cursor);
	pfree(cursor);
}
