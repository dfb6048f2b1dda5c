/*
 * feed_options.c: the options of mode feed.
 *
 * Those of the first merge are stored with the dataset, and later merges need not give them again. One that is given
 * counts for that merge.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "base/catalog.h"
#include "cdc/feed_options.h"

/* The name that Debezium gives to an unchanged value which it does not have, unless told otherwise. */
#define UNAVAILABLE_VALUE "__debezium_unavailable_value"

static const char *const option_names[] = {"sequence_column",
										   "sequence_type",
										   "operation_column",
										   "delete_values",
										   "truncate_values",
										   "value_column",
										   "key_column",
										   "tombstones",
										   "unavailable_value",
										   "debezium_time"};

static Jsonb *options_stored(const DmDataset *dataset);
static Jsonb *options_own(Jsonb *given, bool with_format);
static char *option_word(Jsonb *options, const char *name);
static List *option_words(Jsonb *options, const char *name);
static int option_choice(Jsonb *options, const char *name, const char *const *choices, int nchoices);
static Oid option_sequence_type(Jsonb *options);
static Jsonb *member_set(Jsonb *options, const char *name, const char *value);

/* Is name an option of mode feed (and not of its source, as format is)? */
bool
dm_feed_is_option(const char *name)
{
	for (int i = 0; i < lengthof(option_names); i++)
	{
		if (strcmp(option_names[i], name) == 0)
			return true;
	}
	return false;
}

/* Returns the names of those options, comma-separated. */
const char *
dm_feed_option_names(void)
{
	return "sequence_column, sequence_type, operation_column, delete_values, truncate_values, value_column, "
		   "key_column, tombstones, unavailable_value, debezium_time";
}

/*
 * Raises 22023 if an option of mode feed is given in another mode. There sequence_column is for duplicates only: alone it
 * tells of rows that are events, of which a batch lacks most keys.
 */
void
dm_feed_options_refuse(Jsonb *given, const char *mode, bool last_wins)
{
	for (int i = 0; i < lengthof(option_names); i++)
	{
		const char *name = option_names[i];
		bool is_setting = dm_settings_is_option(name);
		JsonbValue value;

		if ((is_setting && last_wins) || !getKeyJsonValueFromContainer(&given->root, name, strlen(name), &value) ||
			value.type == jbvNull)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is for mode feed, not for mode %s", name, mode),
				 is_setting ? errdetail("In mode %s it is for option duplicates, if that is last.", mode) : 0,
				 errhint("Rows that are events are merged with mode => 'feed'.")));
	}
}

/*
 * Returns the options of a merge in mode feed: those given and, of an existing dataset, those stored. What is left for
 * the source to know replaces *source_options. Raises 22023 on bad values.
 */
DmFeedOptions *
dm_feed_options_make(const DmDataset *dataset, Jsonb *given, Jsonb **source_options, bool is_objects)
{
	static const char *const tombstones[] = {"ignore", "delete"};
	static const char *const unknown[] = {"error", "ignore"};
	static const char *const times[] = {"iso", "connect", "micro", "nano"};
	DmFeedOptions *options = palloc0(sizeof(DmFeedOptions));
	Jsonb *all = given;
	JsonbValue value;
	char *format;

	if (OidIsValid(dataset->feed))
		all = DatumGetJsonbP(DirectFunctionCall2(
			jsonb_concat, JsonbPGetDatum(options_stored(dataset)), JsonbPGetDatum(options_own(given, true))));
	format = option_word(all, "format");
	options->is_debezium = format && strcmp(format, "debezium") == 0;
	options->sequence_column = option_word(all, "sequence_column");
	options->sequence_type = option_sequence_type(all);
	options->operation_column = option_word(all, "operation_column");
	options->delete_values = option_words(all, "delete_values");
	if (!options->delete_values)
		options->delete_values = list_make4("D", "d", "DELETE", "delete");
	options->truncate_values = option_words(all, "truncate_values");
	options->value_column = option_word(all, "value_column");
	options->key_column = option_word(all, "key_column");
	options->tombstones_delete = option_choice(all, "tombstones", tombstones, lengthof(tombstones)) == 1;
	options->unavailable = option_word(all, "unavailable_value");
	if (!options->unavailable)
		options->unavailable = UNAVAILABLE_VALUE;
	options->time = option_choice(all, "debezium_time", times, lengthof(times));
	if (!options->is_debezium)
		return options;
	if (!options->sequence_column)
		options->sequence_column = "source.lsn";
	if (options->operation_column || options->truncate_values)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operation_column and truncate_values are not for format debezium"),
				 errdetail("The events carry their operation.")));
	if (getKeyJsonValueFromContainer(&given->root, "columns", strlen("columns"), &value))
		options->columns = JsonbValueToJsonb(&value);
	options->ignore_unknown = option_choice(given, "unknown_fields", unknown, lengthof(unknown)) == 1;
	/* the source gives each record as it is, and need not know what is in it */
	*source_options = DatumGetJsonbP(
		DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(*source_options), CStringGetTextDatum("columns")));
	*source_options = DatumGetJsonbP(
		DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(*source_options), CStringGetTextDatum("format")));
	if (is_objects)
		*source_options = member_set(*source_options, "format", "jsonl");
	else
		*source_options = DatumGetJsonbP(DirectFunctionCall2(
			jsonb_delete, JsonbPGetDatum(*source_options), CStringGetTextDatum("unknown_fields")));
	return options;
}

