/*
 * feed_fold.c: all events of one key to its versions and points.
 *
 * Invariants:
 * 1. Versions and points are a function of the set of events alone (each with the merge that brought it first), so the
 *    order and the batches in which events arrive make no difference, and a merge is taken back by folding without its
 *    events. For that every event can be read back from what is stored: an upsert is the start of a version or a point,
 *    a delete is the end of a version that D ended or a point. Truncates are stored once, not with the keys.
 * 2. At one sequence a delete or truncate wins over upserts, and upserts must not contradict each other.
 * 3. An upsert that changes no tracked value makes no version, a delete where nothing is closes none.
 * 4. A column that an upsert does not tell has the value before, of the version that is open there; NULL if none is.
 *    An untracked column of a version has the value of the last upsert that falls into the version.
 */
#include "postgres.h"

#include "utils/datum.h"
#include "utils/memutils.h"

#include "cdc/feed_fold.h"

static int event_compare(const ListCell *a, const ListCell *b);
static DmFeedEvent *version_event(const DmFeedVersion *version);
static DmFeedEvent *point_event(const DmFeedPoint *point, const DmFeedVersion *covering);
static int group_fold(DmFeedFold *fold, const List *events, int first);
static List *upsert_join(DmFeedFold *fold, List *upserts, DmFeedEvent *event);
static DmFeedEvent *events_combine(DmFeedFold *fold, const DmFeedEvent *a, const DmFeedEvent *b);
static void upserts_fold(DmFeedFold *fold, List *upserts);
static void upserts_lose(DmFeedFold *fold, List *upserts);
static void values_resolve(DmFeedFold *fold, List *upserts, DmFeedVersion *into);
static void untracked_refresh(DmFeedFold *fold, const DmFeedVersion *from);
static void delete_fold(DmFeedFold *fold, const DmFeedEvent *event);
static void truncates_fold(DmFeedFold *fold, const Datum *until);
static void truncate_fold(DmFeedFold *fold, const DmFeedTruncate *truncate);
static void open_end(DmFeedFold *fold, Datum end, char ended_by, int64 merge_id);
static void point_keep(DmFeedFold *fold, const DmFeedEvent *event, char operation);
static bool columns_equal(DmFeedFold *fold, const int *columns, int ncolumns, const DmFeedVersion *a,
						  const DmFeedVersion *b);
static void agreement_check(DmFeedFold *fold, const DmFeedEvent *a, const DmFeedEvent *b);
static void tally(DmFeedFold *fold, DmFate fate, const Datum *key);

/* list_sort() takes no argument for its comparator; a backend sorts one list at a time. */
static DmFeedOrder *sort_order = NULL;

/* Compares two sequence values: below, equal or above zero. */
int
dm_feed_compare(DmFeedOrder *order, Datum a, Datum b)
{
	return DatumGetInt32(FunctionCall2Coll(&order->compare, order->collation, a, b));
}

/* True if two rows of the wanted columns are the same to the byte: 1.0 and 1.00 are not. */
bool
dm_feed_values_identical(const DmShape *shape, const Datum *a, const bool *a_nulls, const Datum *b,
						 const bool *b_nulls)
{
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(shape->wanted, i);

		if (a_nulls[i] != b_nulls[i] ||
			(!a_nulls[i] && !datum_image_eq(a[i], b[i], attribute->attbyval, attribute->attlen)))
			return false;
	}
	return true;
}

