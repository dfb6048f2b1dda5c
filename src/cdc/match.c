/*
 * match.c: matches source rows with the current table and writes what changed.
 *
 * Invariants:
 * 1. One pass over current puts the hash of each key and its tuple id into a table; one pass over the source looks each
 *    row up. Memory stays within work_mem x hash_mem_multiplier, plus work_mem to sort new rows.
 * 2. Hashes only find candidates. Whether keys or values are the same is decided by comparing the values of the two
 *    rows, by the types' own equality, so colliding hashes and rows edited by hand come out right.
 * 3. Source rows are collected in batches, and those with a candidate are compared and written in the order of tuple
 *    ids, so that the pages of current are read and written in order. New rows are sorted by key, so that the key index is filled in order.
 * 4. A row that did not change is not written.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/guc.h"
#include "cdc/keytable.h"
#include "cdc/match.h"
#include "rows/row_buffer.h"
#include "rows/table_writer.h"

#define PREFETCH_DISTANCE 16
#define KEYS_AT_ONCE 64

struct DmMatcher
{
	DmMatcherSpec spec;
	DmTableWriter *current_writer;
	DmTableWriter *history_writer;
	Snapshot snapshot;
	DmKeyTable *keys;		 /* NULL for a new dataset */
	DmRowBuffer *batch;		 /* source rows: tag = key hash, then position in keys; order = tuple id */
	Tuplesortstate *inserts; /* new rows in the shape of current, by key */
	TupleTableSlot *old_slot; /* a row of current */
	TupleTableSlot *new_slot; /* a row to be written, virtual */
	AttrNumber compared;	  /* highest attribute of current that comparisons need */
	uint64 hash_mask;
	pg_uuid_t key_hash; /* of the row in new_slot */
	pg_uuid_t row_hash;
	MemoryContext row_context; /* reset for each row */
	int64 source_rows;
};

static void current_scan(DmMatcher *matcher);
static void keys_add(DmMatcher *matcher, const uint64 *hashes, ItemPointerData *tids, int count);
static void batch_settle(DmMatcher *matcher);
static int batch_look_up(DmMatcher *matcher);
static void candidate_settle(DmMatcher *matcher, const DmBufferedRow *row);
static void old_row_fetch(DmMatcher *matcher, uint64 tid);
static bool keys_equal(DmMatcher *matcher, const DmBufferedRow *row);
static bool columns_equal(DmMatcher *matcher, const DmBufferedRow *row, const int *columns, int ncolumns);
static void row_insert(DmMatcher *matcher, const Datum *values, const bool *nulls);
static void row_update(DmMatcher *matcher, const DmBufferedRow *row);
static void row_refresh(DmMatcher *matcher, const DmBufferedRow *row);
static void unmatched_close(DmMatcher *matcher);
static void history_write(DmMatcher *matcher, char ended_by);
static void new_row_fill(DmMatcher *matcher, TupleTableSlot *slot, const Datum *values, const bool *nulls, char operation);
static Tuplesortstate *inserts_begin(DmMatcher *matcher);
static void inserts_write(DmMatcher *matcher);
static bool same_key(DmMatcher *matcher, TupleTableSlot *a, TupleTableSlot *b);
static uint64 key_hash64(DmMatcher *matcher, const Datum *values, const bool *nulls);
static void keys_check_null(DmMatcher *matcher, const bool *nulls);
static void raise_duplicate(DmMatcher *matcher, const Datum *values);

/*
 * Begins a merge in the current memory context: scans current and opens the writers. The active snapshot is the one the
 * merge sees and must stay until dm_matcher_finish().
 */