/* Stores the options of the merge that made the dataset. */
void
dm_feed_options_store(const DmDataset *dataset, Jsonb *given)
{
	Oid types[] = {INT8OID, JSONBOID};
	Datum values[] = {Int64GetDatum(dataset->id), JsonbPGetDatum(options_own(given, false))};
	DmCatalogScope scope;

	dm_catalog_begin(&scope);
	dm_catalog_execute("INSERT INTO datamill.feed_catalog (dataset_id, options) VALUES ($1, $2)",
					   lengthof(types),
					   types,
					   values,
					   NULL);
	dm_catalog_end(&scope);
}

/* Returns the stored options of a dataset, in the current memory context. */
static Jsonb *
options_stored(const DmDataset *dataset)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(dataset->id)};
	DmCatalogScope scope;
	Jsonb *options = NULL;
	bool isnull;

	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"SELECT options FROM datamill.feed_catalog WHERE dataset_id = $1", lengthof(types), types, values, NULL);
	if (SPI_processed == 1)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		options = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContextSwitchTo(spi);
	}
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(caller);
	return options ? options : DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* Is the value that of format debezium? */
static bool
is_debezium(const JsonbValue *value)
{
	return value->type == jbvString && value->val.string.len == strlen("debezium") &&
		   strncmp(value->val.string.val, "debezium", value->val.string.len) == 0;
}

/* Returns the options that are this file's, and format: with_format whatever it is, else where it is debezium. */
static Jsonb *
options_own(Jsonb *given, bool with_format)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator = JsonbIteratorInit(&given->root);
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		char *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (!dm_feed_is_option(name) && (strcmp(name, "format") != 0 || !(with_format || is_debezium(&value))))
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Returns a string option, or NULL if it is not given. */
static char *
option_word(Jsonb *options, const char *name)
{
	JsonbValue value;

	if (!getKeyJsonValueFromContainer(&options->root, name, strlen(name), &value))
		return NULL;
	if (value.type != jbvString || value.val.string.len == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" must be a string", name)));
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* Returns the strings of an array option, NIL if it is not given. */
static List *
option_words(Jsonb *options, const char *name)
{
	JsonbValue value;
	List *words = NIL;

	if (!getKeyJsonValueFromContainer(&options->root, name, strlen(name), &value))
		return NIL;
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" must be an array of strings", name)));
	for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(value.val.binary.data, i);

		if (element->type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" must be an array of strings", name)));
		words = lappend(words, pnstrdup(element->val.string.val, element->val.string.len));
	}
	return words;
}

/* Returns which of the choices an option is, the first if it is not given. */
static int
option_choice(Jsonb *options, const char *name, const char *const *choices, int nchoices)
{
	char *word = option_word(options, name);
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; i < nchoices; i++)
	{
		if (!word || strcmp(word, choices[i]) == 0)
			return i;
		appendStringInfo(&all, "%s%s", i == 0 ? "" : i == nchoices - 1 ? " or " : ", ", choices[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be %s, not \"%s\"", name, all.data, word)));
}

/* Returns the type that option sequence_type names, InvalidOid if it is not given. */
static Oid
option_sequence_type(Jsonb *options)
{
	char *word = option_word(options, "sequence_type");
	const DmEffectiveType *type = word ? dm_effective_type_named(word) : NULL;

	if (word && !type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"sequence_type\" must not be \"%s\"", word),
				 errhint("Types of sequences are %s.", dm_effective_type_names())));
	return type ? type->type : InvalidOid;
}

/* Returns an object with one member set to a string. */
static Jsonb *
member_set(Jsonb *options, const char *name, const char *value)
{
	JsonbParseState *state = NULL;
	JsonbValue text;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	text.type = jbvString;
	text.val.string.val = unconstify(char *, name);
	text.val.string.len = strlen(name);
	pushJsonbValue(&state, WJB_KEY, &text);
	text.val.string.val = unconstify(char *, value);
	text.val.string.len = strlen(value);
	pushJsonbValue(&state, WJB_VALUE, &text);
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(options), JsonbPGetDatum(JsonbValueToJsonb(object))));
}
