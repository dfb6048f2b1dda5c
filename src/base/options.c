/*
 * options.c: checks of options against typed tables.
 *
 * Two callers' worlds meet here: validators of foreign objects (lists of DefElem, errors of class HV) and functions
 * with a jsonb argument (errors of class 22). What a value must look like is the same in both.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "base/options.h"

/* Returns the option that may stand in one of the places of mask where, or NULL. */
const DmOption *
dm_option_find(const DmOptionSet *set, const char *name, int where)
{
	for (; set; set = set->next)
	{
		for (int i = 0; i < set->noptions; i++)
		{
			const DmOption *option = &set->options[i];

			if ((option->where & where) && strcmp(option->name, name) == 0)
				return option;
		}
	}
	return NULL;
}

/* Returns the names that may stand in one of the places of mask where, comma-separated, in the current context. */
char *
dm_option_names(const DmOptionSet *set, int where)
{
	StringInfoData names;

	initStringInfo(&names);
	for (; set; set = set->next)
	{
		for (int i = 0; i < set->noptions; i++)
		{
			if (set->options[i].where & where)
				appendStringInfo(&names, "%s%s", names.len ? ", " : "", set->options[i].name);
		}
	}
	return names.data;
}

/* Returns the known name nearest to a misspelt one, or NULL when none is near: at most a third of it may differ. */
static const char *
nearest_name(const DmOptionSet *set, const char *name, int where)
{
	int len = strlen(name);
	int best = Min(len / 3, 4) + 1;
	const char *nearest = NULL;

	if (len > NAMEDATALEN)
		return NULL;
	for (; set; set = set->next)
	{
		for (int i = 0; i < set->noptions; i++)
		{
			const char *known = set->options[i].name;
			int distance;

			if (!(set->options[i].where & where))
				continue;
			distance = varstr_levenshtein_less_equal(name, len, known, strlen(known), 1, 1, 1, best, true);
			if (distance < best)
			{
				best = distance;
				nearest = known;
			}
		}
	}
	return nearest;
}

/* Returns the hint of an unknown name: the nearest known one, and the list of all in the places of mask where. */
static char *
known_hint(const DmOptionSet *set, const char *name, int where)
{
	const char *nearest = nearest_name(set, name, where);
	char *names = dm_option_names(set, where);

	if (names[0] == '\0')
		return pstrdup("There are no options here.");
	if (nearest)
		return psprintf("Perhaps you meant \"%s\". Options here: %s.", nearest, names);
	return psprintf("Options here: %s.", names);
}

/* Is word one of the words of list, which are separated by ", "? */
static bool
word_is_in(const char *list, const char *word)
{
	Size len = strlen(word);

	while (list && *list)
	{
		Size step = strcspn(list, ",");

		if (step == len && memcmp(list, word, len) == 0)
			return true;
		list += step;
		list += strspn(list, ", ");
	}
	return false;
}

/* Raises sqlstate with what the value of an option must be. The value is shown unless the option is secret. */
static void
value_error(const DmOption *option, const char *value, int sqlstate, const char *must)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 option->secret ? errmsg("invalid value for option \"%s\"", option->name)
							: errmsg("invalid value for option \"%s\": \"%s\"", option->name, value),
			 errhint("%s", must)));
}

/*
 * Parses bytes with an optional unit of kB, MB or GB. Returns false on anything else, overflow included. A negative
 * number is no size.
 */
static bool
parse_size(const char *value, int64 *result)
{
	static const struct
	{
		const char *unit;
		int64 bytes;
	} units[] = {{"", 1}, {"B", 1}, {"kB", 1024}, {"MB", 1024 * 1024}, {"GB", 1024 * 1024 * 1024}};
	char *end;
	long number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (end == value || errno || number < 0)
		return false;
	end += strspn(end, " ");
	for (int i = 0; i < lengthof(units); i++)
	{
		if (strcmp(end, units[i].unit) == 0)
			return !pg_mul_s64_overflow(number, units[i].bytes, result);
	}
	return false;
}

/* Parses a whole number in decimal digits: what reads it later knows no fractions, exponents and other bases. */
static bool
parse_whole(const char *value, int64 *result)
{
	char *end;

	errno = 0;
	*result = strtoi64(value, &end, 10);
	return end != value && errno == 0 && *end == '\0';
}

/* Parses a duration to milliseconds: a time with its unit, or a plain number of seconds. */
static bool
parse_duration(const char *value, int *result)
{
	bool plain = value[0] != '\0' && strspn(value, "0123456789") == strlen(value);

	return parse_int(plain ? psprintf("%ss", value) : value, result, GUC_UNIT_MS, NULL);
}

/* Checks a number, size or duration against its range. */
static void
check_number(const DmOption *option, const char *value, int sqlstate)
{
	int64 number = 0;
	int narrow = 0;
	bool parsed;

	if (option->type == DM_OPTION_SIZE)
		parsed = parse_size(value, &number);
	else if (option->type == DM_OPTION_INT)
		parsed = parse_whole(value, &number);
	else
	{
		parsed = parse_duration(value, &narrow);
		number = narrow;
	}
	if (parsed && number >= option->min && number <= option->max)
		return;
	if (option->type == DM_OPTION_INT)
		value_error(option,
					value,
					sqlstate,
					psprintf("It must be a whole number from " INT64_FORMAT " to " INT64_FORMAT ".",
							 option->min,
							 option->max));
	else if (option->type == DM_OPTION_SIZE)
		value_error(option,
					value,
					sqlstate,
					psprintf("It must be a size such as 8MB, from " INT64_FORMAT "kB to " INT64_FORMAT "MB.",
							 option->min >> 10,
							 option->max >> 20));
	else
		value_error(option,
					value,
					sqlstate,
					psprintf("It must be seconds, or a time with its unit such as 500ms, from " INT64_FORMAT
							 "ms to " INT64_FORMAT "s.",
							 option->min,
							 option->max / 1000));
}

