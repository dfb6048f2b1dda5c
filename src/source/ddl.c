/*
 * ddl.c: foreign tables for objects, as the statement that creates them.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "base/options.h"
#include "source/ddl.h"
#include "source/objscan_internal.h"

/* Adds "name 'value'" to a list of options. */
static void
add_option(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out,
					 "%s%s %s",
					 out->data[out->len - 1] == '(' ? "" : ", ",
					 quote_identifier(name),
					 quote_literal_cstr(value));
}

/* Adds a column. One that has the name of a special column says outright that it is a field. */
static void
add_column(StringInfo out, const DmInferredColumn *column)
{
	appendStringInfo(
		out, "\n  %s %s", quote_identifier(column->name), format_type_with_typemod(column->type, column->typmod));
	if (!column->is_partition && dm_objmap_is_special(column->name))
	{
		appendStringInfoString(out, " OPTIONS (");
		add_option(out, "name", column->name);
		appendStringInfoChar(out, ')');
	}
}

/* CREATE FOREIGN TABLE for inferred columns. */
char *
dm_ddl_make(const DmObjScanSpec *spec, const DmInferred *inferred, const char *name, List *options)
{
	static const char *const formats[] = {"csv", "jsonl", "json"};
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	appendStringInfo(&out, "CREATE FOREIGN TABLE %s (", name);
	for (int i = 0; i < inferred->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoChar(&out, ',');
		add_column(&out, &inferred->columns[i]);
	}
	appendStringInfo(&out, "\n) SERVER %s OPTIONS (", quote_identifier(GetForeignServer(spec->server)->servername));
	add_option(&out, "url", spec->url);
	add_option(&out, "format", formats[spec->format]);
	if (spec->format == DM_FORMAT_CSV)
	{
		if (!dm_option_get(options, "ignoreheader"))
			add_option(&out, "header", spec->csv.header ? "true" : "false");
		if (spec->csv.delimiter != ',')
			add_option(&out, "delimiter", psprintf("%c", spec->csv.delimiter));
	}
	foreach (cell, options)
	{
		DefElem *def = lfirst(cell);

		if (strcmp(def->defname, "server") != 0 && strcmp(def->defname, "columns") != 0 &&
			strcmp(def->defname, "format") != 0 && strcmp(def->defname, "header") != 0 &&
			strcmp(def->defname, "delimiter") != 0)
			add_option(&out, def->defname, defGetString(def));
	}
	appendStringInfoChar(&out, ')');
	return out.data;
}
