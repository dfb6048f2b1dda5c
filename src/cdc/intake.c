/*
 * intake.c: gives the rows of a source to a merge in the shape of the dataset.
 *
 * Two settings are at work here: columns that the source lacks are NULL in the row (the merge keeps the stored values),
 * columns that the dataset does not want are left out; and of rows with one key the last by the order column is given.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/names.h"
#include "cdc/intake.h"
#include "cdc/match.h"
#include "rows/row_sort.h"

struct DmIntake
{
	const DmDataset *dataset;
	const DmShape *shape;
	DmSource *source;
	int *from; /* of each wanted column: its index in what the source gives, -1 for none; NULL: all the same */
	TupleTableSlot *slot; /* of the wanted shape */
	Tuplesortstate *sort; /* by key and order, where the last of a key wins; else NULL */
	int order;			  /* wanted column */
	DmSourceEach each;
	void *arg;
	int64 rows;
};

static TupleDesc given_desc(DmIntake *intake);
static void order_find(DmIntake *intake);
static void narrower_hint(void *arg);
static int64 rows_run(DmIntake *intake, DmSourceEach each, void *arg);
static void row_take(TupleTableSlot *slot, void *arg);
static void row_sort(DmIntake *intake, TupleTableSlot *slot);
static void last_give(DmIntake *intake);
static bool columns_same(const DmShape *shape, TupleTableSlot *a, TupleTableSlot *b, const int *columns, int count);
static void tie_check(DmIntake *intake, TupleTableSlot *a, TupleTableSlot *b);

/*
 * Binds the source to what the dataset wants, in the current memory context. Raises 42703 for columns that differ and
 * that the settings do not allow to, 42804 for types that do not fit.
 */
DmIntake *
dm_intake_bind(const DmDataset *dataset, const DmShape *shape, DmSource *source)
{
	DmIntake *intake = palloc0(sizeof(DmIntake));

	intake->dataset = dataset;
	intake->shape = shape;
	intake->source = source;
	dm_source_bind(source, given_desc(intake));
	if (dataset->settings.last_wins)
		order_find(intake);
	return intake;
}

/* Runs the source and calls each() as dm_source_run() does. Returns the number of rows that the source had. */
int64
dm_intake_run(DmIntake *intake, DmSourceEach each, void *arg)
{
	ErrorContextCallback callback = {error_context_stack, narrower_hint, intake};
	int64 rows;

	if (!intake->dataset->narrower)
		return rows_run(intake, each, arg);
	error_context_stack = &callback;
	rows = rows_run(intake, each, arg);
	error_context_stack = callback.previous;
	return rows;
}

/* Says which column may be too narrow, where a value does not fit. */
static void
narrower_hint(void *arg)
{
	const DmIntake *intake = arg;

	if (geterrcode() == ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE || geterrcode() == ERRCODE_STRING_DATA_RIGHT_TRUNCATION)
		errhint("Perhaps it is this: %s. Option on_type_change widen gives the dataset's column the wider type.",
				intake->dataset->narrower);
}

/* As dm_intake_run. */
static int64
rows_run(DmIntake *intake, DmSourceEach each, void *arg)
{
	const DmShape *shape = intake->shape;

	if (!intake->from && !intake->dataset->settings.last_wins)
		return dm_source_run(intake->source, each, arg);
	intake->each = each;
	intake->arg = arg;
	intake->slot = MakeSingleTupleTableSlot(shape->wanted, &TTSOpsVirtual);
	if (intake->dataset->settings.last_wins)
	{
		AttrNumber *attributes = palloc(sizeof(AttrNumber) * (shape->nkeys + 1));

		for (int i = 0; i < shape->nkeys; i++)
			attributes[i] = shape->keys[i] + 1;
		attributes[shape->nkeys] = intake->order + 1;
		intake->sort = dm_row_sort_begin(shape->wanted, attributes, shape->nkeys + 1);
	}
	dm_source_run(intake->source, row_take, intake);
	if (intake->sort)
		last_give(intake);
	ExecDropSingleTupleTableSlot(intake->slot);
	return intake->rows;
}

/*
 * Returns the columns that the source is to give: the wanted ones but for those that it may lack, and those that are
 * ignored, as they are offered. Sets from where that is not the wanted shape itself.
 */
static TupleDesc
given_desc(DmIntake *intake)
{
	TupleDesc wanted = intake->shape->wanted;
	TupleDesc offered = intake->source->offered;
	TupleDesc given;
	int *extra = palloc(sizeof(int) * Max(offered->natts, 1));
	int nextra = 0;
	int count = 0;

	for (int i = 0; i < offered->natts && intake->dataset->settings.on_new == DM_COLUMN_IGNORE; i++)
	{
		bool is_known = false;

		for (int k = 0; k < wanted->natts; k++)
			is_known |= strcmp(NameStr(TupleDescAttr(offered, i)->attname),
							   NameStr(TupleDescAttr(wanted, k)->attname)) == 0;
		if (!is_known)
			extra[nextra++] = i;
	}
	if (nextra == 0 && intake->dataset->absent == NIL)
		return wanted;
	intake->from = palloc(sizeof(int) * wanted->natts);
	for (int i = 0; i < wanted->natts; i++)
		intake->from[i] =
			dm_names_has(intake->dataset->absent, NameStr(TupleDescAttr(wanted, i)->attname)) ? -1 : count++;
	given = CreateTemplateTupleDesc(count + nextra);
	for (int i = 0; i < wanted->natts; i++)
	{
		if (intake->from[i] >= 0)
			TupleDescCopyEntry(given, intake->from[i] + 1, wanted, i + 1);
	}
	for (int i = 0; i < nextra; i++)
	{
		Form_pg_attribute column = TupleDescAttr(offered, extra[i]);

		/* any field of an object is text, whatever was inferred */
		if (intake->source->kind == DM_SOURCE_OBJECTS)
			TupleDescInitEntry(given, count + i + 1, NameStr(column->attname), TEXTOID, -1, 0);
		else
			TupleDescCopyEntry(given, count + i + 1, offered, extra[i] + 1);
	}
	return given;
}

