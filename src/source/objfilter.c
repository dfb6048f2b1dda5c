/*
 * objfilter.c: conditions that leave out folders and objects before they are listed and read.
 *
 * Conditions are executed as the executor would, on a row that has the columns which the key tells: no comparison is made here.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"

#include "source/hive.h"
#include "source/objfilter.h"
#include "source/objscan_internal.h"

typedef struct Condition
{
	ExprState *state;
	Bitmapset *columns; /* attnums */
	bool varies;		/* it has parameters that may change from scan to scan */
	bool by_folder;		/* it is about partitions alone, and does not vary */
} Condition;

struct DmObjFilter
{
	const DmObjScanSpec *spec;
	ExprContext *econtext;
	TupleTableSlot *row; /* of the columns that conditions look at; the others are NULL */
	Condition *conditions;
	int nconditions;
	Bitmapset *columns; /* of all of them */
	bool varies;
};

/* Attnums that conditions may be about. */
Bitmapset *
dm_objfilter_columns(const DmObjScanSpec *spec)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < spec->desc->natts; i++)
	{
		DmObjColumn kind;

		if (TupleDescAttr(spec->desc, i)->attisdropped)
			continue;
		kind = dm_objmap_kind(spec, i);
		if (kind != DM_OBJ_FIELD && kind != DM_OBJ_ROW)
			columns = bms_add_member(columns, i + 1);
	}
	return columns;
}

/* True if an expression has a parameter of the executor, which may change from scan to scan. */
static bool
has_exec_param(Node *node, void *context)
{
	if (!node)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		return true;
	return expression_tree_walker(node, has_exec_param, context);
}

/* Returns the attnums that an expression on one relation looks at. */
static Bitmapset *
columns_of(Node *expr)
{
	Bitmapset *members = NULL;
	Bitmapset *columns = NULL;
	int member = -1;
	List *vars = pull_var_clause(expr, 0);
	ListCell *cell;

	foreach (cell, vars)
		members = bms_add_member(members, lfirst_node(Var, cell)->varattno);
	while ((member = bms_next_member(members, member)) >= 0)
		columns = bms_add_member(columns, member);
	return columns;
}

/* Makes a filter. */
DmObjFilter *
dm_objfilter_make(const DmObjScanSpec *spec, List *exprs, List *states, ExprContext *econtext)
{
	DmObjFilter *filter = palloc0(sizeof(DmObjFilter));
	ListCell *expr;
	ListCell *state;

	filter->spec = spec;
	filter->econtext = econtext;
	/* a slot would hold on to a relation's own descriptor */
	filter->row = MakeSingleTupleTableSlot(CreateTupleDescCopy(spec->desc), &TTSOpsVirtual);
	filter->conditions = palloc0(Max(list_length(exprs), 1) * sizeof(Condition));
	forboth (expr, exprs, state, states)
	{
		Condition *condition = &filter->conditions[filter->nconditions++];

		condition->state = lfirst(state);
		condition->columns = columns_of(lfirst(expr));
		condition->varies = has_exec_param(lfirst(expr), NULL);
		condition->by_folder = !condition->varies && bms_is_subset(condition->columns, spec->hive);
		filter->columns = bms_add_members(filter->columns, condition->columns);
		filter->varies = filter->varies || condition->varies;
	}
	return filter;
}

/* True if a condition has parameters that may change. */
bool
dm_objfilter_varies(const DmObjFilter *filter)
{
	return filter->varies;
}

/* The name that a column has in keys. */
static const char *
name_of(const DmObjScanSpec *spec, int attribute)
{
	return spec->field_names && spec->field_names[attribute]
			   ? spec->field_names[attribute]
			   : NameStr(TupleDescAttr(spec->desc, attribute)->attname);
}

