/*
 * feed_fold.c: all events of one key to its versions and points.
 *
 * Invariants:
 * 1. Versions and points are a function of the set of events alone, so the order and the batches in which events arrive
 *    make no difference. For that every event can be read back from what is stored: an upsert is a version's start or a
 *    point N (it has the values of the version that covers it); a delete is the end of a version that D ended or a point D.
 * 2. At one sequence a delete wins over upserts, and upserts must have equal tracked values.
 * 3. An upsert that changes no tracked value makes no version, a delete where nothing is closes none.
 */
#include "postgres.h"

#include "access/htup_details.h"

#include "cdc/feed_fold.h"

/* The fold's state between two events. */
typedef struct Fold
{
	DmFeedOrder *order;
	const DmShape *shape;
	DmFeedState *state;
	DmFeedVersion *open; /* NULL where nothing is */
	int64 merge_id;
	DmMergeCounts *counts;
} Fold;

static int event_compare(const ListCell *a, const ListCell *b);
static List *events_settle_ties(Fold *fold, List *events);
static void upsert_fold(Fold *fold, const DmFeedEvent *event);
static void delete_fold(Fold *fold, const DmFeedEvent *event);
static void point_add(Fold *fold, const DmFeedEvent *event, char operation);
static bool tracked_equal(Fold *fold, const DmFeedEvent *event, const Datum *values, const bool *nulls);
static void raise_conflict(Fold *fold, const DmFeedEvent *event);

/* list_sort() takes no argument for its comparator; a backend sorts one list at a time. */
static DmFeedOrder *sort_order = NULL;

/* Compares two sequence values: below, equal or above zero. */
int
dm_feed_compare(DmFeedOrder *order, Datum a, Datum b)
{
	return DatumGetInt32(FunctionCall2(&order->compare, a, b));
}

/* Returns the events (DmFeedEvent*) that stored versions and points stand for. */
List *
dm_feed_events(DmFeedOrder *order, const DmFeedState *stored)
{
	List *events = NIL;
	ListCell *cell;

	foreach (cell, stored->versions)
	{
		const DmFeedVersion *version = lfirst(cell);
		DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));

		event->sequence = version->start;
		event->values = version->values;
		event->nulls = version->nulls;
		event->merge_id = version->merge_id;
		events = lappend(events, event);
		if (version->is_open || version->ended_by != 'D')
			continue;
		event = palloc0(sizeof(DmFeedEvent));
		event->sequence = version->end;
		event->is_delete = true;
		event->merge_id = version->ended_merge_id;
		events = lappend(events, event);
	}
	foreach (cell, stored->points)
	{
		const DmFeedPoint *point = lfirst(cell);
		DmFeedEvent *event = palloc0(sizeof(DmFeedEvent));
		ListCell *other;

		event->sequence = point->sequence;
		event->is_delete = point->operation == 'D';
		foreach (other, stored->versions)
		{
			const DmFeedVersion *version = lfirst(other);

			if (event->is_delete || dm_feed_compare(order, version->start, point->sequence) > 0 ||
				(!version->is_open && dm_feed_compare(order, version->end, point->sequence) <= 0))
				continue;
			event->values = version->values;
			event->nulls = version->nulls;
			event->merge_id = version->merge_id;
		}
		if (event->is_delete || event->values)
			events = lappend(events, event);
	}
	return events;
}

/*
 * Folds all events of a key into its versions and points, in the current memory context. Counts what became of the new
 * events. Raises 21000 for two different upserts at one sequence.
 */
DmFeedState *
dm_feed_fold(DmFeedOrder *order, const DmShape *shape, List *events, int64 merge_id, DmMergeCounts *counts)
{
	Fold fold = {.order = order, .shape = shape, .merge_id = merge_id, .counts = counts};
	ListCell *cell;

	fold.state = palloc0(sizeof(DmFeedState));
	sort_order = order;
	list_sort(events, event_compare);
	events = events_settle_ties(&fold, events);
	foreach (cell, events)
	{
		const DmFeedEvent *event = lfirst(cell);

		if (event->is_delete)
			delete_fold(&fold, event);
		else
			upsert_fold(&fold, event);
	}
	return fold.state;
}

