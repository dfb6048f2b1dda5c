/*
 * body.c: executes the statements of a job at top level, as a session would that sends them.
 *
 * 1. Statements next to each other form one transaction, which ends at a COMMIT or BEGIN, and at statements that want a transaction of
 *    their own (CALL, VACUUM, CREATE INDEX CONCURRENTLY ...). So a procedure may commit, and what may be atomic is.
 * 2. The success of the run is recorded in the last of the transactions: it is known exactly if its rows are.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/compat.h"
#include "job/body.h"

/* Statements of one transaction. */
typedef struct StatementGroup
{
	List *statements;  /* of RawStmt* */
	List *options;	   /* of BEGIN */
	bool is_explicit;  /* begun by BEGIN */
	bool stands_alone; /* no other statement may come into it */
} StatementGroup;

static List *make_groups(const char *text);
static StatementGroup *add_group(List **groups);
static bool needs_own_transaction(Node *statement);
static bool ends_transactions(const DoStmt *statement);
static void begin_group(const StatementGroup *group);
static void execute_statement(DmBody *body, RawStmt *raw, bool is_top_level);
static void note_command(DmBody *body, const QueryCompletion *done);

/* Raises unless a run can execute the statement. */
void
dm_body_check(Node *statement)
{
	if (IsA(statement, TransactionStmt))
	{
		TransactionStmt *transaction = (TransactionStmt *) statement;

		if (transaction->chain || (transaction->kind != TRANS_STMT_BEGIN && transaction->kind != TRANS_STMT_START &&
								   transaction->kind != TRANS_STMT_COMMIT))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the body of a job can BEGIN and COMMIT, but not take back or prepare what it did"),
					 errhint("Put that into a procedure, or a DO block with EXCEPTION.")));
	}
	else if (IsA(statement, CopyStmt) && !((CopyStmt *) statement)->filename)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a job has no client to COPY from or to"),
				 errhint("COPY a file or an s3:// URL.")));
}

/* Executes all statements. */
void
dm_body_execute(DmBody *body)
{
	MemoryContext context = AllocSetContextCreate(body->context, "datamill body", ALLOCSET_DEFAULT_SIZES);
	List *groups;
	ListCell *cell;
	ListCell *statement;

	MemoryContextSwitchTo(context);
	groups = make_groups(body->text);
	foreach (cell, groups)
	{
		StatementGroup *group = lfirst(cell);
		bool is_top_level = list_length(group->statements) == 1 && !group->is_explicit;

		begin_group(group);
		foreach (statement, group->statements)
		{
			MemoryContextSwitchTo(context);
			execute_statement(body, lfirst_node(RawStmt, statement), is_top_level);
		}
		if (!lnext(groups, cell))
			body->finish(body->finish_arg);
		CommitTransactionCommand();
		pgstat_report_stat(false);
	}
	MemoryContextSwitchTo(body->context);
	MemoryContextDelete(context);
}

/* Executes all statements in the transaction that is open. */
void
dm_body_execute_inside(DmBody *body)
{
	MemoryContext context = AllocSetContextCreate(body->context, "datamill body", ALLOCSET_DEFAULT_SIZES);
	ListCell *cell;

	MemoryContextSwitchTo(context);
	foreach (cell, pg_parse_query(body->text))
	{
		RawStmt *raw = lfirst_node(RawStmt, cell);

		/* a procedure may commit or not; if it does, that is its own error here */
		if (IsA(raw->stmt, TransactionStmt))
			continue;
		if (needs_own_transaction(raw->stmt) && !IsA(raw->stmt, CallStmt) && !IsA(raw->stmt, DoStmt))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s cannot be taken back, and is not rehearsed",
							GetCommandTagName(CreateCommandTag(raw->stmt)))));
		MemoryContextSwitchTo(context);
		execute_statement(body, raw, false);
	}
	MemoryContextSwitchTo(body->context);
	MemoryContextDelete(context);
}