DmMatcher *
dm_matcher_begin(const DmMatcherSpec *spec)
{
	DmMatcher *matcher = palloc0(sizeof(DmMatcher));
	TupleDesc desc = RelationGetDescr(spec->current);
	Size memory = get_hash_memory_limit();
	Bitmapset *updated = NULL;

	matcher->spec = *spec;
	matcher->snapshot = GetActiveSnapshot();
	matcher->row_context = AllocSetContextCreate(CurrentMemoryContext, "datamill merge row", ALLOCSET_DEFAULT_SIZES);
	matcher->old_slot = table_slot_create(spec->current, NULL);
	matcher->new_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	matcher->hash_mask = dm_guc_hash_bits >= 64 ? ~UINT64CONST(0) : (UINT64CONST(1) << dm_guc_hash_bits) - 1;
	for (int i = 0; i < spec->shape->wanted->natts; i++)
	{
		AttrNumber number = spec->shape->current_attribute[i];

		matcher->compared = Max(matcher->compared, number);
		updated = bms_add_member(updated, number - FirstLowInvalidHeapAttributeNumber);
	}
	if (!spec->new_dataset)
	{
		matcher->keys = dm_keytable_make(memory / 4 * 3, (uint64) Max(spec->current->rd_rel->reltuples, 0));
		matcher->inserts = inserts_begin(matcher);
		current_scan(matcher);
		matcher->batch = dm_row_buffer_make(spec->shape->wanted,
											Max(memory / 4, memory - Min(memory, dm_keytable_bytes(matcher->keys))));
	}
	dm_writers_begin();
	matcher->current_writer = dm_writer_open(spec->current, spec->new_dataset ? NULL : updated, spec->new_dataset);
	matcher->history_writer = spec->new_dataset ? NULL : dm_writer_open(spec->history, NULL, false);
	return matcher;
}

/* Takes one source row, of the shape's wanted columns. A DmSourceEach; arg is the matcher. */
void
dm_matcher_row(TupleTableSlot *slot, void *arg)
{
	DmMatcher *matcher = arg;
	MemoryContext caller;
	uint64 hash;

	matcher->source_rows++;
	slot_getallattrs(slot);
	keys_check_null(matcher, slot->tts_isnull);
	MemoryContextReset(matcher->row_context);
	caller = MemoryContextSwitchTo(matcher->row_context);
	if (matcher->spec.new_dataset)
	{
		TupleTableSlot *row = dm_writer_slot(matcher->current_writer);

		new_row_fill(matcher, row, slot->tts_values, slot->tts_isnull, 'I');
		dm_writer_insert(matcher->current_writer, row);
		matcher->spec.counts->inserted++;
	}
	else
	{
		hash = key_hash64(matcher, slot->tts_values, slot->tts_isnull);
		if (!dm_keytable_is_here(matcher->keys, hash))
			dm_keytable_put_row(matcher->keys, hash, slot);
		else if (!dm_row_buffer_add(matcher->batch, slot->tts_values, slot->tts_isnull, 0, hash))
			batch_settle(matcher);
	}
	MemoryContextSwitchTo(caller);
}

/* Works off all that is left, closes the versions of keys that did not come, and ends the merge. */
void
dm_matcher_finish(DmMatcher *matcher)
{
	if (!matcher->spec.new_dataset)
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(matcher->spec.shape->wanted, &TTSOpsMinimalTuple);

		batch_settle(matcher);
		unmatched_close(matcher);
		while (dm_keytable_next_partition(matcher->keys))
		{
			while (dm_keytable_get_row(matcher->keys, slot))
			{
				CHECK_FOR_INTERRUPTS();
				slot_getallattrs(slot);
				if (!dm_row_buffer_add(matcher->batch,
									   slot->tts_values,
									   slot->tts_isnull,
									   0,
									   key_hash64(matcher, slot->tts_values, slot->tts_isnull)))
					batch_settle(matcher);
			}
			batch_settle(matcher);
			unmatched_close(matcher);
		}
		ExecDropSingleTupleTableSlot(slot);
		ereport(DEBUG1,
				(errmsg_internal("datamill: keys of \"%s\" were matched in %d partitions",
								 RelationGetRelationName(matcher->spec.current),
								 dm_keytable_partitions(matcher->keys))));
		inserts_write(matcher);
		dm_writer_close(matcher->history_writer);
	}
	dm_writer_close(matcher->current_writer);
	dm_writers_end();
	ExecDropSingleTupleTableSlot(matcher->old_slot);
	ExecDropSingleTupleTableSlot(matcher->new_slot);
}

