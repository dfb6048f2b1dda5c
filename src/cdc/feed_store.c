/*
 * feed_store.c: what is stored of a feed: its current table, history and points.
 *
 * Invariants:
 * 1. Each stored row is read under the snapshot of the merge and written at most once.
 * 2. A row that stays as it is is not written.
 * 3. In a dry run nothing is written.
 * 4. All that is to be written is: a row that a BEFORE trigger skips raises 09000, for the versions of a key are one whole.
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
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/names.h"
#include "cdc/feed_store.h"
#include "cdc/probe.h"
#include "rows/table_writer.h"

enum
{
	IN_CURRENT,
	IN_HISTORY,
	IN_POINTS,
	PLACES
};

struct DmFeedStore
{
	DmFeedSpec spec;
	DmFeedOrder *order;
	bool sequence_byval;
	int16 sequence_len;
	Relation relations[PLACES];
	DmProbe *probes[PLACES];
	TupleTableSlot *slots[PLACES];
	DmTableWriter *writers[PLACES]; /* NULL in a dry run */
	TupleTableSlot *new_current;	/* virtual */
	TupleTableSlot *new_history;
	/* in points: */
	AttrNumber points_start;
	AttrNumber points_operation;
	AttrNumber points_merge;
	AttrNumber points_unavailable;
	AttrNumber *points_column; /* of each wanted column */
	pg_uuid_t key_hash;
	pg_uuid_t row_hash;
};

/* list_sort() takes no argument for its comparator; a backend sorts one list at a time. */
static DmFeedOrder *sort_order = NULL;

static void points_map(DmFeedStore *store);
static void values_copy(DmFeedStore *store, const Datum *values, const bool *nulls, Datum **values_out,
						bool **nulls_out);
static DmFeedVersion *version_read(DmFeedStore *store, TupleTableSlot *slot, bool is_open);
static DmFeedPoint *point_read(DmFeedStore *store, TupleTableSlot *slot);
static int version_compare(const ListCell *a, const ListCell *b);
static int point_compare(const ListCell *a, const ListCell *b);
static void version_write(DmFeedStore *store, const DmFeedVersion *stored, const DmFeedVersion *version,
						  bool values_move);
static void closed_write(DmFeedStore *store, const DmFeedVersion *stored, const DmFeedVersion *version);
static void open_write(DmFeedStore *store, const DmFeedVersion *stored, const DmFeedVersion *version,
					   bool values_move);
static void row_delete(DmFeedStore *store, int place, ItemPointerData tid);
static bool version_same(DmFeedStore *store, const DmFeedVersion *a, const DmFeedVersion *b, bool values_move);
static void points_write(DmFeedStore *store, const Datum *key, const DmFeedState *stored,
						 const DmFeedState *folded);
static void point_insert(DmFeedStore *store, const Datum *key, const DmFeedPoint *point);
static void current_fill(DmFeedStore *store, TupleTableSlot *slot, const DmFeedVersion *version);
static void history_fill(DmFeedStore *store, TupleTableSlot *slot, const DmFeedVersion *version);
static void place_scan(DmFeedStore *store, int place, DmFeedWanted wanted, DmFeedKey found, void *arg);

