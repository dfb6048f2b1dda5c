/*
 * feed.c: merges events that carry their operation and their order.
 *
 * Invariants:
 * 1. Events are sorted by key and sequence, within work_mem, and then taken key by key: what is stored of the key is
 *    read by the primary keys of current, history and points, folded together with the new events (feed_fold.c), and
 *    the difference is written. Memory beyond the sort holds one key's events and versions.
 * 2. Each stored row is read under the snapshot of the merge and written at most once.
 * 3. Versions keep the merge that made them; a version whose end changes gets this merge as the one that ended it.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/names.h"
#include "cdc/feed.h"
#include "cdc/feed_fold.h"
#include "cdc/probe.h"
#include "rows/row_sort.h"
#include "rows/table_writer.h"

struct DmFeed
{
	DmFeedSpec spec;
	TupleDesc wanted; /* shape->wanted, then the operation if there is one, then the sequence */
	int operation;	  /* index in wanted, -1 if there is none */
	int sequence;	  /* index in wanted */
	DmFeedOrder order;
	bool sequence_byval;
	int16 sequence_len;
	Tuplesortstate *sort;
	DmProbe *probes[3]; /* current, history, points */
	TupleTableSlot *slots[3];
	TupleTableSlot *new_current; /* virtual */
	DmTableWriter *writers[3];
	AttrNumber points_start; /* in points */
	AttrNumber points_operation;
	AttrNumber points_keys[INDEX_MAX_KEYS]; /* of the shape's keys */
	pg_uuid_t key_hash;
	pg_uuid_t row_hash;
	MemoryContext key_context; /* reset for each key */
	int64 source_rows;
};

enum
{
	IN_CURRENT,
	IN_HISTORY,
	IN_POINTS
};

static void points_map(DmFeed *feed);
static Tuplesortstate *sort_begin(DmFeed *feed);
static DmFeedEvent *event_read(DmFeed *feed, TupleTableSlot *slot);
static void values_copy(DmFeed *feed, const Datum *values, const bool *nulls, Datum **values_out, bool **nulls_out);
static void key_settle(DmFeed *feed, List *events);
static DmFeedState *state_read(DmFeed *feed, const Datum *key);
static DmFeedVersion *version_read(DmFeed *feed, TupleTableSlot *slot, bool is_open);
static void versions_write(DmFeed *feed, DmFeedState *stored, DmFeedState *folded);
static void points_write(DmFeed *feed, const Datum *key, DmFeedState *stored, DmFeedState *folded);
static DmFeedVersion *counterpart(DmFeed *feed, List *versions, const DmFeedVersion *version);
static void closed_write(DmFeed *feed, DmFeedVersion *stored, DmFeedVersion *version);
static void open_write(DmFeed *feed, DmFeedVersion *stored, DmFeedVersion *version);
static void current_fill(DmFeed *feed, TupleTableSlot *slot, const DmFeedVersion *version);
static void history_fill(DmFeed *feed, TupleTableSlot *slot, const DmFeedVersion *version);
static bool same_key(DmFeed *feed, const Datum *a, const Datum *b);

/* Returns what a feed's source has to give: the business columns, the operation if there is one, and the sequence. */
TupleDesc
dm_feed_wanted(const DmDataset *dataset, const DmShape *shape)
{
	int natts = shape->wanted->natts;
	int extra = dataset->operation_column ? 2 : 1;
	TupleDesc desc = CreateTemplateTupleDesc(natts + extra);

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, shape->wanted, i);
	if (dataset->operation_column)
		TupleDescInitEntry(desc, natts + 1, dataset->operation_column, TEXTOID, -1, 0);
	TupleDescInitEntry(desc, natts + extra, dataset->sequence_column, dataset->effective_type, -1, 0);
	return desc;
}

