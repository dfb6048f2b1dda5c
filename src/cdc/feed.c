/*
 * feed.c: merges events that carry their operation and their order.
 *
 * Invariants:
 * 1. Events are sorted by key and sequence, within work_mem, and then taken key by key: what is stored of the key is
 *    read by primary keys (feed_store.c), folded together with the new events (feed_fold.c), and the difference is
 *    written. Memory beyond the sort holds one key's events and versions, and the truncates of the dataset.
 * 2. A new truncate concerns every key that has a version there: such keys are taken as if an event of theirs had come.
 * 3. An undo takes the keys that the merge left a trace of, and folds without its events.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "cdc/feed.h"
#include "cdc/feed_fold.h"
#include "cdc/feed_store.h"
#include "cdc/feed_truncates.h"
#include "rows/row_sort.h"

/* Kinds of the rows that are sorted. */
#define KIND_UPSERT 'u'
#define KIND_DELETE 'd'
#define KIND_TOUCH 'x' /* a key to be settled though none of its events came */

struct DmFeed
{
	DmFeedSpec spec;
	TupleDesc
		desc;	  /* of the sorted rows: wanted columns, sequence, kind, unavailable columns as a text of 0 and 1 */
	int sequence; /* index in desc */
	int kind;
	int unavailable;
	TupleTableSlot *row; /* to be sorted */
	DmFeedOrder order;
	Tuplesortstate *sort;
	DmFeedStore *store;
	List *truncates; /* of DmFeedTruncate*, without the undone ones; then as an array in fold */
	List *undone;	 /* of DmFeedTruncate* */
	DmFeedTally tally;
	DmFeedFold fold;
	MemoryContext context;	   /* of the feed */
	MemoryContext key_context; /* reset for each key */
	int64 events;
};

static void sort_begin(DmFeed *feed);
static void row_put(DmFeed *feed, char kind, Datum sequence, const Datum *values, const bool *nulls,
					const Bitmapset *unavailable);
static void truncates_load(DmFeed *feed);
static void truncates_settle(DmFeed *feed);
static bool truncate_touches(void *arg, Datum start, const Datum *end, const int64 merge_ids[2]);
static bool undo_touches(void *arg, Datum start, const Datum *end, const int64 merge_ids[2]);
static bool all_touches(void *arg, Datum start, const Datum *end, const int64 merge_ids[2]);
static void key_touch(void *arg, const Datum *values);
static DmFeedEvent *event_read(DmFeed *feed, TupleTableSlot *slot);
static void key_settle(DmFeed *feed, const Datum *key, List *events);
static List *events_without_undone(DmFeed *feed, List *events);
static void deletes_check(DmFeed *feed);
static bool same_key(DmFeed *feed, const Datum *a, const Datum *b);

/* Begins a feed in the current memory context; the active snapshot must stay until the finish. */
DmFeed *
dm_feed_begin(const DmFeedSpec *spec)
{
	DmFeed *feed = palloc0(sizeof(DmFeed));
	Oid type = spec->dataset->effective_type;
	bool varlena;

	feed->spec = *spec;
	feed->context = CurrentMemoryContext;
	feed->key_context = AllocSetContextCreate(CurrentMemoryContext, "datamill feed key", ALLOCSET_DEFAULT_SIZES);
	fmgr_info_cxt(lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO)->cmp_proc_finfo.fn_oid,
				  &feed->order.compare,
				  CurrentMemoryContext);
	feed->order.collation = TupleDescAttr(RelationGetDescr(spec->current), spec->shape->start - 1)->attcollation;
	getTypeOutputInfo(type, &feed->order.output, &varlena);
	feed->tally.counts = spec->counts;
	feed->tally.is_sampling = spec->dry_run;
	feed->tally.context = CurrentMemoryContext;
	feed->fold.order = &feed->order;
	feed->fold.shape = spec->shape;
	feed->fold.tally = &feed->tally;
	sort_begin(feed);
	truncates_load(feed);
	feed->store = dm_feed_store_open(&feed->spec, &feed->order);
	if (feed->spec.live_rows < 0)
		feed->spec.live_rows = dm_feed_store_live_rows(feed->store);
	feed->spec.changes->live_rows = feed->spec.live_rows;
	return feed;
}

