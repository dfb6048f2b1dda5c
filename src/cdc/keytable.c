/*
 * keytable.c: hashes of keys to tuple ids, in memory as far as it goes.
 *
 * An open-addressing table. Equal hashes stand in one probe chain as entries of their own, so that the caller can tell
 * colliding keys apart by looking at the rows.
 *
 * Of one heap, an entry is a word of 64 bits: the block and the offset in as many bits as they need, and above them the
 * upper bits of the code, which is the hash times an odd number. Both the slot that an entry belongs to and its partition
 * follow from these upper bits, so that entries can be moved without the rest. Where they would be too few, and of
 * partitioned tables, the whole codes stand in an array beside the entries.
 *
 * When the table would outgrow its memory, the number of partitions (by the low bits of what is kept of the code)
 * doubles: entries of partitions other than the one in memory go to temporary files, and so do the source rows that
 * belong to them. After the source is read the partitions are worked off one after another, as in a hybrid hash join.
 * The number of partitions is settled while entries are added, before the first row is looked up.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "base/large.h"
#include "base/temp_file.h"
#include "cdc/keytable.h"
#include "rows/row_file.h"

#define MAX_PARTITIONS 1024
#define MIN_CAPACITY 1024

/* Bits of a block number up to which an entry is one word. More would leave too few for slots and partitions. */
#define MAX_BLOCK_BITS 23
/* Bits of the offset of a row in a block of a heap. */
#define OFFSET_BITS 12

/* An entry with all of its code, as in temporary files. */
typedef struct KeyEntry
{
	uint64 code;
	uint64 tid; /* as of dm_tid_pack() */
} KeyEntry;

struct DmKeyTable
{
	MemoryContext context;
	uint64 *entries; /* 0 is an empty slot; else code and place, or with codes a packed tuple id */
	uint64 *codes;	 /* of the entries; NULL where they are in the entries */
	uint8 *marks;	 /* a bit a slot */
	uint64 capacity;
	uint64 used;
	uint64 max_used; /* from which on there is no room */
	Size max_bytes;
	int place_bits;	 /* of an entry, the lower ones; 0 with codes */
	int npartitions; /* a power of two */
	int partition;	 /* the one in memory */
	bool can_split;	 /* false once splitting moved nothing: all hashes are alike */
	BufFile **entry_files;
	BufFile **row_files;
};

static void entries_make(DmKeyTable *table, uint64 capacity);
static uint64 capacity_limit(const DmKeyTable *table);
static void entry_put(DmKeyTable *table, const KeyEntry *entry);
static void table_grow(DmKeyTable *table);
static void table_split(DmKeyTable *table);
static void table_rebuild(DmKeyTable *table, uint64 capacity);
static void entry_spill(DmKeyTable *table, const KeyEntry *entry);
static void partition_load(DmKeyTable *table, BufFile *file);

#define ST_SORT tids_sort
#define ST_ELEMENT_TYPE uint64
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Makes an empty table in the current memory context for about `expected` keys, in max_bytes of memory. blocks: how many
 * the heap with the keys has; 0 if it is partitioned, or no heap.
 */
DmKeyTable *
dm_keytable_make(Size max_bytes, uint64 expected, BlockNumber blocks)
{
	DmKeyTable *table = palloc0(sizeof(DmKeyTable));
	int block_bits = blocks > 1 ? pg_leftmost_one_pos32(blocks - 1) + 1 : 1;

	table->context = CurrentMemoryContext;
	table->max_bytes = max_bytes;
	StaticAssertStmt(MaxHeapTuplesPerPage < 1 << OFFSET_BITS, "an offset has its bits");
	if (blocks > 0 && block_bits <= MAX_BLOCK_BITS)
		table->place_bits = block_bits + OFFSET_BITS;
	table->npartitions = 1;
	table->can_split = true;
	table->entry_files = palloc0(sizeof(BufFile *) * MAX_PARTITIONS);
	table->row_files = palloc0(sizeof(BufFile *) * MAX_PARTITIONS);
	entries_make(table, Min(Max(expected / 2 * 3, MIN_CAPACITY), capacity_limit(table)));
	return table;
}

/* Returns what is kept of the code of a hash. */
static inline uint64
code_make(const DmKeyTable *table, uint64 hash)
{
	return (hash * UINT64CONST(0x9e3779b97f4a7c15)) >> table->place_bits << table->place_bits;
}