/* Opens the tables' writers and probes, in the current memory context; the active snapshot must stay until the finish. */
DmFeed *
dm_feed_begin(const DmFeedSpec *spec, TupleDesc wanted)
{
	DmFeed *feed = palloc0(sizeof(DmFeed));
	Relation relations[] = {spec->current, spec->history, spec->points};
	TypeCacheEntry *type = lookup_type_cache(spec->dataset->effective_type, TYPECACHE_CMP_PROC_FINFO);
	bool varlena;

	feed->spec = *spec;
	feed->wanted = wanted;
	feed->operation = spec->dataset->operation_column ? spec->shape->wanted->natts : -1;
	feed->sequence = wanted->natts - 1;
	fmgr_info_cxt(type->cmp_proc_finfo.fn_oid, &feed->order.compare, CurrentMemoryContext);
	getTypeOutputInfo(spec->dataset->effective_type, &feed->order.output, &varlena);
	feed->sequence_byval = type->typbyval;
	feed->sequence_len = type->typlen;
	points_map(feed);
	feed->key_context = AllocSetContextCreate(CurrentMemoryContext, "datamill feed key", ALLOCSET_DEFAULT_SIZES);
	feed->new_current = MakeSingleTupleTableSlot(RelationGetDescr(spec->current), &TTSOpsVirtual);
	feed->sort = sort_begin(feed);
	dm_writers_begin();
	for (int i = 0; i < lengthof(relations); i++)
	{
		Bitmapset *updated = NULL;

		for (int a = 1; a <= RelationGetNumberOfAttributes(relations[i]); a++)
			updated = bms_add_member(updated, a - FirstLowInvalidHeapAttributeNumber);
		feed->slots[i] = table_slot_create(relations[i], NULL);
		feed->writers[i] = dm_writer_open(relations[i], updated, false);
		feed->probes[i] = dm_probe_begin(relations[i], spec->shape, GetActiveSnapshot());
		if (!feed->probes[i])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" has no primary key that starts with the dataset's keys",
							RelationGetRelationName(relations[i])),
					 errhint("Add it: ALTER TABLE ... ADD PRIMARY KEY.")));
	}
	return feed;
}

/* Finds the columns of the points; raises if one is gone or of another type. */
static void
points_map(DmFeed *feed)
{
	const DmDataset *dataset = feed->spec.dataset;
	const DmShape *shape = feed->spec.shape;
	Relation points = feed->spec.points;

	feed->points_start = dm_shape_attribute(dataset, points, DM_COL_START, dataset->effective_type);
	feed->points_operation = dm_shape_attribute(dataset, points, DM_COL_OPERATION, CHAROID);
	for (int i = 0; i < shape->nkeys && i < INDEX_MAX_KEYS; i++)
	{
		Form_pg_attribute key = TupleDescAttr(shape->wanted, shape->keys[i]);

		feed->points_keys[i] = dm_shape_attribute(dataset, points, NameStr(key->attname), key->atttypid);
	}
}

/* Takes one event. A DmSourceEach; arg is the feed. Raises 23502 without a key or a sequence. */
void
dm_feed_row(TupleTableSlot *slot, void *arg)
{
	DmFeed *feed = arg;
	const DmShape *shape = feed->spec.shape;

	feed->source_rows++;
	slot_getallattrs(slot);
	for (int i = 0; i <= shape->nkeys; i++)
	{
		int column = i < shape->nkeys ? shape->keys[i] : feed->sequence;

		if (slot->tts_isnull[column])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("%s column \"%s\" is NULL in row " INT64_FORMAT " of the source",
							i < shape->nkeys ? "key" : "sequence",
							NameStr(TupleDescAttr(feed->wanted, column)->attname),
							feed->source_rows),
					 errhint("Leave such rows out with a query as source.")));
	}
	tuplesort_puttupleslot(feed->sort, slot);
}

/* Settles all events, key by key, and closes everything. */
void
dm_feed_finish(DmFeed *feed)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(feed->wanted, &TTSOpsMinimalTuple);
	List *events = NIL;

	tuplesort_performsort(feed->sort);
	while (tuplesort_gettupleslot(feed->sort, true, false, slot, NULL))
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (events != NIL && !same_key(feed, ((DmFeedEvent *) linitial(events))->values, slot->tts_values))
		{
			key_settle(feed, events);
			events = NIL;
		}
		caller = MemoryContextSwitchTo(feed->key_context);
		events = lappend(events, event_read(feed, slot));
		MemoryContextSwitchTo(caller);
	}
	if (events != NIL)
		key_settle(feed, events);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(feed->sort);
	for (int i = lengthof(feed->writers) - 1; i >= 0; i--)
	{
		dm_probe_end(feed->probes[i]);
		dm_writer_close(feed->writers[i]);
		ExecDropSingleTupleTableSlot(feed->slots[i]);
	}
	dm_writers_end();
	ExecDropSingleTupleTableSlot(feed->new_current);
}

/* Begins the sort of events by key and sequence. */
static Tuplesortstate *
sort_begin(DmFeed *feed)
{
	const DmShape *shape = feed->spec.shape;
	AttrNumber *attributes = palloc(sizeof(AttrNumber) * (shape->nkeys + 1));

	for (int i = 0; i < shape->nkeys; i++)
		attributes[i] = shape->keys[i] + 1;
	attributes[shape->nkeys] = feed->sequence + 1;
	return dm_row_sort_begin(feed->wanted, attributes, shape->nkeys + 1);
}

