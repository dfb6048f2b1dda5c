/*
 * match.c: matches source rows with the current table and has what changed applied.
 *
 * Invariants:
 * 1. One pass over current puts the hash of each key and its tuple id into a table; one pass over the source looks each
 *    row up. A delta that fits one batch and is small beside the table is looked up in the key index instead. Memory
 *    stays within work_mem x hash_mem_multiplier, plus work_mem to sort new rows.
 * 2. Hashes only find candidates. Whether keys or values are the same is decided by comparing the values of the two
 *    rows, by the types' own equality, so colliding hashes and rows edited by hand come out right.
 * 3. Source rows are collected in batches, and those with a candidate are compared and written in the order of tuple
 *    ids, so that the pages of current are read and written in order. A pass over current that ended high is followed by
 *    one that begins there, and takes stretches of pages downwards: the pages that buffers still hold come first. Batches
 *    that would visit all pages of a current larger than the buffers are set aside by place, and worked off at the end.
 * 4. Each row of current meets at most one source row: a second one with its key raises.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "executor/executor.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/guc.h"
#include "cdc/cursor.h"
#include "cdc/image.h"
#include "cdc/keytable.h"
#include "cdc/match.h"
#include "cdc/places.h"
#include "cdc/probe.h"
#include "rows/row_buffer.h"
#include "rows/table_leaves.h"

#define PREFETCH_DISTANCE 16
#define KEYS_AT_ONCE 64

/* A look-up in the index costs about as much as passing this many rows in a scan. */
#define ROWS_A_PROBE 20

/* A batch is worth this much memory for each page of current, and at least this much. */
#define BATCH_BYTES_A_PAGE ((Size) 1024)
#define BATCH_BYTES ((Size) 8 * 1024 * 1024)

/* So many pages of current may stay in the buffers from one pass to the next. */
#define KEPT_BLOCKS ((BlockNumber) NBuffers / 4 * 3)

struct DmMatcher
{
	DmMatcherSpec spec;
	DmApply *apply;
	Snapshot snapshot;
	Size memory;		/* bytes that keys and batch may take together */
	DmKeyTable *keys;	/* NULL until current has been scanned */
	BlockNumber blocks; /* pages of current, its partitions' one after another; 0: not known */
	Buffer *seen;		/* of the first nseen pages of one heap: the buffer that the scan found it in */
	BlockNumber nseen;
	int64 current_rows;		  /* rows seen in that scan */
	DmRowBuffer *batch;		  /* source rows: tag = key hash, then position in keys; order = tuple id */
	TupleTableSlot *old_slot; /* a row of current */
	DmLeaves *leaves;		  /* current, or its partitions */
	DmCursor *cursor;		  /* that fetches them by tuple id */
	uint64 place;			  /* the tuple id that the last pass over them ended with */
	DmImage *image;			  /* to compare with stored rows as they lie there; NULL if that cannot be */
	DmStoredRow old;		  /* old_slot and the slots of the row's other parts */
	DmProbe *sensitive;		  /* finds the row's sensitive part; NULL without one */
	TupleTableSlot *aside;	  /* a row of the batch, on its way to a temporary file */
	TupleTableSlot *spilled;  /* a source row from one */
	DmPlaces *places;		  /* rows set aside by the place of their candidate; NULL before there are any */
	int64 set_aside;		  /* how many */
	AttrNumber compared;	  /* highest attribute of current that comparisons need */
	uint64 hash_mask;
	MemoryContext row_context; /* reset for each row */
	int64 source_rows;
};

