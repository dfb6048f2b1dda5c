/*
 * cursor.h: fetches rows of the current table by tuple id, in ascending order.
 */
#ifndef DM_CURSOR_H
#define DM_CURSOR_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"

#include "rows/table_leaves.h"

typedef struct DmCursor DmCursor;

/*
 * Begins in the current memory context (relation: the whole of the leaves); the rows go to slot. Of about `density` (0..1) of the rows between the packed tuple
 * ids first and last will be asked for: where that is much, pages are read one after another instead of row by row.
 */
extern DmCursor *dm_cursor_begin(DmLeaves *leaves, Relation relation, Snapshot snapshot, TupleTableSlot *slot,
								 uint64 first, uint64 last, double density);
/* Puts the row with a packed tuple id into the slot. Any order works; an ascending one is fast. */
extern void dm_cursor_fetch(DmCursor *cursor, uint64 tid);
extern void dm_cursor_end(DmCursor *cursor);

#endif