/* Returns the event in a source row, copied to the current memory context. */
static DmFeedEvent *
event_read(DmFeed *feed, TupleTableSlot *slot)
{
	DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));

	event->is_new = true;
	event->merge_id = feed->spec.merge_id;
	event->sequence = datumCopy(slot->tts_values[feed->sequence], feed->sequence_byval, feed->sequence_len);
	if (feed->operation >= 0 && !slot->tts_isnull[feed->operation])
		event->is_delete =
			dm_names_has(feed->spec.dataset->delete_values, TextDatumGetCString(slot->tts_values[feed->operation]));
	values_copy(feed, slot->tts_values, slot->tts_isnull, &event->values, &event->nulls);
	return event;
}

/* Copies the values of the shape's wanted columns to the current memory context. */
static void
values_copy(DmFeed *feed, const Datum *values, const bool *nulls, Datum **values_out, bool **nulls_out)
{
	TupleDesc desc = feed->spec.shape->wanted;

	*values_out = palloc0(sizeof(Datum) * desc->natts);
	*nulls_out = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		(*nulls_out)[i] = nulls[i];
		if (!nulls[i])
			(*values_out)[i] = datumCopy(values[i], attribute->attbyval, attribute->attlen);
	}
}

/* Brings what is stored of one key up to date with its new events, which are in the key's context. */
static void
key_settle(DmFeed *feed, List *events)
{
	MemoryContext caller = MemoryContextSwitchTo(feed->key_context);
	const Datum *key = ((DmFeedEvent *) linitial(events))->values;
	DmFeedState *stored = state_read(feed, key);
	DmFeedState *folded = dm_feed_fold(&feed->order,
									   feed->spec.shape,
									   list_concat(dm_feed_events(&feed->order, stored), events),
									   feed->spec.merge_id,
									   feed->spec.counts);

	versions_write(feed, stored, folded);
	points_write(feed, key, stored, folded);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(feed->key_context);
}

/* Reads all that is stored of a key: its versions by start, its points. */
static DmFeedState *
state_read(DmFeed *feed, const Datum *key)
{
	DmFeedState *state = palloc0(sizeof(DmFeedState));
	TupleTableSlot *slot;

	dm_probe_start(feed->probes[IN_HISTORY], key);
	while (dm_probe_next(feed->probes[IN_HISTORY], feed->slots[IN_HISTORY]))
		state->versions = lappend(state->versions, version_read(feed, feed->slots[IN_HISTORY], false));
	dm_probe_start(feed->probes[IN_CURRENT], key);
	while (dm_probe_next(feed->probes[IN_CURRENT], feed->slots[IN_CURRENT]))
		state->versions = lappend(state->versions, version_read(feed, feed->slots[IN_CURRENT], true));
	slot = feed->slots[IN_POINTS];
	dm_probe_start(feed->probes[IN_POINTS], key);
	while (dm_probe_next(feed->probes[IN_POINTS], slot))
	{
		DmFeedPoint *point = palloc0(sizeof(DmFeedPoint));

		slot_getallattrs(slot);
		point->sequence =
			datumCopy(slot->tts_values[feed->points_start - 1], feed->sequence_byval, feed->sequence_len);
		point->operation = DatumGetChar(slot->tts_values[feed->points_operation - 1]);
		point->tid = slot->tts_tid;
		state->points = lappend(state->points, point);
	}
	return state;
}

