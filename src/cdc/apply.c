/*
 * apply.c: what becomes of a key, written to current and history, or only counted.
 *
 * Invariants:
 * 1. A row that did not change is not written; one whose untracked columns alone differ gets no new version.
 * 2. New rows wait in a sort by key until the end, so that the key index is filled in order and a key that stands in the
 *    source twice is met at its twin. Only the first load of a new dataset writes them as they come: its key index is
 *    built afterwards.
 * 3. A version that ends goes to history as it was stored, with the effective date as its end. Where a BEFORE trigger
 *    keeps a row of current from being written, its version goes on, and is counted as unchanged or missing; one that
 *    keeps a version out of history raises 09000.
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
#include "base/names.h"
#include "cdc/apply.h"
#include "rows/null_check.h"
#include "rows/row_sort.h"
#include "rows/table_writer.h"

/* What is written of one part of a row. */
typedef struct ApplyPart
{
	const DmShape *shape;
	DmTableWriter *current_writer; /* NULL in a dry run */
	DmTableWriter *history_writer; /* NULL in a dry run and for a new dataset */
	TupleTableSlot *new_slot;	   /* a row to be written, virtual */
	Datum *values;				   /* of the part's wanted columns */
	bool *nulls;
	pg_uuid_t key_hash; /* of the row in new_slot */
	pg_uuid_t row_hash;
} ApplyPart;

struct DmApply
{
	DmApplySpec spec;
	MemoryContext context;
	int nparts;
	ApplyPart parts[DM_PARTS];
	Tuplesortstate *inserts;	 /* new rows in the shape of the source, by key; NULL for a new dataset */
	TupleTableSlot *insert_slot; /* to put them there */
	DmNullCheck *absent;	 /* of columns that the source lacks and that may refuse NULL; NULL: there are none */
	List *samples[DM_FATES]; /* of char*: JSON objects of key columns */
};

static void part_begin(DmApply *apply, int number);
static void parts_differ(int number);
static DmNullCheck *absent_find(const DmApplySpec *spec);
static void absent_check(DmApply *apply, const Datum *values, const bool *nulls);
static bool row_insert(DmApply *apply, const Datum *values, const bool *nulls);
static bool part_update(DmApply *apply, int number, const DmStoredRow *old, const Datum *values, const bool *nulls);
static void part_refresh(DmApply *apply, int number, const DmStoredRow *old, const Datum *values,
						 const bool *nulls);
static void previous_fill(ApplyPart *part, TupleTableSlot *old, TupleTableSlot *new);
static void operation_stamp(DmApply *apply, const DmStoredRow *old, char operation);
static void history_write(DmApply *apply, ApplyPart *part, TupleTableSlot *old, char ended_by);
static void new_row_fill(DmApply *apply, ApplyPart *part, TupleTableSlot *slot, char operation);
static void values_take(ApplyPart *part, const Datum *values, const bool *nulls);
static Tuplesortstate *inserts_begin(DmApply *apply);
static void inserts_write(DmApply *apply);
static bool same_key(DmApply *apply, TupleTableSlot *a, TupleTableSlot *b);
static void sample_take(DmApply *apply, DmFate fate, const Datum *values, const bool *nulls);
static void sample_take_old(DmApply *apply, DmFate fate, const DmStoredRow *old);

/* Opens the writers, in the current memory context. The active snapshot must stay until dm_apply_finish(). */
DmApply *
dm_apply_begin(const DmApplySpec *spec)
{
	DmApply *apply = palloc0(sizeof(DmApply));

	apply->spec = *spec;
	apply->context = CurrentMemoryContext;
	apply->nparts = spec->shape->nparts;
	apply->insert_slot = MakeSingleTupleTableSlot(spec->shape->wanted, &TTSOpsVirtual);
	apply->absent = absent_find(spec);
	if (!spec->new_dataset)
		apply->inserts = inserts_begin(apply);
	if (!spec->dry_run)
		dm_writers_begin();
	for (int i = 0; i < apply->nparts; i++)
		part_begin(apply, i);
	return apply;
}

/* Opens the writers of one part. */
static void
part_begin(DmApply *apply, int number)
{
	const DmApplySpec *spec = &apply->spec;
	ApplyPart *part = &apply->parts[number];
	const DmShape *shape = spec->shape->parts[number];

	part->shape = shape;
	part->new_slot = MakeSingleTupleTableSlot(RelationGetDescr(spec->current[number]), &TTSOpsVirtual);
	part->values = palloc0(sizeof(Datum) * shape->wanted->natts);
	part->nulls = palloc0(sizeof(bool) * shape->wanted->natts);
	if (spec->dry_run)
		return;
	part->current_writer = dm_writer_open(
		spec->current[number], spec->new_dataset ? NULL : dm_shape_updated(shape), spec->new_dataset);
	if (!spec->new_dataset)
		part->history_writer = dm_writer_open(spec->history[number], NULL, false);
	if (part->history_writer)
		dm_writer_must_write(part->history_writer);
}