/* Returns the index of the first truncate after a sequence (or at it), ntruncates if there is none. */
int
dm_feed_truncate_after(const DmFeedFold *fold, Datum sequence, bool or_at)
{
	int low = 0;
	int high = fold->ntruncates;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		int result = dm_feed_compare(fold->order, fold->truncates[middle].sequence, sequence);

		if (result > 0 || (result == 0 && or_at))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Returns the events (DmFeedEvent*) that stored versions and points, each by sequence, stand for. */
List *
dm_feed_events(DmFeedOrder *order, const DmFeedState *stored)
{
	List *events = NIL;
	ListCell *cell;
	int at = -1; /* index of the last version that starts at the point or before it */

	foreach (cell, stored->points)
	{
		const DmFeedPoint *point = lfirst(cell);
		DmFeedVersion *covering = NULL;

		while (at + 1 < list_length(stored->versions) &&
			   dm_feed_compare(
				   order, ((DmFeedVersion *) list_nth(stored->versions, at + 1))->start, point->sequence) <= 0)
			at++;
		if (at >= 0)
			covering = list_nth(stored->versions, at);
		if (covering && point->operation == DM_POINT_UPSERT &&
			dm_feed_compare(order, covering->start, point->sequence) == 0)
			covering->is_pointed = true;
		if (point->operation == DM_POINT_UNCHANGED && !covering)
			continue; /* not ours: nothing to learn from it */
		events = lappend(events, point_event(point, covering));
	}
	foreach (cell, stored->versions)
	{
		const DmFeedVersion *version = lfirst(cell);

		if (!version->is_pointed)
			events = lappend(events, version_event(version));
		if (!version->is_open && version->ended_by == 'D')
		{
			DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));

			event->sequence = version->end;
			event->is_delete = true;
			event->merge_id = version->ended_merge_id;
			event->values = version->values;
			event->nulls = version->nulls;
			events = lappend(events, event);
		}
	}
	return events;
}

/* Returns the upsert that started a version. */
static DmFeedEvent *
version_event(const DmFeedVersion *version)
{
	DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));

	event->sequence = version->start;
	event->merge_id = version->merge_id;
	event->values = version->values;
	event->nulls = version->nulls;
	return event;
}

/* Returns the event of a point; covering is the last version that starts at it or before, NULL if none does. */
static DmFeedEvent *
point_event(const DmFeedPoint *point, const DmFeedVersion *covering)
{
	DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));

	event->sequence = point->sequence;
	event->is_delete = point->operation == DM_POINT_DELETE;
	event->merge_id = point->merge_id;
	event->values = point->operation == DM_POINT_UNCHANGED ? covering->values : point->values;
	event->nulls = point->operation == DM_POINT_UNCHANGED ? covering->nulls : point->nulls;
	event->unavailable = point->unavailable;
	return event;
}

/*
 * Folds all events of a key into its versions and points, both by sequence, in the current memory context. Tallies what
 * became of the new events. Raises 21000 for two upserts at one sequence that contradict each other.
 */
DmFeedState *
dm_feed_fold(DmFeedFold *fold, List *events)
{
	fold->state = palloc0(sizeof(DmFeedState));
	fold->open = NULL;
	fold->values_move = fold->shape->nuntracked > 0;
	sort_order = fold->order;
	list_sort(events, event_compare);
	for (int i = 0; i < list_length(events);)
		i = group_fold(fold, events, i);
	truncates_fold(fold, NULL);
	return fold->state;
}

/* Orders events by sequence; deletes before upserts, in the order of their merges. */
static int
event_compare(const ListCell *a, const ListCell *b)
{
	const DmFeedEvent *left = lfirst(a);
	const DmFeedEvent *right = lfirst(b);
	int result = dm_feed_compare(sort_order, left->sequence, right->sequence);

	if (result == 0)
		result = (int) right->is_delete - (int) left->is_delete;
	if (result == 0)
		result = (int) left->is_new - (int) right->is_new;
	if (result == 0)
		result = left->merge_id < right->merge_id ? -1 : left->merge_id > right->merge_id;
	return result;
}