/* Opens writers and probes, in the current memory context; the active snapshot must stay until the close. */
DmFeedStore *
dm_feed_store_open(const DmFeedSpec *spec, DmFeedOrder *order)
{
	DmFeedStore *store = palloc0(sizeof(DmFeedStore));

	store->spec = *spec;
	store->order = order;
	get_typlenbyval(spec->dataset->effective_type, &store->sequence_len, &store->sequence_byval);
	store->relations[IN_CURRENT] = spec->current;
	store->relations[IN_HISTORY] = spec->history;
	store->relations[IN_POINTS] = spec->points;
	points_map(store);
	store->new_current = MakeSingleTupleTableSlot(RelationGetDescr(spec->current), &TTSOpsVirtual);
	store->new_history = MakeSingleTupleTableSlot(RelationGetDescr(spec->history), &TTSOpsVirtual);
	if (!spec->dry_run)
		dm_writers_begin();
	for (int i = 0; i < PLACES; i++)
	{
		Relation rel = store->relations[i];
		Bitmapset *updated = NULL;

		for (int a = 1; a <= RelationGetNumberOfAttributes(rel); a++)
			updated = bms_add_member(updated, a - FirstLowInvalidHeapAttributeNumber);
		store->slots[i] = table_slot_create(rel, NULL);
		if (!spec->dry_run)
		{
			store->writers[i] = dm_writer_open(rel, updated, spec->is_empty);
			dm_writer_must_write(store->writers[i]);
		}
		store->probes[i] = dm_probe_begin(rel, spec->shape, GetActiveSnapshot());
		if (!store->probes[i])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" has no primary key that starts with the dataset's keys",
							RelationGetRelationName(rel)),
					 errhint("Add it: ALTER TABLE ... ADD PRIMARY KEY.")));
	}
	return store;
}

/* Finds the columns of the points, which are of the wanted types or those below their domains; raises if one is not. */
static void
points_map(DmFeedStore *store)
{
	const DmDataset *dataset = store->spec.dataset;
	TupleDesc wanted = store->spec.shape->wanted;
	Relation points = store->spec.points;
	const char *const *names = dataset->settings.names;

	store->points_start = dm_shape_attribute(dataset, points, names[DM_NAME_START], dataset->effective_type);
	store->points_operation = dm_shape_attribute(dataset, points, names[DM_NAME_OPERATION], CHAROID);
	store->points_merge = dm_shape_attribute(dataset, points, names[DM_NAME_MERGE], INT8OID);
	store->points_unavailable = dm_shape_attribute(dataset, points, DM_COL_UNAVAILABLE, TEXTARRAYOID);
	store->points_column = palloc(sizeof(AttrNumber) * wanted->natts);
	for (int i = 0; i < wanted->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(wanted, i);
		const char *name = NameStr(column->attname);
		Oid type = get_atttype(RelationGetRelid(points), get_attnum(RelationGetRelid(points), name));
		Oid base = getBaseType(column->atttypid);

		store->points_column[i] = dm_shape_attribute(dataset, points, name, type == base ? base : column->atttypid);
	}
}

/* Writes what is queued, fires triggers, and closes all. */
void
dm_feed_store_close(DmFeedStore *store)
{
	for (int i = PLACES - 1; i >= 0; i--)
	{
		dm_probe_end(store->probes[i]);
		if (store->writers[i])
			dm_writer_close(store->writers[i]);
		ExecDropSingleTupleTableSlot(store->slots[i]);
	}
	if (!store->spec.dry_run)
		dm_writers_end();
	ExecDropSingleTupleTableSlot(store->new_current);
	ExecDropSingleTupleTableSlot(store->new_history);
}

/* Returns how many rows current has. */
int64
dm_feed_store_live_rows(DmFeedStore *store)
{
	TableScanDesc scan = table_beginscan(store->spec.current, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = store->slots[IN_CURRENT];
	int64 rows = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		rows++;
	}
	table_endscan(scan);
	ExecClearTuple(slot);
	return rows;
}

/* Reads all that is stored of the key in values (of the wanted columns), in the current memory context. */
DmFeedState *
dm_feed_store_read(DmFeedStore *store, const Datum *key)
{
	DmFeedState *state = palloc0(sizeof(DmFeedState));

	if (store->spec.is_empty)
		return state;
	for (int i = 0; i < PLACES; i++)
	{
		TupleTableSlot *slot = store->slots[i];

		dm_probe_start(store->probes[i], key, NULL);
		while (dm_probe_next(store->probes[i], slot))
		{
			slot_getallattrs(slot);
			if (i == IN_POINTS)
				state->points = lappend(state->points, point_read(store, slot));
			else
				state->versions = lappend(state->versions, version_read(store, slot, i == IN_CURRENT));
		}
	}
	sort_order = store->order;
	list_sort(state->versions, version_compare);
	list_sort(state->points, point_compare);
	return state;
}

