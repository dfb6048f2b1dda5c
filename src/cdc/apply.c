/*
 * apply.c: what becomes of a key, written to current and history, or only counted.
 *
 * Invariants:
 * 1. A row that did not change is not written; one whose untracked columns alone differ gets no new version.
 * 2. New rows wait in a sort by key until the end, so that the key index is filled in order and a key that stands in the
 *    source twice is met at its twin. Only the first load of a new dataset writes them as they come: its key index is
 *    built afterwards.
 * 3. A version that ends goes to history as it was stored, with the effective date as its end.
 * 4. In a dry run nothing is written, and counts, errors and samples are those of the real run.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "cdc/apply.h"
#include "rows/row_sort.h"
#include "rows/table_writer.h"

struct DmApply
{
	DmApplySpec spec;
	MemoryContext context;
	DmTableWriter *current_writer; /* NULL in a dry run */
	DmTableWriter *history_writer; /* NULL in a dry run and for a new dataset */
	Tuplesortstate *inserts;	   /* new rows in the shape of current, by key; NULL for a new dataset */
	TupleTableSlot *new_slot;	   /* a row to be written, virtual */
	pg_uuid_t key_hash;			   /* of the row in new_slot */
	pg_uuid_t row_hash;
	List *samples[DM_FATES]; /* of char*: JSON objects of key columns */
};

static void history_write(DmApply *apply, TupleTableSlot *old, char ended_by);
static void new_row_fill(DmApply *apply, TupleTableSlot *slot, const Datum *values, const bool *nulls,
						 char operation);
static Tuplesortstate *inserts_begin(DmApply *apply);
static void inserts_write(DmApply *apply);
static bool same_key(DmApply *apply, TupleTableSlot *a, TupleTableSlot *b);
static void sample_take(DmApply *apply, DmFate fate, const Datum *values, const bool *nulls);
static void sample_take_old(DmApply *apply, DmFate fate, TupleTableSlot *old);

/* Opens the writers, in the current memory context. The active snapshot must stay until dm_apply_finish(). */
DmApply *
dm_apply_begin(const DmApplySpec *spec)
{
	DmApply *apply = palloc0(sizeof(DmApply));
	Bitmapset *updated = NULL;

	apply->spec = *spec;
	apply->context = CurrentMemoryContext;
	apply->new_slot = MakeSingleTupleTableSlot(RelationGetDescr(spec->current), &TTSOpsVirtual);
	if (!spec->new_dataset)
		apply->inserts = inserts_begin(apply);
	if (spec->dry_run)
		return apply;
	for (int i = 0; i < spec->shape->wanted->natts; i++)
		updated = bms_add_member(updated, spec->shape->current_attribute[i] - FirstLowInvalidHeapAttributeNumber);
	dm_writers_begin();
	apply->current_writer = dm_writer_open(spec->current, spec->new_dataset ? NULL : updated, spec->new_dataset);
	if (!spec->new_dataset)
		apply->history_writer = dm_writer_open(spec->history, NULL, false);
	return apply;
}

/* A key that current does not have. values and nulls are of the wanted columns, here and below. */
void
dm_apply_insert(DmApply *apply, const Datum *values, const bool *nulls)
{
	apply->spec.counts->inserted++;
	if (apply->spec.new_dataset)
	{
		TupleTableSlot *row = dm_writer_slot(apply->current_writer);

		new_row_fill(apply, row, values, nulls, 'I');
		dm_writer_insert(apply->current_writer, row);
		return;
	}
	sample_take(apply, DM_FATE_INSERT, values, nulls);
	ExecClearTuple(apply->new_slot);
	new_row_fill(apply, apply->new_slot, values, nulls, 'I');
	tuplesort_puttupleslot(apply->inserts, apply->new_slot);
}

/* A changed row: the version in old goes to history, the new values take its place. */
void
dm_apply_update(DmApply *apply, TupleTableSlot *old, const Datum *values, const bool *nulls)
{
	const DmShape *shape = apply->spec.shape;
	TupleTableSlot *new = apply->new_slot;

	apply->spec.counts->updated++;
	sample_take(apply, DM_FATE_UPDATE, values, nulls);
	if (apply->spec.dry_run)
		return;
	history_write(apply, old, 'U');
	ExecClearTuple(new);
	new_row_fill(apply, new, values, nulls, 'U');
	/* the key stays as it was spelt, and an equal value that is stored out of line is not stored again */
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		int attribute = shape->current_attribute[i] - 1;

		if (new->tts_isnull[attribute] || old->tts_isnull[attribute] ||
			TupleDescAttr(shape->wanted, i)->attlen != -1 ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(old->tts_values[attribute])))
			continue;
		if (dm_column_equal(shape, i, values, nulls, old))
			new->tts_values[attribute] = old->tts_values[attribute];
	}
	for (int i = 0; i < shape->nkeys; i++)
	{
		int attribute = shape->current_attribute[shape->keys[i]] - 1;

		new->tts_values[attribute] = old->tts_values[attribute];
	}
	dm_writer_update(apply->current_writer, old, new);
}

