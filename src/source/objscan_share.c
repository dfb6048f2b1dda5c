/*
 * objscan_share.c: shares the objects of a scan among the processes of a parallel query.
 *
 * The work is a queue of pieces in the order of the objects: an object, or a range of a large one that is CSV or JSON lines and
 * not compressed. A process takes the next piece by counting up; it takes a second one ahead, so that it is fetched while the first
 * is read.
 *
 * A range of CSV can be read once the phase it begins in is known, which takes the effects of all ranges before it (see
 * codec/csv_split.h). Each process publishes the effect of a range as soon as the range is there. Invariants:
 * 1. A process publishes the ranges that it has taken while it waits for anything, so who waits is waited for no longer than
 *    it takes to fetch: a process inside of this scan always comes to publish.
 * 2. A process outside of it may be blocked, by the very process that waits (rows that nobody takes). Who needs a range of one that
 *    makes no step for a while fetches it itself. So there is no deadlock, and a range is fetched twice at worst, not a row read twice.
 * 3. Nothing in shared memory points anywhere; offsets count from its start.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "codec/csv_split.h"
#include "source/objscan_internal.h"
#include "source/objscan_share.h"

/* Bytes of a range, unless memory or the setting for tests wants less. */
#define DM_MIN_RANGE_BYTES (1024 * 1024)
#define DM_MAX_RANGE_BYTES (8 * 1024 * 1024)
/* Ranges that each process shall get at least, so that none waits long for the last one. */
#define DM_RANGES_EACH 8
/* Bytes fetched behind a range, for the end of its last record: a fraction of the range, and this at most. */
#define DM_MAX_TAIL_BYTES (64 * 1024)
#define DM_TAIL_FRACTION 16
/* Who makes no step for so long is taken to be blocked. */
#define DM_BLOCKED_MS 50
#define DM_WAIT_MS 5

/* A range's word: 0, or who took it, or its effect. */
#define DM_WORD_TAKEN 0x10000
#define DM_WORD_PUBLISHED 0x20000
#define DM_WORD_VALUE 0xffff

typedef struct ShareObject
{
	int64 size;
	TimestampTz modified;
	int first; /* its first piece */
	Size bucket;
	Size key;
	Size etag;	  /* 0: none */
	Size version; /* 0: none */
} ShareObject;

/* A process. */
typedef struct ShareMember
{
	pg_atomic_uint32 steps;	 /* counts up while it reads */
	pg_atomic_uint32 inside; /* it is fetching or waiting: see invariant 1 */
} ShareMember;

/* What the members have done that have left. */
typedef enum ShareCount
{
	COUNT_OBJECTS,
	COUNT_BYTES,
	COUNT_ROWS,
	COUNT_LISTS,
	COUNT_GETS,
	COUNT_RETRIES,
	COUNT_BYTES_IN
} ShareCount;

#define NCOUNTS (COUNT_BYTES_IN + 1)

struct DmObjShare
{
	int nmembers;
	int nobjects;
	int npieces;
	int64 range_bytes;	 /* 0: no object is cut */
	int64 member_memory; /* bytes that each may fetch ahead */
	Size members_at;
	Size words_at;
	Size strings_at;
	pg_atomic_uint32 next; /* piece to be taken */
	pg_atomic_uint64 counts[NCOUNTS];
	ShareObject objects[FLEXIBLE_ARRAY_MEMBER];
};

static bool next_piece(void *arg, int ahead, DmPiece *piece);
static void publish_piece(void *arg, const DmPiece *piece);

/* The processes. */
static ShareMember *
share_members(DmObjShare *share)
{
	return (ShareMember *) ((char *) share + share->members_at);
}

/* The words of the pieces. */
static pg_atomic_uint32 *
share_words(DmObjShare *share)
{
	return (pg_atomic_uint32 *) ((char *) share + share->words_at);
}

/* Whether the format and the columns let objects of a scan be cut: a row's number is known to who counts from the start alone. */
static bool
can_cut(const DmObjScan *scan)
{
	const DmObjMap *map = scan->map;

	if (scan->batch || scan->spec.format == DM_FORMAT_JSON)
		return false;
	for (int i = 0; i < map->nspecials; i++)
	{
		if (map->kinds[map->specials[i]] == DM_OBJ_ROW)
			return false;
	}
	return true;
}