/* Folds the events of one sequence, which start at index first. Returns the index behind them. */
static int
group_fold(DmFeedFold *fold, const List *events, int first)
{
	Datum sequence = ((DmFeedEvent *) list_nth(events, first))->sequence;
	const DmFeedEvent *delete = NULL;
	List *upserts = NIL;
	int truncate;
	int i;

	truncates_fold(fold, &sequence);
	for (i = first; i < list_length(events); i++)
	{
		DmFeedEvent *event = list_nth(events, i);

		if (dm_feed_compare(fold->order, event->sequence, sequence) != 0)
			break;
		if (!event->is_delete)
			upserts = upsert_join(fold, upserts, event);
		else if (!delete)
			delete = event;
		else if (event->is_new)
			tally(fold, DM_FATE_UNCHANGED, event->values);
	}
	truncate = dm_feed_truncate_after(fold, sequence, true);
	if (truncate < fold->ntruncates &&
		dm_feed_compare(fold->order, fold->truncates[truncate].sequence, sequence) != 0)
		truncate = fold->ntruncates;
	if (delete)
		delete_fold(fold, delete);
	else if (truncate < fold->ntruncates && fold->open)
		truncate_fold(fold, &fold->truncates[truncate]);
	if (delete || truncate < fold->ntruncates)
		upserts_lose(fold, upserts);
	else
		upserts_fold(fold, upserts);
	fold->last = sequence;
	return i;
}

/* Adds an upsert to those of its sequence, unless it tells nothing that they do not. Raises if it contradicts one. */
static List *
upsert_join(DmFeedFold *fold, List *upserts, DmFeedEvent *event)
{
	DmFeedEvent *last = upserts ? llast(upserts) : NULL;
	Bitmapset *untold;
	ListCell *cell;

	if (!last)
		return list_make1(event);
	foreach (cell, upserts)
		agreement_check(fold, lfirst(cell), event);
	/* does it tell a column that none before it does? */
	untold = bms_copy(((DmFeedEvent *) linitial(upserts))->unavailable);
	foreach (cell, upserts)
		untold = bms_int_members(untold, ((DmFeedEvent *) lfirst(cell))->unavailable);
	if (bms_is_subset(untold, event->unavailable))
	{
		if (event->is_new)
			tally(fold, DM_FATE_UNCHANGED, event->values);
		return upserts;
	}
	if (last->merge_id != event->merge_id || last->is_new != event->is_new)
		return lappend(upserts, event);
	if (event->is_new)
		tally(fold, DM_FATE_UNCHANGED, event->values);
	llast(upserts) = events_combine(fold, last, event);
	return upserts;
}