/* Puts the key of every row of current into the key table. */
static void
current_scan(DmMatcher *matcher)
{
	const DmShape *shape = matcher->spec.shape;
	int natts = shape->wanted->natts;
	Datum *values = palloc(sizeof(Datum) * natts);
	bool *nulls = palloc(sizeof(bool) * natts);
	AttrNumber last_key = 0;
	uint64 hashes[KEYS_AT_ONCE];
	ItemPointerData tids[KEYS_AT_ONCE];
	int count = 0;
	TableScanDesc scan = table_beginscan(matcher->spec.current, matcher->snapshot, 0, NULL);

	for (int i = 0; i < shape->nkeys; i++)
		last_key = Max(last_key, shape->current_attribute[shape->keys[i]]);
	while (table_scan_getnextslot(scan, ForwardScanDirection, matcher->old_slot))
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
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
		tids[count] = matcher->old_slot->tts_tid;
		dm_keytable_prefetch(matcher->keys, hashes[count++]);
		MemoryContextSwitchTo(caller);
		if (count == KEYS_AT_ONCE)
		{
			keys_add(matcher, hashes, tids, count);
			count = 0;
		}
	}
	keys_add(matcher, hashes, tids, count);
	table_endscan(scan);
	ExecClearTuple(matcher->old_slot);
}

/* Adds keys to the key table, whose slots were asked for when their hashes were known. */
static void
keys_add(DmMatcher *matcher, const uint64 *hashes, ItemPointerData *tids, int count)
{
	for (int i = 0; i < count; i++)
		dm_keytable_add(matcher->keys, hashes[i], &tids[i]);
}

/*
 * Works off the batch: rows with an unknown key are new; the others are compared with their rows of current, in the
 * order of their places, and written where they differ.
 */
static void
batch_settle(DmMatcher *matcher)
{
	DmRowBuffer *batch = matcher->batch;
	int first = batch_look_up(matcher);

	for (int i = first; i < batch->nrows; i++)
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(matcher->row_context);
		caller = MemoryContextSwitchTo(matcher->row_context);
		candidate_settle(matcher, &batch->rows[i]);
		MemoryContextSwitchTo(caller);
	}
	ExecClearTuple(matcher->old_slot);
	dm_row_buffer_reset(batch);
}

/*
 * Looks up the keys of the batch, hands new rows on, and sorts the batch so that candidates stand in the order of their
 * places. Returns the index of the first candidate; new rows stand before it.
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
		row_insert(matcher, row->values, row->nulls);
	}
	dm_row_buffer_sort(batch);
	return new_rows;
}

/* Finds the row of current with the candidate's key among those with its hash, and writes what is different. */
static void
candidate_settle(DmMatcher *matcher, const DmBufferedRow *row)
{
	const DmShape *shape = matcher->spec.shape;
	int64 position = (int64) row->tag;

	old_row_fetch(matcher, row->order);
	while (!keys_equal(matcher, row))
	{
		uint64 hash = key_hash64(matcher, row->values, row->nulls);

		position = dm_keytable_find_next(matcher->keys, hash, position);
		if (position == DM_KEY_NONE)
		{
			row_insert(matcher, row->values, row->nulls);
			return;
		}
		old_row_fetch(matcher, dm_keytable_tid(matcher->keys, position));
	}
	if (!dm_keytable_mark(matcher->keys, position))
		raise_duplicate(matcher, row->values);
	if (!columns_equal(matcher, row, shape->tracked, shape->ntracked))
		row_update(matcher, row);
	else
	{
		matcher->spec.counts->unchanged++;
		if (!columns_equal(matcher, row, shape->untracked, shape->nuntracked))
			row_refresh(matcher, row);
	}
}

/* Fetches a row of current into old_slot, as far as comparisons need it. */
static void
old_row_fetch(DmMatcher *matcher, uint64 tid)
{
	ItemPointerData item;

	dm_tid_unpack(tid, &item);
	if (!table_tuple_fetch_row_version(matcher->spec.current, &item, matcher->snapshot, matcher->old_slot))
		elog(ERROR,
			 "row (%u,%u) of \"%s\" has vanished",
			 ItemPointerGetBlockNumber(&item),
			 ItemPointerGetOffsetNumber(&item),
			 RelationGetRelationName(matcher->spec.current));
	slot_getsomeattrs(matcher->old_slot, matcher->compared);
}