/* Begins the sort of events by key and sequence. */
static void
sort_begin(DmFeed *feed)
{
	const DmShape *shape = feed->spec.shape;
	int natts = shape->wanted->natts;
	AttrNumber *attributes = palloc(sizeof(AttrNumber) * (shape->nkeys + 1));

	feed->desc = CreateTemplateTupleDesc(natts + 3);
	feed->sequence = natts;
	feed->kind = natts + 1;
	feed->unavailable = natts + 2;
	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(feed->desc, i, shape->wanted, i);
	TupleDescInitEntry(feed->desc, natts + 1, "sequence", feed->spec.dataset->effective_type, -1, 0);
	TupleDescInitEntryCollation(feed->desc, natts + 1, feed->order.collation);
	TupleDescInitEntry(feed->desc, natts + 2, "kind", CHAROID, -1, 0);
	TupleDescInitEntry(feed->desc, natts + 3, "unavailable", TEXTOID, -1, 0);
	for (int i = 0; i < shape->nkeys; i++)
		attributes[i] = shape->keys[i] + 1;
	attributes[shape->nkeys] = feed->sequence + 1;
	feed->row = MakeSingleTupleTableSlot(feed->desc, &TTSOpsVirtual);
	feed->sort = dm_row_sort_begin(feed->desc, attributes, shape->nkeys + 1);
}

/* Takes an upsert: values of the wanted columns, but for those that are unavailable (indexes). */
void
dm_feed_upsert(DmFeed *feed, Datum sequence, const Datum *values, const bool *nulls, const Bitmapset *unavailable)
{
	feed->events++;
	row_put(feed, KIND_UPSERT, sequence, values, nulls, unavailable);
}

/* Takes a delete, of which the keys count. */
void
dm_feed_delete(DmFeed *feed, Datum sequence, const Datum *values, const bool *nulls)
{
	feed->events++;
	row_put(feed, KIND_DELETE, sequence, values, nulls, NULL);
}

/* Takes a truncate: it ends the versions of all keys. */
void
dm_feed_truncate(DmFeed *feed, Datum sequence)
{
	MemoryContext caller = MemoryContextSwitchTo(feed->context);
	DmFeedTruncate *truncate = palloc0(sizeof(DmFeedTruncate));
	Form_pg_attribute attribute = TupleDescAttr(feed->desc, feed->sequence);

	feed->events++;
	truncate->sequence = datumCopy(sequence, attribute->attbyval, attribute->attlen);
	truncate->merge_id = feed->spec.merge_id;
	truncate->is_new = true;
	feed->truncates = lappend(feed->truncates, truncate);
	MemoryContextSwitchTo(caller);
}

/* Puts a row into the sort. Raises 23502 for a NULL key. */
static void
row_put(DmFeed *feed, char kind, Datum sequence, const Datum *values, const bool *nulls,
		const Bitmapset *unavailable)
{
	const DmShape *shape = feed->spec.shape;
	int natts = shape->wanted->natts;
	TupleTableSlot *row = feed->row;

	ExecClearTuple(row);
	memset(row->tts_isnull, kind != KIND_UPSERT, sizeof(bool) * (natts + 3));
	if (kind == KIND_UPSERT)
	{
		memcpy(row->tts_values, values, sizeof(Datum) * natts);
		memcpy(row->tts_isnull, nulls, sizeof(bool) * natts);
	}
	for (int i = 0; i < shape->nkeys; i++)
	{
		int key = shape->keys[i];

		if (nulls && nulls[key])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("key column \"%s\" is NULL in row " INT64_FORMAT " of the source",
							NameStr(TupleDescAttr(shape->wanted, key)->attname),
							feed->events),
					 errhint("Leave such rows out with a query as source.")));
		row->tts_values[key] = values[key];
		row->tts_isnull[key] = false;
	}
	row->tts_values[feed->sequence] = sequence;
	row->tts_isnull[feed->sequence] = kind == KIND_TOUCH;
	row->tts_values[feed->kind] = CharGetDatum(kind);
	row->tts_isnull[feed->kind] = false;
	row->tts_isnull[feed->unavailable] = true;
	if (unavailable)
	{
		char *marks = palloc0(natts + 1);

		for (int i = 0; i < natts; i++)
			marks[i] = bms_is_member(i, unavailable) ? '1' : '0';
		row->tts_values[feed->unavailable] = CStringGetTextDatum(marks);
		row->tts_isnull[feed->unavailable] = false;
	}
	ExecStoreVirtualTuple(row);
	tuplesort_puttupleslot(feed->sort, row);
}

