/*
 * options.c: the options of cdc_merge that are its own; the source's are handed on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "base/names.h"
#include "cdc/cdc.h"
#include "cdc/feed_options.h"
#include "cdc/json_option.h"
#include "source/source.h"

#define OWN_OPTIONS "deletes, scope, max_delete_percent, untracked, effective_type, allow_empty"

static void option_take(DmMergeOptions *parsed, const char *name, JsonbValue *value);
static double value_percent(const char *name, JsonbValue *value);
static Jsonb *without(Jsonb *options, const char *name);

/*
 * Reads options of a merge from a jsonb object. Returns them in the current memory context, and in *source_options the
 * object without those that are only the merge's. Raises 22023 on unknown names (listing the known ones) and bad values.
 */
DmMergeOptions *
dm_merge_options_parse(Jsonb *options, Jsonb **source_options)
{
	DmMergeOptions *parsed = palloc0(sizeof(DmMergeOptions));
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	Jsonb *rest = options;
	Jsonb *given = options;

	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("For example options => '{\"deletes\": \"ignore\"}'.")));
	parsed->max_delete_percent = 100;
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		JsonbIteratorNext(&iterator, &value, true);
		option_take(parsed, name, &value);
		if (!dm_source_is_option(name))
			rest = without(rest, name);
		if (!dm_settings_is_option(name))
			given = without(given, name);
	}
	*source_options = rest;
	parsed->given_settings = given;
	dm_settings_parse(given, &parsed->settings);
	return parsed;
}

/* Stores one option, or leaves it to the source. Raises if neither knows it. */
static void
option_take(DmMergeOptions *parsed, const char *name, JsonbValue *value)
{
	if (strcmp(name, "deletes") == 0)
	{
		char *word = dm_json_word(name, value);

		if (strcmp(word, "close") != 0 && strcmp(word, "ignore") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"deletes\" must be close or ignore, not \"%s\"", word)));
		parsed->has_deletes = true;
		parsed->close_deletes = strcmp(word, "close") == 0;
	}
	else if (strcmp(name, "effective_type") == 0)
	{
		char *word = dm_json_word(name, value);

		if (strcmp(word, "date") == 0)
			parsed->effective_type = DATEOID;
		else if (strcmp(word, "timestamptz") == 0)
			parsed->effective_type = TIMESTAMPTZOID;
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"effective_type\" must be date or timestamptz, not \"%s\"", word)));
	}
	else if (strcmp(name, "untracked") == 0)
	{
		parsed->has_untracked = true;
		parsed->untracked = dm_json_names(name, value);
	}
	else if (strcmp(name, "allow_empty") == 0)
		parsed->allow_empty = dm_json_flag(name, value);
	else if (strcmp(name, "scope") == 0)
		parsed->scope = dm_json_word(name, value);
	else if (strcmp(name, "max_delete_percent") == 0)
		parsed->max_delete_percent = value_percent(name, value);
	else if (!dm_source_is_option(name) && !dm_settings_is_option(name) && !dm_feed_is_option(name))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\"", name),
			 errhint(
				 "Options of cdc_merge: %s. Settings of the dataset: %s. Of mode feed: %s. Options of its source: "
				 "%s.",
				 OWN_OPTIONS,
				 dm_settings_options(),
				 dm_feed_option_names(),
				 dm_source_option_names())));
}

/* Returns a string value. Raises 22023 on another. */
char *
dm_json_word(const char *name, JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" must be a string", name)));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* Returns a number from 0 to 100. */
static double
value_percent(const char *name, JsonbValue *value)
{
	double percent = -1;

	if (value->type == jbvNumeric)
		percent =
			DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(percent >= 0 && percent <= 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be a number from 0 to 100", name)));
	return percent;
}

/* Returns a boolean value. Raises 22023 on another. */
bool
dm_json_flag(const char *name, JsonbValue *value)
{
	if (value->type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" must be true or false", name)));
	return value->val.boolean;
}

/* Returns the strings of an array value. Raises 22023 on another. */
List *
dm_json_names(const char *name, JsonbValue *value)
{
	List *names = NIL;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be an array of column names", name)));
	for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(value->val.binary.data, i);

		names = lappend(names, dm_json_word(name, element));
	}
	return names;
}

/* Returns the object without a key. */
static Jsonb *
without(Jsonb *options, const char *name)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(options), CStringGetTextDatum(name)));
}
