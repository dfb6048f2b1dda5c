/*
 * settings.c: the settings of a dataset, from and to the options that give them.
 */
#include "postgres.h"

#include "catalog/heap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "base/names.h"
#include "cdc/json_option.h"
#include "cdc/settings.h"

#define SETTINGS                                                                                                   \
	"names, duplicates, sequence_column, null_keys, on_new_column, on_missing_column, on_type_change, "            \
	"stamp_operation, sensitive, kinds, history_partition, history_index"

static const char *const setting_names[] = {"names",
											"duplicates",
											"sequence_column",
											"null_keys",
											"on_new_column",
											"on_missing_column",
											"on_type_change",
											"stamp_operation",
											"sensitive",
											"kinds",
											"history_partition",
											"history_index"};

/* Settings that say how one batch is read: a merge may give them for itself. */
static const char *const batch_settings[] = {
	"duplicates", "sequence_column", "on_new_column", "on_missing_column", "on_type_change"};

static const char *const default_names[DM_NAMES] = {[DM_NAME_OPERATION] = "operation",
													[DM_NAME_START] = "eff_start_date",
													[DM_NAME_END] = "eff_end_date",
													[DM_NAME_ENDED_BY] = "ended_by",
													[DM_NAME_MERGE] = "merge_id",
													[DM_NAME_ENDED_MERGE] = "ended_merge_id",
													[DM_NAME_KEY_HASH] = "key_hash",
													[DM_NAME_ROW_HASH] = "row_hash",
													[DM_NAME_VALID] = "valid",
													[DM_NAME_EFFECTIVE] = "effective",
													[DM_NAME_MADE_BY] = "made_by"};

static void names_parse(JsonbValue *value, DmSettings *settings);
static void kinds_parse(JsonbValue *value, DmSettings *settings);
static bool is_same(const char *name, const DmSettings *a, const DmSettings *b);
static JsonbValue *value_of(Jsonb *options, const char *name);
static int choice_of(Jsonb *options, const char *name, const char *const *words);

/*
 * Reads the settings among options (a jsonb object; NULL for none) into *settings, in the current memory context, with
 * defaults for those that are not given. Other keys are left to others. Raises 22023 on bad values.
 */
void
dm_settings_parse(Jsonb *options, DmSettings *settings)
{
	static const char *const duplicates[] = {"error", "last", NULL};
	static const char *const null_keys[] = {"error", "allow", NULL};
	static const char *const rules[] = {"error", "add", "ignore", NULL};
	static const char *const missing[] = {"error", "ignore", NULL};
	static const char *const types[] = {"assign", "widen", NULL};
	static const char *const periods[] = {"none", "month", "year", NULL};
	static const char *const indexes[] = {"none", "key", "time", "both", NULL};
	JsonbValue *value;
	int index;

	memset(settings, 0, sizeof(*settings));
	memcpy(settings->names, default_names, sizeof(default_names));
	if (!options)
		return;
	settings->last_wins = choice_of(options, "duplicates", duplicates) == 1;
	settings->null_keys = choice_of(options, "null_keys", null_keys) == 1;
	settings->on_new = (DmColumnRule) choice_of(options, "on_new_column", rules);
	settings->on_missing =
		choice_of(options, "on_missing_column", missing) == 1 ? DM_COLUMN_IGNORE : DM_COLUMN_ERROR;
	settings->widen = choice_of(options, "on_type_change", types) == 1;
	settings->partition = (DmPeriod) choice_of(options, "history_partition", periods);
	index = choice_of(options, "history_index", indexes);
	settings->index_keys = index == 1 || index == 3;
	settings->index_time = index == 2 || index == 3;
	if ((value = value_of(options, "sequence_column")) != NULL)
		settings->order_column = dm_json_word("sequence_column", value);
	if ((value = value_of(options, "sensitive")) != NULL)
		settings->sensitive = dm_json_names("sensitive", value);
	if ((value = value_of(options, "stamp_operation")) != NULL)
		settings->stamp = dm_json_flag("stamp_operation", value);
	if ((value = value_of(options, "names")) != NULL)
		names_parse(value, settings);
	if ((value = value_of(options, "kinds")) != NULL)
		kinds_parse(value, settings);
}

