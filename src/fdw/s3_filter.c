/*
 * s3_filter.c: finds the conditions of a query that tell, before anything is read, which objects it cannot need.
 *
 * Those are conditions on the columns whose values an object's key and listing tell, that change nothing and hide nothing:
 * not volatile, without subqueries, and checked no earlier than the conditions of a security barrier let them. The executor checks them
 * again on every row, so that a plan is right without them.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/ruleutils.h"

#include "base/compat.h"
#include "fdw/s3_fdw.h"

/* True if all variables of an expression are columns of the set, and there is one at least. */
static bool
looks_at_only(Node *expr, Index relid, const Bitmapset *columns)
{
	Bitmapset *used = NULL;
	int member = -1;

	pull_varattnos(expr, relid, &used);
	while ((member = bms_next_member(used, member)) >= 0)
	{
		AttrNumber attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum <= 0 || !bms_is_member(attnum, columns))
			return false;
	}
	return used != NULL;
}

/* True if an expression has a parameter. */
static bool
has_param(Node *node, void *context)
{
	if (!node)
		return false;
	return IsA(node, Param) || expression_tree_walker(node, has_param, context);
}

/* Returns the conditions, a list of RestrictInfo*, of those on a table that can be checked on objects. */
List *
dm_s3_filter_find(RelOptInfo *rel, const DmObjScanSpec *spec)
{
	Bitmapset *columns = dm_objfilter_columns(spec);
	List *found = NIL;
	ListCell *cell;

	if (!columns)
		return NIL;
	foreach (cell, rel->baserestrictinfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);

		if (info->pseudoconstant || (info->security_level > rel->baserestrict_min_security && !info->leakproof) ||
			!looks_at_only((Node *) info->clause, rel->relid, columns) ||
			contain_volatile_functions((Node *) info->clause) || contain_subplans((Node *) info->clause))
			continue;
		found = lappend(found, info);
	}
	return found;
}

/* Keeps those of the conditions whose values are known to the planner. */
List *
dm_s3_filter_constant(List *infos)
{
	List *constant = NIL;
	ListCell *cell;

	foreach (cell, infos)
	{
		if (!has_param((Node *) lfirst_node(RestrictInfo, cell)->clause, NULL))
			constant = lappend(constant, lfirst(cell));
	}
	return constant;
}

/* Makes a filter of conditions for the planner; NULL for none. To be freed with dm_s3_filter_free. */
DmObjFilter *
dm_s3_filter_plan(const DmObjScanSpec *spec, List *infos, EState **estate)
{
	List *exprs = extract_actual_clauses(infos, false);
	List *states = NIL;
	MemoryContext old;
	DmObjFilter *filter;
	ListCell *cell;

	*estate = NULL;
	if (exprs == NIL)
		return NULL;
	*estate = CreateExecutorState();
	old = MemoryContextSwitchTo((*estate)->es_query_cxt);
	foreach (cell, exprs)
		states = lappend(states, ExecPrepareExpr(lfirst(cell), *estate));
	filter = dm_objfilter_make(spec, exprs, states, CreateExprContext(*estate));
	MemoryContextSwitchTo(old);
	return filter;
}

/* True if an expression has a parameter that may change while the plan runs. */
static bool
may_change(Node *node, void *context)
{
	if (!node)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		return true;
	return expression_tree_walker(node, may_change, context);
}

/*
 * Makes the filter of a scan that begins, in the current memory context; NULL for none. Processes that share a list of objects cannot have a list for each
 * value of a parameter.
 */
DmObjFilter *
dm_s3_filter_begin(ForeignScanState *node, const DmObjScanSpec *spec)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	List *exprs = NIL;
	List *states = NIL;
	ListCell *cell;

	foreach (cell, plan->fdw_exprs)
	{
		if (plan->scan.plan.parallel_aware && may_change(lfirst(cell), NULL))
			continue;
		exprs = lappend(exprs, lfirst(cell));
		states = lappend(states, ExecInitExpr(lfirst(cell), &node->ss.ps));
	}
	return exprs == NIL ? NULL : dm_objfilter_make(spec, exprs, states, CreateExprContext(node->ss.ps.state));
}

/*
 * Returns a copy of an expression whose executor parameters look like those of a statement: where they come from is known to the plan's
 * nodes above, which EXPLAIN does not hand on here. Both are shown as $n.
 */
static Node *
show_params(Node *node, void *context)
{
	Param *param;

	if (!node)
		return NULL;
	if (!IsA(node, Param))
		return expression_tree_mutator(node, show_params, context);
	param = copyObject(castNode(Param, node));
	param->paramkind = PARAM_EXTERN;
	return (Node *) param;
}

/* Returns the conditions of a scan as EXPLAIN shows conditions, or NULL if there are none. */
char *
dm_s3_filter_text(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);

	if (plan->fdw_exprs == NIL)
		return NULL;
	return deparse_expression(show_params((Node *) make_ands_explicit(plan->fdw_exprs), NULL),
							  set_deparse_context_plan(es->deparse_cxt, &plan->scan.plan, NIL),
							  list_length(es->rtable) > 1 || es->verbose,
							  false);
}