/* Finds the order column. Raises unless it is one that the source gives, and sortable. */
static void
order_find(DmIntake *intake)
{
	TupleDesc wanted = intake->shape->wanted;
	const char *name = intake->dataset->settings.order_column;

	if (!name)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"duplicates\" last needs option \"sequence_column\""),
				 errhint("Name the column that tells which of the rows with one key is the last.")));
	intake->order = -1;
	for (int i = 0; i < wanted->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(wanted, i)->attname), name) == 0)
			intake->order = i;
	}
	if (intake->order < 0 || dm_names_has(intake->dataset->absent, name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("sequence column \"%s\" is not a column of the source and of dataset %s",
						name,
						intake->dataset->name)));
	if (!OidIsValid(lookup_type_cache(TupleDescAttr(wanted, intake->order)->atttypid, TYPECACHE_LT_OPR)->lt_opr))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("sequence column \"%s\" has a type without order", name)));
}

/* Takes a row of the source. A DmSourceEach; arg is the intake. */
static void
row_take(TupleTableSlot *slot, void *arg)
{
	DmIntake *intake = arg;
	TupleTableSlot *wanted = intake->slot;

	intake->rows++;
	slot_getallattrs(slot);
	if (intake->from)
	{
		ExecClearTuple(wanted);
		for (int i = 0; i < wanted->tts_tupleDescriptor->natts; i++)
		{
			int from = intake->from[i];

			wanted->tts_isnull[i] = from < 0 || slot->tts_isnull[from];
			wanted->tts_values[i] = from < 0 ? (Datum) 0 : slot->tts_values[from];
		}
		slot = ExecStoreVirtualTuple(wanted);
	}
	if (intake->sort)
		row_sort(intake, slot);
	else
		intake->each(slot, intake->arg);
}

/* Puts a row into the sort. Raises 23502 if its key (unless that is allowed) or its order is NULL. */
static void
row_sort(DmIntake *intake, TupleTableSlot *slot)
{
	if (!intake->dataset->settings.null_keys)
		dm_keys_check_null(intake->shape, slot->tts_isnull, intake->rows);
	if (slot->tts_isnull[intake->order])
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("sequence column \"%s\" is NULL in row " INT64_FORMAT " of the source",
						intake->dataset->settings.order_column,
						intake->rows),
				 errhint("Leave such rows out with a query as source.")));
	tuplesort_puttupleslot(intake->sort, slot);
}

/* Gives the last row of each key. */
static void
last_give(DmIntake *intake)
{
	const DmShape *shape = intake->shape;
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill intake row", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slots[2];
	int64 count = 0;

	for (int i = 0; i < 2; i++)
		slots[i] = MakeSingleTupleTableSlot(shape->wanted, &TTSOpsMinimalTuple);
	tuplesort_performsort(intake->sort);
	for (;;)
	{
		TupleTableSlot *slot = slots[count % 2];
		TupleTableSlot *before = count > 0 ? slots[(count - 1) % 2] : NULL;
		bool found = tuplesort_gettupleslot(intake->sort, true, true, slot, NULL);
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		caller = MemoryContextSwitchTo(row_context);
		if (found)
			slot_getallattrs(slot);
		if (before && found && columns_same(shape, slot, before, shape->keys, shape->nkeys))
			tie_check(intake, before, slot);
		else if (before)
			intake->each(before, intake->arg);
		MemoryContextSwitchTo(caller);
		if (!found)
			break;
		count++;
	}
	ExecDropSingleTupleTableSlot(slots[0]);
	ExecDropSingleTupleTableSlot(slots[1]);
	tuplesort_end(intake->sort);
	MemoryContextDelete(row_context);
}

/* True if two rows of the wanted shape have equal values in the columns. */
static bool
columns_same(const DmShape *shape, TupleTableSlot *a, TupleTableSlot *b, const int *columns, int count)
{
	for (int i = 0; i < count; i++)
	{
		int column = columns ? columns[i] : i;

		if (!dm_value_equal(&shape->ops->columns[column],
							a->tts_values[column],
							a->tts_isnull[column],
							b->tts_values[column],
							b->tts_isnull[column]))
			return false;
	}
	return true;
}

/* Raises 21000 if two rows of one key have the same place in the order and other values. */
static void
tie_check(DmIntake *intake, TupleTableSlot *a, TupleTableSlot *b)
{
	const DmShape *shape = intake->shape;

	if (!columns_same(shape, a, b, &intake->order, 1) || columns_same(shape, a, b, NULL, shape->wanted->natts))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("two different rows of a key have the same value of \"%s\"",
					intake->dataset->settings.order_column),
			 errdetail("The key is %s.", dm_shape_key_json(shape, a->tts_values, a->tts_isnull)),
			 errhint("Neither is the last one: give the source with a column that orders them.")));
}
