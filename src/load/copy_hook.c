/*
 * copy_hook.c: COPY table FROM 's3://...', as COPY of a file.
 *
 * The hook is there once the library is loaded: by shared_preload_libraries, session_preload_libraries or LOAD. Every
 * other statement, COPY of files and programs included, goes on untouched. What COPY is asked becomes a load without ledger
 * (unless option ledger says so); header defaults to false, and an option that is not there yet is an error.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/rel.h"

#include "base/options.h"
#include "load/load.h"
#include "store/store.h"

static ProcessUtility_hook_type previous_hook = NULL;

/* Raises 0A000 for something that COPY knows and this does not. */
static void
not_supported(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s is not supported yet with COPY of an s3:// URL", what),
			 errhint("Leave it out.")));
}

/* Returns the names of a list of columns; raises 22023 if it is none. */
static List *
column_names(const DefElem *def)
{
	List *names = NIL;
	ListCell *cell;

	if (!def->arg || !IsA(def->arg, List))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument to option \"%s\" must be a list of column names", def->defname)));
	foreach (cell, (List *) def->arg)
		names = lappend(names, strVal(lfirst(cell)));
	return names;
}

/* Is it an option that COPY has and this has not? */
static bool
is_not_yet(const char *name)
{
	return strcmp(name, "freeze") == 0 || strcmp(name, "force_quote") == 0 || strcmp(name, "default") == 0 ||
		   strcmp(name, "log_verbosity") == 0 || strcmp(name, "convert_selectively") == 0;
}

/* Appends a member to the text of a JSON object. */
static void
add_member(StringInfo json, const char *name, const char *value)
{
	appendStringInfoString(json, json->len > 1 ? ", " : "");
	escape_json(json, name);
	appendStringInfoString(json, ": ");
	escape_json(json, value);
}

/* Takes one option of COPY into the load, or into the JSON object of options that load() has, too. */
static void
take_option(DmLoadSpec *spec, StringInfo json, DefElem *def)
{
	const char *value;

	if (is_not_yet(def->defname))
		not_supported(psprintf("option \"%s\"", def->defname));
	if (strcmp(def->defname, "force_null") == 0)
	{
		spec->force_null = column_names(def);
		return;
	}
	if (strcmp(def->defname, "force_not_null") == 0)
	{
		spec->force_not_null = column_names(def);
		return;
	}
	value = def->arg ? defGetString(def) : "true";
	if (strcmp(def->defname, "ledger") == 0)
		spec->no_ledger = !defGetBoolean(def);
	else if (strcmp(def->defname, "format") == 0 && (strcmp(value, "text") == 0 || strcmp(value, "binary") == 0))
		not_supported(psprintf("format %s", value));
	else if (strcmp(def->defname, "header") == 0 && pg_strcasecmp(value, "match") == 0)
		add_member(json, "header", "true");
	else
		add_member(json, def->defname, value);
}

/* Raises 42601 on an option given twice, as COPY does. */
static void
check_once(List *options)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *def = lfirst(cell);

		for (int i = 0; i < foreach_current_index(cell); i++)
		{
			if (strcmp(((DefElem *) list_nth(options, i))->defname, def->defname) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("conflicting or redundant options"),
						 errdetail("Option \"%s\" comes twice.", def->defname)));
		}
	}
}

/* Reads the options of a COPY into spec. COPY's default format, text, is none that objects can have. */
static void
read_options(DmLoadSpec *spec, List *options)
{
	StringInfoData json;
	bool has_format = false;
	bool has_header = false;
	bool is_csv = false;
	ListCell *cell;

	check_once(options);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	spec->no_ledger = true;
	foreach (cell, options)
	{
		DefElem *def = lfirst(cell);

		take_option(spec, &json, def);
		has_format |= strcmp(def->defname, "format") == 0;
		is_csv |= strcmp(def->defname, "format") == 0 && strcmp(defGetString(def), "csv") == 0;
		has_header |= strcmp(def->defname, "header") == 0;
	}
	if (!has_format)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY of an s3:// URL needs a format"),
				 errdetail("COPY's default format, text, is not supported yet."),
				 errhint("Add it: WITH (FORMAT csv).")));
	if (is_csv && !has_header)
		add_member(&json, "header", "false");
	appendStringInfoChar(&json, '}');
	spec->options = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/* Sets the columns to load from COPY's list. Raises as COPY does on unknown, generated and repeated ones. */
static void
read_columns(DmLoadSpec *spec, List *names)
{
	Relation rel;

	if (names == NIL)
		return;
	rel = table_open(spec->target, NoLock);
	spec->columns = CopyGetAttnums(RelationGetDescr(rel), rel, names);
	table_close(rel, NoLock);
}

/* Executes a COPY of an s3:// URL and returns how many rows were copied. */
static uint64
copy_objects(const CopyStmt *statement)
{
	DmLoadSpec spec = {.source = statement->filename, .is_copy = true, .mode = DM_LOAD_APPEND};
	DmLoadResult result;

	if (!statement->is_from)
		not_supported("COPY TO");
	if (statement->whereClause)
		not_supported("WHERE");
	read_options(&spec, statement->options);
	spec.target = RangeVarGetRelid(statement->relation, RowExclusiveLock, false);
	read_columns(&spec, statement->attlist);
	dm_load(&spec, &result);
	return (uint64) result.rows;
}

/* Is the statement a COPY of objects, in a database that has the extension? */
static bool
is_ours(const PlannedStmt *planned)
{
	const CopyStmt *statement = (const CopyStmt *) planned->utilityStmt;

	return IsA(planned->utilityStmt, CopyStmt) && statement->filename && !statement->is_program &&
		   dm_url_is_object(statement->filename) && OidIsValid(get_extension_oid("datamill", true));
}

/* ProcessUtility hook. */
static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	if (is_ours(planned))
	{
		uint64 rows = copy_objects((CopyStmt *) planned->utilityStmt);

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
