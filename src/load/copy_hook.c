/*
 * copy_hook.c: COPY table FROM and COPY table | (query) TO 's3://...', as COPY of a file.
 *
 * The hook is there once the library is loaded: by shared_preload_libraries, session_preload_libraries or LOAD. Every
 * other statement, COPY of files and programs included, goes on untouched. What COPY FROM is asked becomes a load without
 * ledger (unless option ledger says so), COPY TO an unload to one object; header defaults to false, and an option that is not
 * there yet is an error.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/rel.h"

#include "load/copy.h"
#include "load/load.h"
#include "load/unload.h"
#include "source/source.h"
#include "store/store.h"

static ProcessUtility_hook_type previous_hook = NULL;

/* Sets the columns to load from COPY's list. Raises as COPY does on unknown, generated and repeated ones. */
static void
read_columns(DmLoadSpec *spec, Relation rel, List *names)
{
	if (names != NIL)
		spec->columns = CopyGetAttnums(RelationGetDescr(rel), rel, names);
}

/* Executes COPY FROM a URL and returns how many rows were copied. */
static uint64
copy_from(const CopyStmt *statement, const char *url, const DmCopyOptions *options, const char *text)
{
	DmLoadSpec spec = {.source = url,
					   .is_copy = true,
					   .mode = DM_LOAD_APPEND,
					   .options = options->json,
					   .no_ledger = !options->ledger,
					   .force_null = options->force_null,
					   .force_not_null = options->force_not_null,
					   .freeze = options->freeze};
	DmLoadResult result;
	Relation rel;

	spec.target = RangeVarGetRelid(statement->relation, RowExclusiveLock, false);
	rel = table_open(spec.target, NoLock);
	read_columns(&spec, rel, statement->attlist);
	if (statement->whereClause)
		spec.where = dm_copy_where(rel, statement->whereClause, text);
	if (options->freeze)
		dm_copy_check_freeze(rel);
	table_close(rel, NoLock);
	dm_load(&spec, &result);
	return (uint64) result.rows;
}

/* Executes a COPY of a URL and returns how many rows were copied. */
static uint64
copy_objects(const PlannedStmt *planned, const char *text)
{
	const CopyStmt *statement = (const CopyStmt *) planned->utilityStmt;
	const char *server = dm_copy_options_server(statement);
	const char *url = dm_source_url(statement->filename, &server);
	DmCopyOptions options;

	dm_copy_options_read(statement, server, &options);
	if (statement->is_from)
		return copy_from(statement, url, &options, text);
	return dm_copy_to(statement, url, options.json, text, planned->stmt_location, planned->stmt_len);
}

/* Is the statement a COPY of objects, in a database that has the extension? */
static bool
is_ours(const PlannedStmt *planned)
{
	const CopyStmt *statement = (const CopyStmt *) planned->utilityStmt;

	return IsA(planned->utilityStmt, CopyStmt) && statement->filename && !statement->is_program &&
		   (dm_url_is_object(statement->filename) || strncmp(statement->filename, "file://", 7) == 0) &&
		   OidIsValid(get_extension_oid("datamill", true));
}

/* ProcessUtility hook. */
static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	if (is_ours(planned))
	{
		uint64 rows = copy_objects(planned, query);

		if (completion)
			SetQueryCompletion(completion, CMDTAG_COPY, rows);
	}
	else if (previous_hook)
		previous_hook(planned, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params, environment, dest, completion);
}

/* Puts the hook in front of the ones that are there. Called once, from _PG_init. */
void
dm_copy_hook_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