static void current_scan(DmMatcher *matcher);
static void keys_add(DmMatcher *matcher, const uint64 *hashes, const uint64 *tids, int count);
static Size batch_bytes(const DmMatcher *matcher);
static void batch_add(DmMatcher *matcher, TupleTableSlot *slot, uint64 hash);
static void batch_settle(DmMatcher *matcher, bool is_full);
static int batch_look_up(DmMatcher *matcher);
static bool batch_sort(DmMatcher *matcher);
static void batch_compare(DmMatcher *matcher, int first, bool downwards);
static BlockNumber page_of(const DmMatcher *matcher, uint64 tid);
static void batch_set_aside(DmMatcher *matcher, int first, bool downwards);
static void places_settle(DmMatcher *matcher);
static TupleTableSlot *batch_slot(DmMatcher *matcher, const DmBufferedRow *row);
static void batch_spill_others(DmMatcher *matcher);
static bool batch_probe(DmMatcher *matcher);
static void candidate_settle(DmMatcher *matcher, const DmBufferedRow *row);
static void row_settle(DmMatcher *matcher, const DmBufferedRow *row);
static void cursor_begin(DmMatcher *matcher);
static void cursor_end(DmMatcher *matcher);
static void old_row_fetch(DmMatcher *matcher, uint64 tid);
static bool columns_equal(DmMatcher *matcher, const DmBufferedRow *row, const int *columns, int ncolumns);
static void unmatched_settle(DmMatcher *matcher);
static uint64 key_hash64(DmMatcher *matcher, const Datum *values, const bool *nulls);
static void parts_open(DmMatcher *matcher);
static void parts_fetch(DmMatcher *matcher);

/*
 * Begins a merge in the current memory context. The active snapshot is the one the merge sees and must stay until
 * dm_matcher_finish().
 */
DmMatcher *
dm_matcher_begin(const DmMatcherSpec *spec)
{
	DmMatcher *matcher = palloc0(sizeof(DmMatcher));
	const DmShape *shape = spec->apply.shape;

	matcher->spec = *spec;
	matcher->snapshot = GetActiveSnapshot();
	matcher->memory = get_hash_memory_limit();
	matcher->row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill merge row", ALLOCSET_DEFAULT_SIZES);
	matcher->old_slot = table_slot_create(spec->apply.current[0], NULL);
	matcher->leaves = dm_leaves_open(spec->apply.current[0]);
	matcher->aside = MakeSingleTupleTableSlot(shape->wanted, &TTSOpsVirtual);
	matcher->spilled = MakeSingleTupleTableSlot(shape->wanted, &TTSOpsMinimalTuple);
	matcher->hash_mask = dm_guc_hash_bits >= 64 ? ~UINT64CONST(0) : (UINT64CONST(1) << dm_guc_hash_bits) - 1;
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		if (shape->part_of[i] == 0)
			matcher->compared = Max(matcher->compared, shape->current_attribute[i]);
	}
	if (shape->nparts == 1)
		matcher->image = dm_image_make(shape, RelationGetDescr(spec->apply.current[0]));
	parts_open(matcher);
	if (!spec->apply.new_dataset)
	{
		if (spec->mode == DM_MODE_FULL)
			current_scan(matcher);
		matcher->batch = dm_row_buffer_make(shape->wanted, batch_bytes(matcher));
	}
	matcher->apply = dm_apply_begin(&spec->apply);
	return matcher;
}

/*
 * Returns how much memory the batch may take: what the keys leave, at least a quarter. More than so much for each page of
 * current costs more (fresh memory, cache misses) than it saves in visits to pages.
 */
static Size
batch_bytes(const DmMatcher *matcher)
{
	Size keys = matcher->keys ? dm_keytable_bytes(matcher->keys) : matcher->memory;
	Size rest = Max(matcher->memory / 4, matcher->memory - Min(matcher->memory, keys));
	Size useful = matcher->blocks * BATCH_BYTES_A_PAGE;

	return matcher->blocks > 0 ? Min(rest, Max(useful, BATCH_BYTES)) : rest;
}

