/*
 * keytable.h: where each key of the current table is: hashes to tuple ids, partitioned to files when memory is short.
 */
#ifndef DM_KEYTABLE_H
#define DM_KEYTABLE_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "storage/block.h"
#include "storage/itemptr.h"

typedef struct DmKeyTable DmKeyTable;

#define DM_KEY_NONE (-1)

extern DmKeyTable *dm_keytable_make(Size max_bytes, uint64 expected, BlockNumber blocks);
extern void dm_keytable_add(DmKeyTable *table, uint64 hash, uint64 tid);

extern bool dm_keytable_is_here(const DmKeyTable *table, uint64 hash);
extern void dm_keytable_prefetch(const DmKeyTable *table, uint64 hash);
extern void dm_keytable_prefetch_mark(const DmKeyTable *table, int64 position);
extern int64 dm_keytable_find(const DmKeyTable *table, uint64 hash);
extern int64 dm_keytable_find_next(const DmKeyTable *table, uint64 hash, int64 position);
extern uint64 dm_keytable_tid(const DmKeyTable *table, int64 position);
extern bool dm_keytable_mark(DmKeyTable *table, int64 position);
extern uint64 *dm_keytable_unmarked(const DmKeyTable *table, uint64 *count);
extern bool dm_tids_sort(uint64 *tids, uint64 count, uint64 place);

extern void dm_keytable_put_row(DmKeyTable *table, uint64 hash, TupleTableSlot *slot);
extern bool dm_keytable_next_partition(DmKeyTable *table);
extern bool dm_keytable_get_row(DmKeyTable *table, TupleTableSlot *slot, uint64 *hash);
extern Size dm_keytable_bytes(const DmKeyTable *table);
extern int dm_keytable_partitions(const DmKeyTable *table);

/* A tuple id and the number of its partition (below DM_MAX_LEAVES) as one number, which orders as they do. */
static inline uint64
dm_tid_pack(int leaf, const ItemPointerData *tid)
{
	return ((uint64) leaf << 48) | ((uint64) ItemPointerGetBlockNumber(tid) << 16) |
		   ItemPointerGetOffsetNumber(tid);
}

/* Returns the number of the partition. */
static inline int
dm_tid_leaf(uint64 packed)
{
	return (int) (packed >> 48);
}

/* The bits of a packed tuple id below those of the stretch of its table that it lies in: a stretch is 64 MB. */
#define DM_STRETCH_BITS (16 + 13)

/*
 * Turns the order of stretches around: what orders by the result comes from the last stretch to the first, but within each
 * from its first row to its last. Turning once more gives the packed tuple id back. Never 0.
 */
static inline uint64
dm_tid_turn(uint64 packed)
{
	return packed ^ ~((UINT64CONST(1) << DM_STRETCH_BITS) - 1);
}

/*
 * True if a pass over rows from `lowest` to `highest` shall take its stretches from the last to the first: the pass before ended
 * at `place`, nearer to that end, and its pages may be in the buffers still.
 */
static inline bool
dm_pass_is_downwards(uint64 place, uint64 lowest, uint64 highest)
{
	uint64 from_lowest = Max(place, lowest) - Min(place, lowest);
	uint64 from_highest = Max(place, highest) - Min(place, highest);

	return from_highest < from_lowest;
}

extern void dm_tid_unpack(uint64 packed, ItemPointer tid);

#endif
