/*
 * objects.c: objects that a URL names as a source.
 *
 * The columns offered are the header's, with types inferred from a sample. A run converts each field straight to the
 * type wanted, by that type's input function: the inferred types only say what to make where there is no target yet.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "source/format_options.h"
#include "source/infer.h"
#include "source/kind.h"
#include "source/objscan.h"

typedef struct ObjectsState
{
	DmSourceState base;
	DmObjScanSpec spec;
	int *targets;	 /* index in wanted of each attribute of spec.desc; NULL where the two are in the same order */
	DmObjScan *scan; /* of the run */
	Datum *values;	 /* of the wanted attributes, for the source's check */
	bool *nulls;
} ObjectsState;

/* Returns wanted as an object scan wants it: a generated attribute has no field, as if it were dropped. */
static TupleDesc
scan_desc_in_order(TupleDesc wanted)
{
	TupleDesc desc = CreateTupleDescCopy(wanted);

	for (int i = 0; i < desc->natts; i++)
	{
		if (dm_source_is_wanted(TupleDescAttr(wanted, i)))
			continue;
		TupleDescAttr(desc, i)->attisdropped = true;
		dm_attribute_changed(desc, i);
	}
	return desc;
}

/* Returns the wanted attributes in the order of the fields, which are matched by position; sets state->targets. */
static TupleDesc
scan_desc_by_position(const DmSource *source, ObjectsState *state)
{
	TupleDesc desc = CreateTemplateTupleDesc(source->offered->natts);

	state->targets = palloc(Max(desc->natts, 1) * sizeof(int));
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(source->offered, i)->attname);
		Form_pg_attribute wanted = dm_source_attribute(source->wanted, name);

		TupleDescInitEntry(desc, i + 1, name, wanted->atttypid, wanted->atttypmod, 0);
		state->targets[i] = wanted->attnum - 1;
	}
	return desc;
}

/* Has the source's check look at a row of the scan. arg is the source. */
static void
row_check(const Datum *values, const bool *nulls, void *arg)
{
	const DmSource *source = arg;
	const ObjectsState *state = source->state;

	if (!state->targets)
	{
		source->check(values, nulls, source->check_arg);
		return;
	}
	for (int i = 0; i < state->spec.desc->natts; i++)
	{
		state->values[state->targets[i]] = values[i];
		state->nulls[state->targets[i]] = nulls[i];
	}
	source->check(state->values, state->nulls, source->check_arg);
}

/*
 * Prepares the scan. Every column is named outright, so that none is taken for one of the special columns (_file and
 * the like) of foreign tables.
 */
static void
objects_bind(DmSource *source)
{
	ObjectsState *state = source->state;
	TupleDesc desc;

	state->targets = NULL;
	if (state->spec.match == DM_MATCH_POSITION && source->offered->natts > 0)
		desc = scan_desc_by_position(source, state);
	else
		desc = scan_desc_in_order(source->wanted);
	state->spec.desc = desc;
	state->spec.all_needed = true;
	if (source->check)
	{
		state->spec.check = row_check;
		state->spec.check_arg = source;
		state->values = palloc0(sizeof(Datum) * source->wanted->natts);
		state->nulls = palloc(sizeof(bool) * source->wanted->natts);
		memset(state->nulls, true, sizeof(bool) * source->wanted->natts);
	}
	state->spec.field_names = palloc0(Max(desc->natts, 1) * sizeof(char *));
	for (int i = 0; i < desc->natts; i++)
		state->spec.field_names[i] = pstrdup(NameStr(TupleDescAttr(desc, i)->attname));
	dm_objscan_find_hive(&state->spec);
}

