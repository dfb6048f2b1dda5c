/*
 * table_leaves.h: reads the rows of a table, or of all partitions of a partitioned table, as rows of the whole.
 */
#ifndef DM_TABLE_LEAVES_H
#define DM_TABLE_LEAVES_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef struct DmLeaves DmLeaves;

/* As many partitions as a packed tuple id can tell apart. */
#define DM_MAX_LEAVES 16384

extern void dm_table_lock(Oid relid, LOCKMODE mode);
extern DmLeaves *dm_leaves_open(Relation rel);
extern bool dm_leaves_are_many(const DmLeaves *leaves);
extern int dm_leaves_count(const DmLeaves *leaves);
extern BlockNumber dm_leaves_blocks(DmLeaves *leaves);
extern BlockNumber dm_leaves_page(const DmLeaves *leaves, int leaf, BlockNumber block);
extern Relation dm_leaves_relation(const DmLeaves *leaves, int leaf);
extern TupleTableSlot *dm_leaves_slot(const DmLeaves *leaves, int leaf);
extern void dm_leaves_take(DmLeaves *leaves, int leaf, TupleTableSlot *slot);
extern void dm_leaves_scan(DmLeaves *leaves, Snapshot snapshot, BlockNumber keep);
extern bool dm_leaves_next(DmLeaves *leaves, TupleTableSlot *slot, int *leaf);
extern void dm_leaves_scan_end(DmLeaves *leaves);
extern bool dm_leaves_fetch(DmLeaves *leaves, int leaf, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot);
extern void dm_leaves_close(DmLeaves *leaves);

#endif