/* An unchanged row whose untracked columns differ: they are brought up to date, the version stays. */
void
dm_apply_refresh(DmApply *apply, TupleTableSlot *old, const Datum *values, const bool *nulls)
{
	const DmShape *shape = apply->spec.shape;
	TupleTableSlot *new = apply->new_slot;
	int natts = new->tts_tupleDescriptor->natts;

	apply->spec.counts->refreshed++;
	dm_apply_unchanged(apply, values, nulls);
	if (apply->spec.dry_run)
		return;
	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(new->tts_values, old->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, old->tts_isnull, sizeof(bool) * natts);
	for (int i = 0; i < shape->nuntracked; i++)
	{
		int column = shape->untracked[i];

		new->tts_values[shape->current_attribute[column] - 1] = values[column];
		new->tts_isnull[shape->current_attribute[column] - 1] = nulls[column];
	}
	ExecStoreVirtualTuple(new);
	dm_writer_update(apply->current_writer, old, new);
}

/* A row that did not change. */
void
dm_apply_unchanged(DmApply *apply, const Datum *values, const bool *nulls)
{
	apply->spec.counts->unchanged++;
	sample_take(apply, DM_FATE_UNCHANGED, values, nulls);
}

/* A key that is gone: its version ends. */
void
dm_apply_delete(DmApply *apply, TupleTableSlot *old)
{
	apply->spec.counts->deleted++;
	sample_take_old(apply, DM_FATE_DELETE, old);
	if (apply->spec.dry_run)
		return;
	history_write(apply, old, 'D');
	dm_writer_delete(apply->current_writer, old);
}

/* A key that the source did not bring and that is left alone; old is NULL where the row was not fetched. */
void
dm_apply_missing(DmApply *apply, TupleTableSlot *old)
{
	apply->spec.counts->missing++;
	if (old)
		sample_take_old(apply, DM_FATE_MISSING, old);
}

/* Writes the new rows, fires triggers and closes the writers. Raises 21000 if two new rows have one key. */
void
dm_apply_finish(DmApply *apply)
{
	if (apply->inserts)
		inserts_write(apply);
	if (!apply->spec.dry_run)
	{
		if (apply->history_writer)
			dm_writer_close(apply->history_writer);
		dm_writer_close(apply->current_writer);
		dm_writers_end();
	}
	ExecDropSingleTupleTableSlot(apply->new_slot);
}

/* Returns, for each fate, the keys (JSON objects, char*) that are examples of it. */
List **
dm_apply_samples(DmApply *apply)
{
	return apply->samples;
}

/* True if a column of a source row equals that of the row of current in old. */
bool
dm_column_equal(const DmShape *shape, int column, const Datum *values, const bool *nulls, TupleTableSlot *old)
{
	int attribute = shape->current_attribute[column] - 1;

	return dm_value_equal(&shape->ops->columns[column],
						  values[column],
						  nulls[column],
						  old->tts_values[attribute],
						  old->tts_isnull[attribute]);
}

/* Writes the version in old to history, ended at the effective date. */
static void
history_write(DmApply *apply, TupleTableSlot *old, char ended_by)
{
	const DmShape *shape = apply->spec.shape;
	TupleTableSlot *row = dm_writer_slot(apply->history_writer);
	int natts = row->tts_tupleDescriptor->natts;

	slot_getallattrs(old);
	for (int i = 0; i < natts; i++)
	{
		AttrNumber from = shape->history_from[i];

		row->tts_isnull[i] = from == 0 || old->tts_isnull[from - 1];
		row->tts_values[i] = from == 0 ? (Datum) 0 : old->tts_values[from - 1];
	}
	row->tts_values[shape->history_end - 1] = apply->spec.effective;
	row->tts_isnull[shape->history_end - 1] = false;
	row->tts_values[shape->history_ended_by - 1] = CharGetDatum(ended_by);
	row->tts_isnull[shape->history_ended_by - 1] = false;
	row->tts_values[shape->history_ended_merge - 1] = Int64GetDatum(apply->spec.merge_id);
	row->tts_isnull[shape->history_ended_merge - 1] = false;
	ExecStoreVirtualTuple(row);
	dm_writer_insert(apply->history_writer, row);
}

