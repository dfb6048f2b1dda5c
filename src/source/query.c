/*
 * query.c: relations and queries as sources.
 *
 * Both run as SELECT s.column::type, ... FROM (query) AS s through SPI, as the current user and read-only, so rights
 * and row security hold as in any query. Rows stream from the executor to the caller; nothing is kept.
 *
 * Values go to the wanted types as in an assignment (assign.h).
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "parser/scansup.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/varlena.h"

#include "base/progress.h"
#include "receipt/receipt.h"
#include "source/assign.h"
#include "source/kind.h"

/* Rows between two reports of progress. */
#define DM_REPORT_ROWS 1000

#define SOURCE_HINT                                                                                                \
	"A source is a relation's name, one query that changes nothing, or a URL that starts with s3://."

typedef struct QueryState
{
	DmSourceState base;
	const char *query; /* the source as one query */
	const char *uri;   /* what the receipt calls it: the relation's qualified name, or "query" */
	char *run_query;   /* its wanted columns in their types, in order; set by bind */
	int ncolumns;	   /* of run_query */
	int *targets;	   /* index in wanted of each */
	DmAssign *assigns; /* of each */
} QueryState;

/* Gets rows from the executor. */
typedef struct RowReceiver
{
	DestReceiver pub; /* first: the executor knows this part only */
	DmSource *source;
	QueryState *state;
	DmSourceEach each;
	void *arg;
	TupleTableSlot *slot; /* of the wanted shape */
	MemoryContext row;	  /* reset after each row */
	int64 rows;
	bool in_row; /* an error is of the row that is being put into the wanted shape */
	int column;	 /* ... and of this one of it, -1: of none */
	DmProgress reported;
} RowReceiver;

static const char *relations_json(SPIPlanPtr plan);
static int compare_names(const ListCell *a, const ListCell *b);

/* Makes the position of a syntax error one in the source's text, and says what a source may be. */
static void
parse_error_context(void *arg)
{
	const char *text = arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text);
	}
	errhint("A source is a relation's name, one SELECT, VALUES or TABLE query, or a URL that starts with s3://.");
}

/* Parses text to raw statements; errors get a position in text and a hint. */
static List *
parse_text(const char *text)
{
	ErrorContextCallback callback = {error_context_stack, parse_error_context, unconstify(char *, text)};
	List *statements;

	error_context_stack = &callback;
	statements = raw_parser(text, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	return statements;
}

/* Does a SELECT make a table (SELECT ... INTO)? Of set operations, the leftmost arm says so. */
static bool
is_select_into(SelectStmt *select)
{
	while (select->larg)
		select = select->larg;
	return select->intoClause != NULL;
}

/* Raises 42601 for a part of a query that writes or locks rows. Walks raw parse trees. */
static bool
find_write(Node *node, void *context)
{
	const char *what;

	if (!node)
		return false;
	what = IsA(node, InsertStmt)												  ? "INSERT in WITH"
		   : IsA(node, UpdateStmt)												  ? "UPDATE in WITH"
		   : IsA(node, DeleteStmt)												  ? "DELETE in WITH"
		   : IsA(node, MergeStmt)												  ? "MERGE in WITH"
		   : IsA(node, SelectStmt) && ((SelectStmt *) node)->lockingClause != NIL ? "FOR UPDATE or SHARE"
																				  : NULL;
	if (what)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("source must be one SELECT, VALUES or TABLE query"),
				 errdetail("It has %s, and a source only reads.", what),
				 errhint(SOURCE_HINT)));
	return raw_expression_tree_walker(node, find_write, context);
}

/* Returns the one query that text holds, without a semicolon. Raises 42601 on anything else. */
static char *
read_query(const char *text)
{
	List *statements = parse_text(text);
	RawStmt *raw = statements ? linitial_node(RawStmt, statements) : NULL;

	if (list_length(statements) != 1 || !IsA(raw->stmt, SelectStmt) || is_select_into((SelectStmt *) raw->stmt))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("source must be one SELECT, VALUES or TABLE query"),
				 errhint(SOURCE_HINT)));
	(void) find_write(raw->stmt, NULL);
	if (raw->stmt_len > 0)
		return pnstrdup(text + raw->stmt_location, raw->stmt_len);
	return pstrdup(text + raw->stmt_location);
}

/* Raises 42809 unless the relation has rows that a SELECT can read. */
static void
check_relation_kind(Oid relation, const char *name)
{
	char kind = get_rel_relkind(relation);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_VIEW &&
		kind != RELKIND_MATVIEW && kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("source \"%s\" is not a table, view or foreign table", name)));
}