/* Bytes of a range for a scan by so many processes; 0 if no object is to be cut. Each holds two in memory. */
static int64
choose_range(const DmObjScan *scan, int nmembers, int64 member_memory)
{
	int64 bytes;

	if (!can_cut(scan))
		return 0;
	if (dm_guc_split_bytes > 0)
		return dm_guc_split_bytes;
	bytes = dm_objscan_size(scan) / (nmembers * DM_RANGES_EACH);
	bytes = Max(Min(bytes, DM_MAX_RANGE_BYTES), DM_MIN_RANGE_BYTES);
	return Min(bytes, member_memory / 2 - DM_MAX_TAIL_BYTES);
}

/* In how many pieces an object is read. What looks compressed is not cut; what is, in spite of its name, is found out later. */
static int
count_pieces(const DmObject *object, int64 range_bytes)
{
	int64 count;

	if (range_bytes <= 0 || object->size <= range_bytes || dm_objlist_looks_compressed(object->key))
		return 1;
	count = (object->size + range_bytes - 1) / range_bytes;
	return count > PG_INT32_MAX / 2 ? 1 : (int) count;
}

/* What goes where in a scan's shared memory. */
static void
lay_out(DmObjShare *share, const DmObjScan *scan, int nworkers)
{
	ListCell *cell;
	int64 npieces = 0;

	memset(share, 0, offsetof(DmObjShare, objects));
	share->nmembers = nworkers + 1;
	share->nobjects = list_length(scan->objects);
	share->member_memory = dm_guc_prefetch_memory_kb * INT64CONST(1024) / share->nmembers;
	share->range_bytes = choose_range(scan, share->nmembers, share->member_memory);
	foreach (cell, scan->objects)
		npieces += count_pieces(lfirst(cell), share->range_bytes);
	if (npieces > PG_INT32_MAX / 2)
	{
		share->range_bytes = 0;
		npieces = share->nobjects;
	}
	share->npieces = (int) npieces;
	share->members_at = MAXALIGN(offsetof(DmObjShare, objects) + mul_size(share->nobjects, sizeof(ShareObject)));
	share->words_at = add_size(share->members_at, mul_size(share->nmembers, sizeof(ShareMember)));
	share->strings_at = add_size(share->words_at, mul_size(share->npieces, sizeof(pg_atomic_uint32)));
}

/* Whether an object lies in the same bucket as the one before it, whose name it then shares. */
static bool
is_same_bucket(const DmObject *object, const DmObject *previous)
{
	return previous && strcmp(object->bucket, previous->bucket) == 0;
}

/* Bytes of shared memory for a scan. */
Size
dm_objshare_size(const DmObjScan *scan, int nworkers)
{
	DmObjShare share;
	const DmObject *previous = NULL;
	ListCell *cell;
	Size size;

	lay_out(&share, scan, nworkers);
	size = share.strings_at;
	foreach (cell, scan->objects)
	{
		const DmObject *object = lfirst(cell);

		if (!is_same_bucket(object, previous))
			size = add_size(size, strlen(object->bucket) + 1);
		size = add_size(size, strlen(object->key) + 1);
		size = add_size(size, object->etag ? strlen(object->etag) + 1 : 0);
		size = add_size(size, object->version ? strlen(object->version) + 1 : 0);
		previous = object;
	}
	return size;
}

/* Puts a string at *at, which moves on; returns where, or 0 for none. */
static Size
put_string(DmObjShare *share, Size *at, const char *string)
{
	Size place = *at;
	Size len;

	if (!string)
		return 0;
	len = strlen(string) + 1;
	memcpy((char *) share + place, string, len);
	*at += len;
	return place;
}

