/*
 * database_hook.c: commands on databases that would be refused while a scheduler is connected, and those that make it come or go.
 *
 * DROP DATABASE, CREATE DATABASE ... TEMPLATE, RENAME and SET TABLESPACE want nobody connected. The scheduler is ended first, if the caller may
 * give the command; for DROP DATABASE the runs, too. It comes back by itself if the database stays.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "job/launcher.h"
#include "job/shared.h"
#include "store/store.h"

static ProcessUtility_hook_type previous_hook = NULL;

static void before(Node *statement);
static void after(Node *statement);
static void hold(const char *database, bool with_runs);
static void refuse_in_rehearsal(const CopyStmt *copy);
static bool may_create_databases(void);
static const char *template_of(const CreatedbStmt *statement);

/* ProcessUtility hook. */
static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	Node *statement = planned->utilityStmt;

	if (dm_shared_is_there())
		before(statement);
	if (previous_hook)
		previous_hook(planned, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params, environment, dest, completion);
	if (dm_shared_is_there())
		after(statement);
}

/* Puts the hook in front of the ones that are there. */
void
dm_database_hook_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

/* Makes way for a command on a database. */
static void
before(Node *statement)
{
	ListCell *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt: hold(((DropdbStmt *) statement)->dbname, true); break;
		case T_CreatedbStmt: hold(template_of((CreatedbStmt *) statement), false); break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				hold(((RenameStmt *) statement)->subname, false);
			break;
		case T_AlterDatabaseStmt:
			foreach (cell, ((AlterDatabaseStmt *) statement)->options)
			{
				if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
					hold(((AlterDatabaseStmt *) statement)->dbname, false);
			}
			break;
		case T_CopyStmt: refuse_in_rehearsal((CopyStmt *) statement); break;
		default: break;
	}
}

/* In a rehearsal nothing may be written to a file or program; s3:// and file:// URLs are the copy hook's. */
static void
refuse_in_rehearsal(const CopyStmt *copy)
{
	if (dm_store_is_dry() && !copy->is_from && copy->filename &&
		(copy->is_program || !strstr(copy->filename, "://")))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY to a file or program cannot be taken back, and is not rehearsed")));
}

/* Tells launcher and scheduler what the command changed. */
static void
after(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt: dm_shared_rescan_at_commit(); break;
		case T_CreateExtensionStmt:
			if (strcmp(((CreateExtensionStmt *) statement)->extname, "datamill") == 0)
				dm_shared_wake_at_commit();
			break;
		case T_DropStmt:
			if (((DropStmt *) statement)->removeType == OBJECT_EXTENSION)
				dm_shared_wake_at_commit();
			break;
		case T_CopyStmt:
			/* rows of jobs that pg_restore brings */
			if (((CopyStmt *) statement)->is_from && ((CopyStmt *) statement)->relation &&
				strcmp(((CopyStmt *) statement)->relation->relname, "job_catalog") == 0)
				dm_shared_wake_at_commit();
			break;
		default: break;
	}
}

/* Ends the scheduler of a database whose owner the caller is, or which the caller may copy. */
static void
hold(const char *database, bool with_runs)
{
	Oid oid = database ? get_database_oid(database, true) : InvalidOid;

	if (!OidIsValid(oid) || oid == MyDatabaseId)
		return;
	if (!dm_database_is_owned(oid) && (with_runs || !may_create_databases()))
		return;
	dm_shared_hold(oid);
	if (with_runs)
		dm_slot_terminate_all(oid);
}

/* Has the caller CREATEDB? The server's own function for this is not exported by all minor versions. */
static bool
may_create_databases(void)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool may = superuser();

	if (HeapTupleIsValid(tuple))
	{
		may = may || ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

/* Returns the database that CREATE DATABASE copies; NULL for template1, which has no scheduler. */
static const char *
template_of(const CreatedbStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "template") == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}