/* Checks a word against those that the option knows. */
static void
check_word(const DmOption *option, const char *value, int sqlstate)
{
	if (word_is_in(option->values, value))
		return;
	if (word_is_in(option->later, value))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" with value \"%s\" is not supported yet", option->name, value),
				 errhint("Values known now: %s.", option->values)));
	value_error(option, value, sqlstate, psprintf("Values known: %s.", option->values));
}

/* Raises sqlstate unless value is what the option takes, or 0A000 for what is known but not there yet. */
static void
check_value(const DmOption *option, const char *value, int sqlstate)
{
	bool flag;

	if (option->unsupported)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" is not supported yet", option->name),
				 errhint("Leave it out.")));
	switch (option->type)
	{
		case DM_OPTION_STRING:
			if (value[0] == '\0')
				value_error(option, value, sqlstate, "It must not be empty.");
			break;
		case DM_OPTION_TEXT:
		case DM_OPTION_OBJECT:
		case DM_OPTION_NAMES: break;
		case DM_OPTION_BOOL:
			if (!parse_bool(value, &flag))
				value_error(option, value, sqlstate, "It must be true or false.");
			break;
		case DM_OPTION_INT:
		case DM_OPTION_SIZE:
		case DM_OPTION_DURATION: check_number(option, value, sqlstate); break;
		case DM_OPTION_CHAR:
			if (strlen(value) != 1 || strchr("\r\n", value[0]) != NULL)
				value_error(option, value, sqlstate, "It must be one single-byte character.");
			break;
		case DM_OPTION_ENUM: check_word(option, value, sqlstate); break;
	}
}

/*
 * Checks the options of a foreign object, as its validator gets them. Raises HV00D on one that is not known there,
 * HV024 on a bad value and 0A000 on what is not supported yet.
 */
void
dm_options_check(const DmOptionSet *set, int where, List *defelems)
{
	ListCell *cell;

	foreach (cell, defelems)
	{
		DefElem *def = lfirst(cell);
		const DmOption *option = dm_option_find(set, def->defname, where);

		if (!option)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", def->defname),
					 errhint("%s", known_hint(set, def->defname, where))));
		check_value(option, defGetString(def), ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE);
	}
}

/* Raises 22023 unless the value is a name or an array of names. */
static void
check_json_names(const DmOption *option, const JsonbValue *value)
{
	bool good = value->type == jbvString && value->val.string.len > 0;

	if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
	{
		good = JsonContainerSize(value->val.binary.data) > 0;
		for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
		{
			JsonbValue *element = getIthJsonbValueFromContainer(value->val.binary.data, i);

			good &= element->type == jbvString && element->val.string.len > 0;
		}
	}
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be an array of names", option->name),
				 errhint("For example [\"a\", \"b\"].")));
}

/* Checks the JSON value of an option; booleans and numbers may stand as such or as strings. Raises 22023. */
static void
check_json_value(const DmOption *option, const JsonbValue *value)
{
	const char *text;

	if (value->type == jbvNull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is null", option->name),
				 errhint("Leave it out to have its default.")));
	if (option->type == DM_OPTION_NAMES)
	{
		check_json_names(option, value);
		return;
	}
	if ((value->type == jbvBinary) != (option->type == DM_OPTION_OBJECT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 option->type == DM_OPTION_OBJECT
					 ? errmsg("option \"%s\" must be a JSON object", option->name)
					 : errmsg("option \"%s\" must be a string, a number or a boolean", option->name)));
	if (value->type == jbvString)
		text = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvBool)
		text = value->val.boolean ? "true" : "false";
	else if (value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	else
		return;
	check_value(option, text, ERRCODE_INVALID_PARAMETER_VALUE);
}

/*
 * Checks the options argument of a function. Raises 22023 when it is not an object, on a key that is not known, on a
 * null and on a bad value. NULL is no options.
 */
void
dm_options_check_json(const DmOptionSet *set, Jsonb *options)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!options)
		return;
	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object")));
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		const DmOption *option;
		char *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		option = dm_option_find(set, name, DM_OPTION_FUNCTION);
		if (!option)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown option \"%s\"", name),
					 errhint("%s", known_hint(set, name, DM_OPTION_FUNCTION))));
		(void) JsonbIteratorNext(&iterator, &value, true);
		check_json_value(option, &value);
	}
}

/* Returns the text of an option in a list of DefElem, or NULL where it is not given. */
const char *
dm_option_get(List *defelems, const char *name)
{
	ListCell *cell;

	foreach (cell, defelems)
	{
		DefElem *def = lfirst(cell);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

/* Raises HV024 for a value that got past its check: catalogs edited by hand, or a check that was left out. */
static void
stored_value_error(const char *name, const char *value)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value)));
}

/* Returns the value of a boolean option. */
bool
dm_option_bool(const char *name, const char *value)
{
	bool flag = false;

	if (!parse_bool(value, &flag))
		stored_value_error(name, value);
	return flag;
}

/* Returns the bytes of a size option. */
int64
dm_option_size(const char *name, const char *value)
{
	int64 bytes = 0;

	if (!parse_size(value, &bytes))
		stored_value_error(name, value);
	return bytes;
}

/* Returns the milliseconds of a duration option. */
int
dm_option_duration_ms(const char *name, const char *value)
{
	int duration_ms = 0;

	if (!parse_duration(value, &duration_ms))
		stored_value_error(name, value);
	return duration_ms;
}