/* Makes the slots of a stored row, and opens what finds its sensitive part. */
static void
parts_open(DmMatcher *matcher)
{
	const DmApplySpec *spec = &matcher->spec.apply;

	matcher->old.slots[0] = matcher->old_slot;
	if (spec->shape->nparts == 1 || spec->new_dataset)
		return;
	matcher->old.slots[1] = table_slot_create(spec->current[1], NULL);
	matcher->sensitive = dm_probe_begin(spec->current[1], spec->shape->parts[1], matcher->snapshot);
	if (!matcher->sensitive)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no unique index that starts with the dataset's keys",
						RelationGetRelationName(spec->current[1])),
				 errhint("Add it: ALTER TABLE ... ADD PRIMARY KEY.")));
}

/* Fetches the sensitive part of the row in old_slot. Raises 55000 if there is none. */
static void
parts_fetch(DmMatcher *matcher)
{
	const DmShape *shape = matcher->spec.apply.shape;
	const DmShape *part;
	Datum *values;
	bool *nulls;

	if (!matcher->sensitive)
		return;
	part = shape->parts[1];
	values = palloc0(sizeof(Datum) * part->wanted->natts);
	nulls = palloc0(sizeof(bool) * part->wanted->natts);
	for (int i = 0; i < part->nkeys; i++)
	{
		int column = part->keys[i];
		int attribute = shape->current_attribute[part->from[column]] - 1;

		values[column] = matcher->old_slot->tts_values[attribute];
		nulls[column] = matcher->old_slot->tts_isnull[attribute];
	}
	dm_probe_start(matcher->sensitive, values, nulls);
	if (!dm_probe_next(matcher->sensitive, matcher->old.slots[1]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no row of a key that \"%s\" has",
						RelationGetRelationName(matcher->spec.apply.current[1]),
						RelationGetRelationName(matcher->spec.apply.current[0])),
				 errdetail("Its key is %s.", dm_shape_key_json(part, values, nulls)),
				 errhint("Somebody else deleted it; datamill.check_dataset lists such keys.")));
	slot_getallattrs(matcher->old.slots[1]);
	pfree(values);
	pfree(nulls);
}

/* Takes one source row, of the shape's wanted columns. A DmSourceEach; arg is the matcher. */
void
dm_matcher_row(TupleTableSlot *slot, void *arg)
{
	DmMatcher *matcher = arg;
	MemoryContext caller;

	matcher->source_rows++;
	slot_getallattrs(slot);
	if (!matcher->spec.null_keys)
		dm_keys_check_null(matcher->spec.apply.shape, slot->tts_isnull, matcher->source_rows);
	MemoryContextReset(matcher->row_context);
	caller = MemoryContextSwitchTo(matcher->row_context);
	if (matcher->spec.apply.new_dataset)
		dm_apply_insert(matcher->apply, slot->tts_values, slot->tts_isnull);
	else
	{
		uint64 hash = key_hash64(matcher, slot->tts_values, slot->tts_isnull);

		if (matcher->keys && !dm_keytable_is_here(matcher->keys, hash))
			dm_keytable_put_row(matcher->keys, hash, slot);
		else
			batch_add(matcher, slot, hash);
	}
	MemoryContextSwitchTo(caller);
}

/* Has keys that do not come left alone and counted, whatever the spec says. */
void
dm_matcher_keep_missing(DmMatcher *matcher)
{
	matcher->spec.close_deletes = false;
}

/*
 * Works off all that is left, settles the keys that did not come, and ends the merge. Returns how many rows current has
 * now, or -1 if that is not known.
 */
