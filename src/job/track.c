/*
 * track.c: which tables the statements of a run read and write, for its receipt.
 *
 * 1. Only in processes of runs, which execute nothing else: hooks of the executor and of utility statements are set when a run begins.
 * 2. A table is named as the statement names it: rows of partitions and children count for the table that was named. receipt/relation.c
 *    says which ones are left out.
 * 3. What load(), cdc_merge() and their like do is in receipts of their own, and left out here.
 * 4. What a subtransaction wrote that was taken back was not written. What it read was read.
 * 5. Rows are counted with the executor's own instruments, of rows alone, no clock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "parser/parsetree.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "job/track.h"

/* Tables that one run keeps account of; further ones are left out, and the receipt says so. */
#define MAX_TABLES 10000
/* How the foreign keys' own queries begin that look whether a row is there. */
#define KEY_CHECK "SELECT 1 FROM ONLY "

typedef struct Counts
{
	bool is_known; /* the numbers are */
	int64 inserted;
	int64 updated;
	int64 deleted;
} Counts;

typedef struct Table
{
	Oid oid;	/* key */
	char *name; /* quoted, with its schema; NULL: not to be noted */
	bool is_read;
	bool is_written;
	int64 rows_read;
	Counts written;
} Table;

/* What a subtransaction wrote that may still be taken back. */
typedef struct Pending
{
	SubTransactionId subtransaction;
	Oid table;
	Counts counts;
} Pending;

/* A walk over the plan of one statement. */
typedef struct Walk
{
	QueryDesc *query;
	int ntables; /* of its range table */
	bool *is_read;
	int64 *rows;
} Walk;

static MemoryContext context = NULL;
static HTAB *tables = NULL;
static List *pending = NIL;
static bool is_full = false;
static ExecutorStart_hook_type previous_start = NULL;
static ExecutorEnd_hook_type previous_end = NULL;
static ProcessUtility_hook_type previous_utility = NULL;

static void start(QueryDesc *query, int flags);
static void end(QueryDesc *query);
static void utility(PlannedStmt *statement, const char *text, bool read_only, ProcessUtilityContext level,
					ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver,
					QueryCompletion *done);
static void note_query(QueryDesc *query);
static bool note_node(PlanState *node, Walk *walk);
static void note_scan(ScanState *node, Walk *walk);
static void note_modify(ModifyTableState *node, Walk *walk);
static Oid named_table(const Walk *walk, Index rti);
static void note_utility(Node *statement, uint64 rows);
static void note_relation(const RangeVar *name, const Counts *counts);
static Table *find(Oid oid);
static void note_read(Oid oid, int64 rows);
static void note_written(Oid oid, const Counts *counts);
static void settle(Oid oid, const Counts *counts);
static void add_counts(Counts *sum, const Counts *counts);
static void subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);
static int compare_names(const ListCell *a, const ListCell *b);
static const char *counts_json(const Counts *counts);