/* Fills shared memory of that size. */
void
dm_objshare_init(DmObjShare *share, const DmObjScan *scan, int nworkers)
{
	const DmObject *previous = NULL;
	ListCell *cell;
	Size at;
	int i = 0;
	int piece = 0;

	lay_out(share, scan, nworkers);
	at = share->strings_at;
	for (int count = 0; count < NCOUNTS; count++)
		pg_atomic_init_u64(&share->counts[count], 0);
	foreach (cell, scan->objects)
	{
		const DmObject *object = lfirst(cell);
		ShareObject *shared = &share->objects[i];

		shared->size = object->size;
		shared->modified = object->modified;
		shared->first = piece;
		shared->bucket = is_same_bucket(object, previous) ? share->objects[i - 1].bucket
														  : put_string(share, &at, object->bucket);
		shared->key = put_string(share, &at, object->key);
		shared->etag = put_string(share, &at, object->etag);
		shared->version = put_string(share, &at, object->version);
		piece += count_pieces(object, share->range_bytes);
		previous = object;
		i++;
	}
	pg_atomic_init_u32(&share->next, 0);
	for (int word = 0; word < share->npieces; word++)
		pg_atomic_init_u32(&share_words(share)[word], 0);
	for (int member = 0; member < share->nmembers; member++)
	{
		pg_atomic_init_u32(&share_members(share)[member].steps, 0);
		pg_atomic_init_u32(&share_members(share)[member].inside, 0);
	}
}

/* Starts over: nothing is taken. What was published stays true, since every range is of the version that was listed. */
void
dm_objshare_reset(DmObjShare *share)
{
	for (int word = 0; word < share->npieces; word++)
	{
		if (!(pg_atomic_read_u32(&share_words(share)[word]) & DM_WORD_PUBLISHED))
			pg_atomic_write_u32(&share_words(share)[word], 0);
	}
	pg_atomic_write_u32(&share->next, 0);
}

/* Leaves nothing to be taken. */
void
dm_objshare_close(DmObjShare *share)
{
	pg_atomic_write_u32(&share->next, share->npieces);
}

/* Makes a scan a member. */
void
dm_objscan_join(DmObjScan *scan, DmObjShare *share, int member)
{
	Assert(member < share->nmembers);
	dm_objscan_rescan(scan);
	scan->share = share;
	scan->member = member;
}

/* Adds to one of the counts. */
static void
add_count(DmObjShare *share, ShareCount count, int64 number)
{
	pg_atomic_fetch_add_u64(&share->counts[count], number);
}

/* Leaves what a member has done to member 0. */
static void
leave_counts(DmObjScan *scan, DmObjShare *share)
{
	const DmStoreStats *store = dm_store_stats(scan->store);

	add_count(share, COUNT_OBJECTS, scan->stats.objects_read);
	add_count(share, COUNT_BYTES, scan->bytes_closed);
	add_count(share, COUNT_ROWS, scan->stats.rows);
	add_count(share, COUNT_LISTS, store->list_requests);
	add_count(share, COUNT_GETS, store->get_requests);
	add_count(share, COUNT_RETRIES, store->retries);
	add_count(share, COUNT_BYTES_IN, store->bytes_in);
}

/* Takes over what the other members have done. */
static void
take_counts(DmObjScan *scan, DmObjShare *share)
{
	DmObjScanStats *stats = &scan->others;
	DmStoreStats *store = &scan->others_store;

	stats->objects_read += pg_atomic_read_u64(&share->counts[COUNT_OBJECTS]);
	stats->bytes_read += pg_atomic_read_u64(&share->counts[COUNT_BYTES]);
	stats->rows += pg_atomic_read_u64(&share->counts[COUNT_ROWS]);
	store->list_requests += pg_atomic_read_u64(&share->counts[COUNT_LISTS]);
	store->get_requests += pg_atomic_read_u64(&share->counts[COUNT_GETS]);
	store->retries += pg_atomic_read_u64(&share->counts[COUNT_RETRIES]);
	store->bytes_in += pg_atomic_read_u64(&share->counts[COUNT_BYTES_IN]);
}