/* Fills a cleared slot of current's shape with a version that starts at the effective date. */
static void
new_row_fill(DmApply *apply, TupleTableSlot *slot, const Datum *values, const bool *nulls, char operation)
{
	const DmShape *shape = apply->spec.shape;

	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	memset(slot->tts_values, 0, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		slot->tts_values[shape->current_attribute[i] - 1] = values[i];
		slot->tts_isnull[shape->current_attribute[i] - 1] = nulls[i];
	}
	dm_row_hash(shape->ops, values, nulls, shape->keys, shape->nkeys, apply->key_hash.data);
	dm_row_hash(shape->ops, values, nulls, shape->hashed, shape->nhashed, apply->row_hash.data);
	slot->tts_values[shape->operation - 1] = CharGetDatum(operation);
	slot->tts_isnull[shape->operation - 1] = false;
	slot->tts_values[shape->start - 1] = apply->spec.effective;
	slot->tts_isnull[shape->start - 1] = false;
	slot->tts_values[shape->merge - 1] = Int64GetDatum(apply->spec.merge_id);
	slot->tts_isnull[shape->merge - 1] = false;
	slot->tts_values[shape->key_hash - 1] = UUIDPGetDatum(&apply->key_hash);
	slot->tts_isnull[shape->key_hash - 1] = false;
	slot->tts_values[shape->row_hash - 1] = UUIDPGetDatum(&apply->row_hash);
	slot->tts_isnull[shape->row_hash - 1] = false;
	ExecStoreVirtualTuple(slot);
}

/* Begins the sort of new rows by their key columns. */
static Tuplesortstate *
inserts_begin(DmApply *apply)
{
	const DmShape *shape = apply->spec.shape;
	AttrNumber *attributes = palloc(sizeof(AttrNumber) * shape->nkeys);

	for (int i = 0; i < shape->nkeys; i++)
		attributes[i] = shape->current_attribute[shape->keys[i]];
	return dm_row_sort_begin(RelationGetDescr(apply->spec.current), attributes, shape->nkeys);
}

/* Writes the new rows in the order of their keys. Raises 21000 if two of them have the same key. */
static void
inserts_write(DmApply *apply)
{
	TupleDesc desc = RelationGetDescr(apply->spec.current);
	TupleTableSlot *slots[2];
	int64 count = 0;

	slots[0] = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	slots[1] = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplesort_performsort(apply->inserts);
	while (tuplesort_gettupleslot(apply->inserts, true, true, slots[count % 2], NULL))
	{
		TupleTableSlot *slot = slots[count % 2];
		TupleTableSlot *row;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (count > 0 && same_key(apply, slot, slots[(count - 1) % 2]))
		{
			Datum *values = palloc0(sizeof(Datum) * apply->spec.shape->wanted->natts);

			for (int i = 0; i < apply->spec.shape->wanted->natts; i++)
				values[i] = slot->tts_values[apply->spec.shape->current_attribute[i] - 1];
			dm_raise_duplicate_key(apply->spec.shape, values);
		}
		count++;
		if (apply->spec.dry_run)
			continue;
		row = dm_writer_slot(apply->current_writer);
		memcpy(row->tts_values, slot->tts_values, sizeof(Datum) * desc->natts);
		memcpy(row->tts_isnull, slot->tts_isnull, sizeof(bool) * desc->natts);
		ExecStoreVirtualTuple(row);
		dm_writer_insert(apply->current_writer, row);
	}
	ExecDropSingleTupleTableSlot(slots[0]);
	ExecDropSingleTupleTableSlot(slots[1]);
	tuplesort_end(apply->inserts);
}

/* True if two rows of current's shape have the same key. */
static bool
same_key(DmApply *apply, TupleTableSlot *a, TupleTableSlot *b)
{
	const DmShape *shape = apply->spec.shape;

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

/* Raises 21000 for a key that stands in the source more than once; values are of the wanted columns. */
void
dm_raise_duplicate_key(const DmShape *shape, const Datum *values)
{
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

/* Keeps a key as an example of an operation, while there is room for one more. values are of the wanted columns. */
static void
sample_take(DmApply *apply, DmFate fate, const Datum *values, const bool *nulls)
{
	MemoryContext caller;

	if (!apply->spec.dry_run || list_length(apply->samples[fate]) >= DM_PLAN_SAMPLES)
		return;
	caller = MemoryContextSwitchTo(apply->context);
	apply->samples[fate] = lappend(apply->samples[fate], dm_shape_key_json(apply->spec.shape, values, nulls));
	MemoryContextSwitchTo(caller);
}

/* As sample_take, for a row of current. */
static void
sample_take_old(DmApply *apply, DmFate fate, TupleTableSlot *old)
{
	const DmShape *shape = apply->spec.shape;
	Datum *values;
	bool *nulls;

	if (!apply->spec.dry_run || list_length(apply->samples[fate]) >= DM_PLAN_SAMPLES)
		return;
	slot_getallattrs(old);
	values = palloc0(sizeof(Datum) * shape->wanted->natts);
	nulls = palloc0(sizeof(bool) * shape->wanted->natts);
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		values[i] = old->tts_values[shape->current_attribute[i] - 1];
		nulls[i] = old->tts_isnull[shape->current_attribute[i] - 1];
	}
	sample_take(apply, fate, values, nulls);
	pfree(values);
	pfree(nulls);
}