/* Orders events by sequence; deletes before upserts, stored ones before new ones. */
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
	return result;
}

/* Returns the sorted events with one a sequence; new ones that go are counted as unchanged. */
static List *
events_settle_ties(Fold *fold, List *events)
{
	List *settled = NIL;
	const DmFeedEvent *last = NULL;
	ListCell *cell;

	foreach (cell, events)
	{
		const DmFeedEvent *event = lfirst(cell);

		if (last && dm_feed_compare(fold->order, last->sequence, event->sequence) == 0)
		{
			if (!last->is_delete && !tracked_equal(fold, event, last->values, last->nulls))
				raise_conflict(fold, event);
			if (event->is_new)
				fold->counts->unchanged++;
			continue;
		}
		settled = lappend(settled, unconstify(DmFeedEvent *, event));
		last = event;
	}
	return settled;
}

/* An upsert: a new version, or a point if it changes nothing. */
static void
upsert_fold(Fold *fold, const DmFeedEvent *event)
{
	DmFeedVersion *version;

	if (fold->open && tracked_equal(fold, event, fold->open->values, fold->open->nulls))
	{
		point_add(fold, event, 'N');
		return;
	}
	version = palloc0(sizeof(DmFeedVersion));
	version->start = event->sequence;
	version->is_open = true;
	version->operation = fold->open ? 'U' : 'I';
	version->merge_id = event->is_new ? fold->merge_id : event->merge_id;
	version->values = event->values;
	version->nulls = event->nulls;
	if (fold->open)
	{
		fold->open->is_open = false;
		fold->open->end = event->sequence;
		fold->open->ended_by = 'U';
		fold->open->ended_merge_id = fold->merge_id;
	}
	if (event->is_new)
		*(fold->open ? &fold->counts->updated : &fold->counts->inserted) += 1;
	fold->state->versions = lappend(fold->state->versions, version);
	fold->open = version;
}

/* A delete: the end of the open version, or a point if there is none. */
static void
delete_fold(Fold *fold, const DmFeedEvent *event)
{
	if (!fold->open)
	{
		point_add(fold, event, 'D');
		return;
	}
	fold->open->is_open = false;
	fold->open->end = event->sequence;
	fold->open->ended_by = 'D';
	fold->open->ended_merge_id = fold->merge_id;
	fold->open = NULL;
	if (event->is_new)
		fold->counts->deleted++;
}

/* Keeps an event that no version shows. */
static void
point_add(Fold *fold, const DmFeedEvent *event, char operation)
{
	DmFeedPoint *point = palloc0(sizeof(DmFeedPoint));

	point->sequence = event->sequence;
	point->operation = operation;
	fold->state->points = lappend(fold->state->points, point);
	if (event->is_new)
		fold->counts->unchanged++;
}

/* True if the tracked values of an upsert equal those given. */
static bool
tracked_equal(Fold *fold, const DmFeedEvent *event, const Datum *values, const bool *nulls)
{
	const DmShape *shape = fold->shape;

	for (int i = 0; i < shape->ntracked; i++)
	{
		int column = shape->tracked[i];

		if (!dm_value_equal(&shape->ops->columns[column],
							event->values[column],
							event->nulls[column],
							values[column],
							nulls[column]))
			return false;
	}
	return true;
}

/* Raises 21000 for an upsert that has other values than another one at its sequence. */
static void
raise_conflict(Fold *fold, const DmFeedEvent *event)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("two different values of a key at one sequence"),
			 errdetail("Key %s, sequence %s.",
					   dm_shape_key_json(fold->shape, event->values, event->nulls),
					   OidOutputFunctionCall(fold->order->output, event->sequence)),
			 errhint("The sequence column must tell the order of a key's events.")));
}