/* Returns what two upserts of one sequence and merge tell together. */
static DmFeedEvent *
events_combine(DmFeedFold *fold, const DmFeedEvent *a, const DmFeedEvent *b)
{
	int natts = fold->shape->wanted->natts;
	DmFeedEvent *event = palloc(sizeof(DmFeedEvent));

	*event = *a;
	event->values = palloc(sizeof(Datum) * natts);
	event->nulls = palloc(sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
	{
		const DmFeedEvent *from = bms_is_member(i, a->unavailable) ? b : a;

		event->values[i] = from->values[i];
		event->nulls[i] = from->nulls[i];
	}
	event->unavailable = bms_intersect(a->unavailable, b->unavailable);
	return event;
}

/* Upserts that lost against a delete or truncate at their sequence: kept, for an undo of that. */
static void
upserts_lose(DmFeedFold *fold, List *upserts)
{
	ListCell *cell;

	foreach (cell, upserts)
	{
		const DmFeedEvent *event = lfirst(cell);

		point_keep(fold, event, DM_POINT_UPSERT);
		if (event->is_new)
			tally(fold, DM_FATE_UNCHANGED, event->values);
	}
}

/* The upserts of one sequence, which agree: a new version, or points if they change nothing. */
static void
upserts_fold(DmFeedFold *fold, List *upserts)
{
	const DmShape *shape = fold->shape;
	const DmFeedEvent *first;
	DmFeedVersion *version;
	bool is_plain; /* one event, which tells all columns */
	bool is_shown; /* and the open version has its very values */
	DmFate fate = DM_FATE_UNCHANGED;
	ListCell *cell;

	if (upserts == NIL)
		return;
	first = linitial(upserts);
	is_plain = list_length(upserts) == 1 && bms_is_empty(first->unavailable);
	version = palloc0(sizeof(DmFeedVersion));
	values_resolve(fold, upserts, version);
	if (fold->open && columns_equal(fold, shape->tracked, shape->ntracked, version, fold->open))
		untracked_refresh(fold, version);
	else
	{
		fate = fold->open ? DM_FATE_UPDATE : DM_FATE_INSERT;
		version->start = first->sequence;
		version->is_open = true;
		version->operation = fold->open ? 'U' : 'I';
		version->merge_id = first->merge_id;
		version->event = is_plain ? first : NULL;
		if (fold->open)
			open_end(fold, first->sequence, 'U', first->merge_id);
		fold->state->versions = lappend(fold->state->versions, version);
		fold->open = version;
	}
	foreach (cell, upserts)
	{
		const DmFeedEvent *event = lfirst(cell);

		if (event->is_new)
			tally(fold, fate, event->values);
		if (fate != DM_FATE_UNCHANGED && is_plain)
			continue;
		is_shown =
			is_plain && shape->nuntracked == 0 &&
			dm_feed_values_identical(shape, event->values, event->nulls, fold->open->values, fold->open->nulls);
		point_keep(fold, event, is_shown ? DM_POINT_UNCHANGED : DM_POINT_UPSERT);
	}
}

/* Puts what upserts of one sequence tell together into a version; columns that none tells keep their value before. */
static void
values_resolve(DmFeedFold *fold, List *upserts, DmFeedVersion *into)
{
	const DmFeedEvent *first = linitial(upserts);
	int natts = fold->shape->wanted->natts;

	into->values = first->values;
	into->nulls = first->nulls;
	if (list_length(upserts) == 1 && bms_is_empty(first->unavailable))
		return;
	fold->values_move = true;
	into->values = palloc0(sizeof(Datum) * natts);
	into->nulls = palloc(sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
	{
		ListCell *cell;

		into->nulls[i] = fold->open ? fold->open->nulls[i] : true;
		if (!into->nulls[i])
			into->values[i] = fold->open->values[i];
		foreach (cell, upserts)
		{
			const DmFeedEvent *event = lfirst(cell);

			if (bms_is_member(i, event->unavailable))
				continue;
			into->nulls[i] = event->nulls[i];
			into->values[i] = event->values[i];
			break;
		}
	}
}

/* Gives the open version the untracked values of a later upsert, and keeps those of its first event as a point. */
static void
untracked_refresh(DmFeedFold *fold, const DmFeedVersion *from)
{
	const DmShape *shape = fold->shape;
	DmFeedVersion *open = fold->open;
	int natts = shape->wanted->natts;
	Datum *values;
	bool *nulls;

	if (columns_equal(fold, shape->untracked, shape->nuntracked, from, open))
		return;
	if (open->event)
		point_keep(fold, open->event, DM_POINT_UPSERT);
	open->event = NULL;
	values = palloc(sizeof(Datum) * natts);
	nulls = palloc(sizeof(bool) * natts);
	memcpy(values, open->values, sizeof(Datum) * natts);
	memcpy(nulls, open->nulls, sizeof(bool) * natts);
	for (int i = 0; i < shape->nuntracked; i++)
	{
		values[shape->untracked[i]] = from->values[shape->untracked[i]];
		nulls[shape->untracked[i]] = from->nulls[shape->untracked[i]];
	}
	open->values = values;
	open->nulls = nulls;
}

/* A delete: the end of the open version, or a point if there is none. */
static void
delete_fold(DmFeedFold *fold, const DmFeedEvent *event)
{
	if (event->is_new)
		tally(fold, fold->open ? DM_FATE_DELETE : DM_FATE_UNCHANGED, event->values);
	if (fold->open)
		open_end(fold, event->sequence, 'D', event->merge_id);
	else
		point_keep(fold, event, DM_POINT_DELETE);
}

/* Ends the open version by the first truncate after its last event and before `until` (NULL: any). */
static void
truncates_fold(DmFeedFold *fold, const Datum *until)
{
	int truncate;

	if (!fold->open || fold->ntruncates == 0)
		return;
	truncate = dm_feed_truncate_after(fold, fold->last, false);
	if (truncate < fold->ntruncates &&
		(!until || dm_feed_compare(fold->order, fold->truncates[truncate].sequence, *until) < 0))
		truncate_fold(fold, &fold->truncates[truncate]);
}

/* A truncate: the end of the open version. */
static void
truncate_fold(DmFeedFold *fold, const DmFeedTruncate *truncate)
{
	if (truncate->is_new)
		tally(fold, DM_FATE_DELETE, fold->open->values);
	open_end(fold, truncate->sequence, 'T', truncate->merge_id);
}

/* Ends the open version. */
static void
open_end(DmFeedFold *fold, Datum end, char ended_by, int64 merge_id)
{
	fold->open->is_open = false;
	fold->open->end = end;
	fold->open->ended_by = ended_by;
	fold->open->ended_merge_id = merge_id;
	fold->open = NULL;
}

/* Keeps an event of which no version shows all. */
static void
point_keep(DmFeedFold *fold, const DmFeedEvent *event, char operation)
{
	DmFeedPoint *point = palloc0(sizeof(DmFeedPoint));

	point->sequence = event->sequence;
	point->operation = operation;
	point->merge_id = event->merge_id;
	if (operation == DM_POINT_UPSERT)
	{
		point->values = event->values;
		point->nulls = event->nulls;
		point->unavailable = event->unavailable;
	}
	fold->state->points = lappend(fold->state->points, point);
}

/* True if two versions have equal values in some columns. */
static bool
columns_equal(DmFeedFold *fold, const int *columns, int ncolumns, const DmFeedVersion *a, const DmFeedVersion *b)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int column = columns[i];

		if (!dm_value_equal(&fold->shape->ops->columns[column],
							a->values[column],
							a->nulls[column],
							b->values[column],
							b->nulls[column]))
			return false;
	}
	return true;
}