/* Settles all events, key by key, and closes everything. Raises 54000 for too many deletes. */
void
dm_feed_finish(DmFeed *feed)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(feed->desc, &TTSOpsMinimalTuple);
	Datum *key = NULL; /* of the events gathered; in the key's context */
	List *events = NIL;

	truncates_settle(feed);
	tuplesort_performsort(feed->sort);
	while (tuplesort_gettupleslot(feed->sort, true, false, slot, NULL))
	{
		MemoryContext caller;
		DmFeedEvent *event;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (key && !same_key(feed, key, slot->tts_values))
		{
			key_settle(feed, key, events);
			key = NULL;
			events = NIL;
		}
		caller = MemoryContextSwitchTo(feed->key_context);
		event = event_read(feed, slot);
		if (!key)
			key = event->values;
		if (DatumGetChar(slot->tts_values[feed->kind]) != KIND_TOUCH)
			events = lappend(events, event);
		MemoryContextSwitchTo(caller);
	}
	if (key)
		key_settle(feed, key, events);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(feed->sort);
	deletes_check(feed);
	dm_feed_store_close(feed->store);
	ExecDropSingleTupleTableSlot(feed->row);
}

/* Returns, after the finish of a dry run, up to five keys as JSON objects (char*) of each fate. */
List **
dm_feed_samples(DmFeed *feed)
{
	return feed->tally.samples;
}

/* Orders truncates by sequence, stored ones before new ones. */
static int
truncate_compare(const void *a, const void *b, void *arg)
{
	const DmFeedTruncate *left = a;
	const DmFeedTruncate *right = b;
	int result = dm_feed_compare(arg, left->sequence, right->sequence);

	return result != 0 ? result : (int) left->is_new - (int) right->is_new;
}

/* Loads the truncates that are stored with the dataset. */
static void
truncates_load(DmFeed *feed)
{
	ListCell *cell;

	if (feed->spec.is_empty)
		return;
	foreach (cell, dm_truncates_read(feed->spec.dataset))
	{
		DmFeedTruncate *truncate = lfirst(cell);

		if (feed->spec.is_undo && truncate->merge_id == feed->spec.merge_id)
			feed->undone = lappend(feed->undone, truncate);
		else
			feed->truncates = lappend(feed->truncates, truncate);
	}
}

/* Puts all truncates in order, stores the new ones, and touches the keys that they, or the undo, concern. */
static void
truncates_settle(DmFeed *feed)
{
	DmFeedTruncate *truncates = palloc(sizeof(DmFeedTruncate) * (list_length(feed->truncates) + 1));
	int count = 0;
	int kept = 0;
	bool has_new = false;
	ListCell *cell;

	foreach (cell, feed->truncates)
		truncates[count++] = *(DmFeedTruncate *) lfirst(cell);
	qsort_arg(truncates, count, sizeof(DmFeedTruncate), truncate_compare, &feed->order);
	for (int i = 0; i < count; i++)
	{
		if (kept > 0 && dm_feed_compare(&feed->order, truncates[kept - 1].sequence, truncates[i].sequence) == 0)
		{
			feed->spec.counts->unchanged++;
			continue;
		}
		truncates[kept++] = truncates[i];
		has_new |= truncates[i].is_new;
		if (truncates[i].is_new && !feed->spec.dry_run)
			dm_truncates_store(feed->spec.dataset, &truncates[i]);
	}
	feed->fold.truncates = truncates;
	feed->fold.ntruncates = kept;
	if (feed->spec.is_undo)
	{
		dm_feed_store_keys(feed->store, undo_touches, key_touch, feed);
		dm_truncates_forget(feed->spec.dataset, feed->spec.merge_id);
	}
	else if (feed->spec.differs)
		dm_feed_store_keys(feed->store, all_touches, key_touch, feed);
	else if (has_new)
		dm_feed_store_keys(feed->store, truncate_touches, key_touch, feed);
}

/* True if a new truncate falls into a version. */
static bool
truncate_touches(void *arg, Datum start, const Datum *end, const int64 merge_ids[2])
{
	DmFeed *feed = arg;

	for (int i = dm_feed_truncate_after(&feed->fold, start, true); i < feed->fold.ntruncates; i++)
	{
		const DmFeedTruncate *truncate = &feed->fold.truncates[i];

		if (end && dm_feed_compare(&feed->order, truncate->sequence, *end) >= 0)
			return false;
		if (truncate->is_new)
			return true;
	}
	return false;
}