int64
dm_matcher_finish(DmMatcher *matcher)
{
	const DmMergeCounts *counts = matcher->spec.apply.counts;
	int64 live_rows = 0;

	if (!matcher->spec.apply.new_dataset && batch_probe(matcher))
		live_rows = matcher->spec.live_rows;
	else if (!matcher->spec.apply.new_dataset)
	{
		uint64 hash;

		batch_settle(matcher, false);
		places_settle(matcher);
		unmatched_settle(matcher);
		while (dm_keytable_next_partition(matcher->keys))
		{
			while (dm_keytable_get_row(matcher->keys, matcher->spilled, &hash))
			{
				CHECK_FOR_INTERRUPTS();
				slot_getallattrs(matcher->spilled);
				batch_add(matcher, matcher->spilled, hash);
			}
			batch_settle(matcher, false);
			places_settle(matcher);
			unmatched_settle(matcher);
		}
		ereport(DEBUG1,
				(errmsg_internal("datamill: keys of \"%s\" were matched in %d partitions, " INT64_FORMAT
								 " rows were set aside by place",
								 RelationGetRelationName(matcher->spec.apply.current[0]),
								 dm_keytable_partitions(matcher->keys),
								 matcher->set_aside)));
		dm_deletes_check(&matcher->spec, matcher->current_rows);
		live_rows = matcher->current_rows;
	}
	dm_apply_finish(matcher->apply);
	if (matcher->sensitive)
	{
		ExecDropSingleTupleTableSlot(matcher->old.slots[1]);
		dm_probe_end(matcher->sensitive);
	}
	ExecDropSingleTupleTableSlot(matcher->old_slot);
	dm_leaves_close(matcher->leaves);
	ExecDropSingleTupleTableSlot(matcher->aside);
	ExecDropSingleTupleTableSlot(matcher->spilled);
	return live_rows + counts->inserted - counts->deleted;
}

/* Returns, for each fate, the keys that are examples of it. */
List **
dm_matcher_samples(const DmMatcher *matcher)
{
	return dm_apply_samples(matcher->apply);
}

/* Makes the key table and puts the key of every row of current into it. */
static void
current_scan(DmMatcher *matcher)
{
	const DmShape *shape = matcher->spec.apply.shape;
	Relation current = matcher->spec.apply.current[0];
	int natts = shape->wanted->natts;
	Datum *values = palloc(sizeof(Datum) * natts);
	bool *nulls = palloc(sizeof(bool) * natts);
	AttrNumber last_key = 0;
	BlockNumber of_heap;
	uint64 hashes[KEYS_AT_ONCE];
	uint64 tids[KEYS_AT_ONCE];
	int count = 0;
	int leaf;

	matcher->blocks = dm_leaves_blocks(matcher->leaves);
	of_heap = dm_leaves_are_many(matcher->leaves) ? 0 : matcher->blocks;
	matcher->nseen = Min(of_heap, matcher->memory / 16 / sizeof(Buffer));
	matcher->seen = palloc0(Max(matcher->nseen, 1) * sizeof(Buffer));
	matcher->keys =
		dm_keytable_make(matcher->memory / 4 * 3,
						 (uint64) Max(Max(current->rd_rel->reltuples, (double) matcher->spec.live_rows), 0),
						 of_heap);
	for (int i = 0; i < shape->nkeys; i++)
		last_key = Max(last_key, shape->current_attribute[shape->keys[i]]);
	dm_leaves_scan(matcher->leaves, matcher->snapshot, KEPT_BLOCKS);
	while (dm_leaves_next(matcher->leaves, matcher->old_slot, &leaf))
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		if (matcher->nseen > 0)
		{
			dm_cursor_note(matcher->old_slot, matcher->seen, matcher->nseen);
			dm_cursor_prefetch_after(matcher->old_slot);
		}
		slot_getsomeattrs(matcher->old_slot, last_key);
		for (int i = 0; i < shape->nkeys; i++)
		{
			int key = shape->keys[i];

			values[key] = matcher->old_slot->tts_values[shape->current_attribute[key] - 1];
			nulls[key] = matcher->old_slot->tts_isnull[shape->current_attribute[key] - 1];
		}
		MemoryContextReset(matcher->row_context);
		caller = MemoryContextSwitchTo(matcher->row_context);
		hashes[count] = key_hash64(matcher, values, nulls);
		tids[count] = dm_tid_pack(leaf, &matcher->old_slot->tts_tid);
		dm_keytable_prefetch(matcher->keys, hashes[count++]);
		MemoryContextSwitchTo(caller);
		matcher->current_rows++;
		if (count == KEYS_AT_ONCE)
		{
			keys_add(matcher, hashes, tids, count);
			count = 0;
		}
	}
	keys_add(matcher, hashes, tids, count);
	ExecClearTuple(matcher->old_slot);
	dm_leaves_scan_end(matcher->leaves);
}