/* A key that current does not have. values and nulls are of the wanted columns, here and below. */
void
dm_apply_insert(DmApply *apply, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = apply->insert_slot;

	if (apply->absent)
		absent_check(apply, values, nulls);
	if (apply->spec.new_dataset)
	{
		apply->spec.counts->inserted += row_insert(apply, values, nulls);
		return;
	}
	apply->spec.counts->inserted++;
	sample_take(apply, DM_FATE_INSERT, values, nulls);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(apply->inserts, slot);
}

/* Prepares to check the columns that the source lacks: in rows that are there they stay, but a new row has NULL there. */
static DmNullCheck *
absent_find(const DmApplySpec *spec)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < spec->shape->wanted->natts; i++)
	{
		if (dm_names_has(spec->dataset->absent, NameStr(TupleDescAttr(spec->shape->wanted, i)->attname)))
			columns = bms_add_member(columns, i);
	}
	return dm_null_check_make(spec->shape->wanted, columns);
}

/* A row that is checked, for the context of an error. */
typedef struct AbsentRow
{
	DmApply *apply;
	const Datum *values;
	const bool *nulls;
} AbsentRow;

/* Says which row an error came from. */
static void
absent_error_context(void *arg)
{
	const AbsentRow *row = arg;

	errcontext("the source lacks the column, and key %s is new",
			   dm_shape_key_json(row->apply->spec.shape, row->values, row->nulls));
}

/* Raises if a new row has no value in a column whose domain refuses NULL. */
static void
absent_check(DmApply *apply, const Datum *values, const bool *nulls)
{
	AbsentRow row = {apply, values, nulls};
	ErrorContextCallback callback = {error_context_stack, absent_error_context, &row};

	error_context_stack = &callback;
	dm_null_check(apply->absent, nulls, NULL);
	error_context_stack = callback.previous;
}

/* Writes a new row; false if a BEFORE trigger kept it out. */
static bool
row_insert(DmApply *apply, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < apply->nparts; i++)
	{
		ApplyPart *part = &apply->parts[i];
		TupleTableSlot *row = dm_writer_slot(part->current_writer);

		values_take(part, values, nulls);
		new_row_fill(apply, part, row, 'I');
		if (dm_writer_insert(part->current_writer, row))
			continue;
		parts_differ(i);
		return false;
	}
	return true;
}

/* Raises where a trigger kept the sensitive part of a row from being written, and the plain part was. */
static void
parts_differ(int number)
{
	if (number == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a BEFORE trigger kept a row of sensitive columns from being written"),
			 errdetail("The plain columns of the row were written."),
			 errhint("Have a trigger on the table of the plain columns do that.")));
}

/* A changed row: the version in old goes to history, the new values take its place. */
void
dm_apply_update(DmApply *apply, const DmStoredRow *old, const Datum *values, const bool *nulls)
{
	apply->spec.counts->updated++;
	sample_take(apply, DM_FATE_UPDATE, values, nulls);
	if (apply->spec.dry_run)
		return;
	for (int i = 0; i < apply->nparts; i++)
	{
		if (part_update(apply, i, old, values, nulls))
			continue;
		parts_differ(i);
		apply->spec.counts->updated--;
		apply->spec.counts->unchanged++;
		return;
	}
}