/* Returns the relation of a name's parts as a quoted, qualified name. Raises 42P01 when there is none. */
static char *
find_relation(List *parts, const char *text)
{
	List *names = NIL;
	ListCell *cell;
	RangeVar *range_var;
	Oid relation;

	foreach (cell, parts)
		names = lappend(names, makeString(lfirst(cell)));
	range_var = makeRangeVarFromNameList(names);
	relation = RangeVarGetRelid(range_var, NoLock, true);
	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("source relation \"%s\" does not exist", text),
				 errhint("A source is a relation's name, one query, or a URL that starts with s3://.")));
	check_relation_kind(relation, text);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

/* Is text a URL of a kind that is none of ours? */
static bool
is_foreign_url(const char *text)
{
	const char *scheme_end = strstr(text, "://");

	return scheme_end && strcspn(text, " \t\r\n\"'($") > (Size) (scheme_end - text);
}

/* Reads source->text as a relation's name, else as a query, and sets its kind. Raises 42P01, 42601 or 22023. */
static void
classify(DmSource *source, QueryState *state)
{
	List *parts;

	if (is_foreign_url(source->text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source \"%s\" is not the URL of objects", source->text),
				 errhint("Such a URL starts with s3://.")));
	if (SplitIdentifierString(pstrdup(source->text), '.', &parts) && list_length(parts) >= 1 &&
		list_length(parts) <= 3)
	{
		source->kind = DM_SOURCE_RELATION;
		state->uri = find_relation(parts, source->text);
		state->query = psprintf("SELECT * FROM %s", state->uri);
		return;
	}
	source->kind = DM_SOURCE_QUERY;
	state->uri = "query";
	state->query = read_query(source->text);
}

/* Returns a query's columns, in the current context. Raises what the parse analysis of the query raises. */
static TupleDesc
describe(const char *query)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext spi;
	TupleDesc desc;
	SPIPlanPtr plan;
	CachedPlanSource *plan_source;

	SPI_connect();
	plan = SPI_prepare(query, 0, NULL);
	if (!plan)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	plan_source = linitial(SPI_plan_get_plan_sources(plan));
	if (!plan_source->resultDesc || plan_source->resultDesc->natts == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("source has no columns")));
	spi = MemoryContextSwitchTo(context);
	desc = CreateTupleDescCopy(plan_source->resultDesc);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return desc;
}

/* Builds the query of the wanted columns. */
static void
query_bind(DmSource *source)
{
	QueryState *state = source->state;
	TupleDesc wanted = source->wanted;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	state->ncolumns = 0;
	state->targets = palloc0(wanted->natts * sizeof(int));
	state->assigns = palloc0(wanted->natts * sizeof(DmAssign));
	for (int i = 0; i < wanted->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(wanted, i);
		Form_pg_attribute offered;
		const char *cast;

		if (!dm_source_is_wanted(attribute))
			continue;
		offered = dm_source_attribute(source->offered, NameStr(attribute->attname));
		cast = dm_assign_init(&state->assigns[state->ncolumns], offered, attribute);
		if (source->check)
			state->assigns[state->ncolumns].function.fn_strict = true; /* it is not called for NULL */
		appendStringInfo(
			&sql, "%ss.%s%s", state->ncolumns > 0 ? ", " : "", quote_identifier(NameStr(attribute->attname)), cast);
		state->targets[state->ncolumns++] = i;
	}
	/* The query may end in a comment: the line break ends that. */
	appendStringInfo(&sql, " FROM (%s\n) AS s", state->query);
	state->run_query = sql.data;
}

/* Tells how many rows there were so far, for whoever watches. */
static void
report_progress(RowReceiver *receiver)
{
	dm_progress_advance(&receiver->reported, &(DmProgress){.rows = receiver->rows});
}

/* Says which row and column an error came from. */
static void
row_error_context(void *arg)
{
	const RowReceiver *receiver = arg;

	if (!receiver->in_row)
		return;
	if (receiver->column < 0)
		errcontext("row " INT64_FORMAT " of the source", receiver->rows);
	else
		errcontext("row " INT64_FORMAT " of the source, column %s",
				   receiver->rows,
				   NameStr(TupleDescAttr(receiver->source->wanted, receiver->column)->attname));
}