/* True if the candidate's key is that of the row in old_slot. */
static bool
keys_equal(DmMatcher *matcher, const DmBufferedRow *row)
{
	return columns_equal(matcher, row, matcher->spec.shape->keys, matcher->spec.shape->nkeys);
}

/* True if the given columns of the candidate equal those of the row in old_slot. */
static bool
columns_equal(DmMatcher *matcher, const DmBufferedRow *row, const int *columns, int ncolumns)
{
	const DmShape *shape = matcher->spec.shape;
	TupleTableSlot *old = matcher->old_slot;

	for (int i = 0; i < ncolumns; i++)
	{
		int column = columns[i];
		int attribute = shape->current_attribute[column] - 1;

		if (!dm_value_equal(&shape->ops->columns[column],
							row->values[column],
							row->nulls[column],
							old->tts_values[attribute],
							old->tts_isnull[attribute]))
			return false;
	}
	return true;
}

/* A key that current does not have: its row waits, sorted by key, until all others are settled. */
static void
row_insert(DmMatcher *matcher, const Datum *values, const bool *nulls)
{
	ExecClearTuple(matcher->new_slot);
	new_row_fill(matcher, matcher->new_slot, values, nulls, 'I');
	tuplesort_puttupleslot(matcher->inserts, matcher->new_slot);
	matcher->spec.counts->inserted++;
}

/* A changed row: the version in old_slot goes to history, the candidate takes its place. */
static void
row_update(DmMatcher *matcher, const DmBufferedRow *row)
{
	const DmShape *shape = matcher->spec.shape;
	TupleTableSlot *old = matcher->old_slot;
	TupleTableSlot *new = matcher->new_slot;

	history_write(matcher, 'U');
	ExecClearTuple(new);
	new_row_fill(matcher, new, row->values, row->nulls, 'U');
	/* the key stays as it was spelt, and an equal value that is stored out of line is not stored again */
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		int attribute = shape->current_attribute[i] - 1;

		if (new->tts_isnull[attribute] || old->tts_isnull[attribute] ||
			TupleDescAttr(shape->wanted, i)->attlen != -1 ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(old->tts_values[attribute])))
			continue;
		if (columns_equal(matcher, row, &i, 1))
			new->tts_values[attribute] = old->tts_values[attribute];
	}
	for (int i = 0; i < shape->nkeys; i++)
	{
		int attribute = shape->current_attribute[shape->keys[i]] - 1;

		new->tts_values[attribute] = old->tts_values[attribute];
	}
	dm_writer_update(matcher->current_writer, old, new);
	matcher->spec.counts->updated++;
}

/* An unchanged row whose untracked columns differ: they are brought up to date, the version stays. */
static void
row_refresh(DmMatcher *matcher, const DmBufferedRow *row)
{
	const DmShape *shape = matcher->spec.shape;
	TupleTableSlot *old = matcher->old_slot;
	TupleTableSlot *new = matcher->new_slot;
	int natts = new->tts_tupleDescriptor->natts;

	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(new->tts_values, old->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, old->tts_isnull, sizeof(bool) * natts);
	for (int i = 0; i < shape->nuntracked; i++)
	{
		int column = shape->untracked[i];

		new->tts_values[shape->current_attribute[column] - 1] = row->values[column];
		new->tts_isnull[shape->current_attribute[column] - 1] = row->nulls[column];
	}
	ExecStoreVirtualTuple(new);
	dm_writer_update(matcher->current_writer, old, new);
	matcher->spec.counts->refreshed++;
}

/* The keys of the partition that the source did not bring: their versions are closed, or only counted. */
static void
unmatched_close(DmMatcher *matcher)
{
	uint64 count;
	uint64 *tids = dm_keytable_unmarked(matcher->keys, &count);

	if (!matcher->spec.close_deletes)
		matcher->spec.counts->missing += count;
	for (uint64 i = 0; matcher->spec.close_deletes && i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		old_row_fetch(matcher, tids[i]);
		history_write(matcher, 'D');
		dm_writer_delete(matcher->current_writer, matcher->old_slot);
		matcher->spec.counts->deleted++;
	}
	ExecClearTuple(matcher->old_slot);
	pfree(tids);
}

