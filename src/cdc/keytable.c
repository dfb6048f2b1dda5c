/*
 * keytable.c: hashes of keys to tuple ids, in memory as far as it goes.
 *
 * An open-addressing table of 16-byte entries. Equal hashes stand in one probe chain as entries of their own, so that
 * the caller can tell colliding keys apart by looking at the rows.
 *
 * When the table would outgrow its memory, the number of partitions (by the low bits of the hash) doubles: entries of
 * partitions other than the one in memory go to temporary files, and so do the source rows that belong to them. After
 * the source is read the partitions are worked off one after another, as in a hybrid hash join. The number of
 * partitions is settled while entries are added, before the first row is looked up.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

#include "cdc/keytable.h"

#define TID_MASK UINT64CONST(0x3fffffffffffffff)
#define ENTRY_USED (UINT64CONST(1) << 62)
#define ENTRY_MARKED (UINT64CONST(1) << 63)
#define MAX_PARTITIONS 1024
#define MIN_CAPACITY 1024

typedef struct KeyEntry
{
	uint64 hash;
	uint64 tid; /* as of dm_tid_pack(), with the flags above; 0 is an empty slot */
} KeyEntry;

struct DmKeyTable
{
	MemoryContext context;
	KeyEntry *entries;
	uint64 capacity; /* a power of two */
	uint64 used;
	Size max_bytes;
	int npartitions; /* a power of two */
	int partition;	 /* the one in memory */
	bool can_split;	 /* false once splitting moved nothing: all hashes are alike */
	BufFile **entry_files;
	BufFile **row_files;
};

static void entry_put(DmKeyTable *table, uint64 hash, uint64 tid);
static void table_grow(DmKeyTable *table);
static void table_split(DmKeyTable *table);
static void table_rebuild(DmKeyTable *table, uint64 capacity);
static void entry_spill(DmKeyTable *table, const KeyEntry *entry);
static void partition_load(DmKeyTable *table, BufFile *file);
static BufFile *file_make(DmKeyTable *table);
static void file_rewind(BufFile *file);
static int tid_compare(const void *a, const void *b);

