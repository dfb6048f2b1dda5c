/*
 * scope.c: the condition that says which rows of current a full source is complete for.
 */
#include "postgres.h"

#include "access/relation.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/rel.h"

#include "cdc/cdc.h"

static Node *scope_parse(const char *scope);
static bool is_star(const Node *node);
static void scope_error_context(void *arg);

/*
 * Prepares a condition on the columns of current, as the current user, to be evaluated with a row of current as the scan
 * tuple. It belongs to estate. Raises on anything but one condition without subqueries and aggregates.
 */
ExprState *
dm_scope_prepare(const char *scope, Relation current, EState *estate)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack, .callback = scope_error_context, .arg = unconstify(char *, scope)};
	ParseState *parse = make_parsestate(NULL);
	ParseNamespaceItem *item;
	MemoryContext caller;
	ExprState *state;
	Node *condition;

	error_context_stack = &callback;
	parse->p_sourcetext = scope;
	item = addRangeTableEntryForRelation(parse, current, AccessShareLock, NULL, false, true);
	addNSItemToQuery(parse, item, true, true, true);
	condition = transformExpr(parse, scope_parse(scope), EXPR_KIND_WHERE);
	condition = coerce_to_boolean(parse, condition, "scope");
	assign_expr_collations(parse, condition);
	if (parse->p_hasSubLinks)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("scope must not have subqueries")));
	free_parsestate(parse);
	caller = MemoryContextSwitchTo(estate->es_query_cxt);
	state = ExecPrepareQual(make_ands_implicit((Expr *) expression_planner((Expr *) condition)), estate);
	MemoryContextSwitchTo(caller);
	error_context_stack = callback.previous;
	return state;
}

/* True if the row of current in the slot is one of those that the source is complete for. scope: NULL if it is for all. */
bool
dm_scope_covers(ExprState *scope, ExprContext *context, TupleTableSlot *slot)
{
	if (!scope)
		return true;
	ResetExprContext(context);
	context->ecxt_scantuple = slot;
	return ExecQual(scope, context);
}

/* Makes an error's position one in the scope's text instead of one in the statement that called us. */
static void
scope_error_context(void *arg)
{
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(arg);
	}
	else
		errcontext("scope: %s", (char *) arg);
}

/* Parses the text as one expression; raises 42601 on anything else. */
static Node *
scope_parse(const char *scope)
{
	List *statements = raw_parser(scope, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
	ResTarget *first = select->targetList ? linitial_node(ResTarget, select->targetList) : NULL;

	if (!first || first->name || is_star(first->val) || list_length(select->targetList) != 1 ||
		select->fromClause || select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->sortClause || select->limitCount || select->limitOffset ||
		select->distinctClause || select->lockingClause || select->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("scope must be one condition"),
				 errhint("For example options => '{\"scope\": \"region = ''EU''\"}'.")));
	return first->val;
}

/* Is it a star, which only the list of a SELECT may have? (transformExpr() would take it for a name.) */
static bool
is_star(const Node *node)
{
	return IsA(node, ColumnRef) && IsA(llast(((const ColumnRef *) node)->fields), A_Star);
}