/* Writes the version in old_slot to history, ended at the effective date. */
static void
history_write(DmMatcher *matcher, char ended_by)
{
	const DmShape *shape = matcher->spec.shape;
	TupleTableSlot *old = matcher->old_slot;
	TupleTableSlot *row = dm_writer_slot(matcher->history_writer);
	int natts = row->tts_tupleDescriptor->natts;

	slot_getallattrs(old);
	for (int i = 0; i < natts; i++)
	{
		AttrNumber from = shape->history_from[i];

		row->tts_isnull[i] = from == 0 || old->tts_isnull[from - 1];
		row->tts_values[i] = from == 0 ? (Datum) 0 : old->tts_values[from - 1];
	}
	row->tts_values[shape->history_end - 1] = matcher->spec.effective;
	row->tts_isnull[shape->history_end - 1] = false;
	row->tts_values[shape->history_ended_by - 1] = CharGetDatum(ended_by);
	row->tts_isnull[shape->history_ended_by - 1] = false;
	row->tts_values[shape->history_ended_merge - 1] = Int64GetDatum(matcher->spec.merge_id);
	row->tts_isnull[shape->history_ended_merge - 1] = false;
	ExecStoreVirtualTuple(row);
	dm_writer_insert(matcher->history_writer, row);
}

/* Fills a cleared slot of current's shape with a version that starts at the effective date. */
static void
new_row_fill(DmMatcher *matcher, TupleTableSlot *slot, const Datum *values, const bool *nulls, char operation)
{
	const DmShape *shape = matcher->spec.shape;

	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	memset(slot->tts_values, 0, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		slot->tts_values[shape->current_attribute[i] - 1] = values[i];
		slot->tts_isnull[shape->current_attribute[i] - 1] = nulls[i];
	}
	dm_row_hash(shape->ops, values, nulls, shape->keys, shape->nkeys, matcher->key_hash.data);
	dm_row_hash(shape->ops, values, nulls, shape->hashed, shape->nhashed, matcher->row_hash.data);
	slot->tts_values[shape->operation - 1] = CharGetDatum(operation);
	slot->tts_isnull[shape->operation - 1] = false;
	slot->tts_values[shape->start - 1] = matcher->spec.effective;
	slot->tts_isnull[shape->start - 1] = false;
	slot->tts_values[shape->merge - 1] = Int64GetDatum(matcher->spec.merge_id);
	slot->tts_isnull[shape->merge - 1] = false;
	slot->tts_values[shape->key_hash - 1] = UUIDPGetDatum(&matcher->key_hash);
	slot->tts_isnull[shape->key_hash - 1] = false;
	slot->tts_values[shape->row_hash - 1] = UUIDPGetDatum(&matcher->row_hash);
	slot->tts_isnull[shape->row_hash - 1] = false;
	ExecStoreVirtualTuple(slot);
}

/* Begins the sort of new rows by their key columns. */
static Tuplesortstate *
inserts_begin(DmMatcher *matcher)
{
	const DmShape *shape = matcher->spec.shape;
	AttrNumber *attributes = palloc(sizeof(AttrNumber) * shape->nkeys);
	Oid *operators = palloc(sizeof(Oid) * shape->nkeys);
	Oid *collations = palloc(sizeof(Oid) * shape->nkeys);
	bool *nulls_first = palloc0(sizeof(bool) * shape->nkeys);

	for (int i = 0; i < shape->nkeys; i++)
	{
		Form_pg_attribute key = TupleDescAttr(shape->wanted, shape->keys[i]);

		attributes[i] = shape->current_attribute[shape->keys[i]];
		operators[i] = lookup_type_cache(key->atttypid, TYPECACHE_LT_OPR)->lt_opr;
		collations[i] = key->attcollation;
	}
	return tuplesort_begin_heap(RelationGetDescr(matcher->spec.current),
								shape->nkeys,
								attributes,
								operators,
								collations,
								nulls_first,
								work_mem,
								NULL,
								TUPLESORT_NONE);
}

