/*
 * cursor.c: fetches rows of the current table by tuple id, the rows of a page one after another.
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

#include "base/compat.h"
#include "cdc/cursor.h"
#include "cdc/keytable.h"

/* Pages pinned at once. */
#define PAGES 8
/* Bytes of a row that are asked for ahead. */
#define ROW_BYTES 256
/* Rows of a page that a scan asks for ahead. */
#define ROWS_AHEAD 4

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
	uint64 in_slot;		/* tuple id of the row in the slot; 0: none */
	bool is_heap;		/* pages are read here */
	const Buffer *seen; /* by block: the buffer it was in; NULL if that is not known */
	BlockNumber nseen;
	BufferAccessStrategy strategy; /* how pages come into the buffers; NULL: as any */
	CursorPage pages[PAGES];
	uint64 first;	  /* number of the first page that is wanted still; a page is at its number modulo PAGES */
	uint64 end;		  /* number of the next page to be pinned */
	CursorPage stray; /* a page that was not announced; buffer InvalidBuffer for none */
};

/* Begins to fetch rows. */
DmCursor *
dm_cursor_begin(DmLeaves *leaves, Relation relation, Snapshot snapshot, TupleTableSlot *slot, const Buffer *seen,
				BlockNumber nseen, bool is_large)
{
	DmCursor *cursor = palloc0(sizeof(DmCursor));

	cursor->leaves = leaves;
	cursor->relation = relation;
	cursor->snapshot = snapshot;
	cursor->slot = slot;
	cursor->seen = seen;
	cursor->nseen = nseen;
	cursor->is_heap = !dm_leaves_are_many(leaves) && relation->rd_rel->relam == HEAP_TABLE_AM_OID &&
					  TTS_IS_BUFFERTUPLE(slot) && IsMVCCSnapshot(snapshot);
	cursor->strategy = cursor->is_heap && is_large ? GetAccessStrategy(BAS_BULKREAD) : NULL;
	ExecClearTuple(slot);
	return cursor;
}

/* Reads and pins a page. */
static void
page_read(DmCursor *cursor, CursorPage *page, BlockNumber block)
{
	Buffer seen = block < cursor->nseen ? cursor->seen[block] : InvalidBuffer;

	/* to ask the buffer that it was in is cheaper than to look it up; local buffers are not worth the case */
	if (seen > 0 && ReadRecentBuffer(dm_relation_file(cursor->relation), MAIN_FORKNUM, block, seen))
		page->buffer = seen;
	else
		page->buffer = ReadBufferExtended(cursor->relation, MAIN_FORKNUM, block, RBM_NORMAL, cursor->strategy);
	page->block = block;
	LockBuffer(page->buffer, BUFFER_LOCK_SHARE);
	page->all_visible = PageIsAllVisible(BufferGetPage(page->buffer)) && !cursor->snapshot->takenDuringRecovery;
	LockBuffer(page->buffer, BUFFER_LOCK_UNLOCK);
}

/* Lets go of the pages before the one with a number. */
static void
pages_release(DmCursor *cursor, uint64 number)
{
	for (; cursor->first < number; cursor->first++)
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
	for (uint64 number = cursor->first; number < cursor->end; number++)
	{
		if (cursor->pages[number % PAGES].block != block)
			continue;
		pages_release(cursor, number);
		return &cursor->pages[number % PAGES];
	}
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

/*
 * Asks the processor to bring a row that lies on a pinned page near: its first lines. Without a lock: whatever is read here
 * decides nothing.
 * Inline, since the compiler takes a call of a function that only asks for memory for one without effect, and leaves it out.
 */
static pg_attribute_always_inline void
item_prefetch(Buffer buffer, OffsetNumber offset, int bytes)
{
	Page page = BufferGetPage(buffer);
	const char *row = (const char *) page + ItemIdGetOffset(PageGetItemId(page, offset));

	for (int at = 0; at < bytes; at += 64)
		__builtin_prefetch(row + at);
}

/* Brings near the row that a scan comes to some rows after the one in the slot. */
void
dm_cursor_prefetch_after(const TupleTableSlot *slot)
{
	const BufferHeapTupleTableSlot *stored = (const BufferHeapTupleTableSlot *) slot;
	OffsetNumber offset = ItemPointerGetOffsetNumber(&slot->tts_tid) + ROWS_AHEAD;

	if (TTS_IS_BUFFERTUPLE(slot) && BufferIsValid(stored->buffer) &&
		offset <= PageGetMaxOffsetNumber(BufferGetPage(stored->buffer)))
		item_prefetch(stored->buffer, offset, ROW_BYTES / 2);
}

/* Notes which buffer the row in the slot is in, for cursors to come: seen[] has nseen places. */
void
dm_cursor_note(const TupleTableSlot *slot, Buffer *seen, BlockNumber nseen)
{
	BlockNumber block = ItemPointerGetBlockNumber(&slot->tts_tid);

	if (TTS_IS_BUFFERTUPLE(slot) && block < nseen)
		seen[block] = ((const BufferHeapTupleTableSlot *) slot)->buffer;
}

/* Brings near a row that will be fetched soon. */
void
dm_cursor_prefetch(DmCursor *cursor, uint64 tid)
{
	BlockNumber block = (BlockNumber) (tid >> 16);
	const CursorPage *last;

	if (!cursor->is_heap)
		return;
	if (cursor->end == cursor->first || cursor->pages[(cursor->end - 1) % PAGES].block != block)
	{
		if (cursor->end - cursor->first >= PAGES)
			return;
		page_read(cursor, &cursor->pages[cursor->end++ % PAGES], block);
	}
	last = &cursor->pages[(cursor->end - 1) % PAGES];
	item_prefetch(last->buffer, (OffsetNumber) (tid & 0xffff), ROW_BYTES);
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
	pages_release(cursor, cursor->end);
	stray_release(cursor);
	if (cursor->strategy)
		FreeAccessStrategy(cursor->strategy);
	pfree(cursor);
}
