/*
 * cursor.h: fetches rows of the current table by tuple id, the rows of a page one after another.
 */
#ifndef DM_CURSOR_H
#define DM_CURSOR_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/snapshot.h"

#include "rows/table_leaves.h"

typedef struct DmCursor DmCursor;

/*
 * Begins in the current memory context (relation: the whole of the leaves, which was scanned under the same snapshot); the
 * rows go to slot. seen: nseen buffers, as noted in that scan, or NULL. is_large: the pages do not fit the buffers; those
 * that are only read leave them soon, and others' stay.
 */
extern DmCursor *dm_cursor_begin(DmLeaves *leaves, Relation relation, Snapshot snapshot, TupleTableSlot *slot,
								 const Buffer *seen, BlockNumber nseen, bool is_large);
/* Says which row will be fetched soon: in the order in which they will be. */
extern void dm_cursor_prefetch(DmCursor *cursor, uint64 tid);
/* Puts the row with a packed tuple id into the slot. Any order works; one page after another is fast. */
extern void dm_cursor_fetch(DmCursor *cursor, uint64 tid);
extern void dm_cursor_end(DmCursor *cursor);

/* For the scan before that, where it is one of a table itself: to note where pages are, and to bring rows near. */
extern void dm_cursor_note(const TupleTableSlot *slot, Buffer *seen, BlockNumber nseen);
extern void dm_cursor_prefetch_after(const TupleTableSlot *slot);

#endif