/* Orders versions by start. */
static int
version_compare(const ListCell *a, const ListCell *b)
{
	return dm_feed_compare(sort_order, ((DmFeedVersion *) lfirst(a))->start, ((DmFeedVersion *) lfirst(b))->start);
}

/* Orders points by sequence, operation and merge, which no two share. */
static int
point_compare(const ListCell *a, const ListCell *b)
{
	const DmFeedPoint *left = lfirst(a);
	const DmFeedPoint *right = lfirst(b);
	int result = dm_feed_compare(sort_order, left->sequence, right->sequence);

	if (result == 0)
		result = (int) left->operation - (int) right->operation;
	if (result == 0)
		result = left->merge_id < right->merge_id ? -1 : left->merge_id > right->merge_id;
	return result;
}

/* Copies the values of the shape's wanted columns to the current memory context. */
static void
values_copy(DmFeedStore *store, const Datum *values, const bool *nulls, Datum **values_out, bool **nulls_out)
{
	TupleDesc desc = store->spec.shape->wanted;

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

/* Returns the version in a row of current (open) or history. */
static DmFeedVersion *
version_read(DmFeedStore *store, TupleTableSlot *slot, bool is_open)
{
	const DmShape *shape = store->spec.shape;
	DmFeedVersion *version = palloc0(sizeof(DmFeedVersion));
	Datum *values = palloc0(sizeof(Datum) * RelationGetNumberOfAttributes(store->spec.current));
	bool *nulls = palloc0(sizeof(bool) * RelationGetNumberOfAttributes(store->spec.current));
	Datum *wanted = palloc0(sizeof(Datum) * shape->wanted->natts);
	bool *wanted_nulls = palloc0(sizeof(bool) * shape->wanted->natts);

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
	values_copy(store, wanted, wanted_nulls, &version->values, &version->nulls);
	version->start = datumCopy(values[shape->start - 1], store->sequence_byval, store->sequence_len);
	version->operation = DatumGetChar(values[shape->operation - 1]);
	version->merge_id = DatumGetInt64(values[shape->merge - 1]);
	version->is_open = is_open;
	version->tid = slot->tts_tid;
	if (is_open)
		return version;
	version->end = datumCopy(slot->tts_values[shape->history_end - 1], store->sequence_byval, store->sequence_len);
	version->ended_by = DatumGetChar(slot->tts_values[shape->history_ended_by - 1]);
	version->ended_merge_id = DatumGetInt64(slot->tts_values[shape->history_ended_merge - 1]);
	return version;
}

/* Returns the point in a row. */
static DmFeedPoint *
point_read(DmFeedStore *store, TupleTableSlot *slot)
{
	TupleDesc wanted = store->spec.shape->wanted;
	DmFeedPoint *point = palloc0(sizeof(DmFeedPoint));
	Datum *values = palloc0(sizeof(Datum) * wanted->natts);
	bool *nulls = palloc0(sizeof(bool) * wanted->natts);
	List *unavailable = NIL;

	point->sequence =
		datumCopy(slot->tts_values[store->points_start - 1], store->sequence_byval, store->sequence_len);
	point->operation = DatumGetChar(slot->tts_values[store->points_operation - 1]);
	point->merge_id = DatumGetInt64(slot->tts_values[store->points_merge - 1]);
	point->tid = slot->tts_tid;
	if (point->operation != DM_POINT_UPSERT)
		return point;
	if (!slot->tts_isnull[store->points_unavailable - 1])
		unavailable = dm_names_from_array(slot->tts_values[store->points_unavailable - 1]);
	for (int i = 0; i < wanted->natts; i++)
	{
		values[i] = slot->tts_values[store->points_column[i] - 1];
		nulls[i] = slot->tts_isnull[store->points_column[i] - 1];
		if (unavailable && dm_names_has(unavailable, NameStr(TupleDescAttr(wanted, i)->attname)))
			point->unavailable = bms_add_member(point->unavailable, i);
	}
	values_copy(store, values, nulls, &point->values, &point->nulls);
	return point;
}

/* Writes the difference between what is stored of a key and what its fold gives. values_move: see DmFeedFold. */
void
dm_feed_store_write(DmFeedStore *store, const Datum *key, const DmFeedState *stored, const DmFeedState *folded,
					bool values_move)
{
	bool was_open = stored->versions && ((DmFeedVersion *) llast(stored->versions))->is_open;
	bool is_open = folded->versions && ((DmFeedVersion *) llast(folded->versions))->is_open;
	int old = 0;
	int new = 0;

	store->spec.changes->live_rows += (int) is_open - (int) was_open;
	store->spec.changes->gone_rows += was_open && !is_open;
	while (old < list_length(stored->versions) || new < list_length(folded->versions))
	{
		DmFeedVersion *left = old < list_length(stored->versions) ? list_nth(stored->versions, old) : NULL;
		DmFeedVersion *right = new < list_length(folded->versions) ? list_nth(folded->versions, new) : NULL;
		int result = !left ? 1 : !right ? -1 : dm_feed_compare(store->order, left->start, right->start);

		version_write(store, result <= 0 ? left : NULL, result >= 0 ? right : NULL, values_move);
		old += result <= 0;
		new += result >= 0;
	}
	open_write(
		store, was_open ? llast(stored->versions) : NULL, is_open ? llast(folded->versions) : NULL, values_move);
	points_write(store, key, stored, folded);
}

/* Deletes a stored row. */
static void
row_delete(DmFeedStore *store, int place, ItemPointerData tid)
{
	ExecClearTuple(store->slots[place]);
	store->slots[place]->tts_tid = tid;
	if (!store->spec.dry_run)
		dm_writer_delete(store->writers[place], store->slots[place]);
}

/*
 * Stores a closed version where the stored one of the same start (NULL if none) is now; without a new one (NULL) that one
 * goes. What is open is for open_write().
 */
static void
version_write(DmFeedStore *store, const DmFeedVersion *stored, const DmFeedVersion *version, bool values_move)
{
	if (stored && version && version_same(store, stored, version, values_move))
		return;
	*(version ? &store->spec.changes->restored : &store->spec.changes->removed) += 1;
	if (stored && stored->is_open)
		stored = NULL;
	if (version && !version->is_open)
		closed_write(store, stored, version);
	else if (stored)
		row_delete(store, IN_HISTORY, stored->tid);
}

/* True if two versions of one start are the same row. */
static bool
version_same(DmFeedStore *store, const DmFeedVersion *a, const DmFeedVersion *b, bool values_move)
{
	if (a->is_open != b->is_open || a->operation != b->operation || a->merge_id != b->merge_id)
		return false;
	if (!a->is_open && (dm_feed_compare(store->order, a->end, b->end) != 0 || a->ended_by != b->ended_by ||
						a->ended_merge_id != b->ended_merge_id))
		return false;
	return !values_move || dm_feed_values_identical(store->spec.shape, a->values, a->nulls, b->values, b->nulls);
}

/* Stores a closed version in history, over the stored one if there is one. */
static void
closed_write(DmFeedStore *store, const DmFeedVersion *stored, const DmFeedVersion *version)
{
	TupleTableSlot *row;

	if (store->spec.dry_run)
		return;
	if (stored)
	{
		history_fill(store, store->new_history, version);
		ExecClearTuple(store->slots[IN_HISTORY]);
		store->slots[IN_HISTORY]->tts_tid = stored->tid;
		dm_writer_update(store->writers[IN_HISTORY], store->slots[IN_HISTORY], store->new_history);
		return;
	}
	row = dm_writer_slot(store->writers[IN_HISTORY]);
	history_fill(store, row, version);
	dm_writer_insert(store->writers[IN_HISTORY], row);
}

/* Stores the open version (NULL if none) in current, where `stored` is now (NULL if none). */
static void
open_write(DmFeedStore *store, const DmFeedVersion *stored, const DmFeedVersion *version, bool values_move)
{
	TupleTableSlot *row;

	if (store->spec.dry_run || (!stored && !version))
		return;
	if (!version)
	{
		row_delete(store, IN_CURRENT, stored->tid);
		return;
	}
	if (!stored)
	{
		row = dm_writer_slot(store->writers[IN_CURRENT]);
		current_fill(store, row, version);
		dm_writer_insert(store->writers[IN_CURRENT], row);
		return;
	}
	if (dm_feed_compare(store->order, stored->start, version->start) == 0 &&
		version_same(store, stored, version, values_move))
		return;
	current_fill(store, store->new_current, version);
	ExecClearTuple(store->slots[IN_CURRENT]);
	store->slots[IN_CURRENT]->tts_tid = stored->tid;
	dm_writer_update(store->writers[IN_CURRENT], store->slots[IN_CURRENT], store->new_current);
}

/* Writes the difference between the stored points and those that the fold gives. */
static void
points_write(DmFeedStore *store, const Datum *key, const DmFeedState *stored, const DmFeedState *folded)
{
	int old = 0;
	int new = 0;

	sort_order = store->order;
	list_sort(folded->points, point_compare);
	while (old < list_length(stored->points) || new < list_length(folded->points))
	{
		const ListCell *left = old < list_length(stored->points) ? list_nth_cell(stored->points, old) : NULL;
		const ListCell *right = new < list_length(folded->points) ? list_nth_cell(folded->points, new) : NULL;
		int result = !left ? 1 : !right ? -1 : point_compare(left, right);

		if (left && result < 0)
			row_delete(store, IN_POINTS, ((DmFeedPoint *) lfirst(left))->tid);
		else if (right && result > 0)
			point_insert(store, key, lfirst(right));
		store->spec.changes->points += result != 0;
		old += result <= 0;
		new += result >= 0;
	}
}

/* Sets a column of a slot that is being filled. */
static inline void
column_set(TupleTableSlot *slot, AttrNumber attribute, Datum value)
{
	slot->tts_values[attribute - 1] = value;
	slot->tts_isnull[attribute - 1] = false;
}

/* Stores a point of the key in values (of the wanted columns). */
static void
point_insert(DmFeedStore *store, const Datum *key, const DmFeedPoint *point)
{
	const DmShape *shape = store->spec.shape;
	TupleTableSlot *row;
	List *unavailable = NIL;

	if (store->spec.dry_run)
		return;
	row = dm_writer_slot(store->writers[IN_POINTS]);
	memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
	for (int i = 0; point->operation == DM_POINT_UPSERT && i < shape->wanted->natts; i++)
	{
		if (bms_is_member(i, point->unavailable))
			unavailable = lappend(unavailable, NameStr(TupleDescAttr(shape->wanted, i)->attname));
		else if (!point->nulls[i])
			column_set(row, store->points_column[i], point->values[i]);
	}
	for (int i = 0; i < shape->nkeys; i++)
		column_set(row, store->points_column[shape->keys[i]], key[shape->keys[i]]);
	column_set(row, store->points_start, point->sequence);
	column_set(row, store->points_operation, CharGetDatum(point->operation));
	column_set(row, store->points_merge, Int64GetDatum(point->merge_id));
	if (unavailable)
		column_set(row, store->points_unavailable, dm_names_to_array(unavailable));
	ExecStoreVirtualTuple(row);
	dm_writer_insert(store->writers[IN_POINTS], row);
}

/* Fills a slot of current's shape. */
static void
current_fill(DmFeedStore *store, TupleTableSlot *slot, const DmFeedVersion *version)
{
	const DmShape *shape = store->spec.shape;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		slot->tts_values[shape->current_attribute[i] - 1] = version->values[i];
		slot->tts_isnull[shape->current_attribute[i] - 1] = version->nulls[i];
	}
	dm_row_hash(shape->ops, version->values, version->nulls, shape->keys, shape->nkeys, store->key_hash.data);
	dm_row_hash(shape->ops, version->values, version->nulls, shape->hashed, shape->nhashed, store->row_hash.data);
	column_set(slot, shape->operation, CharGetDatum(version->operation));
	column_set(slot, shape->start, version->start);
	column_set(slot, shape->merge, Int64GetDatum(version->merge_id));
	column_set(slot, shape->key_hash, UUIDPGetDatum(&store->key_hash));
	column_set(slot, shape->row_hash, UUIDPGetDatum(&store->row_hash));
	ExecStoreVirtualTuple(slot);
}