/* Adds keys to the key table, whose slots were asked for when their hashes were known. */
static void
keys_add(DmMatcher *matcher, const uint64 *hashes, const uint64 *tids, int count)
{
	for (int i = 0; i < count; i++)
		dm_keytable_add(matcher->keys, hashes[i], tids[i]);
}

/* Puts a source row into the batch, and works the batch off when it is full. */
static void
batch_add(DmMatcher *matcher, TupleTableSlot *slot, uint64 hash)
{
	if (!dm_row_buffer_add(matcher->batch, slot->tts_values, slot->tts_isnull, 0, hash))
		batch_settle(matcher, true);
}

/*
 * Works off the batch: rows with an unknown key are new; the others are compared with their rows of current, in the
 * order of their places, and applied where they differ, or set aside. A last one that is not full is worth that only if
 * others were.
 */
static void
batch_settle(DmMatcher *matcher, bool is_full)
{
	DmRowBuffer *batch = matcher->batch;
	bool downwards;
	int first;

	if (!matcher->keys)
	{
		MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(matcher));

		/* a delta that turned out not to be small */
		current_scan(matcher);
		MemoryContextSwitchTo(caller);
		batch_spill_others(matcher);
	}
	first = batch_look_up(matcher);
	downwards = batch_sort(matcher);
	if ((is_full || matcher->places) && matcher->blocks > NBuffers / 2 &&
		dm_places_are_apart(&batch->rows[first], batch->nrows - first))
		batch_set_aside(matcher, first, downwards);
	else
		batch_compare(matcher, first, downwards);
	dm_row_buffer_reset(batch);
}

/* Compares the rows of the sorted batch, from that index on, with their rows of current, and applies what differs. */
static void
batch_compare(DmMatcher *matcher, int first, bool downwards)
{
	DmRowBuffer *batch = matcher->batch;

	if (first < batch->nrows)
		cursor_begin(matcher);
	for (int i = first; i < batch->nrows; i++)
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		if (i + PREFETCH_DISTANCE < batch->nrows)
		{
			DmBufferedRow *ahead = &batch->rows[i + PREFETCH_DISTANCE];

			dm_row_buffer_prefetch(batch, ahead);
			dm_keytable_prefetch_mark(matcher->keys, (int64) ahead->tag);
			dm_cursor_prefetch(matcher->cursor, downwards ? dm_tid_turn(ahead->order) : ahead->order);
		}
		MemoryContextReset(matcher->row_context);
		caller = MemoryContextSwitchTo(matcher->row_context);
		if (downwards)
			batch->rows[i].order = dm_tid_turn(batch->rows[i].order);
		matcher->place = batch->rows[i].order;
		candidate_settle(matcher, &batch->rows[i]);
		MemoryContextSwitchTo(caller);
	}
	cursor_end(matcher);
}

/* Returns which of the pages of current a packed tuple id is on. */
static BlockNumber
page_of(const DmMatcher *matcher, uint64 tid)
{
	return dm_leaves_page(matcher->leaves, dm_tid_leaf(tid), (BlockNumber) (tid >> 16));
}