/* Makes a scan a member no more. It has no piece open after this. */
void
dm_objscan_leave(DmObjScan *scan)
{
	DmObjShare *share = scan->share;

	if (!share)
		return;
	dm_objscan_rescan(scan);
	scan->share = NULL;
	if (scan->member == 0)
		take_counts(scan, share);
	else
		leave_counts(scan, share);
}

/* Returns the index of the object that a piece belongs to. */
static int
find_object(const DmObjShare *share, int piece)
{
	int low = 0;
	int high = share->nobjects - 1;

	while (low < high)
	{
		int middle = low + (high - low + 1) / 2;

		if (share->objects[middle].first <= piece)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* Pieces of an object. */
static int
object_pieces(const DmObjShare *share, int object)
{
	return (object + 1 < share->nobjects ? share->objects[object + 1].first : share->npieces) -
		   share->objects[object].first;
}

/* Returns object number i, in the current memory context; its strings are the shared ones. */
static DmObject *
make_object(DmObjShare *share, int i)
{
	const ShareObject *shared = &share->objects[i];
	DmObject *object = palloc0(sizeof(DmObject));
	char *base = (char *) share;

	object->bucket = base + shared->bucket;
	object->key = base + shared->key;
	object->etag = shared->etag ? base + shared->etag : NULL;
	object->version = shared->version ? base + shared->version : NULL;
	object->size = shared->size;
	object->modified = shared->modified;
	return object;
}

/* Fills in piece number `number` of an object, as it is fetched. */
static void
set_piece(const DmObjShare *share, int index, const DmObject *object, int number, DmPiece *piece)
{
	int64 tail = Min(share->range_bytes / DM_TAIL_FRACTION + 1, DM_MAX_TAIL_BYTES);

	*piece = (DmPiece){.object = object, .end = object->size, .number = number};
	if (object_pieces(share, index) == 1)
		return;
	piece->is_range = true;
	piece->start = (number - share->objects[index].first) * share->range_bytes;
	piece->end = Min(piece->start + share->range_bytes + tail, object->size);
}

/*
 * Takes the next piece, as a queue's callback. A second range is taken ahead, and so many more objects, while enough are left that
 * no other process is left without.
 */
static bool
next_piece(void *arg, int ahead, DmPiece *piece)
{
	DmObjScan *scan = arg;
	DmObjShare *share = scan->share;
	uint32 next = pg_atomic_read_u32(&share->next);
	uint32 number;
	int index;

	if (next >= (uint32) share->npieces)
		return false;
	index = find_object(share, (int) next);
	if (ahead > 0 &&
		(object_pieces(share, index) > 1 || share->npieces - (int64) next < (int64) ahead * share->nmembers))
		return false;
	number = pg_atomic_fetch_add_u32(&share->next, 1);
	if (number >= (uint32) share->npieces)
	{
		pg_atomic_write_u32(&share->next, share->npieces); /* it never runs over */
		return false;
	}
	index = find_object(share, (int) number);
	if (object_pieces(share, index) > 1)
	{
		uint32 none = 0;

		(void) pg_atomic_compare_exchange_u32(&share_words(share)[number], &none, DM_WORD_TAKEN | scan->member);
	}
	set_piece(share, index, make_object(share, index), (int) number, piece);
	return true;
}

/* Opens the fetch of a member's pieces, in the current memory context. */
DmFetch *
dm_objshare_fetch(DmObjScan *scan)
{
	DmFetchQueue queue = {
		.next = next_piece, .arrived = publish_piece, .arg = scan, .memory = scan->share->member_memory};

	return dm_fetch_open_queue(scan->store, &queue);
}

/* Sets the bytes whose records a range's reader reads; what was fetched may be more. */
int64
dm_objshare_range_end(const DmObjShare *share, const DmPiece *piece)
{
	if (!share) /* a sample */
		return piece->number;
	return Min(piece->start + share->range_bytes, piece->object->size);
}

/* Publishes the effect of a range that is there, as a queue's callback. */
static void
publish_piece(void *arg, const DmPiece *piece)
{
	DmObjScan *scan = arg;
	DmObjShare *share = scan->share;
	Size len = dm_objshare_range_end(share, piece) - piece->start;
	pg_atomic_uint32 *word = &share_words(share)[piece->number];

	if (scan->spec.format != DM_FORMAT_CSV || (pg_atomic_read_u32(word) & DM_WORD_PUBLISHED))
		return;
	pg_atomic_write_u32(word, DM_WORD_PUBLISHED | dm_csv_effect(&scan->spec.csv, piece->data, len));
}

/* Tells the others that this process goes on; and whether it is inside of the scan, where it cannot be blocked by them. */
void
dm_objshare_step(DmObjScan *scan, bool inside)
{
	ShareMember *member;

	if (!scan->share)
		return;
	member = &share_members(scan->share)[scan->member];
	pg_atomic_write_u32(&member->inside, inside);
	pg_atomic_write_u32(&member->steps, pg_atomic_read_u32(&member->steps) + 1);
}

/* Waits until a range's effect is published, as long as its reader goes on. Returns false if it is blocked, or nobody took it. */
static bool
await_effect(DmObjScan *scan, int number)
{
	DmObjShare *share = scan->share;
	pg_atomic_uint32 *word = &share_words(share)[number];
	instr_time since;
	uint32 seen = 0;

	INSTR_TIME_SET_ZERO(since);
	for (;;)
	{
		uint32 value = pg_atomic_read_u32(word);
		ShareMember *member;
		uint32 steps;
		instr_time now;

		if (value & DM_WORD_PUBLISHED)
			return true;
		if (!(value & DM_WORD_TAKEN) || (value & DM_WORD_VALUE) == (uint32) scan->member)
			return false;
		member = &share_members(share)[value & DM_WORD_VALUE];
		steps = pg_atomic_read_u32(&member->steps);
		INSTR_TIME_SET_CURRENT(now);
		if (INSTR_TIME_IS_ZERO(since) || steps != seen || pg_atomic_read_u32(&member->inside))
		{
			since = now;
			seen = steps;
		}
		INSTR_TIME_SUBTRACT(now, since);
		if (INSTR_TIME_GET_MILLISEC(now) > DM_BLOCKED_MS)
			return false;
		dm_fetch_wait(scan->fetch, DM_WAIT_MS);
	}
}

/* The queue of one piece. */
typedef struct OnePiece
{
	DmObjScan *scan;
	DmPiece piece;
	bool given;
} OnePiece;

/* Gives the one piece, as a queue's callback. */
static bool
next_one(void *arg, int ahead, DmPiece *piece)
{
	OnePiece *one = arg;

	if (one->given)
		return false;
	one->given = true;
	*piece = one->piece;
	return true;
}

/* Fetches a range of the current object that another process has taken, and publishes its effect. */
static void
fetch_effect(DmObjScan *scan, int index, int number)
{
	OnePiece one = {.scan = scan};
	DmFetchQueue queue = {.next = next_one, .arg = &one, .memory = scan->share->member_memory};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "datamill range", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DmFetch *fetch;
	DmPiece piece;

	set_piece(scan->share, index, scan->object, number, &one.piece);
	one.piece.end = dm_objshare_range_end(scan->share, &one.piece);
	fetch = dm_fetch_open_queue(scan->store, &queue);
	if (dm_fetch_next_piece(fetch, &piece))
		publish_piece(scan, &piece);
	dm_fetch_close(fetch);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Returns the phase that the current range begins in. */
DmCsvPhase
dm_objshare_phase(DmObjScan *scan)
{
	DmObjShare *share = scan->share;
	int number = (int) scan->piece.number;
	int index = find_object(share, number);

	if (scan->phase_before > number || scan->phase_before <= share->objects[index].first)
	{
		scan->phase_before = share->objects[index].first;
		scan->phase = DM_CSV_OUTSIDE;
	}
	for (; scan->phase_before < number; scan->phase_before++)
	{
		uint32 value;

		if (!await_effect(scan, scan->phase_before))
			fetch_effect(scan, index, scan->phase_before);
		value = pg_atomic_read_u32(&share_words(share)[scan->phase_before]);
		scan->phase = dm_csv_effect_apply(value & DM_WORD_VALUE, scan->phase);
	}
	return scan->phase;
}