/* True if the merge that is taken back left a trace on a version or point. */
static bool
undo_touches(void *arg, Datum start, const Datum *end, const int64 merge_ids[2])
{
	DmFeed *feed = arg;
	ListCell *cell;

	if (merge_ids[0] == feed->spec.merge_id || merge_ids[1] == feed->spec.merge_id)
		return true;
	foreach (cell, feed->undone)
	{
		const DmFeedTruncate *truncate = lfirst(cell);

		if (dm_feed_compare(&feed->order, truncate->sequence, start) == 0)
			return true;
	}
	return false;
}

/* True for every row. */
static bool
all_touches(void *arg, Datum start, const Datum *end, const int64 merge_ids[2])
{
	return true;
}

/* Has a key settled. */
static void
key_touch(void *arg, const Datum *values)
{
	row_put(arg, KIND_TOUCH, (Datum) 0, values, NULL, NULL);
}

/* Returns the event in a sorted row, copied to the current memory context. */
static DmFeedEvent *
event_read(DmFeed *feed, TupleTableSlot *slot)
{
	TupleDesc desc = feed->desc;
	int natts = feed->spec.shape->wanted->natts;
	DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));

	event->is_new = true;
	event->merge_id = feed->spec.merge_id;
	event->is_delete = DatumGetChar(slot->tts_values[feed->kind]) == KIND_DELETE;
	event->values = palloc0(sizeof(Datum) * natts);
	event->nulls = palloc(sizeof(bool) * natts);
	memcpy(event->nulls, slot->tts_isnull, sizeof(bool) * natts);
	for (int i = 0; i <= natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!slot->tts_isnull[i])
			*(i < natts ? &event->values[i] : &event->sequence) =
				datumCopy(slot->tts_values[i], attribute->attbyval, attribute->attlen);
	}
	if (!slot->tts_isnull[feed->unavailable])
	{
		char *marks = TextDatumGetCString(slot->tts_values[feed->unavailable]);

		for (int i = 0; i < natts; i++)
		{
			if (marks[i] == '1')
				event->unavailable = bms_add_member(event->unavailable, i);
		}
	}
	return event;
}

/* Brings what is stored of one key up to date with its new events, which are in the key's context. */
static void
key_settle(DmFeed *feed, const Datum *key, List *events)
{
	MemoryContext caller = MemoryContextSwitchTo(feed->key_context);
	DmFeedState *stored = dm_feed_store_read(feed->store, key);
	List *known = dm_feed_events(&feed->order, stored);
	DmFeedState *folded;

	if (feed->spec.is_undo)
		known = events_without_undone(feed, known);
	folded = dm_feed_fold(&feed->fold, list_concat(known, events));
	if (feed->spec.differs)
		memset(feed->spec.changes, 0, sizeof(DmFeedChanges));
	dm_feed_store_write(
		feed->store, key, stored, folded, feed->fold.values_move || feed->spec.is_undo || feed->spec.differs);
	if (feed->spec.differs &&
		feed->spec.changes->removed + feed->spec.changes->restored + feed->spec.changes->points > 0)
		feed->spec.differs(key, feed->spec.differs_arg);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(feed->key_context);
}

/* Returns the events that other merges brought. */
static List *
events_without_undone(DmFeed *feed, List *events)
{
	List *left = NIL;
	ListCell *cell;

	foreach (cell, events)
	{
		if (((DmFeedEvent *) lfirst(cell))->merge_id != feed->spec.merge_id)
			left = lappend(left, lfirst(cell));
	}
	return left;
}

/* Raises 54000 if more keys than allowed are live no more. */
static void
deletes_check(DmFeed *feed)
{
	int64 gone = feed->spec.changes->gone_rows;
	int64 rows = feed->spec.live_rows;

	if (feed->spec.is_undo || feed->spec.differs || gone == 0 ||
		gone * 100.0 / rows <= feed->spec.max_delete_percent)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the merge would delete %.1f %% of %s", gone * 100.0 / rows, feed->spec.dataset->name),
			 errdetail("That is " INT64_FORMAT " of " INT64_FORMAT " rows; max_delete_percent is %g.",
					   gone,
					   rows,
					   feed->spec.max_delete_percent),
			 errhint("Check the source's deletes and truncates, or raise max_delete_percent.")));
}

/* True if two rows (of the wanted columns) have the same key. */
static bool
same_key(DmFeed *feed, const Datum *a, const Datum *b)
{
	const DmShape *shape = feed->spec.shape;

	for (int i = 0; i < shape->nkeys; i++)
	{
		DmColumnOps *ops = &shape->ops->columns[shape->keys[i]];

		if (!ops->equal(ops, a[shape->keys[i]], b[shape->keys[i]]))
			return false;
	}
	return true;
}