/* Sets the rows of the sorted batch aside, from that index on. */
static void
batch_set_aside(DmMatcher *matcher, int first, bool downwards)
{
	DmRowBuffer *batch = matcher->batch;

	if (!matcher->places)
	{
		MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(matcher));

		matcher->places = dm_places_make(matcher->blocks,
										 (double) matcher->current_rows,
										 batch_bytes(matcher) / batch->nrows + 1,
										 batch_bytes(matcher));
		MemoryContextSwitchTo(caller);
	}
	matcher->set_aside += batch->nrows - first;
	for (int i = first; i < batch->nrows; i++)
	{
		const DmBufferedRow *row = &batch->rows[i];
		uint64 tid = downwards ? dm_tid_turn(row->order) : row->order;

		CHECK_FOR_INTERRUPTS();
		if (i + PREFETCH_DISTANCE < batch->nrows)
			dm_row_buffer_prefetch(batch, &batch->rows[i + PREFETCH_DISTANCE]);
		dm_places_put(matcher->places, batch_slot(matcher, row), page_of(matcher, tid), tid, row->tag);
	}
}

/* Works off the rows that were set aside, one stretch of current after another. */
static void
places_settle(DmMatcher *matcher)
{
	uint64 tid;
	uint64 tag;

	while (matcher->places &&
		   dm_places_next(matcher->places, page_of(matcher, matcher->place) > matcher->blocks / 2))
	{
		while (dm_places_get(matcher->places, matcher->spilled, &tid, &tag))
		{
			CHECK_FOR_INTERRUPTS();
			slot_getallattrs(matcher->spilled);
			if (dm_row_buffer_add(
					matcher->batch, matcher->spilled->tts_values, matcher->spilled->tts_isnull, tid, tag))
				continue;
			batch_compare(matcher, 0, batch_sort(matcher));
			dm_row_buffer_reset(matcher->batch);
		}
		batch_compare(matcher, 0, batch_sort(matcher));
		dm_row_buffer_reset(matcher->batch);
	}
}

/* Returns a slot with a row of the batch, whose values stay there. */
static TupleTableSlot *
batch_slot(DmMatcher *matcher, const DmBufferedRow *row)
{
	TupleTableSlot *slot = matcher->aside;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, row->values, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	memcpy(slot->tts_isnull, row->nulls, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	return ExecStoreVirtualTuple(slot);
}

/* Begins to fetch rows of current. */
static void
cursor_begin(DmMatcher *matcher)
{
	MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(matcher)); /* it outlives many rows */

	matcher->cursor = dm_cursor_begin(matcher->leaves,
									  matcher->spec.apply.current[0],
									  matcher->snapshot,
									  matcher->old_slot,
									  matcher->seen,
									  matcher->nseen,
									  matcher->blocks > KEPT_BLOCKS);
	MemoryContextSwitchTo(caller);
}

/* Ends that. */
static void
cursor_end(DmMatcher *matcher)
{
	if (matcher->cursor)
		dm_cursor_end(matcher->cursor);
	matcher->cursor = NULL;
}

/*
 * Looks up the keys of the batch, and hands new rows on. Returns how many they are; their order is 0, that of the others the
 * place of their candidate.
 */
static int
batch_look_up(DmMatcher *matcher)
{
	DmRowBuffer *batch = matcher->batch;
	int new_rows = 0;

	for (int i = 0; i < batch->nrows; i++)
	{
		DmBufferedRow *row = &batch->rows[i];
		int64 position;

		if (i + PREFETCH_DISTANCE < batch->nrows)
			dm_keytable_prefetch(matcher->keys, batch->rows[i + PREFETCH_DISTANCE].tag);
		position = dm_keytable_find(matcher->keys, row->tag);
		row->tag = (uint64) position;
		if (position != DM_KEY_NONE)
		{
			row->order = dm_keytable_tid(matcher->keys, position);
			continue;
		}
		row->order = 0; /* before every tuple id */
		new_rows++;
		dm_apply_insert(matcher->apply, row->values, row->nulls);
	}
	return new_rows;
}

/*
 * Sorts the batch for a pass over current: candidates stand in the order of their places, behind the rows without one. True
 * if their places are turned now.
 */