/* Writes one part of a changed row; false if a BEFORE trigger kept it as it was. */
static bool
part_update(DmApply *apply, int number, const DmStoredRow *old, const Datum *values, const bool *nulls)
{
	ApplyPart *part = &apply->parts[number];
	const DmShape *shape = part->shape;
	TupleTableSlot *stored = old->slots[number];
	TupleTableSlot *new = part->new_slot;

	slot_getallattrs(stored);
	values_take(part, values, nulls);
	for (int i = 0; i < shape->nkept; i++)
	{
		int column = shape->kept[i];

		part->values[column] = stored->tts_values[shape->current_attribute[column] - 1];
		part->nulls[column] = stored->tts_isnull[shape->current_attribute[column] - 1];
	}
	ExecClearTuple(new);
	new_row_fill(apply, part, new, 'U');
	/* the key stays as it was spelt, and an equal value that is stored out of line is not stored again */
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		int attribute = shape->current_attribute[i] - 1;

		if (new->tts_isnull[attribute] || stored->tts_isnull[attribute] ||
			TupleDescAttr(shape->wanted, i)->attlen != -1 ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(stored->tts_values[attribute])))
			continue;
		if (shape->ops->columns[i].equal(&shape->ops->columns[i], part->values[i], stored->tts_values[attribute]))
			new->tts_values[attribute] = stored->tts_values[attribute];
	}
	for (int i = 0; i < shape->nkeys; i++)
	{
		int attribute = shape->current_attribute[shape->keys[i]] - 1;

		new->tts_values[attribute] = stored->tts_values[attribute];
	}
	previous_fill(part, stored, new);
	if (!dm_writer_update(part->current_writer, stored, new))
		return false;
	history_write(apply, part, stored, 'U');
	return true;
}

/* An unchanged row whose untracked columns differ: they are brought up to date, the version stays. */
void
dm_apply_refresh(DmApply *apply, const DmStoredRow *old, const Datum *values, const bool *nulls)
{
	apply->spec.counts->refreshed++;
	apply->spec.counts->unchanged++;
	sample_take(apply, DM_FATE_UNCHANGED, values, nulls);
	if (apply->spec.dry_run)
		return;
	for (int i = 0; i < apply->nparts; i++)
	{
		if (apply->parts[i].shape->nuntracked > 0 || (i == 0 && apply->spec.shape->made_by != 0))
			part_refresh(apply, i, old, values, nulls);
	}
}

