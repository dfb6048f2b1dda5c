/*
 * copy_to.c: COPY table | (query) TO 's3://...', with COPY's rows, rights and errors.
 *
 * A table is read as SELECT of its columns FROM ONLY it, which is what COPY does where row-level security applies: rights
 * on the columns and policies hold as in any query. A query runs as COPY runs it: planned for parallel workers, INSERT, UPDATE and
 * DELETE with RETURNING included.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/copy.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/progress.h"
#include "load/unload.h"

/* Rows between two reports of progress. */
#define DM_REPORT_ROWS 1000

/* Gets rows from the executor. */
typedef struct RowReceiver
{
	DestReceiver pub; /* first: the executor knows this part only */
	DmUnload *unload;
	MemoryContext row; /* reset after each row */
	int64 rows;
	DmProgress reported;
} RowReceiver;

/* Tells how many rows there were so far, for whoever watches. */
static void
report_progress(RowReceiver *receiver)
{
	dm_progress_advance(&receiver->reported, &(DmProgress){.rows = receiver->rows});
}

/* Takes one row from the executor. Always wants more. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	MemoryContext caller = MemoryContextSwitchTo(receiver->row);

	dm_unload_put(receiver->unload, slot);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(receiver->row);
	if (++receiver->rows % DM_REPORT_ROWS == 0)
		report_progress(receiver);
	return true;
}

/* Nothing to prepare: the columns are known before. */
static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

/* Nothing to finish or to free: memory contexts do. */
static void
receive_end(DestReceiver *self)
{
}

/* Raises 42809 unless the relation is one that COPY TO reads, with COPY's messages. */
static void
check_relation(Relation rel)
{
	static const struct
	{
		char kind;
		const char *name;
		bool has_hint;
	} kinds[] = {{RELKIND_VIEW, "view", true},
				 {RELKIND_MATVIEW, "materialized view", true},
				 {RELKIND_FOREIGN_TABLE, "foreign table", true},
				 {RELKIND_SEQUENCE, "sequence", false},
				 {RELKIND_PARTITIONED_TABLE, "partitioned table", true}};
	const char *name = RelationGetRelationName(rel);

	if (rel->rd_rel->relkind == RELKIND_RELATION)
		return;
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (kinds[i].kind == rel->rd_rel->relkind)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot copy from %s \"%s\"", kinds[i].name, name),
					 kinds[i].has_hint ? errhint("Try the COPY (SELECT ...) TO variant.") : 0));
	}
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot copy from non-table relation \"%s\"", name)));
}

/* Returns SELECT of the columns asked for (NIL: all that are not generated) FROM ONLY the relation. */
static SelectStmt *
select_of(Relation rel, List *columns)
{
	SelectStmt *select = makeNode(SelectStmt);
	RangeVar *from =
		makeRangeVar(get_namespace_name(RelationGetNamespace(rel)), pstrdup(RelationGetRelationName(rel)), -1);
	ListCell *cell;

	foreach (cell, CopyGetAttnums(RelationGetDescr(rel), rel, columns))
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), lfirst_int(cell) - 1);
		ColumnRef *column = makeNode(ColumnRef);
		ResTarget *target = makeNode(ResTarget);

		column->fields = list_make1(makeString(pstrdup(NameStr(attribute->attname))));
		column->location = -1;
		target->val = (Node *) column;
		target->location = -1;
		select->targetList = lappend(select->targetList, target);
	}
	from->inh = false; /* ONLY */
	select->fromClause = list_make1(from);
	return select;
}

/* Raises COPY's error for a query that rules have made several of, or none. */
static void
rewritten_error(List *rewritten)
{
	ListCell *cell;

	if (rewritten == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("DO INSTEAD NOTHING rules are not supported for COPY")));
	foreach (cell, rewritten)
	{
		QuerySource source = lfirst_node(Query, cell)->querySource;

		if (source == QSRC_QUAL_INSTEAD_RULE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("conditional DO INSTEAD rules are not supported for COPY")));
		if (source == QSRC_NON_INSTEAD_RULE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("DO ALSO rules are not supported for COPY")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("multi-statement DO INSTEAD rules are not supported for COPY")));
}