/* Returns the version in a row of current (open) or history. */
static DmFeedVersion *
version_read(DmFeed *feed, TupleTableSlot *slot, bool is_open)
{
	const DmShape *shape = feed->spec.shape;
	DmFeedVersion *version = palloc0(sizeof(DmFeedVersion));
	Datum *values = palloc0(sizeof(Datum) * RelationGetNumberOfAttributes(feed->spec.current));
	bool *nulls = palloc0(sizeof(bool) * RelationGetNumberOfAttributes(feed->spec.current));
	Datum *wanted = palloc0(sizeof(Datum) * shape->wanted->natts);
	bool *wanted_nulls = palloc0(sizeof(bool) * shape->wanted->natts);

	slot_getallattrs(slot);
	/* to current's shape first, in which the business columns and the added ones are found */
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		AttrNumber to = is_open ? i + 1 : shape->history_from[i];

		if (to == 0)
			continue;
		values[to - 1] = slot->tts_values[i];
		nulls[to - 1] = slot->tts_isnull[i];
	}
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		wanted[i] = values[shape->current_attribute[i] - 1];
		wanted_nulls[i] = nulls[shape->current_attribute[i] - 1];
	}
	values_copy(feed, wanted, wanted_nulls, &version->values, &version->nulls);
	version->start = datumCopy(values[shape->start - 1], feed->sequence_byval, feed->sequence_len);
	version->operation = DatumGetChar(values[shape->operation - 1]);
	version->merge_id = DatumGetInt64(values[shape->merge - 1]);
	version->is_open = is_open;
	version->tid = slot->tts_tid;
	if (is_open)
		return version;
	version->end = datumCopy(slot->tts_values[shape->history_end - 1], feed->sequence_byval, feed->sequence_len);
	version->ended_by = DatumGetChar(slot->tts_values[shape->history_ended_by - 1]);
	version->ended_merge_id = DatumGetInt64(slot->tts_values[shape->history_ended_merge - 1]);
	return version;
}

/* Writes the difference between the stored versions and those that the fold gives. */
static void
versions_write(DmFeed *feed, DmFeedState *stored, DmFeedState *folded)
{
	DmFeedVersion *stored_open = NULL;
	DmFeedVersion *folded_open = NULL;
	ListCell *cell;

	foreach (cell, stored->versions)
	{
		if (((DmFeedVersion *) lfirst(cell))->is_open)
			stored_open = lfirst(cell);
	}
	foreach (cell, folded->versions)
	{
		DmFeedVersion *version = lfirst(cell);

		if (version->is_open)
			folded_open = version;
		else
			closed_write(feed, counterpart(feed, stored->versions, version), version);
	}
	foreach (cell, stored->versions)
	{
		DmFeedVersion *version = lfirst(cell);

		if (version->is_open || version->is_kept)
			continue;
		ExecClearTuple(feed->slots[IN_HISTORY]);
		feed->slots[IN_HISTORY]->tts_tid = version->tid;
		dm_writer_delete(feed->writers[IN_HISTORY], feed->slots[IN_HISTORY]);
	}
	open_write(feed, stored_open, folded_open);
}

/* Returns the version of the list that starts where the given one does, or NULL. */
static DmFeedVersion *
counterpart(DmFeed *feed, List *versions, const DmFeedVersion *version)
{
	ListCell *cell;

	foreach (cell, versions)
	{
		DmFeedVersion *other = lfirst(cell);

		if (dm_feed_compare(&feed->order, other->start, version->start) == 0)
			return other;
	}
	return NULL;
}

/* Stores a closed version in history, unless the stored one (NULL if none) is the same already. */
static void
closed_write(DmFeed *feed, DmFeedVersion *stored, DmFeedVersion *version)
{
	TupleTableSlot *row;

	if (stored && !stored->is_open)
	{
		stored->is_kept = true;
		if (dm_feed_compare(&feed->order, stored->end, version->end) == 0 && stored->ended_by == version->ended_by)
		{
			if (stored->operation == version->operation)
				return;
			version->ended_merge_id = stored->ended_merge_id;
		}
		row = MakeSingleTupleTableSlot(RelationGetDescr(feed->spec.history), &TTSOpsVirtual);
		history_fill(feed, row, version);
		ExecClearTuple(feed->slots[IN_HISTORY]);
		feed->slots[IN_HISTORY]->tts_tid = stored->tid;
		dm_writer_update(feed->writers[IN_HISTORY], feed->slots[IN_HISTORY], row);
		ExecDropSingleTupleTableSlot(row);
		return;
	}
	row = dm_writer_slot(feed->writers[IN_HISTORY]);
	history_fill(feed, row, version);
	dm_writer_insert(feed->writers[IN_HISTORY], row);
}

/* Stores the open version (NULL if none) in current, where `stored` is now (NULL if none). */
static void
open_write(DmFeed *feed, DmFeedVersion *stored, DmFeedVersion *version)
{
	TupleTableSlot *old = feed->slots[IN_CURRENT];

	if (!stored && !version)
		return;
	if (!stored)
	{
		TupleTableSlot *row = dm_writer_slot(feed->writers[IN_CURRENT]);

		current_fill(feed, row, version);
		dm_writer_insert(feed->writers[IN_CURRENT], row);
		return;
	}
	if (version && dm_feed_compare(&feed->order, stored->start, version->start) == 0 &&
		stored->operation == version->operation)
		return;
	ExecClearTuple(old);
	old->tts_tid = stored->tid;
	if (!version)
	{
		dm_writer_delete(feed->writers[IN_CURRENT], old);
		return;
	}
	ExecClearTuple(feed->new_current);
	current_fill(feed, feed->new_current, version);
	dm_writer_update(feed->writers[IN_CURRENT], old, feed->new_current);
}

