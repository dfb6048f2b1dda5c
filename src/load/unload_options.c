/*
 * unload_options.c: the options of unload() and of COPY TO: COPY's names, and those of Redshift's UNLOAD.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/options.h"
#include "load/unload.h"
#include "source/format_options.h"

#define DM_GZIP_LEVEL 6 /* gzip's default */
#define DM_ZSTD_LEVEL 3 /* zstd's default */
#define MB INT64CONST(1048576)

static const DmOption unload_table[] = {
	{"server", DM_OPTION_STRING, DM_OPTION_FUNCTION, .help = "foreign server that the URL is written through"},
	{"format", DM_OPTION_ENUM, DM_OPTION_FUNCTION, .values = "csv, jsonl, json", .later = "parquet, text, binary"},
	{"header", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "each file begins with the columns' names"},
	{"delimiter", DM_OPTION_CHAR, DM_OPTION_FUNCTION, .help = "between fields (default: comma)"},
	{"quote", DM_OPTION_CHAR, DM_OPTION_FUNCTION, .help = "around fields (default: double quote)"},
	{"escape", DM_OPTION_CHAR, DM_OPTION_FUNCTION, .help = "before a quote within quotes (default: the quote)"},
	{"null", DM_OPTION_TEXT, DM_OPTION_FUNCTION, .help = "the text of NULL (default: empty)"},
	{"encoding", DM_OPTION_STRING, DM_OPTION_FUNCTION, .help = "of the bytes (default: the database's)"},
	{"force_quote", DM_OPTION_NAMES, DM_OPTION_FUNCTION, .help = "columns always in quotes; * for all"},
	{"addquotes", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "force_quote *"},
	{"compression", DM_OPTION_ENUM, DM_OPTION_FUNCTION, .values = "none, gzip, zstd", .later = "bzip2"},
	{"level", DM_OPTION_INT, DM_OPTION_FUNCTION, .min = 1, .max = 19, .help = "of compression"},
	{"gzip", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "compression gzip"},
	{"zstd", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "compression zstd"},
	{"max_file_size",
	 DM_OPTION_SIZE,
	 DM_OPTION_FUNCTION,
	 .min = 1024,
	 .max = 5120 * 1024 * MB,
	 .help = "of a file as stored; then the next one begins"},
	{"maxfilesize", DM_OPTION_STRING, DM_OPTION_FUNCTION, .help = "max_file_size; MB without a unit"},
	{"partition_by", DM_OPTION_NAMES, DM_OPTION_FUNCTION, .help = "columns that become folders column=value/"},
	{"include", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "these columns stay in the files, too"},
	{"manifest", DM_OPTION_ENUM, DM_OPTION_FUNCTION, .values = "false, true, verbose"},
	{"overwrite", DM_OPTION_ENUM, DM_OPTION_FUNCTION, .values = "false, true, clean"},
	{"allowoverwrite", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "overwrite true"},
	{"cleanpath", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "overwrite clean"},
	{"extension",
	 DM_OPTION_STRING,
	 DM_OPTION_FUNCTION,
	 .help = "of the names (default: by format and compression)"},
	{"empty",
	 DM_OPTION_ENUM,
	 DM_OPTION_FUNCTION,
	 .values = "file, none",
	 .help = "what no row makes (default: file)"},
	{"parallel", DM_OPTION_BOOL, DM_OPTION_FUNCTION, .help = "no matter: files are written one after another"},
	{"source", DM_OPTION_OBJECT, DM_OPTION_FUNCTION, .help = "how objects as source are read"},
};
static const DmOptionSet unload_options = {unload_table, lengthof(unload_table), NULL};

/* Raises 22023 with why options contradict each other. */
static void
conflict_error(const char *message, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message), errhint("%s", hint)));
}

/* Returns the names of a checked value: one, or an array of them. */
static List *
value_names(const JsonbValue *value)
{
	List *names = NIL;

	if (value->type == jbvString)
		return list_make1(pnstrdup(value->val.string.val, value->val.string.len));
	for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(value->val.binary.data, i);

		names = lappend(names, pnstrdup(element->val.string.val, element->val.string.len));
	}
	return names;
}