/* Writes the untracked columns of one part. */
static void
part_refresh(DmApply *apply, int number, const DmStoredRow *old, const Datum *values, const bool *nulls)
{
	ApplyPart *part = &apply->parts[number];
	const DmShape *shape = part->shape;
	TupleTableSlot *stored = old->slots[number];
	TupleTableSlot *new = part->new_slot;
	int natts = new->tts_tupleDescriptor->natts;

	values_take(part, values, nulls);
	slot_getallattrs(stored);
	ExecClearTuple(new);
	memcpy(new->tts_values, stored->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	for (int i = 0; i < shape->nuntracked; i++)
	{
		int column = shape->untracked[i];

		new->tts_values[shape->current_attribute[column] - 1] = part->values[column];
		new->tts_isnull[shape->current_attribute[column] - 1] = part->nulls[column];
	}
	previous_fill(part, stored, new);
	if (shape->made_by != 0)
		new->tts_values[shape->operation - 1] = CharGetDatum('N');
	ExecStoreVirtualTuple(new);
	dm_writer_update(part->current_writer, stored, new);
}

/* Sets the columns that keep values before: where the column's value differs from the stored one, to that. */
static void
previous_fill(ApplyPart *part, TupleTableSlot *old, TupleTableSlot *new)
{
	const DmShape *shape = part->shape;

	for (int i = 0; i < shape->wanted->natts; i++)
	{
		int column = shape->current_attribute[i] - 1;
		int previous = shape->previous[i] - 1;
		int from = column;

		if (previous < 0)
			continue;
		if (dm_value_equal(&shape->ops->columns[i],
						   new->tts_values[column],
						   new->tts_isnull[column],
						   old->tts_values[column],
						   old->tts_isnull[column]))
			from = previous;
		new->tts_values[previous] = old->tts_values[from];
		new->tts_isnull[previous] = old->tts_isnull[from];
	}
}

/* A row that did not change. old is NULL where that is no matter. */
void
dm_apply_unchanged(DmApply *apply, const DmStoredRow *old, const Datum *values, const bool *nulls)
{
	apply->spec.counts->unchanged++;
	sample_take(apply, DM_FATE_UNCHANGED, values, nulls);
	operation_stamp(apply, old, 'N');
}

/* With stamp_operation, writes what the merge found of a row that it leaves as it is, unless it is there already. */
static void
operation_stamp(DmApply *apply, const DmStoredRow *old, char operation)
{
	ApplyPart *part = &apply->parts[0];
	TupleTableSlot *new = part->new_slot;
	int natts = new->tts_tupleDescriptor->natts;
	TupleTableSlot *stored;

	if (part->shape->made_by == 0 || apply->spec.dry_run)
		return;
	stored = old->slots[0];
	slot_getallattrs(stored);
	if (DatumGetChar(stored->tts_values[part->shape->operation - 1]) == operation)
		return;
	ExecClearTuple(new);
	memcpy(new->tts_values, stored->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	new->tts_values[part->shape->operation - 1] = CharGetDatum(operation);
	ExecStoreVirtualTuple(new);
	dm_writer_update(part->current_writer, stored, new);
}

/* A key that is gone: its version ends. */
void
dm_apply_delete(DmApply *apply, const DmStoredRow *old)
{
	apply->spec.counts->deleted++;
	sample_take_old(apply, DM_FATE_DELETE, old);
	if (apply->spec.dry_run)
		return;
	for (int i = 0; i < apply->nparts; i++)
	{
		if (dm_writer_delete(apply->parts[i].current_writer, old->slots[i]))
		{
			history_write(apply, &apply->parts[i], old->slots[i], 'D');
			continue;
		}
		parts_differ(i);
		apply->spec.counts->deleted--;
		apply->spec.counts->missing++;
		return;
	}
}

/* A key that the source did not bring and that is left alone; old is NULL where the row was not fetched. */
void
dm_apply_missing(DmApply *apply, const DmStoredRow *old)
{
	apply->spec.counts->missing++;
	if (!old)
		return;
	sample_take_old(apply, DM_FATE_MISSING, old);
	operation_stamp(apply, old, 'X');
}

/* Writes the new rows, fires triggers and closes the writers. Raises 21000 if two new rows have one key. */
void
dm_apply_finish(DmApply *apply)
{
	if (apply->inserts)
		inserts_write(apply);
	for (int i = 0; i < apply->nparts; i++)
	{
		ApplyPart *part = &apply->parts[i];

		if (part->history_writer)
			dm_writer_close(part->history_writer);
		if (part->current_writer)
			dm_writer_close(part->current_writer);
		ExecDropSingleTupleTableSlot(part->new_slot);
	}
	if (!apply->spec.dry_run)
		dm_writers_end();
	ExecDropSingleTupleTableSlot(apply->insert_slot);
}

/* Returns, for each fate, the keys (JSON objects, char*) that are examples of it. */
List **
dm_apply_samples(DmApply *apply)
{
	return apply->samples;
}

/* True if a column of a source row equals that of a stored row. */
bool
dm_column_equal(const DmShape *shape, int column, const Datum *values, const bool *nulls, const DmStoredRow *old)
{
	const TupleTableSlot *slot = old->slots[shape->part_of[column]];
	int attribute = shape->current_attribute[column] - 1;

	return dm_value_equal(&shape->ops->columns[column],
						  values[column],
						  nulls[column],
						  slot->tts_values[attribute],
						  slot->tts_isnull[attribute]);
}

/* Writes one part of the version in old to history, ended at the effective date. */
static void
history_write(DmApply *apply, ApplyPart *part, TupleTableSlot *old, char ended_by)
{
	const DmShape *shape = part->shape;
	TupleTableSlot *row = dm_writer_slot(part->history_writer);
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
	dm_writer_insert(part->history_writer, row);
}

/* Takes the part's columns out of a row of the source. */
static void
values_take(ApplyPart *part, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < part->shape->wanted->natts; i++)
	{
		part->values[i] = values[part->shape->from[i]];
		part->nulls[i] = nulls[part->shape->from[i]];
	}
}

/* Sets a column of a slot that is being filled. */
static inline void
column_set(TupleTableSlot *slot, AttrNumber attribute, Datum value)
{
	slot->tts_values[attribute - 1] = value;
	slot->tts_isnull[attribute - 1] = false;
}

/* Fills a cleared slot of current's shape with a version of the part's values that starts at the effective date. */
static void
new_row_fill(DmApply *apply, ApplyPart *part, TupleTableSlot *slot, char operation)
{
	const DmShape *shape = part->shape;

	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	memset(slot->tts_values, 0, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		slot->tts_values[shape->current_attribute[i] - 1] = part->values[i];
		slot->tts_isnull[shape->current_attribute[i] - 1] = part->nulls[i];
	}
	dm_row_hash(shape->ops, part->values, part->nulls, shape->keys, shape->nkeys, part->key_hash.data);
	dm_row_hash(shape->ops, part->values, part->nulls, shape->hashed, shape->nhashed, part->row_hash.data);
	column_set(slot, shape->operation, CharGetDatum(operation));
	if (shape->made_by != 0)
		column_set(slot, shape->made_by, CharGetDatum(operation));
	column_set(slot, shape->start, apply->spec.effective);
	column_set(slot, shape->merge, Int64GetDatum(apply->spec.merge_id));
	column_set(slot, shape->key_hash, UUIDPGetDatum(&part->key_hash));
	column_set(slot, shape->row_hash, UUIDPGetDatum(&part->row_hash));
	ExecStoreVirtualTuple(slot);
}

/* Begins the sort of new rows by their key columns. */
static Tuplesortstate *
inserts_begin(DmApply *apply)
{
	const DmShape *shape = apply->spec.shape;
	AttrNumber *attributes = palloc(sizeof(AttrNumber) * shape->nkeys);

	for (int i = 0; i < shape->nkeys; i++)
		attributes[i] = shape->keys[i] + 1;
	return dm_row_sort_begin(shape->wanted, attributes, shape->nkeys);
}

/* Writes the new rows in the order of their keys. Raises 21000 if two of them have the same key. */
static void
inserts_write(DmApply *apply)
{
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill new row", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slots[2];
	int64 count = 0;

	for (int i = 0; i < 2; i++)
		slots[i] = MakeSingleTupleTableSlot(apply->spec.shape->wanted, &TTSOpsMinimalTuple);
	tuplesort_performsort(apply->inserts);
	while (tuplesort_gettupleslot(apply->inserts, true, true, slots[count % 2], NULL))
	{
		TupleTableSlot *slot = slots[count % 2];
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		slot_getallattrs(slot);
		caller = MemoryContextSwitchTo(row_context);
		if (count > 0 && same_key(apply, slot, slots[(count - 1) % 2]))
			dm_raise_duplicate_key(apply->spec.shape, slot->tts_values, slot->tts_isnull);
		count++;
		if (!apply->spec.dry_run && !row_insert(apply, slot->tts_values, slot->tts_isnull))
			apply->spec.counts->inserted--;
		MemoryContextSwitchTo(caller);
	}
	MemoryContextDelete(row_context);
	ExecDropSingleTupleTableSlot(slots[0]);
	ExecDropSingleTupleTableSlot(slots[1]);
	tuplesort_end(apply->inserts);
}

/* True if two rows of the source's shape have the same key. */
static bool
same_key(DmApply *apply, TupleTableSlot *a, TupleTableSlot *b)
{
	const DmShape *shape = apply->spec.shape;

	for (int i = 0; i < shape->nkeys; i++)
	{
		int key = shape->keys[i];

		if (!dm_value_equal(&shape->ops->columns[key],
							a->tts_values[key],
							a->tts_isnull[key],
							b->tts_values[key],
							b->tts_isnull[key]))
			return false;
	}
	return true;
}

/* Raises 21000 for a key that stands in the source more than once; values are of the wanted columns. */
void
dm_raise_duplicate_key(const DmShape *shape, const Datum *values, const bool *nulls)
{
	StringInfoData names;
	StringInfoData texts;

	initStringInfo(&names);
	initStringInfo(&texts);
	for (int i = 0; i < shape->nkeys; i++)
	{
		int column = shape->keys[i];
		Form_pg_attribute key = TupleDescAttr(shape->wanted, column);
		Oid output;
		bool varlena;

		getTypeOutputInfo(key->atttypid, &output, &varlena);
		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", NameStr(key->attname));
		appendStringInfo(&texts,
						 "%s%s",
						 i == 0 ? "" : ", ",
						 nulls[column] ? "null" : OidOutputFunctionCall(output, values[column]));
	}
	ereport(
		ERROR,
		(errcode(ERRCODE_CARDINALITY_VIOLATION),
		 errmsg("a key stands in the source more than once"),
		 errdetail("Key (%s)=(%s).", names.data, texts.data),
		 errhint("Give the source with one row a key, for example SELECT DISTINCT ON (key columns), or set option "
				 "duplicates to last.")));
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
sample_take_old(DmApply *apply, DmFate fate, const DmStoredRow *old)
{
	const DmShape *shape = apply->spec.shape;
	TupleTableSlot *slot = old->slots[0];
	Datum *values;
	bool *nulls;

	if (!apply->spec.dry_run || list_length(apply->samples[fate]) >= DM_PLAN_SAMPLES)
		return;
	slot_getallattrs(slot);
	values = palloc0(sizeof(Datum) * shape->wanted->natts);
	nulls = palloc0(sizeof(bool) * shape->wanted->natts);
	for (int i = 0; i < shape->nkeys; i++)
	{
		int key = shape->keys[i];

		values[key] = slot->tts_values[shape->current_attribute[key] - 1];
		nulls[key] = slot->tts_isnull[shape->current_attribute[key] - 1];
	}
	sample_take(apply, fate, values, nulls);
	pfree(values);
	pfree(nulls);
}