/* True if name is an option that gives a setting. */
bool
dm_settings_is_option(const char *name)
{
	for (int i = 0; i < lengthof(setting_names); i++)
	{
		if (strcmp(setting_names[i], name) == 0)
			return true;
	}
	return false;
}

/* Returns the names of these options, for a message. */
const char *
dm_settings_options(void)
{
	return SETTINGS;
}

/* True if a merge may give the setting for itself. */
bool
dm_settings_is_of_batch(const char *name)
{
	for (int i = 0; i < lengthof(batch_settings); i++)
	{
		if (strcmp(batch_settings[i], name) == 0)
			return true;
	}
	return false;
}

/*
 * Returns the name of a setting of the dataset's own that `given` has otherwise than `stored` (jsonb objects; given may
 * be NULL), or NULL. What they mean is compared: not the order of columns, or whether a default is said.
 */
const char *
dm_settings_differing(Jsonb *given, Jsonb *stored)
{
	DmSettings a;
	DmSettings b;

	if (!given)
		return NULL;
	dm_settings_parse(given, &a);
	dm_settings_parse(stored, &b);
	for (int i = 0; i < lengthof(setting_names); i++)
	{
		const char *name = setting_names[i];

		if (value_of(given, name) && !dm_settings_is_of_batch(name) && !is_same(name, &a, &b))
			return name;
	}
	return NULL;
}

/* Raises 0A000 for settings that a feed cannot have. */
void
dm_settings_check_feed(const DmSettings *settings)
{
	const char *setting =
		settings->sensitive													  ? "sensitive"
		: settings->null_keys												  ? "null_keys"
		: settings->stamp													  ? "stamp_operation"
		: settings->partition != DM_PERIOD_NONE								  ? "history_partition"
		: settings->last_wins												  ? "duplicates"
		: settings->keep_first || settings->previous || settings->overwritten ? "kinds"
		: settings->on_new != DM_COLUMN_ERROR || settings->on_missing != DM_COLUMN_ERROR || settings->widen
			? "on_new_column, on_missing_column or on_type_change"
			: NULL;

	if (setting)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a feed cannot have setting %s", setting),
				 errhint("It is for datasets that are merged in mode full or delta.")));
}

/* True if one setting of the dataset's own means the same in both. */
static bool
is_same(const char *name, const DmSettings *a, const DmSettings *b)
{
	if (strcmp(name, "names") == 0)
	{
		for (int i = 0; i < DM_NAMES; i++)
		{
			if (strcmp(a->names[i], b->names[i]) != 0)
				return false;
		}
		return true;
	}
	if (strcmp(name, "null_keys") == 0)
		return a->null_keys == b->null_keys;
	if (strcmp(name, "stamp_operation") == 0)
		return a->stamp == b->stamp;
	if (strcmp(name, "sensitive") == 0)
		return dm_names_same(a->sensitive, b->sensitive);
	if (strcmp(name, "kinds") == 0)
		return dm_names_same(a->keep_first, b->keep_first) && dm_names_same(a->overwritten, b->overwritten) &&
			   dm_names_same(a->previous, b->previous);
	if (strcmp(name, "history_partition") == 0)
		return a->partition == b->partition;
	Assert(strcmp(name, "history_index") == 0);
	return a->index_keys == b->index_keys && a->index_time == b->index_time;
}

/* Returns the name that an added column has unless option names gives another. */
const char *
dm_settings_default_name(DmName name)
{
	return default_names[name];
}