/* Writes the new rows in the order of their keys. Raises 21000 if two of them have the same key. */
static void
inserts_write(DmMatcher *matcher)
{
	TupleDesc desc = RelationGetDescr(matcher->spec.current);
	TupleTableSlot *slots[2];
	int64 count = 0;

	slots[0] = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	slots[1] = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplesort_performsort(matcher->inserts);
	while (tuplesort_gettupleslot(matcher->inserts, true, true, slots[count % 2], NULL))
	{
		TupleTableSlot *slot = slots[count % 2];
		TupleTableSlot *row;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (count > 0 && same_key(matcher, slot, slots[(count - 1) % 2]))
		{
			Datum *values = palloc0(sizeof(Datum) * matcher->spec.shape->wanted->natts);

			for (int i = 0; i < matcher->spec.shape->wanted->natts; i++)
				values[i] = slot->tts_values[matcher->spec.shape->current_attribute[i] - 1];
			raise_duplicate(matcher, values);
		}
		row = dm_writer_slot(matcher->current_writer);
		memcpy(row->tts_values, slot->tts_values, sizeof(Datum) * desc->natts);
		memcpy(row->tts_isnull, slot->tts_isnull, sizeof(bool) * desc->natts);
		ExecStoreVirtualTuple(row);
		dm_writer_insert(matcher->current_writer, row);
		count++;
	}
	ExecDropSingleTupleTableSlot(slots[0]);
	ExecDropSingleTupleTableSlot(slots[1]);
	tuplesort_end(matcher->inserts);
}

/* True if two rows of current's shape have the same key. */
static bool
same_key(DmMatcher *matcher, TupleTableSlot *a, TupleTableSlot *b)
{
	const DmShape *shape = matcher->spec.shape;

	for (int i = 0; i < shape->nkeys; i++)
	{
		int attribute = shape->current_attribute[shape->keys[i]] - 1;

		if (!dm_value_equal(&shape->ops->columns[shape->keys[i]],
							a->tts_values[attribute],
							a->tts_isnull[attribute],
							b->tts_values[attribute],
							b->tts_isnull[attribute]))
			return false;
	}
	return true;
}

/* Returns the hash by which a key is looked up, cut to datamill.hash_bits. */
static uint64
key_hash64(DmMatcher *matcher, const Datum *values, const bool *nulls)
{
	const DmShape *shape = matcher->spec.shape;
	uint8 hash[DM_HASH_BYTES];
	uint64 low;

	dm_row_hash(shape->ops, values, nulls, shape->keys, shape->nkeys, hash);
	memcpy(&low, hash, sizeof(low));
	return low & matcher->hash_mask;
}

/* Raises 23502 if a key column is NULL. */
static void
keys_check_null(DmMatcher *matcher, const bool *nulls)
{
	const DmShape *shape = matcher->spec.shape;

	for (int i = 0; i < shape->nkeys; i++)
	{
		if (nulls[shape->keys[i]])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("key column \"%s\" is NULL in row " INT64_FORMAT " of the source",
							NameStr(TupleDescAttr(shape->wanted, shape->keys[i])->attname),
							matcher->source_rows),
					 errhint("Leave such rows out with a query as source, or choose other keys.")));
	}
}

/* Raises 21000 for a key that stands in the source more than once; values are of the wanted columns. */
static void
raise_duplicate(DmMatcher *matcher, const Datum *values)
{
	const DmShape *shape = matcher->spec.shape;
	StringInfoData names;
	StringInfoData texts;

	initStringInfo(&names);
	initStringInfo(&texts);
	for (int i = 0; i < shape->nkeys; i++)
	{
		Form_pg_attribute key = TupleDescAttr(shape->wanted, shape->keys[i]);
		Oid output;
		bool varlena;

		getTypeOutputInfo(key->atttypid, &output, &varlena);
		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", NameStr(key->attname));
		appendStringInfo(&texts, "%s%s", i == 0 ? "" : ", ", OidOutputFunctionCall(output, values[shape->keys[i]]));
	}
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("a key stands in the source more than once"),
			 errdetail("Key (%s)=(%s).", names.data, texts.data),
			 errhint("Give the source with one row a key, for example SELECT DISTINCT ON (key columns).")));
}