/* Writes the difference between the stored points and those that the fold gives. */
static void
points_write(DmFeed *feed, const Datum *key, DmFeedState *stored, DmFeedState *folded)
{
	const DmShape *shape = feed->spec.shape;
	TupleDesc desc = RelationGetDescr(feed->spec.points);
	ListCell *cell;

	foreach (cell, folded->points)
	{
		DmFeedPoint *point = lfirst(cell);
		TupleTableSlot *row;
		ListCell *other;
		bool is_stored = false;

		foreach (other, stored->points)
		{
			DmFeedPoint *known = lfirst(other);

			if (known->operation == point->operation &&
				dm_feed_compare(&feed->order, known->sequence, point->sequence) == 0)
				is_stored = known->is_kept = true;
		}
		if (is_stored)
			continue;
		row = dm_writer_slot(feed->writers[IN_POINTS]);
		memset(row->tts_isnull, true, sizeof(bool) * desc->natts);
		for (int i = 0; i < shape->nkeys; i++)
		{
			AttrNumber attribute = feed->points_keys[i];

			row->tts_values[attribute - 1] = key[shape->keys[i]];
			row->tts_isnull[attribute - 1] = false;
		}
		row->tts_values[feed->points_start - 1] = point->sequence;
		row->tts_isnull[feed->points_start - 1] = false;
		row->tts_values[feed->points_operation - 1] = CharGetDatum(point->operation);
		row->tts_isnull[feed->points_operation - 1] = false;
		ExecStoreVirtualTuple(row);
		dm_writer_insert(feed->writers[IN_POINTS], row);
	}
	foreach (cell, stored->points)
	{
		DmFeedPoint *point = lfirst(cell);

		if (point->is_kept)
			continue;
		ExecClearTuple(feed->slots[IN_POINTS]);
		feed->slots[IN_POINTS]->tts_tid = point->tid;
		dm_writer_delete(feed->writers[IN_POINTS], feed->slots[IN_POINTS]);
	}
}

/* Sets a column of a slot that is being filled. */
static inline void
column_set(TupleTableSlot *slot, AttrNumber attribute, Datum value)
{
	slot->tts_values[attribute - 1] = value;
	slot->tts_isnull[attribute - 1] = false;
}

/* Fills a cleared slot of current's shape. */
static void
current_fill(DmFeed *feed, TupleTableSlot *slot, const DmFeedVersion *version)
{
	const DmShape *shape = feed->spec.shape;

	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		slot->tts_values[shape->current_attribute[i] - 1] = version->values[i];
		slot->tts_isnull[shape->current_attribute[i] - 1] = version->nulls[i];
	}
	dm_row_hash(shape->ops, version->values, version->nulls, shape->keys, shape->nkeys, feed->key_hash.data);
	dm_row_hash(shape->ops, version->values, version->nulls, shape->hashed, shape->nhashed, feed->row_hash.data);
	column_set(slot, shape->operation, CharGetDatum(version->operation));
	column_set(slot, shape->start, version->start);
	column_set(slot, shape->merge, Int64GetDatum(version->merge_id));
	column_set(slot, shape->key_hash, UUIDPGetDatum(&feed->key_hash));
	column_set(slot, shape->row_hash, UUIDPGetDatum(&feed->row_hash));
	ExecStoreVirtualTuple(slot);
}

/* Fills a cleared slot of history's shape. */
static void
history_fill(DmFeed *feed, TupleTableSlot *slot, const DmFeedVersion *version)
{
	const DmShape *shape = feed->spec.shape;
	TupleTableSlot *as_current = feed->new_current;

	ExecClearTuple(as_current);
	current_fill(feed, as_current, version);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		AttrNumber from = shape->history_from[i];

		slot->tts_isnull[i] = from == 0 || as_current->tts_isnull[from - 1];
		slot->tts_values[i] = from == 0 ? (Datum) 0 : as_current->tts_values[from - 1];
	}
	column_set(slot, shape->history_end, version->end);
	column_set(slot, shape->history_ended_by, CharGetDatum(version->ended_by));
	column_set(slot, shape->history_ended_merge, Int64GetDatum(version->ended_merge_id));
	ExecStoreVirtualTuple(slot);
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