/* Takes an option that is an array or an object, and returns true; or returns false. */
static bool
take_nested(DmUnloadOptions *parsed, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "partition_by") == 0)
		parsed->partition_by = value_names(value);
	else if (strcmp(name, "force_quote") == 0)
	{
		parsed->force_quote = value_names(value);
		parsed->force_quote_all =
			list_length(parsed->force_quote) == 1 && strcmp(linitial(parsed->force_quote), "*") == 0;
	}
	else if (strcmp(name, "source") == 0)
		parsed->source = JsonbValueToJsonb(unconstify(JsonbValue *, value));
	else
		return false;
	return true;
}

/* Returns the text of a checked value that is no array or object. */
static char *
value_text(const JsonbValue *value)
{
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvBool)
		return pstrdup(value->val.boolean ? "true" : "false");
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
}

/* Takes the nested options into *parsed and returns the others as a list of DefElem with text values. */
static List *
options_to_list(Jsonb *options, DmUnloadOptions *parsed)
{
	JsonbIterator *iterator = JsonbIteratorInit(&options->root);
	JsonbIteratorToken token;
	JsonbValue value;
	List *list = NIL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (!take_nested(parsed, name, &value))
			list = lappend(list, makeDefElem(name, (Node *) makeString(value_text(&value)), -1));
	}
	return list;
}

/* Is a boolean option given and true? */
static bool
is_set(List *list, const char *name)
{
	const char *value = dm_option_get(list, name);

	return value && dm_option_bool(name, value);
}

/* Sets format and CSV options, by the rules of reading: what is written can be read with the same options. */
static void
read_format(DmUnloadOptions *parsed, List *list, bool for_copy)
{
	static const char *const names[] = {"format", "header", "delimiter", "quote", "escape", "null", "encoding"};
	DmObjScanSpec scan = {0};
	List *shared = NIL;

	for (int i = 0; i < lengthof(names); i++)
	{
		const char *value = dm_option_get(list, names[i]);

		if (value)
			shared =
				lappend(shared, makeDefElem(pstrdup(names[i]), (Node *) makeString(unconstify(char *, value)), -1));
	}
	dm_format_read(&scan, shared);
	parsed->format = scan.format;
	parsed->csv = (DmCsvWriteOptions){.delimiter = scan.csv.delimiter,
									  .quote = scan.csv.quote,
									  .escape = scan.csv.escape,
									  .null = scan.csv.null,
									  .encoding = scan.csv.encoding,
									  .header = scan.csv.header};
	if (for_copy && !dm_option_get(list, "header"))
		parsed->csv.header = false;
	if (is_set(list, "addquotes"))
		parsed->force_quote_all = true;
	if (parsed->format != DM_FORMAT_CSV && (parsed->force_quote_all || parsed->force_quote != NIL))
		conflict_error("option \"force_quote\" is for CSV only", "Leave it out.");
}

/* Sets compression and its level. Raises 22023 on more than one, and on a level that it does not have. */
static void
read_compression(DmUnloadOptions *parsed, List *list)
{
	const char *word = dm_option_get(list, "compression");
	const char *level = dm_option_get(list, "level");
	int max;

	if ((word != NULL) + is_set(list, "gzip") + is_set(list, "zstd") > 1)
		conflict_error("options \"compression\", \"gzip\" and \"zstd\" exclude each other", "Give one of them.");
	parsed->has_compression = word || is_set(list, "gzip") || is_set(list, "zstd");
	if ((word && strcmp(word, "gzip") == 0) || is_set(list, "gzip"))
		parsed->compression = DM_COMPRESSION_GZIP;
	else if ((word && strcmp(word, "zstd") == 0) || is_set(list, "zstd"))
		parsed->compression = DM_COMPRESSION_ZSTD;
	parsed->level = level ? (int) strtol(level, NULL, 10) : 0;
	max = parsed->compression == DM_COMPRESSION_GZIP ? 9 : 19;
	if (level && parsed->has_compression && (parsed->compression == DM_COMPRESSION_NONE || parsed->level > max))
		conflict_error(psprintf("level %s is not one of this compression", level),
					   "gzip has levels 1 to 9, zstd 1 to 19.");
}