static bool
batch_sort(DmMatcher *matcher)
{
	DmRowBuffer *batch = matcher->batch;
	uint64 lowest = PG_UINT64_MAX;
	uint64 highest = 0;
	bool downwards;

	for (int i = 0; i < batch->nrows; i++)
	{
		if (batch->rows[i].order == 0)
			continue;
		lowest = Min(lowest, batch->rows[i].order);
		highest = Max(highest, batch->rows[i].order);
	}
	downwards = highest > 0 && dm_pass_is_downwards(matcher->place, lowest, highest);
	for (int i = 0; i < batch->nrows && downwards; i++)
	{
		if (batch->rows[i].order != 0)
			batch->rows[i].order = dm_tid_turn(batch->rows[i].order);
	}
	dm_row_buffer_sort(batch);
	return downwards;
}

/* Sets aside the rows of the batch that do not belong to the partition in memory, and keeps the others. */
static void
batch_spill_others(DmMatcher *matcher)
{
	DmRowBuffer *batch = matcher->batch;
	int kept = 0;

	for (int i = 0; i < batch->nrows; i++)
	{
		DmBufferedRow *row = &batch->rows[i];

		if (dm_keytable_is_here(matcher->keys, row->tag))
		{
			batch->rows[kept++] = *row;
			continue;
		}
		dm_keytable_put_row(matcher->keys, row->tag, batch_slot(matcher, row));
	}
	batch->nrows = kept;
}

/*
 * If the whole source lies in the batch and is small beside the table, looks its rows up in the key index and returns
 * true; false if current has to be (or was) scanned. Keys that did not come are only counted: that many rows are left.
 */
static bool
batch_probe(DmMatcher *matcher)
{
	DmRowBuffer *batch = matcher->batch;
	DmMergeCounts *counts = matcher->spec.apply.counts;
	DmProbe *probe;

	if (matcher->keys || matcher->spec.stamp ||
		matcher->spec.live_rows < (int64) batch->nrows * ROWS_A_PROBE * dm_leaves_count(matcher->leaves))
		return false;
	probe = dm_probe_begin(matcher->spec.apply.current[0], matcher->spec.apply.shape->parts[0], matcher->snapshot);
	if (!probe)
		return false;
	dm_duplicates_check(matcher->spec.apply.shape, batch);
	for (int i = 0; i < batch->nrows; i++)
	{
		DmBufferedRow *row = &batch->rows[i];
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(matcher->row_context);
		caller = MemoryContextSwitchTo(matcher->row_context);
		dm_probe_start(probe, row->values, row->nulls);
		if (dm_probe_next(probe, matcher->old_slot))
		{
			slot_getsomeattrs(matcher->old_slot, matcher->compared);
			row_settle(matcher, row);
		}
		else
			dm_apply_insert(matcher->apply, row->values, row->nulls);
		MemoryContextSwitchTo(caller);
	}
	ExecClearTuple(matcher->old_slot);
	dm_probe_end(probe);
	counts->missing += Max(matcher->spec.live_rows - counts->updated - counts->unchanged, 0);
	return true;
}

/* Finds the row of current with the candidate's key among those with its hash, and settles the two. */
static void
candidate_settle(DmMatcher *matcher, const DmBufferedRow *row)
{
	const DmShape *shape = matcher->spec.apply.shape;
	int64 position = (int64) row->tag;

	dm_cursor_fetch(matcher->cursor, row->order);
	if (matcher->image && dm_image_equal(matcher->image, matcher->old_slot, row->values, row->nulls))
	{
		if (!dm_keytable_mark(matcher->keys, position))
			dm_raise_duplicate_key(shape, row->values, row->nulls);
		dm_apply_unchanged(matcher->apply, &matcher->old, row->values, row->nulls);
		return;
	}
	old_row_fetch(matcher, row->order);
	while (!columns_equal(matcher, row, shape->keys, shape->nkeys))
	{
		uint64 hash = key_hash64(matcher, row->values, row->nulls);

		position = dm_keytable_find_next(matcher->keys, hash, position);
		if (position == DM_KEY_NONE)
		{
			dm_apply_insert(matcher->apply, row->values, row->nulls);
			return;
		}
		old_row_fetch(matcher, dm_keytable_tid(matcher->keys, position));
	}
	if (!dm_keytable_mark(matcher->keys, position))
		dm_raise_duplicate_key(shape, row->values, row->nulls);
	row_settle(matcher, row);
}