/* Raises 21000 if two upserts of one sequence tell different values of a column. */
static void
agreement_check(DmFeedFold *fold, const DmFeedEvent *a, const DmFeedEvent *b)
{
	const DmShape *shape = fold->shape;

	for (int i = 0; i < shape->wanted->natts; i++)
	{
		if (bms_is_member(i, a->unavailable) || bms_is_member(i, b->unavailable) ||
			dm_value_equal(&shape->ops->columns[i], a->values[i], a->nulls[i], b->values[i], b->nulls[i]))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("two different values of a key at one sequence"),
				 errdetail("Key %s, sequence %s, column \"%s\".",
						   dm_shape_key_json(shape, b->values, b->nulls),
						   OidOutputFunctionCall(fold->order->output, b->sequence),
						   NameStr(TupleDescAttr(shape->wanted, i)->attname)),
				 errhint("The sequence column must tell the order of a key's events.")));
	}
}

/* Counts what became of a new event, and takes its key as an example of it. */
static void
tally(DmFeedFold *fold, DmFate fate, const Datum *key)
{
	DmFeedTally *tally = fold->tally;
	int64 *counts[DM_FATES] = {&tally->counts->inserted,
							   &tally->counts->updated,
							   &tally->counts->deleted,
							   &tally->counts->unchanged,
							   &tally->counts->missing};
	MemoryContext caller;

	*counts[fate] += 1;
	if (!tally->is_sampling || list_length(tally->samples[fate]) >= DM_PLAN_SAMPLES)
		return;
	caller = MemoryContextSwitchTo(tally->context);
	tally->samples[fate] = lappend(tally->samples[fate], dm_shape_key_json(fold->shape, key, NULL));
	MemoryContextSwitchTo(caller);
}
