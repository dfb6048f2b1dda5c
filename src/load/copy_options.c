/*
 * copy_options.c: the options of COPY, as the JSON object that load() and unload() take.
 *
 * What only COPY has (columns' names of FORCE_NULL and FORCE_NOT_NULL, FREEZE, ledger) comes besides.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "load/copy.h"

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
	return strcmp(name, "default") == 0 || strcmp(name, "log_verbosity") == 0 ||
		   strcmp(name, "convert_selectively") == 0;
}

/* Raises 0A000, as COPY does, on an option of the other direction. */
static void
check_direction(const char *name, bool is_from)
{
	static const char *const from_only[] = {"force_null", "force_not_null", "freeze", "ledger", "match"};
	bool only_from = false;

	for (int i = 0; i < lengthof(from_only); i++)
		only_from |= strcmp(name, from_only[i]) == 0;
	if (only_from && !is_from)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" is for COPY FROM only", name),
				 errhint("Leave it out.")));
	if (strcmp(name, "force_quote") == 0 && is_from)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" is for COPY TO only", name),
				 errhint("Leave it out.")));
}

/* Appends the name of a member to the text of a JSON object. */
static void
add_name(StringInfo json, const char *name)
{
	appendStringInfoString(json, json->len > 1 ? ", " : "");
	escape_json(json, name);
	appendStringInfoString(json, ": ");
}

/* Appends a member to the text of a JSON object. */
static void
add_member(StringInfo json, const char *name, const char *value)
{
	add_name(json, name);
	escape_json(json, value);
}

/* Appends a member that is an array of names. */
static void
add_names(StringInfo json, const char *name, List *names)
{
	ListCell *cell;

	add_name(json, name);
	foreach (cell, names)
	{
		appendStringInfoString(json, foreach_current_index(cell) > 0 ? ", " : "[");
		escape_json(json, lfirst(cell));
	}
	appendStringInfoChar(json, ']');
}

/* Takes the format: COPY's own ones are none that objects can have. */
static void
take_format(StringInfo json, const char *value)
{
	if (strcmp(value, "text") == 0 || strcmp(value, "binary") == 0)
		not_supported(psprintf("format %s", value));
	add_member(json, "format", value);
}

/* Takes HEADER, which may also be MATCH where objects are read. */
static void
take_header(StringInfo json, const char *value, bool is_from)
{
	bool is_match = pg_strcasecmp(value, "match") == 0;

	if (is_match && !is_from)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot use \"match\" with HEADER in COPY TO")));
	add_member(json, "header", is_match ? "true" : value);
}

/* Takes one option into what COPY alone has, or into the JSON object. */
static void
take_option(DmCopyOptions *options, StringInfo json, DefElem *def, bool is_from)
{
	const char *name = def->defname;

	if (is_not_yet(name))
		not_supported(psprintf("option \"%s\"", name));
	check_direction(name, is_from);
	if (strcmp(name, "force_null") == 0)
		options->force_null = column_names(def);
	else if (strcmp(name, "force_not_null") == 0)
		options->force_not_null = column_names(def);
	else if (strcmp(name, "freeze") == 0)
		options->freeze = defGetBoolean(def);
	else if (strcmp(name, "ledger") == 0)
		options->ledger = defGetBoolean(def);
	else if (def->arg && IsA(def->arg, A_Star))
		add_member(json, name, "*");
	else if (def->arg && IsA(def->arg, List))
		add_names(json, name, column_names(def));
	else if (strcmp(name, "format") == 0)
		take_format(json, defGetString(def));
	else if (strcmp(name, "header") == 0)
		take_header(json, def->arg ? defGetString(def) : "true", is_from);
	else
		add_member(json, name, def->arg ? defGetString(def) : "true");
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

/* Returns the text of an option, or NULL where it is not given or has no text. */
static const char *
option_text(List *options, const char *name)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *def = lfirst(cell);

		if (strcmp(def->defname, name) == 0 && def->arg)
			return defGetString(def);
	}
	return NULL;
}

/*
 * Reads the options of a COPY, in the current memory context; a server other than NULL is added to them. COPY's default
 * format, text, is none that objects can have, so one must be given.
 */
void
dm_copy_options_read(const CopyStmt *statement, const char *server, DmCopyOptions *options)
{
	const char *format = option_text(statement->options, "format");
	StringInfoData json;
	bool has_header = false;
	ListCell *cell;

	memset(options, 0, sizeof(*options));
	check_once(statement->options);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	foreach (cell, statement->options)
	{
		DefElem *def = lfirst(cell);

		if (server && strcmp(def->defname, "server") == 0)
			continue;
		take_option(options, &json, def, statement->is_from);
		has_header |= strcmp(def->defname, "header") == 0;
	}
	if (!format)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY of an s3:// URL needs a format"),
				 errdetail("COPY's default format, text, is not supported yet."),
				 errhint("Add it: WITH (FORMAT csv).")));
	if (server)
		add_member(&json, "server", server);
	if (statement->is_from && strcmp(format, "csv") == 0 && !has_header)
		add_member(&json, "header", "false");
	appendStringInfoChar(&json, '}');
	options->json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/* Returns the server that a COPY names, or NULL. */
const char *
dm_copy_options_server(const CopyStmt *statement)
{
	return option_text(statement->options, "server");
}