/* Applies what a source row means for the row of current with its key, which is in old_slot. */
static void
row_settle(DmMatcher *matcher, const DmBufferedRow *row)
{
	const DmShape *shape = matcher->spec.apply.shape;

	parts_fetch(matcher);
	if (!columns_equal(matcher, row, shape->tracked, shape->ntracked))
		dm_apply_update(matcher->apply, &matcher->old, row->values, row->nulls);
	else if (!columns_equal(matcher, row, shape->untracked, shape->nuntracked))
		dm_apply_refresh(matcher->apply, &matcher->old, row->values, row->nulls);
	else
		dm_apply_unchanged(matcher->apply, &matcher->old, row->values, row->nulls);
}

/* Fetches a row of current into old_slot, as far as comparisons need it. */
static void
old_row_fetch(DmMatcher *matcher, uint64 tid)
{
	dm_cursor_fetch(matcher->cursor, tid);
	slot_getsomeattrs(matcher->old_slot, matcher->compared);
}

/* True if the given columns of the source row equal those of the row in old_slot. */
static bool
columns_equal(DmMatcher *matcher, const DmBufferedRow *row, const int *columns, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (!dm_column_equal(matcher->spec.apply.shape, columns[i], row->values, row->nulls, &matcher->old))
			return false;
	}
	return true;
}

/* The keys of the partition that the source did not bring: their versions end, or they are only counted. */
static void
unmatched_settle(DmMatcher *matcher)
{
	bool may_close = matcher->spec.mode == DM_MODE_FULL && matcher->spec.close_deletes;
	uint64 count;
	uint64 *tids = dm_keytable_unmarked(matcher->keys, &count);
	bool downwards;

	if (!may_close && !matcher->spec.apply.dry_run && !matcher->spec.stamp)
	{
		matcher->spec.apply.counts->missing += count;
		count = 0;
	}
	downwards = dm_tids_sort(tids, count, matcher->place);
	if (count > 0)
		cursor_begin(matcher);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext caller;

		if (!may_close && !matcher->spec.stamp && i >= DM_PLAN_SAMPLES)
		{
			matcher->spec.apply.counts->missing += count - i;
			break;
		}
		CHECK_FOR_INTERRUPTS();
		if (i + PREFETCH_DISTANCE < count)
			dm_cursor_prefetch(matcher->cursor,
							   downwards ? dm_tid_turn(tids[i + PREFETCH_DISTANCE]) : tids[i + PREFETCH_DISTANCE]);
		MemoryContextReset(matcher->row_context);
		caller = MemoryContextSwitchTo(matcher->row_context);
		matcher->place = downwards ? dm_tid_turn(tids[i]) : tids[i];
		old_row_fetch(matcher, matcher->place);
		if (may_close && dm_scope_covers(matcher->spec.scope, matcher->spec.scope_context, matcher->old_slot))
		{
			parts_fetch(matcher);
			dm_apply_delete(matcher->apply, &matcher->old);
		}
		else
			dm_apply_missing(matcher->apply, &matcher->old);
		MemoryContextSwitchTo(caller);
	}
	cursor_end(matcher);
	pfree(tids);
}

/* Returns the hash by which a key is looked up, cut to datamill.hash_bits. */
static uint64
key_hash64(DmMatcher *matcher, const Datum *values, const bool *nulls)
{
	const DmShape *shape = matcher->spec.apply.shape;
	uint8 hash[DM_HASH_BYTES];
	uint64 low;

	dm_row_hash(shape->ops, values, nulls, shape->keys, shape->nkeys, hash);
	memcpy(&low, hash, sizeof(low));
	return low & matcher->hash_mask;
}