/* Returns the name of the column that keeps the value before of a column of kind 3. Raises if it is too long. */
char *
dm_settings_previous_name(const char *column)
{
	char *name = psprintf("previous_%s", column);

	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG), errmsg("column name \"%s\" is too long", name)));
	return name;
}

/* Reads {"operation": "op", ...}. */
static void
names_parse(JsonbValue *value, DmSettings *settings)
{
	JsonbIterator *iterator;
	JsonbValue item;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"names\" must be an object"),
				 errhint("For example {\"names\": {\"eff_start_date\": \"valid_from\"}}.")));
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char *name;
		int i = 0;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(item.val.string.val, item.val.string.len);
		while (i < DM_NAMES && strcmp(default_names[i], name) != 0)
			i++;
		if (i == DM_NAMES)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"names\": there is no added column \"%s\"", name),
					 errhint("The columns that a dataset adds: operation, eff_start_date, eff_end_date, ended_by, "
							 "merge_id, ended_merge_id, key_hash, row_hash, valid, effective, made_by.")));
		(void) JsonbIteratorNext(&iterator, &item, true);
		settings->names[i] = dm_json_word("names", &item);
		if (settings->names[i][0] == '\0' || strlen(settings->names[i]) >= NAMEDATALEN)
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("option \"names\": the name of \"%s\" must have 1 to %d bytes", name, NAMEDATALEN - 1)));
		if (SystemAttributeByName(settings->names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("option \"names\": \"%s\" is the name of a system column", settings->names[i])));
	}
	for (int i = 0; i < DM_NAMES; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (strcmp(settings->names[i], settings->names[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("option \"names\" gives \"%s\" to two columns", settings->names[i]),
						 errdetail("They are %s and %s.", default_names[j], default_names[i])));
		}
	}
}

/* Reads {"column": 0 to 3, ...}. */
static void
kinds_parse(JsonbValue *value, DmSettings *settings)
{
	JsonbIterator *iterator;
	JsonbValue item;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"kinds\" must be an object"),
				 errhint("For example {\"kinds\": {\"email\": 1}}.")));
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char *column;
		int kind = -1;

		if (token != WJB_KEY)
			continue;
		column = pnstrdup(item.val.string.val, item.val.string.len);
		(void) JsonbIteratorNext(&iterator, &item, true);
		if (item.type == jbvNumeric)
			for (int i = 0; i <= 3 && kind < 0; i++)
			{
				if (DatumGetBool(DirectFunctionCall2(
						numeric_eq, NumericGetDatum(item.val.numeric), NumericGetDatum(int64_to_numeric(i)))))
					kind = i;
			}
		switch (kind)
		{
			case 0: settings->keep_first = lappend(settings->keep_first, column); break;
			case 1: settings->overwritten = lappend(settings->overwritten, column); break;
			case 2: break;
			case 3: settings->previous = lappend(settings->previous, column); break;
			default:
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"kinds\": the kind of column \"%s\" must be 0, 1, 2 or 3", column),
						 errdetail("0 keeps the first value, 1 overwrites, 2 makes a version, 3 keeps the value "
								   "before in another column.")));
		}
	}
}

/* Returns the value of a key in an object, or NULL; a JSON null is none. */
static JsonbValue *
value_of(Jsonb *options, const char *name)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&options->root, name, strlen(name), NULL);

	return value && value->type != jbvNull ? value : NULL;
}

/* Returns the index in words (NULL-terminated) of an option's value; 0 if it is not given. */
static int
choice_of(Jsonb *options, const char *name, const char *const *words)
{
	JsonbValue *value = value_of(options, name);
	List *known = NIL;
	char *word;

	if (!value)
		return 0;
	word = dm_json_word(name, value);
	for (int i = 0; words[i]; i++)
	{
		if (strcmp(words[i], word) == 0)
			return i;
		known = lappend(known, unconstify(char *, words[i]));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be one of %s, not \"%s\"", name, dm_names_join(known), word)));
}