/* Parses the text and sorts its statements into transactions: a list of StatementGroup*, never empty. */
static List *
make_groups(const char *text)
{
	List *groups = NIL;
	StatementGroup *group = NULL;
	ListCell *cell;

	foreach (cell, pg_parse_query(text))
	{
		RawStmt *raw = lfirst_node(RawStmt, cell);
		bool stands_alone = needs_own_transaction(raw->stmt);

		dm_body_check(raw->stmt);
		if (IsA(raw->stmt, TransactionStmt))
		{
			TransactionStmt *transaction = (TransactionStmt *) raw->stmt;

			group = NULL;
			if (transaction->kind == TRANS_STMT_COMMIT)
				continue;
			group = add_group(&groups);
			group->is_explicit = true;
			group->options = transaction->options;
			continue;
		}
		if (!group || group->stands_alone || (stands_alone && group->statements != NIL && !group->is_explicit))
			group = add_group(&groups);
		group->statements = lappend(group->statements, raw);
		group->stands_alone = stands_alone && !group->is_explicit;
	}
	if (groups == NIL)
		add_group(&groups);
	return groups;
}

/* Adds an empty group. */
static StatementGroup *
add_group(List **groups)
{
	StatementGroup *group = palloc0(sizeof(StatementGroup));

	*groups = lappend(*groups, group);
	return group;
}

/* Does the statement begin or end transactions itself, or refuse to run inside one? */
static bool
needs_own_transaction(Node *statement)
{
	ListCell *cell;

	switch (nodeTag(statement))
	{
		case T_CallStmt:
		case T_VacuumStmt:
		case T_ClusterStmt:
		case T_ReindexStmt:
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
		case T_AlterSystemStmt:
		case T_CreateSubscriptionStmt:
		case T_AlterSubscriptionStmt:
		case T_DropSubscriptionStmt: return true;
		case T_DoStmt: return ends_transactions((DoStmt *) statement);
		case T_IndexStmt: return ((IndexStmt *) statement)->concurrent;
		case T_DropStmt: return ((DropStmt *) statement)->concurrent;
		case T_AlterTableStmt:
			foreach (cell, ((AlterTableStmt *) statement)->cmds)
			{
				AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

				if (command->subtype == AT_DetachPartition && ((PartitionCmd *) command->def)->concurrent)
					return true;
			}
			return false;
		default: return false;
	}
}

/* Does the text of a DO block name COMMIT or ROLLBACK? If it only seems so, the block is committed by itself, too. */
static bool
ends_transactions(const DoStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->args)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "as") == 0 &&
			(strcasestr(strVal(option->arg), "commit") || strcasestr(strVal(option->arg), "rollback")))
			return true;
	}
	return false;
}

/* Begins the transaction of a group, as its BEGIN says. */
static void
begin_group(const StatementGroup *group)
{
	ListCell *cell;

	StartTransactionCommand();
	foreach (cell, group->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		SetPGVariable(option->defname, list_make1(option->arg), true);
	}
}

/* Executes one statement in the transaction that is open. */
static void
execute_statement(DmBody *body, RawStmt *raw, bool is_top_level)
{
	int length = raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(body->text + raw->stmt_location);
	QueryCompletion done;
	bool needs_snapshot = analyze_requires_snapshot(raw);
	List *plans;
	Portal portal;

	CHECK_FOR_INTERRUPTS();
	pgstat_report_activity(STATE_RUNNING, pnstrdup(body->text + raw->stmt_location, length));
	SetCurrentStatementStartTimestamp();
	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
	if (needs_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_analyze_and_rewrite_fixedparams(raw, body->text, NULL, 0, NULL);
	plans = pg_plan_queries(plans, body->text, CURSOR_OPT_PARALLEL_OK, NULL);
	if (needs_snapshot)
		PopActiveSnapshot();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, body->text, CreateCommandTag(raw->stmt), plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	InitializeQueryCompletion(&done);
	dm_portal_run(portal, is_top_level, body->receiver, &done);
	PortalDrop(portal, false);
	if (StatementTimeout > 0)
		disable_timeout(STATEMENT_TIMEOUT, false);
	CommandCounterIncrement();
	note_command(body, &done);
}

/* Adds the tag of a statement, with its number of rows where it has one. */
static void
note_command(DmBody *body, const QueryCompletion *done)
{
	MemoryContext caller = MemoryContextSwitchTo(body->context);
	const char *name = GetCommandTagName(done->commandTag);

	if (command_tag_display_rowcount(done->commandTag))
		name = psprintf("%s " UINT64_FORMAT, name, done->nprocessed);
	body->commands = lappend(body->commands, unconstify(char *, name));
	MemoryContextSwitchTo(caller);
}