/* Sets the level of a compression that has none given. */
void
dm_unload_options_level(DmUnloadOptions *parsed)
{
	if (parsed->level == 0)
		parsed->level = parsed->compression == DM_COMPRESSION_GZIP ? DM_GZIP_LEVEL : DM_ZSTD_LEVEL;
}

/* Sets the greatest size of a file, from either spelling. Redshift's is in MB where it has no unit. */
static void
read_size(DmUnloadOptions *parsed, List *list)
{
	const char *size = dm_option_get(list, "max_file_size");
	const char *other = dm_option_get(list, "maxfilesize");

	if (size && other)
		conflict_error("options \"max_file_size\" and \"maxfilesize\" exclude each other", "Give one of them.");
	if (size)
		parsed->max_file_bytes = dm_option_size("max_file_size", size);
	if (other && strspn(other, "0123456789") == strlen(other))
		other = psprintf("%sMB", other);
	if (other)
		parsed->max_file_bytes = dm_option_size("maxfilesize", other);
	if (other && parsed->max_file_bytes < 1024)
		conflict_error("option \"maxfilesize\" is too small", "It must be 1kB at least.");
}

/* Sets what becomes of objects that are there already. Raises 22023 on contradictions. */
static void
read_overwrite(DmUnloadOptions *parsed, List *list)
{
	const char *word = dm_option_get(list, "overwrite");
	bool replace = is_set(list, "allowoverwrite");
	bool clean = is_set(list, "cleanpath");

	if ((word != NULL) + replace + clean > 1)
		conflict_error("options \"overwrite\", \"allowoverwrite\" and \"cleanpath\" exclude each other",
					   "Give one of them: cleanpath is overwrite \"clean\".");
	if (clean || (word && strcmp(word, "clean") == 0))
		parsed->overwrite = DM_OVERWRITE_CLEAN;
	else if (replace || (word && strcmp(word, "true") == 0))
		parsed->overwrite = DM_OVERWRITE_REPLACE;
}

/* Sets the options that are about names of files. */
static void
read_names(DmUnloadOptions *parsed, List *list)
{
	const char *manifest = dm_option_get(list, "manifest");
	const char *extension = dm_option_get(list, "extension");
	const char *empty = dm_option_get(list, "empty");

	if (manifest && strcmp(manifest, "false") != 0)
		parsed->manifest = strcmp(manifest, "verbose") == 0 ? DM_MANIFEST_VERBOSE : DM_MANIFEST_PLAIN;
	if (extension && strchr(extension, '/'))
		conflict_error("option \"extension\" must not hold a slash", "It is the end of the files' names.");
	if (extension)
		parsed->extension = extension[0] == '.' ? extension : psprintf(".%s", extension);
	parsed->no_empty_file = empty && strcmp(empty, "none") == 0;
	parsed->include = is_set(list, "include");
	if (parsed->include && parsed->partition_by == NIL)
		conflict_error("option \"include\" is for partition_by only", "Without it all columns are in the files.");
}

/*
 * Reads the options of an unload from a jsonb object into *parsed, in the current memory context. Raises 22023 on unknown
 * names, listing the known ones, on bad values and on contradictions.
 */
void
dm_unload_options_parse(Jsonb *options, bool for_copy, DmUnloadOptions *parsed)
{
	List *list;

	dm_options_check_json(&unload_options, options);
	memset(parsed, 0, sizeof(*parsed));
	list = options_to_list(options, parsed);
	parsed->server = dm_option_get(list, "server");
	read_format(parsed, list, for_copy);
	read_compression(parsed, list);
	read_size(parsed, list);
	read_overwrite(parsed, list);
	read_names(parsed, list);
}