/* Analyzes, rewrites and plans a query. Raises as COPY does on what gives no rows. */
static PlannedStmt *
plan_query(Node *statement, const char *text, int location, int len)
{
	RawStmt *raw = makeNode(RawStmt);
	List *rewritten;
	Query *query;

	raw->stmt = statement;
	raw->stmt_location = location;
	raw->stmt_len = len;
	rewritten = pg_analyze_and_rewrite_fixedparams(raw, text, NULL, 0, NULL);
	if (list_length(rewritten) != 1)
		rewritten_error(rewritten);
	query = linitial_node(Query, rewritten);
	if (query->utilityStmt)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 IsA(query->utilityStmt, CreateTableAsStmt) ? errmsg("COPY (SELECT INTO) is not supported")
															: errmsg("COPY query must not be a utility command")));
	if (query->commandType != CMD_SELECT && query->returningList == NIL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("COPY query must have a RETURNING clause")));
	return pg_plan_query(query, text, CURSOR_OPT_PARALLEL_OK, NULL);
}

/* Runs a plan and unloads its rows. */
static DmUnload *
run_plan(PlannedStmt *plan, const char *text, const char *url, const DmUnloadOptions *options, const char *uri,
		 DmUnloadResult *result)
{
	RowReceiver *receiver = palloc0(sizeof(RowReceiver));
	bool is_exact =
		options->max_file_bytes == 0 && options->partition_by == NIL && options->manifest == DM_MANIFEST_NONE;
	QueryDesc *query;

	receiver->pub.receiveSlot = receive_row;
	receiver->pub.rStartup = receive_startup;
	receiver->pub.rShutdown = receive_end;
	receiver->pub.rDestroy = receive_end;
	receiver->pub.mydest = DestCopyOut;
	receiver->row = AllocSetContextCreate(CurrentMemoryContext, "datamill copy row", ALLOCSET_DEFAULT_SIZES);
	/* The query must see what earlier ones of the transaction have done. */
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	query = CreateQueryDesc(plan, text, GetActiveSnapshot(), InvalidSnapshot, &receiver->pub, NULL, NULL, 0);
	ExecutorStart(query, 0);
	receiver->unload = dm_unload_begin(url, options, query->tupDesc, is_exact);
	dm_executor_run(query);
	ExecutorFinish(query);
	report_progress(receiver);
	/* Triggers that fire at the end of the statement have had their say: now the objects may appear. */
	dm_unload_finish(receiver->unload, result);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
	dm_receipt_input(&(DmReceiptInput){.uri = uri, .size = -1, .rows = receiver->rows});
	return receiver->unload;
}

/* Returns the arguments as a JSON object, for the receipt. */
static char *
arguments_json(const char *source, Jsonb *options)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"source\": ");
	escape_json(&out, source);
	appendStringInfo(&out, ", \"options\": %s}", JsonbToCString(NULL, &options->root, VARSIZE(options)));
	return out.data;
}

/*
 * Executes COPY TO a URL with the options as a jsonb object, and returns how many rows were copied. The statement is the part of `text`
 * that location and len tell. In a transaction that may not write there is no receipt.
 */
uint64
dm_copy_to(const CopyStmt *statement, const char *url, Jsonb *json, const char *text, int location, int len)
{
	DmUnloadOptions options;
	DmUnloadResult result = {0};
	DmReceipt *receipt = NULL;
	DmUnload *unload;
	PlannedStmt *plan;
	Oid relid = InvalidOid;
	const char *uri = "query";
	Node *select = statement->query ? copyObject(statement->query) : NULL;

	PreventCommandIfParallelMode("COPY TO");
	dm_unload_options_parse(json, true, &options);
	if (statement->relation)
	{
		Relation rel = table_openrv(statement->relation, AccessShareLock);

		check_relation(rel);
		relid = RelationGetRelid(rel);
		uri =
			quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
		select = (Node *) select_of(rel, statement->attlist);
		table_close(rel, NoLock);
	}
	plan = plan_query(select, text, location, len);
	if (OidIsValid(relid) && !list_member_oid(plan->relationOids, relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation referenced by COPY statement has changed")));
	dm_progress_begin(DM_PROGRESS_COPY_TO, relid);
	if (!XactReadOnly)
		receipt = dm_receipt_begin(
			"copy_to",
			url,
			arguments_json(
				statement->relation ? uri : pnstrdup(text + Max(location, 0), len > 0 ? len : strlen(text)), json));
	unload = run_plan(plan, text, url, &options, uri, &result);
	if (receipt)
	{
		dm_unload_outputs(unload, receipt);
		(void) dm_receipt_write(receipt);
	}
	dm_progress_end();
	return (uint64) result.rows;
}