/* Makes an empty table in the current memory context for about `expected` keys, in max_bytes of memory. */
DmKeyTable *
dm_keytable_make(Size max_bytes, uint64 expected)
{
	DmKeyTable *table = palloc0(sizeof(DmKeyTable));
	uint64 capacity = MIN_CAPACITY;

	while (capacity / 4 * 3 < expected && capacity * 2 * sizeof(KeyEntry) <= max_bytes)
		capacity *= 2;
	table->context = CurrentMemoryContext;
	table->max_bytes = max_bytes;
	table->capacity = capacity;
	table->entries =
		MemoryContextAllocExtended(table->context, capacity * sizeof(KeyEntry), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	table->npartitions = 1;
	table->can_split = true;
	table->entry_files = palloc0(sizeof(BufFile *) * MAX_PARTITIONS);
	table->row_files = palloc0(sizeof(BufFile *) * MAX_PARTITIONS);
	return table;
}

/* Adds a key's hash and where its row is. */
void
dm_keytable_add(DmKeyTable *table, uint64 hash, uint64 tid)
{
	KeyEntry entry;

	entry.hash = hash;
	entry.tid = tid | ENTRY_USED;
	if (dm_keytable_is_here(table, hash) && table->used >= table->capacity / 4 * 3)
		table_grow(table);
	if (dm_keytable_is_here(table, hash))
		entry_put(table, hash, entry.tid);
	else
		entry_spill(table, &entry);
}

/* True if keys with this hash belong to the partition in memory. */
bool
dm_keytable_is_here(const DmKeyTable *table, uint64 hash)
{
	return (int) (hash & (table->npartitions - 1)) == table->partition;
}

/* The slot a hash starts at. The low bits choose the partition, so higher bits of a product are used. */
static inline uint64
entry_start(const DmKeyTable *table, uint64 hash)
{
	return ((hash * UINT64CONST(0x9e3779b97f4a7c15)) >> 20) & (table->capacity - 1);
}

/* Returns the position of the first entry with this hash from slot i on, or DM_KEY_NONE. */
static inline int64
entry_find(const DmKeyTable *table, uint64 hash, uint64 i)
{
	while (table->entries[i].tid != 0)
	{
		if (table->entries[i].hash == hash)
			return (int64) i;
		i = (i + 1) & (table->capacity - 1);
	}
	return DM_KEY_NONE;
}

/* Returns the position of the first entry with this hash, or DM_KEY_NONE. The hash must be of the partition in memory. */
int64
dm_keytable_find(const DmKeyTable *table, uint64 hash)
{
	return entry_find(table, hash, entry_start(table, hash));
}

/* Returns the position of the next entry with this hash after `position`, or DM_KEY_NONE. */
int64
dm_keytable_find_next(const DmKeyTable *table, uint64 hash, int64 position)
{
	return entry_find(table, hash, ((uint64) position + 1) & (table->capacity - 1));
}

/* Asks the processor to bring the slot of a hash near, for a find that comes soon. */
void
dm_keytable_prefetch(const DmKeyTable *table, uint64 hash)
{
	__builtin_prefetch(&table->entries[entry_start(table, hash)]);
}

/* Asks the processor to bring the entry at a position near, for a mark that comes soon. */
void
dm_keytable_prefetch_mark(const DmKeyTable *table, int64 position)
{
	__builtin_prefetch(&table->entries[position], 1);
}

/* Returns the packed tuple id at a position; it orders as tuple ids do. */
uint64
dm_keytable_tid(const DmKeyTable *table, int64 position)
{
	return table->entries[position].tid & TID_MASK;
}

/* Marks the entry as matched by a source row. Returns false if it already was: the key stands in the source twice. */
bool
dm_keytable_mark(DmKeyTable *table, int64 position)
{
	if (table->entries[position].tid & ENTRY_MARKED)
		return false;
	table->entries[position].tid |= ENTRY_MARKED;
	return true;
}

/* True for an entry that is in use and was not marked. */
static inline bool
entry_is_unmarked(const KeyEntry *entry)
{
	return (entry->tid & (ENTRY_USED | ENTRY_MARKED)) == ENTRY_USED;
}

/* Returns the packed tuple ids of the partition's entries that were not marked, sorted; palloc'd. */
uint64 *
dm_keytable_unmarked(const DmKeyTable *table, uint64 *count)
{
	uint64 n = 0;
	uint64 *tids;

	for (uint64 i = 0; i < table->capacity; i++)
		n += entry_is_unmarked(&table->entries[i]);
	tids = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(uint64));
	n = 0;
	for (uint64 i = 0; i < table->capacity; i++)
	{
		if (entry_is_unmarked(&table->entries[i]))
			tids[n++] = table->entries[i].tid & TID_MASK;
	}
	qsort(tids, n, sizeof(uint64), tid_compare);
	*count = n;
	return tids;
}

/* Sets aside a source row whose key belongs to a partition that is not in memory yet. */
void
dm_keytable_put_row(DmKeyTable *table, uint64 hash, TupleTableSlot *slot)
{
	int partition = (int) (hash & (table->npartitions - 1));
	bool should_free;
	MinimalTuple tuple = ExecFetchSlotMinimalTuple(slot, &should_free);

	Assert(partition > table->partition);
	if (!table->row_files[partition])
		table->row_files[partition] = file_make(table);
	BufFileWrite(table->row_files[partition], tuple, tuple->t_len);
	if (should_free)
		pfree(tuple);
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
	memset(table->entries, 0, table->capacity * sizeof(KeyEntry));
	entries = &table->entry_files[table->partition];
	if (*entries)
	{
		partition_load(table, *entries);
		BufFileClose(*entries);
		*entries = NULL;
	}
	if (table->row_files[table->partition])
		file_rewind(table->row_files[table->partition]);
	return true;
}