/* Sets the hooks. */
void
dm_track_begin(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(Table)};

	context = AllocSetContextCreate(TopMemoryContext, "datamill tables of the run", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = context;
	tables = hash_create("datamill tables of the run", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	RegisterSubXactCallback(subtransaction_end, NULL);
}

/* Adds inputs and outputs, in the order of names. */
void
dm_track_report(DmReceipt *receipt)
{
	List *sorted = NIL;
	HASH_SEQ_STATUS status;
	ListCell *cell;
	Table *table;

	hash_seq_init(&status, tables);
	while ((table = hash_seq_search(&status)) != NULL)
	{
		if (table->name)
			sorted = lappend(sorted, table);
	}
	list_sort(sorted, compare_names);
	foreach (cell, sorted)
	{
		table = lfirst(cell);
		if (table->is_read)
			dm_receipt_add_input(receipt,
								 &(DmReceiptInput){.uri = table->name, .size = -1, .rows = table->rows_read});
		if (table->is_written)
			dm_receipt_output(receipt,
							  &(DmReceiptOutput){.uri = table->name, .counts = counts_json(&table->written)});
	}
	if (is_full)
		dm_receipt_metadata(receipt, "tables_left_out", "true");
}

/* Executor hook: lets rows be counted. */
static void
start(QueryDesc *query, int flags)
{
	if (dm_receipt_run_records() && !(flags & EXEC_FLAG_EXPLAIN_ONLY))
		query->instrument_options |= INSTRUMENT_ROWS;
	if (previous_start)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

/* Executor hook: notes what the statement did. */
static void
end(QueryDesc *query)
{
	if (dm_receipt_run_records() && !(query->estate->es_top_eflags & EXEC_FLAG_EXPLAIN_ONLY) &&
		strncmp(query->sourceText, KEY_CHECK, strlen(KEY_CHECK)) != 0)
		note_query(query);
	if (previous_end)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
}

/* Utility hook: notes statements that write tables without a plan that says so. */
static void
utility(PlannedStmt *statement, const char *text, bool read_only, ProcessUtilityContext level, ParamListInfo params,
		QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *done)
{
	QueryCompletion own = {0};
	QueryCompletion *completion = done ? done : &own;
	Node *node = statement->utilityStmt;
	bool is_noted = dm_receipt_run_records() &&
					(IsA(node, CreateTableAsStmt) || IsA(node, RefreshMatViewStmt) || IsA(node, CopyStmt));

	if (is_noted)
		node = copyObject(node);
	if (previous_utility)
		previous_utility(statement, text, read_only, level, params, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, text, read_only, level, params, environment, receiver, completion);
	if (is_noted)
		note_utility(node, completion->nprocessed);
}

/* Notes the tables of a statement. */
static void
note_query(QueryDesc *query)
{
	Walk walk = {.query = query, .ntables = list_length(query->plannedstmt->rtable)};
	ListCell *cell;

	walk.is_read = palloc0((walk.ntables + 1) * sizeof(bool));
	walk.rows = palloc0((walk.ntables + 1) * sizeof(int64));
	note_node(query->planstate, &walk);
	foreach (cell, query->plannedstmt->resultRelations)
		walk.is_read[lfirst_int(cell)] = false;
	for (Index rti = 1; rti <= walk.ntables; rti++)
	{
		if (walk.is_read[rti])
			note_read(named_table(&walk, rti), walk.rows[rti]);
	}
	pfree(walk.is_read);
	pfree(walk.rows);
}

/* Notes a node of the plan and what is below it. */
static bool
note_node(PlanState *node, Walk *walk)
{
	if (!node)
		return false;
	switch (nodeTag(node))
	{
		case T_SeqScanState:
		case T_SampleScanState:
		case T_IndexScanState:
		case T_IndexOnlyScanState:
		case T_BitmapHeapScanState:
		case T_TidScanState:
		case T_TidRangeScanState:
		case T_ForeignScanState:
		case T_CustomScanState: note_scan((ScanState *) node, walk); break;
		case T_ModifyTableState: note_modify((ModifyTableState *) node, walk); break;
		default: break;
	}
	return planstate_tree_walker(node, note_node, walk);
}

/* Notes the table, or tables, that a node scans. */
static void
note_scan(ScanState *node, Walk *walk)
{
	Index rti = ((Scan *) node->ps.plan)->scanrelid;
	int member = -1;
	Bitmapset *members = NULL;

	if (rti > 0 && rti <= walk->ntables)
	{
		walk->is_read[rti] = true;
		if (node->ps.instrument)
		{
			InstrEndLoop(node->ps.instrument);
			walk->rows[rti] += (int64) node->ps.instrument->ntuples;
		}
		return;
	}
	/* a join that is done elsewhere: how many rows of which table came into it is not known here */
	if (IsA(node, ForeignScanState))
		members = ((ForeignScan *) node->ps.plan)->fs_relids;
	else if (IsA(node, CustomScanState))
		members = ((CustomScan *) node->ps.plan)->custom_relids;
	while ((member = bms_next_member(members, member)) > 0)
	{
		if (member <= walk->ntables && rt_fetch(member, walk->query->plannedstmt->rtable)->rtekind == RTE_RELATION)
			walk->is_read[member] = true;
	}
}

/* Notes the table that a node writes. Rows of one in WITH are not known. */
static void
note_modify(ModifyTableState *node, Walk *walk)
{
	Counts counts = {.is_known = node->canSetTag};
	int64 rows = (int64) walk->query->estate->es_processed;

	switch (node->operation)
	{
		case CMD_INSERT: counts.inserted = rows; break;
		case CMD_UPDATE: counts.updated = rows; break;
		case CMD_DELETE: counts.deleted = rows; break;
		default:
			counts.is_known = true;
			counts.inserted = (int64) node->mt_merge_inserted;
			counts.updated = (int64) node->mt_merge_updated;
			counts.deleted = (int64) node->mt_merge_deleted;
			break;
	}
	note_written(RelationGetRelid(node->rootResultRelInfo->ri_RelationDesc), &counts);
}

/* Returns the table that the statement named, of which the one in the range table is a partition or child or which it is itself. */
static Oid
named_table(const Walk *walk, Index rti)
{
	const PlannedStmt *statement = walk->query->plannedstmt;
	ListCell *cell;

	/* parents stand before their children */
	foreach (cell, statement->appendRelations)
	{
		AppendRelInfo *child = lfirst_node(AppendRelInfo, cell);

		if (child->child_relid == rti && OidIsValid(child->parent_reloid))
			return named_table(walk, child->parent_relid);
	}
	return rt_fetch(rti, statement->rtable)->relid;
}

/* Notes what CREATE TABLE AS, REFRESH and COPY of a file wrote. */
static void
note_utility(Node *statement, uint64 rows)
{
	Counts counts = {.is_known = true, .inserted = (int64) rows};

	if (IsA(statement, CreateTableAsStmt))
	{
		counts.is_known = ((CreateTableAsStmt *) statement)->objtype == OBJECT_TABLE;
		note_relation(((CreateTableAsStmt *) statement)->into->rel, &counts);
	}
	else if (IsA(statement, RefreshMatViewStmt))
	{
		counts.is_known = false;
		note_relation(((RefreshMatViewStmt *) statement)->relation, &counts);
	}
	else if (((CopyStmt *) statement)->is_from && ((CopyStmt *) statement)->filename &&
			 !strstr(((CopyStmt *) statement)->filename, "://"))
		note_relation(((CopyStmt *) statement)->relation, &counts);
}

/* Notes a table that a utility statement wrote. */
static void
note_relation(const RangeVar *name, const Counts *counts)
{
	Oid oid = name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;

	if (OidIsValid(oid))
		note_written(oid, counts);
}

/* Returns the account of a table; NULL if it is not to be noted. */
static Table *
find(Oid oid)
{
	bool found;
	Table *table = hash_search(tables, &oid, HASH_FIND, NULL);

	if (!table)
	{
		char *name = dm_receipt_relation_name(oid);

		if (hash_get_num_entries(tables) >= MAX_TABLES)
		{
			is_full = true;
			return NULL;
		}
		table = hash_search(tables, &oid, HASH_ENTER, &found);
		memset(table, 0, sizeof(Table));
		table->oid = oid;
		table->written.is_known = true;
		table->name = name ? MemoryContextStrdup(context, name) : NULL;
	}
	return table->name ? table : NULL;
}

/* Notes that a table was read. */
static void
note_read(Oid oid, int64 rows)
{
	Table *table = find(oid);

	if (!table)
		return;
	table->is_read = true;
	table->rows_read += rows;
}

/* Notes that a table was written: for good, or in a subtransaction. */
static void
note_written(Oid oid, const Counts *counts)
{
	SubTransactionId current = GetCurrentSubTransactionId();
	MemoryContext caller;
	ListCell *cell;
	Pending *one;

	if (!find(oid))
		return;
	if (current == TopSubTransactionId)
	{
		settle(oid, counts);
		return;
	}
	foreach (cell, pending)
	{
		one = lfirst(cell);
		if (one->subtransaction == current && one->table == oid)
		{
			add_counts(&one->counts, counts);
			return;
		}
	}
	caller = MemoryContextSwitchTo(context);
	one = palloc(sizeof(Pending));
	one->subtransaction = current;
	one->table = oid;
	one->counts = *counts;
	pending = lappend(pending, one);
	MemoryContextSwitchTo(caller);
}

/* Takes for good what was written to a table. */
static void
settle(Oid oid, const Counts *counts)
{
	Table *table = hash_search(tables, &oid, HASH_FIND, NULL);

	table->is_written = true;
	add_counts(&table->written, counts);
}

/* Adds counts up. */
static void
add_counts(Counts *sum, const Counts *counts)
{
	sum->is_known &= counts->is_known;
	sum->inserted += counts->inserted;
	sum->updated += counts->updated;
	sum->deleted += counts->deleted;
}

/* Subtransaction callback: what it wrote goes to the one around it, or is forgotten. */
static void
subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	ListCell *cell;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	foreach (cell, pending)
	{
		Pending *one = lfirst(cell);

		if (one->subtransaction != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB && parent != TopSubTransactionId)
		{
			one->subtransaction = parent;
			continue;
		}
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			settle(one->table, &one->counts);
		pending = foreach_delete_current(pending, cell);
		pfree(one);
	}
}

/* Orders tables by their names. */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((const Table *) lfirst(a))->name, ((const Table *) lfirst(b))->name);
}

/* Returns the counts as a JSON object; an empty one if they are not known. */
static const char *
counts_json(const Counts *counts)
{
	if (!counts->is_known)
		return "{}";
	return psprintf("{\"inserted\": " INT64_FORMAT ", \"updated\": " INT64_FORMAT ", \"deleted\": " INT64_FORMAT
					"}",
					counts->inserted,
					counts->updated,
					counts->deleted);
}