/* True if a condition looks at a partition among the names that a pattern's folders have. */
bool
dm_objfilter_looks_at(const DmObjFilter *filter, const char *pattern)
{
	List *names = dm_hive_pattern_names(pattern);
	ListCell *cell;

	for (int i = 0; i < filter->nconditions; i++)
	{
		int attnum = -1;

		if (!filter->conditions[i].by_folder)
			continue;
		while ((attnum = bms_next_member(filter->conditions[i].columns, attnum)) >= 0)
		{
			foreach (cell, names)
			{
				if (strcmp(lfirst(cell), name_of(filter->spec, attnum - 1)) == 0)
					return true;
			}
		}
	}
	return false;
}

/* Fills the row with the partitions that a key tells and that conditions look at; returns their attnums. */
static Bitmapset *
fill_partitions(DmObjFilter *filter, const DmObject *object)
{
	TupleTableSlot *row = filter->row;
	Bitmapset *known = NULL;
	int attnum = -1;

	while ((attnum = bms_next_member(filter->columns, attnum)) >= 0)
	{
		int i = attnum - 1;
		bool found;

		if (!bms_is_member(attnum, filter->spec->hive))
			continue;
		(void) dm_hive_value(object->key, name_of(filter->spec, i), &found);
		if (!found)
			continue;
		row->tts_values[i] = dm_objmap_partition(
			object, TupleDescAttr(filter->spec->desc, i), name_of(filter->spec, i), &row->tts_isnull[i]);
		known = bms_add_member(known, attnum);
	}
	return known;
}

/* Starts a row in the memory that lives until the next one; returns the caller's memory context. */
static MemoryContext
begin_row(DmObjFilter *filter)
{
	TupleTableSlot *row = filter->row;

	ResetExprContext(filter->econtext);
	ExecClearTuple(row);
	memset(row->tts_isnull, true, filter->spec->desc->natts * sizeof(bool));
	return MemoryContextSwitchTo(filter->econtext->ecxt_per_tuple_memory);
}

/* Does a condition hold for the row? */
static bool
holds(DmObjFilter *filter, const Condition *condition)
{
	Datum value;
	bool isnull;

	filter->econtext->ecxt_scantuple = filter->row;
	value = ExecEvalExpr(condition->state, filter->econtext, &isnull);
	return !isnull && DatumGetBool(value);
}

/* May there be wanted objects in a folder? */
bool
dm_objfilter_folder(DmObjFilter *filter, const char *bucket, const char *folder)
{
	DmObject object = {.bucket = unconstify(char *, bucket), .key = unconstify(char *, folder)};
	MemoryContext caller = begin_row(filter);
	Bitmapset *known = fill_partitions(filter, &object);
	bool wanted = true;

	ExecStoreVirtualTuple(filter->row);
	for (int i = 0; i < filter->nconditions && wanted; i++)
	{
		const Condition *condition = &filter->conditions[i];

		if (condition->by_folder && bms_is_subset(condition->columns, known))
			wanted = holds(filter, condition);
	}
	MemoryContextSwitchTo(caller);
	return wanted;
}

/* Is the object wanted? */
bool
dm_objfilter_object(DmObjFilter *filter, const DmObject *object, bool all)
{
	MemoryContext caller = begin_row(filter);
	TupleTableSlot *row = filter->row;
	int attnum = -1;
	bool wanted = true;

	(void) fill_partitions(filter, object);
	while ((attnum = bms_next_member(filter->columns, attnum)) >= 0)
	{
		DmObjColumn kind = dm_objmap_kind(filter->spec, attnum - 1);

		if (kind != DM_OBJ_HIVE)
			row->tts_values[attnum - 1] = dm_objmap_about(kind, object, &row->tts_isnull[attnum - 1]);
	}
	ExecStoreVirtualTuple(row);
	for (int i = 0; i < filter->nconditions && wanted; i++)
	{
		if (all || !filter->conditions[i].varies)
			wanted = holds(filter, &filter->conditions[i]);
	}
	MemoryContextSwitchTo(caller);
	return wanted;
}