/* The partition of a code. */
static inline int
code_partition(const DmKeyTable *table, uint64 code)
{
	return (int) ((code >> table->place_bits) & (table->npartitions - 1));
}

/* The slot a code starts at: codes are spread over the slots in their order. */
static inline uint64
code_slot(const DmKeyTable *table, uint64 code)
{
#ifdef HAVE_INT128
	return (uint64) (((uint128) code * table->capacity) >> 64);
#else
	return (uint64) ((code >> 32) * table->capacity) >> 32;
#endif
}

/* The slot after one. */
static inline uint64
slot_after(const DmKeyTable *table, uint64 i)
{
	return i + 1 == table->capacity ? 0 : i + 1;
}

/* The code in a slot that is in use. */
static inline uint64
slot_code(const DmKeyTable *table, uint64 i)
{
	return table->codes ? table->codes[i] : table->entries[i] >> table->place_bits << table->place_bits;
}

/* The packed tuple id in a slot that is in use. */
static inline uint64
slot_tid(const DmKeyTable *table, uint64 i)
{
	uint64 place;

	if (table->codes)
		return table->entries[i];
	place = table->entries[i] & ((UINT64CONST(1) << table->place_bits) - 1);
	return place >> OFFSET_BITS << 16 | (place & ((1 << OFFSET_BITS) - 1));
}

/* True if an entry has room for the packed tuple id, as it has for those of the blocks that were there at the start. */
static inline bool
tid_fits(const DmKeyTable *table, uint64 tid)
{
	return table->codes ||
		   (tid >> 16 >> (table->place_bits - OFFSET_BITS) == 0 && (tid & 0xffff) >> OFFSET_BITS == 0);
}

/* Adds a key's hash and where its row is. */
void
dm_keytable_add(DmKeyTable *table, uint64 hash, uint64 tid)
{
	KeyEntry entry;

	if (unlikely(!tid_fits(table, tid)))
		elog(ERROR, "a row lies behind the end of its table");
	entry.code = code_make(table, hash);
	entry.tid = tid;
	if (table->used >= table->max_used && code_partition(table, entry.code) == table->partition)
		table_grow(table);
	if (code_partition(table, entry.code) == table->partition)
		entry_put(table, &entry);
	else
		entry_spill(table, &entry);
}

/* True if keys with this hash belong to the partition in memory. */
bool
dm_keytable_is_here(const DmKeyTable *table, uint64 hash)
{
	return code_partition(table, code_make(table, hash)) == table->partition;
}

/* Returns the position of the first entry with this code from slot i on, or DM_KEY_NONE. */
static inline int64
entry_find(const DmKeyTable *table, uint64 code, uint64 i)
{
	while (table->entries[i] != 0)
	{
		if (slot_code(table, i) == code)
			return (int64) i;
		i = slot_after(table, i);
	}
	return DM_KEY_NONE;
}

/*
 * Returns the position of the first entry that may have this hash (others may share what is kept of it), or DM_KEY_NONE.
 * The hash must be of the partition in memory.
 */
int64
dm_keytable_find(const DmKeyTable *table, uint64 hash)
{
	uint64 code = code_make(table, hash);

	return entry_find(table, code, code_slot(table, code));
}

/* Returns the position of the next such entry after `position`, or DM_KEY_NONE. */
int64
dm_keytable_find_next(const DmKeyTable *table, uint64 hash, int64 position)
{
	return entry_find(table, code_make(table, hash), slot_after(table, (uint64) position));
}

/* Asks the processor to bring the slot of a hash near, for a find that comes soon. */
void
dm_keytable_prefetch(const DmKeyTable *table, uint64 hash)
{
	uint64 slot = code_slot(table, code_make(table, hash));

	__builtin_prefetch(&table->entries[slot]);
	if (table->codes)
		__builtin_prefetch(&table->codes[slot]);
}

/* Asks the processor to bring the mark of a position near. */
void
dm_keytable_prefetch_mark(const DmKeyTable *table, int64 position)
{
	__builtin_prefetch(&table->marks[position / 8], 1);
}

/* Returns the packed tuple id at a position; it orders as tuple ids do. */
uint64
dm_keytable_tid(const DmKeyTable *table, int64 position)
{
	return slot_tid(table, (uint64) position);
}