/* Says how to give a type, where the value that does not fit is of a column whose type was inferred. */
static void
inferred_type_hint(void *arg)
{
	const DmSource *source = arg;
	const ObjectsState *state = source->state;
	int attribute = dm_objscan_attribute(state->scan);
	Form_pg_attribute wanted;
	Form_pg_attribute offered;

	if (attribute < 0 || ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
		return;
	wanted = TupleDescAttr(state->spec.desc, attribute);
	offered = dm_source_attribute(source->offered, NameStr(wanted->attname));
	if (offered && offered->atttypid == wanted->atttypid && wanted->atttypid != TEXTOID)
		errhint("If type %s was inferred wrongly, give it: options => '{\"columns\": {\"%s\": \"text\"}}'.",
				format_type_be(wanted->atttypid),
				NameStr(wanted->attname));
}

/* Reads the next row of the scan into slot; false at the end. Errors of inferred columns get a hint. */
static bool
next_row(DmSource *source, TupleTableSlot *slot)
{
	ObjectsState *state = source->state;
	ErrorContextCallback callback = {error_context_stack, inferred_type_hint, source};
	bool found;

	error_context_stack = &callback;
	found = dm_objscan_next(state->scan, slot);
	error_context_stack = callback.previous;
	return found;
}

/* Moves a row in the order of the fields to the order that is wanted. Attributes that have no field stay NULL. */
static void
reorder(const ObjectsState *state, const TupleTableSlot *from, TupleTableSlot *to)
{
	ExecClearTuple(to);
	for (int i = 0; i < state->spec.desc->natts; i++)
	{
		to->tts_values[state->targets[i]] = from->tts_values[i];
		to->tts_isnull[state->targets[i]] = from->tts_isnull[i];
	}
	ExecStoreVirtualTuple(to);
}

/* Reads all objects once. */
static int64
objects_run(DmSource *source, DmSourceEach each, void *arg)
{
	ObjectsState *state = source->state;
	TupleTableSlot *read = MakeSingleTupleTableSlot(state->spec.desc, &TTSOpsVirtual);
	TupleTableSlot *given = MakeSingleTupleTableSlot(source->wanted, &TTSOpsVirtual);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "datamill source row", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = state->targets ? given : read;
	int64 rows = 0;

	memset(given->tts_isnull, true, source->wanted->natts * sizeof(bool));
	state->scan = dm_objscan_begin(&state->spec);
	while (next_row(source, read))
	{
		MemoryContext caller = MemoryContextSwitchTo(row);

		if (state->targets)
			reorder(state, read, given);
		each(slot, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
		rows++;
	}
	source->rejected = dm_objscan_stats(state->scan)->rejected;
	dm_objscan_end(state->scan);
	state->scan = NULL;
	ExecDropSingleTupleTableSlot(read);
	ExecDropSingleTupleTableSlot(given);
	MemoryContextDelete(row);
	return rows;
}

/*
 * Opens the objects of source->text as a source, with checked options: finds the server and infers the columns. With
 * whole_records, each record of JSON is the value of one column instead.
 */
void
dm_source_objects_open(DmSource *source, List *options, bool whole_records)
{
	static const DmSourceOps ops = {objects_bind, objects_run, NULL};
	ObjectsState *state = palloc0(sizeof(ObjectsState));
	DmInferred *inferred;

	state->base.ops = &ops;
	state->spec.url = source->text;
	state->spec.user = GetUserId();
	state->spec.server = dm_source_server(dm_option_get(options, "server"));
	dm_format_read(&state->spec, options);
	source->kind = DM_SOURCE_OBJECTS;
	source->state = state;
	if (whole_records)
	{
		state->spec.whole_records = true;
		source->offered = CreateTemplateTupleDesc(1);
		TupleDescInitEntry(source->offered, 1, DM_SOURCE_RECORD, TEXTOID, -1, 0);
		return;
	}
	if (state->spec.jsonpaths)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option jsonpaths needs columns that are known before the objects"),
				 errhint("Create a foreign table with it and take that as the source.")));
	inferred = dm_infer(&state->spec, dm_option_get(options, "columns"));
	source->offered = inferred ? dm_inferred_desc(inferred) : CreateTemplateTupleDesc(0);
	/* what the columns were inferred from is what is read */
	if (inferred)
	{
		state->spec.objects = inferred->objects;
		state->spec.listed = true;
	}
}