/* Fills a slot of history's shape, with generated columns as current computes them. */
static void
history_fill(DmFeedStore *store, TupleTableSlot *slot, const DmFeedVersion *version)
{
	const DmShape *shape = store->spec.shape;
	TupleTableSlot *as_current = store->new_current;

	current_fill(store, as_current, version);
	dm_writer_generate(store->writers[IN_CURRENT], as_current);
	ExecClearTuple(slot);
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

/* Where a table has the columns that a search for keys looks at; 0 for none. */
typedef struct PlaceColumns
{
	AttrNumber start;
	AttrNumber end;
	AttrNumber merge;
	AttrNumber ended_merge;
	AttrNumber *wanted;
} PlaceColumns;

/* Finds them. A point ends where it starts: it lasts no time. */
static void
place_columns(DmFeedStore *store, int place, PlaceColumns *columns)
{
	const DmShape *shape = store->spec.shape;

	memset(columns, 0, sizeof(*columns));
	columns->start = place == IN_POINTS ? store->points_start : shape->start;
	columns->end = place == IN_POINTS ? store->points_start : 0;
	columns->merge = place == IN_POINTS ? store->points_merge : shape->merge;
	columns->wanted = place == IN_POINTS ? store->points_column : shape->current_attribute;
	if (place != IN_HISTORY)
		return;
	columns->wanted = palloc0(sizeof(AttrNumber) * shape->wanted->natts);
	columns->end = shape->history_end;
	columns->ended_merge = shape->history_ended_merge;
	for (int i = 0; i < RelationGetNumberOfAttributes(store->spec.history); i++)
	{
		AttrNumber from = shape->history_from[i];

		if (from == shape->start)
			columns->start = i + 1;
		else if (from == shape->merge)
			columns->merge = i + 1;
		for (int k = 0; from != 0 && k < shape->wanted->natts; k++)
		{
			if (shape->current_attribute[k] == from)
				columns->wanted[k] = i + 1;
		}
	}
}

/* Calls found with the key of each stored row that is wanted; a key may come more than once. */
void
dm_feed_store_keys(DmFeedStore *store, DmFeedWanted wanted, DmFeedKey found, void *arg)
{
	for (int i = 0; i < PLACES && !store->spec.is_empty; i++)
		place_scan(store, i, wanted, found, arg);
}

/* Does that for one table. */
static void
place_scan(DmFeedStore *store, int place, DmFeedWanted wanted, DmFeedKey found, void *arg)
{
	const DmShape *shape = store->spec.shape;
	TupleTableSlot *slot = store->slots[place];
	TableScanDesc scan = table_beginscan(store->relations[place], GetActiveSnapshot(), 0, NULL);
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill feed scan", ALLOCSET_DEFAULT_SIZES);
	PlaceColumns columns;

	place_columns(store, place, &columns);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext caller = MemoryContextSwitchTo(row_context);
		Datum *values = slot->tts_values;
		int64 merge_ids[2] = {0};

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		merge_ids[0] = DatumGetInt64(values[columns.merge - 1]);
		if (columns.ended_merge)
			merge_ids[1] = DatumGetInt64(values[columns.ended_merge - 1]);
		if (wanted(arg, values[columns.start - 1], columns.end ? &values[columns.end - 1] : NULL, merge_ids))
		{
			Datum *key = palloc0(sizeof(Datum) * shape->wanted->natts);

			for (int i = 0; i < shape->nkeys; i++)
				key[shape->keys[i]] = values[columns.wanted[shape->keys[i]] - 1];
			found(arg, key);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row_context);
	}
	table_endscan(scan);
	ExecClearTuple(slot);
	MemoryContextDelete(row_context);
}