/* Marks the entry as matched by a source row. Returns false if it already was: the key stands in the source twice. */
bool
dm_keytable_mark(DmKeyTable *table, int64 position)
{
	uint8 *byte = &table->marks[position / 8];
	uint8 bit = (uint8) (1 << (position % 8));

	if (*byte & bit)
		return false;
	*byte |= bit;
	return true;
}

/* True for a slot that is in use and was not marked. */
static inline bool
slot_is_unmarked(const DmKeyTable *table, uint64 i)
{
	return table->entries[i] != 0 && !(table->marks[i / 8] & (1 << (i % 8)));
}

/* Returns the packed tuple ids of the partition's entries that were not marked, in no order; palloc'd. */
uint64 *
dm_keytable_unmarked(const DmKeyTable *table, uint64 *count)
{
	uint64 n = 0;
	uint64 *tids;

	for (uint64 i = 0; i < table->capacity; i++)
		n += slot_is_unmarked(table, i);
	tids = dm_large_alloc(CurrentMemoryContext, Max(n, 1) * sizeof(uint64));
	n = 0;
	for (uint64 i = 0; i < table->capacity; i++)
	{
		if (slot_is_unmarked(table, i))
			tids[n++] = slot_tid(table, i);
	}
	*count = n;
	return tids;
}

/* Sets aside a source row whose key belongs to a partition that is not in memory yet. */
void
dm_keytable_put_row(DmKeyTable *table, uint64 hash, TupleTableSlot *slot)
{
	int partition = code_partition(table, code_make(table, hash));

	Assert(partition > table->partition);
	if (!table->row_files[partition])
		table->row_files[partition] = dm_temp_file_make(table->context);
	dm_row_file_put(table->row_files[partition], slot, 0, hash);
}

/*
 * Replaces the partition in memory by the next one and makes its rows ready for dm_keytable_get_row(). Returns false
 * after the last.
 */
bool
dm_keytable_next_partition(DmKeyTable *table)
{
	BufFile **entries;

	if (table->row_files[table->partition])
		BufFileClose(table->row_files[table->partition]);
	table->row_files[table->partition] = NULL;
	if (table->partition + 1 >= table->npartitions)
		return false;
	table->partition++;
	table->used = 0;
	memset(table->entries, 0, table->capacity * sizeof(uint64));
	memset(table->marks, 0, table->capacity / 8 + 1);
	entries = &table->entry_files[table->partition];
	if (*entries)
	{
		partition_load(table, *entries);
		BufFileClose(*entries);
		*entries = NULL;
	}
	if (table->row_files[table->partition])
		dm_temp_file_rewind(table->row_files[table->partition]);
	return true;
}

/* Reads the partition's next set-aside row into slot (of minimal tuples), and the hash of its key; false at the end. */
bool
dm_keytable_get_row(DmKeyTable *table, TupleTableSlot *slot, uint64 *hash)
{
	BufFile *file = table->row_files[table->partition];
	uint64 order;

	return file && dm_row_file_get(file, slot, &order, hash);
}

/* Returns the bytes of memory that the table takes. */
Size
dm_keytable_bytes(const DmKeyTable *table)
{
	return table->capacity * (table->codes ? 2 : 1) * sizeof(uint64) + table->capacity / 8;
}

/* Returns how many partitions there are; more than one means that rows went through temporary files. */
int
dm_keytable_partitions(const DmKeyTable *table)
{
	return table->npartitions;
}

/* Turns a packed tuple id back into one. */
void
dm_tid_unpack(uint64 packed, ItemPointer tid)
{
	ItemPointerSet(tid, (BlockNumber) (packed >> 16), (OffsetNumber) (packed & 0xffff));
}

/* Returns how many slots fit the memory. */
static uint64
capacity_limit(const DmKeyTable *table)
{
	Size bits = table->place_bits > 0 ? 65 : 129;

	return Max(table->max_bytes / bits * 8, MIN_CAPACITY);
}