/* Reads the partition's next set-aside row into slot (of minimal tuples); false at the end. */
bool
dm_keytable_get_row(DmKeyTable *table, TupleTableSlot *slot)
{
	BufFile *file = table->row_files[table->partition];
	uint32 length;
	size_t rest;
	MinimalTuple tuple;

	if (!file || BufFileRead(file, &length, sizeof(length)) != sizeof(length))
		return false;
	tuple = palloc(length);
	tuple->t_len = length;
	rest = length - sizeof(length);
	if (BufFileRead(file, (char *) tuple + sizeof(length), rest) != rest)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a temporary file: too few bytes")));
	ExecStoreMinimalTuple(tuple, slot, true);
	return true;
}

/* Returns the bytes of memory that the table takes. */
Size
dm_keytable_bytes(const DmKeyTable *table)
{
	return table->capacity * sizeof(KeyEntry);
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

/* Puts an entry into the table, which has room for it. */
static void
entry_put(DmKeyTable *table, uint64 hash, uint64 tid)
{
	uint64 i = entry_start(table, hash);

	while (table->entries[i].tid != 0)
		i = (i + 1) & (table->capacity - 1);
	table->entries[i].hash = hash;
	table->entries[i].tid = tid;
	table->used++;
}

/* Makes room: a larger table while memory allows, else more partitions. */
static void
table_grow(DmKeyTable *table)
{
	bool fits = table->capacity * 2 * sizeof(KeyEntry) <= table->max_bytes;

	if (!fits && table->can_split && table->npartitions < MAX_PARTITIONS)
		table_split(table);
	if (table->used >= table->capacity / 4 * 3)
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

/* Moves all entries to a table of the given capacity, spilling those of other partitions. */
static void
table_rebuild(DmKeyTable *table, uint64 capacity)
{
	KeyEntry *old = table->entries;
	uint64 old_capacity = table->capacity;

	table->entries =
		MemoryContextAllocExtended(table->context, capacity * sizeof(KeyEntry), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	table->capacity = capacity;
	table->used = 0;
	for (uint64 i = 0; i < old_capacity; i++)
	{
		if (old[i].tid == 0)
			continue;
		if (dm_keytable_is_here(table, old[i].hash))
			entry_put(table, old[i].hash, old[i].tid);
		else
			entry_spill(table, &old[i]);
	}
	pfree(old);
}

/*
 * Loads the partition's entries from its file. The file may hold entries written before the last split: they move on to
 * the file of their own partition, which comes later.
 */
static void
partition_load(DmKeyTable *table, BufFile *file)
{
	KeyEntry entry;

	file_rewind(file);
	while (BufFileRead(file, &entry, sizeof(entry)) == sizeof(entry))
	{
		CHECK_FOR_INTERRUPTS();
		if (!dm_keytable_is_here(table, entry.hash))
		{
			entry_spill(table, &entry);
			continue;
		}
		if (table->used >= table->capacity / 4 * 3)
			table_rebuild(table, table->capacity * 2);
		entry_put(table, entry.hash, entry.tid);
	}
}

/* Appends an entry to the file of its partition. */
static void
entry_spill(DmKeyTable *table, const KeyEntry *entry)
{
	int partition = (int) (entry->hash & (table->npartitions - 1));
	KeyEntry copy = *entry;

	if (!table->entry_files[partition])
		table->entry_files[partition] = file_make(table);
	BufFileWrite(table->entry_files[partition], &copy, sizeof(copy));
}

/* Makes a temporary file that lives as long as the table. */
static BufFile *
file_make(DmKeyTable *table)
{
	MemoryContext caller = MemoryContextSwitchTo(table->context);
	BufFile *file = BufFileCreateTemp(false);

	MemoryContextSwitchTo(caller);
	return file;
}

/* Goes back to the start of a temporary file. */
static void
file_rewind(BufFile *file)
{
	if (BufFileSeek(file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file: %m")));
}

/* qsort comparator of packed tuple ids. */
static int
tid_compare(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}