/* Takes one row from the executor: puts it into the wanted shape and calls each(). Always wants more. */
static bool
receive_row(TupleTableSlot *row, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	QueryState *state = receiver->state;
	TupleTableSlot *slot = receiver->slot;
	MemoryContext caller = MemoryContextSwitchTo(receiver->row);

	if (++receiver->rows % DM_REPORT_ROWS == 0)
		report_progress(receiver);
	slot_getallattrs(row);
	ExecClearTuple(slot);
	receiver->in_row = true;
	for (int i = 0; i < state->ncolumns; i++)
	{
		int target = state->targets[i];

		receiver->column = target;
		slot->tts_isnull[target] = row->tts_isnull[i];
		slot->tts_values[target] = dm_assign_apply(&state->assigns[i], row->tts_values[i], row->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
	receiver->column = -1;
	if (receiver->source->check)
		receiver->source->check(slot->tts_values, slot->tts_isnull, receiver->source->check_arg);
	receiver->in_row = false;
	receiver->each(slot, receiver->arg);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(receiver->row);
	return true;
}

/* Nothing to prepare: the run made the slot. */
static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

/* Nothing to finish or to free: memory contexts do. */
static void
receive_end(DestReceiver *self)
{
}

/* Makes the receiver of a run, in the current context. Attributes that the query does not give are NULL throughout. */
static RowReceiver *
receiver_make(DmSource *source, DmSourceEach each, void *arg)
{
	RowReceiver *receiver = palloc0(sizeof(RowReceiver));

	receiver->pub.receiveSlot = receive_row;
	receiver->pub.rStartup = receive_startup;
	receiver->pub.rShutdown = receive_end;
	receiver->pub.rDestroy = receive_end;
	receiver->pub.mydest = DestTuplestore;
	receiver->source = source;
	receiver->state = source->state;
	receiver->each = each;
	receiver->arg = arg;
	receiver->slot = MakeSingleTupleTableSlot(source->wanted, &TTSOpsVirtual);
	memset(receiver->slot->tts_isnull, true, source->wanted->natts * sizeof(bool));
	receiver->row = AllocSetContextCreate(CurrentMemoryContext, "datamill source row", ALLOCSET_DEFAULT_SIZES);
	return receiver;
}

/* Returns a JSON object with the tables that a query names, itself or by way of views. */
static const char *
relations_json(SPIPlanPtr plan)
{
	List *names = NIL;
	ListCell *source;
	ListCell *cell;
	StringInfoData out;

	foreach (source, SPI_plan_get_plan_sources(plan))
	{
		foreach (cell, ((CachedPlanSource *) lfirst(source))->relationOids)
		{
			char *name = dm_receipt_relation_name(lfirst_oid(cell));

			if (name)
				names = lappend(names, makeString(name));
		}
	}
	list_sort(names, compare_names);
	initStringInfo(&out);
	appendStringInfoString(&out, "{\"relations\": [");
	foreach (cell, names)
	{
		if (cell != list_head(names) &&
			strcmp(strVal(lfirst(cell)), strVal(list_nth(names, foreach_current_index(cell) - 1))) == 0)
			continue;
		if (cell != list_head(names))
			appendStringInfoString(&out, ", ");
		escape_json(&out, strVal(lfirst(cell)));
	}
	appendStringInfoString(&out, "]}");
	return out.data;
}

/* Orders names. */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(strVal(lfirst(a)), strVal(lfirst(b)));
}

/* Runs the query once. Its plan is never parallel: each() may write, which a parallel query may not. */
static int64
query_run(DmSource *source, DmSourceEach each, void *arg)
{
	QueryState *state = source->state;
	RowReceiver *receiver = receiver_make(source, each, arg);
	ErrorContextCallback callback = {error_context_stack, row_error_context, receiver};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver->pub};
	SPIPlanPtr plan;
	MemoryContext caller = CurrentMemoryContext;
	const char *relations = NULL;
	int64 rejected;
	int result;

	SPI_connect();
	plan = SPI_prepare_cursor(state->run_query, 0, NULL, 0);
	if (!plan)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	if (source->kind == DM_SOURCE_QUERY && dm_receipt_is_open())
		relations = MemoryContextStrdup(caller, relations_json(plan));
	rejected = dm_receipt_rejected();
	error_context_stack = &callback;
	result = SPI_execute_plan_extended(plan, &options);
	error_context_stack = callback.previous;
	source->rejected = dm_receipt_rejected() - rejected; /* by foreign tables in the query */
	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	SPI_finish();
	report_progress(receiver);
	ExecDropSingleTupleTableSlot(receiver->slot);
	MemoryContextDelete(receiver->row);
	dm_receipt_input(
		&(DmReceiptInput){.uri = state->uri, .size = -1, .rows = receiver->rows, .metadata = relations});
	return receiver->rows;
}

/* Opens a relation or a query as a source: describes its columns. */
void
dm_source_query_open(DmSource *source)
{
	static const DmSourceOps ops = {query_bind, query_run, NULL};
	QueryState *state = palloc0(sizeof(QueryState));

	state->base.ops = &ops;
	source->state = state;
	classify(source, state);
	source->offered = describe(state->query);
}