/* Makes an empty array of slots. One that cannot grow is filled further, at the price of longer chains. */
static void
entries_make(DmKeyTable *table, uint64 capacity)
{
	Size bytes = capacity * sizeof(uint64);

	table->capacity = capacity;
	table->used = 0;
	table->max_used = capacity < capacity_limit(table) ? capacity / 4 * 3 : capacity / 8 * 7;
	table->entries = dm_large_alloc(table->context, bytes);
	memset(table->entries, 0, bytes);
	table->codes = table->place_bits > 0 ? NULL : dm_large_alloc(table->context, bytes);
	table->marks = dm_large_alloc(table->context, capacity / 8 + 1);
	memset(table->marks, 0, capacity / 8 + 1);
}

/* Puts an entry into the table, which has room for it. */
static void
entry_put(DmKeyTable *table, const KeyEntry *entry)
{
	uint64 i = code_slot(table, entry->code);

	while (table->entries[i] != 0)
		i = slot_after(table, i);
	if (table->codes)
	{
		table->codes[i] = entry->code;
		table->entries[i] = entry->tid;
	}
	else
		table->entries[i] = entry->code | entry->tid >> 16 << OFFSET_BITS | (entry->tid & 0xffff);
	table->used++;
}

/* Makes room: a larger table while memory allows, else more partitions. */
static void
table_grow(DmKeyTable *table)
{
	uint64 limit = capacity_limit(table);

	if (table->capacity < limit)
	{
		table_rebuild(table, Min(table->capacity * 2, limit));
		return;
	}
	if (table->can_split && table->npartitions < MAX_PARTITIONS)
		table_split(table);
	if (table->used >= table->max_used)
		table_rebuild(table, table->capacity * 2);
}

/* Doubles the number of partitions and moves the entries that no longer belong here to their file. */
static void
table_split(DmKeyTable *table)
{
	uint64 before = table->used;

	table->npartitions *= 2;
	table_rebuild(table, table->capacity);
	if (table->used == before)
		table->can_split = false;
}

/* Moves all entries to arrays of the given capacity, spilling those of other partitions. No entry is marked yet. */
static void
table_rebuild(DmKeyTable *table, uint64 capacity)
{
	DmKeyTable old = *table;

	entries_make(table, capacity);
	for (uint64 i = 0; i < old.capacity; i++)
	{
		KeyEntry entry;

		if (old.entries[i] == 0)
			continue;
		entry.code = slot_code(&old, i);
		entry.tid = slot_tid(&old, i);
		if (code_partition(table, entry.code) == table->partition)
			entry_put(table, &entry);
		else
			entry_spill(table, &entry);
	}
	pfree(old.entries);
	pfree(old.marks);
	if (old.codes)
		pfree(old.codes);
}

/*
 * Loads the partition's entries from its file. The file may hold entries written before the last split: they move on to
 * the file of their own partition, which comes later.
 */
static void
partition_load(DmKeyTable *table, BufFile *file)
{
	KeyEntry entry;

	dm_temp_file_rewind(file);
	while (dm_temp_file_read(file, &entry, sizeof(entry)))
	{
		CHECK_FOR_INTERRUPTS();
		if (code_partition(table, entry.code) != table->partition)
		{
			entry_spill(table, &entry);
			continue;
		}
		if (table->used >= table->max_used)
			table_rebuild(table, table->capacity * 2);
		entry_put(table, &entry);
	}
}

/* Appends an entry to the file of its partition. */
static void
entry_spill(DmKeyTable *table, const KeyEntry *entry)
{
	int partition = code_partition(table, entry->code);
	KeyEntry copy = *entry;

	if (!table->entry_files[partition])
		table->entry_files[partition] = dm_temp_file_make(table->context);
	BufFileWrite(table->entry_files[partition], &copy, sizeof(copy));
}

/*
 * Sorts packed tuple ids for a pass over their rows that comes after one that ended at `place`. True if they are turned now.
 */
bool
dm_tids_sort(uint64 *tids, uint64 count, uint64 place)
{
	uint64 lowest = PG_UINT64_MAX;
	uint64 highest = 0;
	bool downwards;

	for (uint64 i = 0; i < count; i++)
	{
		lowest = Min(lowest, tids[i]);
		highest = Max(highest, tids[i]);
	}
	downwards = count > 0 && dm_pass_is_downwards(place, lowest, highest);
	for (uint64 i = 0; i < count && downwards; i++)
		tids[i] = dm_tid_turn(tids[i]);
	tids_sort(tids, count);
	return downwards;
}
