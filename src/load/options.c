/*
 * options.c: the options and modes of a load.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/options.h"
#include "load/load.h"
#include "source/format_options.h"
#include "source/source.h"

static const DmOption load_table[] = {
	{"force",
	 DM_OPTION_BOOL,
	 DM_OPTION_FUNCTION,
	 .help = "load objects that were loaded before, too (default: false)"},
	{"on_changed",
	 DM_OPTION_ENUM,
	 DM_OPTION_FUNCTION,
	 .values = "error, load, skip",
	 .help = "what to do with an object that has changed since it was loaded (default: error)"},
};
static const DmOptionSet load_options = {load_table, lengthof(load_table), &dm_source_options};

static const char *const mode_names[] = {"append", "replace", "upsert"};

/* Returns the text of one value of a jsonb object, which has been checked. Of nested ones only objects is a load's. */
static char *
value_text(const char *name, const JsonbValue *value)
{
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvBool)
		return pstrdup(value->val.boolean ? "true" : "false");
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (strcmp(name, "objects") == 0)
		return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" is not for a load", name),
			 errhint("Values get the types of the target's columns.")));
}

/* Stores an option that is the load's own and returns true, or returns false. */
static bool
take_own(DmLoadOptions *parsed, const char *name, const char *value)
{
	if (strcmp(name, "force") == 0)
		parsed->force = dm_option_bool(name, value);
	else if (strcmp(name, "on_changed") == 0)
		parsed->on_changed = strcmp(value, "load") == 0	  ? DM_CHANGED_LOAD
							 : strcmp(value, "skip") == 0 ? DM_CHANGED_SKIP
														  : DM_CHANGED_ERROR;
	else
		return false;
	return true;
}

/*
 * Reads options of a load from a jsonb object into *parsed, in the current memory context. Raises 22023 on unknown names,
 * listing the known ones, and on bad values.
 */
void
dm_load_options_parse(Jsonb *options, DmLoadOptions *parsed)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	dm_options_check_json(&load_options, options);
	memset(parsed, 0, sizeof(*parsed));
	parsed->source = options;
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *name;
		char *text;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		text = value_text(name, &value);
		if (!take_own(parsed, name, text))
			parsed->format = lappend(parsed->format, makeDefElem(name, (Node *) makeString(text), -1));
		else
			parsed->source = DatumGetJsonbP(
				DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(parsed->source), CStringGetTextDatum(name)));
	}
}

/* Returns the mode of a name; raises 22023 on one that is not known. */
DmLoadMode
dm_load_mode_parse(const char *mode)
{
	for (int i = 0; i < lengthof(mode_names); i++)
	{
		if (strcmp(mode, mode_names[i]) == 0)
			return (DmLoadMode) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown mode \"%s\"", mode),
			 errhint("Modes of load: append, replace, upsert.")));
}

/* Returns the name of a mode. */
const char *
dm_load_mode_name(DmLoadMode mode)
{
	return mode_names[mode];
}
