/*
 * format_options.c: the options that say how objects are read, and their way into a DmObjScanSpec.
 *
 * Names and rules are those of COPY where COPY has them.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "source/format_options.h"

#define BOTH (DM_OPTION_TABLE | DM_OPTION_FUNCTION)

static const DmOption format_table[] = {
	{"format",
	 DM_OPTION_ENUM,
	 BOTH,
	 .values = "csv, jsonl, json",
	 .later = "parquet",
	 .help = "what the objects hold"},
	{"header", DM_OPTION_BOOL, BOTH, .help = "the first record of each object names the columns (default: true)"},
	{"delimiter", DM_OPTION_CHAR, BOTH, .help = "between fields (default: comma)"},
	{"quote", DM_OPTION_CHAR, BOTH, .help = "around fields (default: double quote)"},
	{"escape", DM_OPTION_CHAR, BOTH, .help = "before a quote within quotes (default: the quote)"},
	{"null", DM_OPTION_TEXT, BOTH, .help = "the unquoted text that is NULL (default: empty)"},
	{"encoding", DM_OPTION_STRING, BOTH, .help = "of the bytes (default: the database's)"},
	{"match", DM_OPTION_ENUM, BOTH, .values = "name, position", .help = "how fields find columns (default: name)"},
	{"ignoreheader",
	 DM_OPTION_INT,
	 BOTH,
	 .min = 0,
	 .max = 1000000,
	 .help = "records to skip at the start of each object; fields then go by position"},
	{"maxerror",
	 DM_OPTION_INT,
	 BOTH,
	 .min = 0,
	 .max = PG_INT64_MAX,
	 .help = "so many bad rows are an error; fewer are quarantined"},
	{"dateformat",
	 DM_OPTION_STRING,
	 BOTH,
	 .help = "of dates: auto, epochsecs, epochmillisecs or a template (DD/MM/YYYY)"},
	{"timeformat", DM_OPTION_STRING, BOTH, .help = "of timestamps: the same (DD/MM/YYYY HH24:MI:SS)"},
	{"acceptinvchars", DM_OPTION_CHAR, BOTH, .help = "takes the place of each invalid byte"},
	{"blanksasnull", DM_OPTION_BOOL, BOTH, .help = "text of white space only is NULL"},
	{"emptyasnull", DM_OPTION_BOOL, BOTH, .help = "empty text is NULL, in quotes, too"},
	{"trimblanks", DM_OPTION_BOOL, BOTH, .help = "white space at the end of text is removed"},
	{"truncatecolumns", DM_OPTION_BOOL, BOTH, .help = "text is cut to the length of its column"},
	{"fillrecord", DM_OPTION_BOOL, BOTH, .help = "fields missing at the end of a record are NULL"},
	{"ignoreblanklines", DM_OPTION_BOOL, BOTH, .help = "empty lines are no records"},
	{"unknown_fields",
	 DM_OPTION_ENUM,
	 BOTH,
	 .values = "ignore, error",
	 .help = "what a member of JSON does that is no column (default: ignore)"},
	{"on_error",
	 DM_OPTION_ENUM,
	 BOTH,
	 .values = "stop, ignore, quarantine",
	 .help = "what a row that cannot be read does (default: stop)"},
	{"reject_limit",
	 DM_OPTION_INT,
	 BOTH,
	 .min = 0,
	 .max = PG_INT64_MAX,
	 .help = "more rejected rows than this are an error (default: any number)"},
	{"allow_empty", DM_OPTION_BOOL, BOTH, .help = "no matching object is not an error (default: false)"},
	{"jsonpaths", DM_OPTION_STRING, BOTH, .help = "JSON: URL of a file with the path of each column, in order"},
	{"manifest",
	 DM_OPTION_BOOL,
	 BOTH,
	 .help = "the URL is that of a manifest, which names the objects (default: false)"},
	{"as_of", DM_OPTION_STRING, BOTH, .help = "objects as they were at this time, in a bucket with versions"},
	{"hive", DM_OPTION_BOOL, BOTH, .help = "folder steps name=* of the URL are columns (default: true)"},
};

static const DmOption source_table[] = {
	{"server", DM_OPTION_STRING, DM_OPTION_FUNCTION, .help = "foreign server that an s3:// URL is read through"},
	{"columns", DM_OPTION_OBJECT, DM_OPTION_FUNCTION, .help = "types of columns by name, instead of inferred ones"},
	{"objects",
	 DM_OPTION_OBJECT,
	 DM_OPTION_FUNCTION,
	 .help = "the objects to read, each in the version of its etag, of those that the URL names"},
};

const DmOptionSet dm_format_options = {format_table, lengthof(format_table), NULL};
const DmOptionSet dm_source_options = {source_table, lengthof(source_table), &dm_format_options};

/* Returns the encoding of a name; raises 22023 on one that is not known. */
static int
read_encoding(const char *value)
{
	int encoding = pg_char_to_encoding(value);

	if (encoding < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown encoding \"%s\"", value),
				 errhint("Name one that the server knows, such as UTF8, LATIN1 or WIN1252.")));
	return encoding;
}

/* Returns a point in time; raises 22007 or 22008 on text that is none. */
static TimestampTz
read_time(const char *value)
{
	return DatumGetTimestampTz(DirectFunctionCall3(
		timestamptz_in, CStringGetDatum(value), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/*
 * Stores one checked option; its value is not copied. Options that are not about the format are none of its business.
 * Raises 22023 on an unknown encoding.
 */
static void
set_option(DmObjScanSpec *spec, const char *name, const char *value)
{
	if (strcmp(name, "format") == 0)
		spec->format = strcmp(value, "jsonl") == 0	? DM_FORMAT_JSONL
					   : strcmp(value, "json") == 0 ? DM_FORMAT_JSON
													: DM_FORMAT_CSV;
	else if (strcmp(name, "unknown_fields") == 0)
		spec->unknown_is_error = strcmp(value, "error") == 0;
	else if (strcmp(name, "header") == 0)
		spec->csv.header = dm_option_bool(name, value);
	else if (strcmp(name, "delimiter") == 0)
		spec->csv.delimiter = value[0];
	else if (strcmp(name, "quote") == 0)
		spec->csv.quote = value[0];
	else if (strcmp(name, "escape") == 0)
		spec->csv.escape = value[0];
	else if (strcmp(name, "null") == 0)
		spec->csv.null = value;
	else if (strcmp(name, "encoding") == 0)
		spec->csv.encoding = read_encoding(value);
	else if (strcmp(name, "match") == 0)
		spec->match = strcmp(value, "position") == 0 ? DM_MATCH_POSITION : DM_MATCH_NAME;
	else if (strcmp(name, "on_error") == 0)
		spec->on_error = strcmp(value, "ignore") == 0		? DM_ON_ERROR_IGNORE
						 : strcmp(value, "quarantine") == 0 ? DM_ON_ERROR_QUARANTINE
															: DM_ON_ERROR_STOP;
	else if (strcmp(name, "reject_limit") == 0)
		spec->reject_limit = strtoll(value, NULL, 10);
	else if (strcmp(name, "allow_empty") == 0)
		spec->allow_empty = dm_option_bool(name, value);
	else if (strcmp(name, "jsonpaths") == 0)
		spec->jsonpaths = value;
	else if (strcmp(name, "manifest") == 0)
		spec->manifest = dm_option_bool(name, value);
	else if (strcmp(name, "objects") == 0)
		spec->exact = value;
	else if (strcmp(name, "as_of") == 0)
	{
		spec->has_as_of = true;
		spec->as_of = read_time(value);
	}
	else if (strcmp(name, "hive") == 0)
		spec->no_hive = !dm_option_bool(name, value);
}

/* Stores one checked option of those that Redshift's COPY has. Returns false if it is none. */
static bool
set_tweak(DmObjScanSpec *spec, const char *name, const char *value)
{
	DmCsvTweaks *tweaks = &spec->tweaks;
	const struct
	{
		const char *name;
		bool *flag;
	} flags[] = {{"blanksasnull", &tweaks->blanks_as_null},
				 {"emptyasnull", &tweaks->empty_as_null},
				 {"trimblanks", &tweaks->trim_blanks},
				 {"truncatecolumns", &tweaks->truncate_columns},
				 {"fillrecord", &tweaks->fill_record},
				 {"ignoreblanklines", &tweaks->ignore_blank_lines}};

	if (strcmp(name, "ignoreheader") == 0)
	{
		tweaks->ignore_header = (int) strtol(value, NULL, 10);
		spec->csv.header = false;
		return true;
	}
	if (strcmp(name, "dateformat") == 0 || strcmp(name, "timeformat") == 0)
	{
		*(name[0] == 'd' ? &tweaks->date_format : &tweaks->time_format) = value;
		return true;
	}
	if (strcmp(name, "acceptinvchars") == 0)
	{
		tweaks->replacement = value[0];
		return tweaks->any = true;
	}
	for (int i = 0; i < lengthof(flags); i++)
	{
		if (strcmp(name, flags[i].name) != 0)
			continue;
		*flags[i].flag = dm_option_bool(name, value);
		tweaks->any |= *flags[i].flag;
		return true;
	}
	return false;
}

/* Raises 22023 with why the options of a format contradict each other. */
static void
conflict_error(const char *message, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message), errhint("%s", hint)));
}

/* Sets on_error and reject_limit from maxerror, which counts as Redshift does: the load fails at so many bad rows. */
static void
set_max_error(DmObjScanSpec *spec, List *options)
{
	const char *value = dm_option_get(options, "maxerror");
	int64 limit = value ? strtoll(value, NULL, 10) : 0;

	if (!value)
		return;
	if (dm_option_get(options, "on_error") || dm_option_get(options, "reject_limit"))
		conflict_error("option \"maxerror\" excludes on_error and reject_limit",
					   "maxerror '10' is on_error 'quarantine' with reject_limit '9'.");
	if (limit == 0)
		return;
	spec->on_error = DM_ON_ERROR_QUARANTINE;
	spec->reject_limit = limit - 1;
}

/* Raises 22023 on an option that the format does not have. */
static void
check_format_options(const DmObjScanSpec *spec, List *options)
{
	static const char *const csv_only[] = {"header",
										   "delimiter",
										   "quote",
										   "escape",
										   "null",
										   "match",
										   "ignoreheader",
										   "dateformat",
										   "timeformat",
										   "acceptinvchars",
										   "blanksasnull",
										   "emptyasnull",
										   "trimblanks",
										   "truncatecolumns",
										   "fillrecord",
										   "ignoreblanklines"};

	for (int i = 0; spec->format != DM_FORMAT_CSV && i < lengthof(csv_only); i++)
	{
		if (dm_option_get(options, csv_only[i]))
			conflict_error(psprintf("option \"%s\" is for CSV only", csv_only[i]),
						   "Members of JSON find their columns by name, or by the columns' option path.");
	}
	if (dm_option_get(options, "ignoreheader") && dm_option_get(options, "header"))
		conflict_error("options \"ignoreheader\" and \"header\" exclude each other",
					   "header 'true' matches fields by name, ignoreheader '1' by position.");
	if (spec->format == DM_FORMAT_CSV && spec->jsonpaths)
		conflict_error("option \"jsonpaths\" is for JSON only", "Fields of CSV have names or positions.");
	if (spec->format == DM_FORMAT_CSV && dm_option_get(options, "unknown_fields"))
		conflict_error("option \"unknown_fields\" is for JSON only",
					   "Fields of CSV that are no column are always an error.");
}

/* Raises 22023 on options that contradict each other; as COPY does, for the same cases. */
static void
check_format(const DmObjScanSpec *spec)
{
	const DmCsvOptions *csv = &spec->csv;

	if (csv->delimiter == csv->quote)
		conflict_error("delimiter and quote must be different", "Change one of the two options.");
	if (strchr(csv->null, csv->delimiter) || strpbrk(csv->null, "\r\n"))
		conflict_error("the text of option \"null\" must not hold the delimiter or a line break",
					   "Choose another text for NULL.");
	if (strchr(csv->null, csv->quote))
		conflict_error("the text of option \"null\" must not hold the quote",
					   "Only fields without quotes are compared with it.");
	if (spec->on_error == DM_ON_ERROR_STOP && spec->reject_limit >= 0)
		conflict_error("reject_limit needs on_error 'ignore' or 'quarantine'",
					   "Set one of them, or drop reject_limit.");
	if (spec->tweaks.replacement && csv->encoding != GetDatabaseEncoding())
		conflict_error("option \"acceptinvchars\" needs objects in the database's encoding",
					   "Drop one of acceptinvchars and encoding.");
	if (IS_HIGHBIT_SET(spec->tweaks.replacement))
		conflict_error("the character of option \"acceptinvchars\" must be ASCII",
					   "The usual one is a question mark.");
	if (!csv->header && spec->match == DM_MATCH_NAME)
		conflict_error("match 'name' needs a header", "Set match 'position', or header 'true'.");
}

/*
 * Sets the format part of a spec from checked options (a list of DefElem, whose values it keeps) and from the defaults:
 * CSV with a header, matched by name; by position when there is no header. Raises 22023 on an unknown encoding and on
 * options that contradict each other.
 */
void
dm_format_read(DmObjScanSpec *spec, List *options)
{
	ListCell *cell;

	dm_csv_options_init(&spec->csv);
	spec->csv.header = true;
	spec->format = DM_FORMAT_CSV;
	spec->unknown_is_error = false;
	spec->allow_empty = false;
	spec->no_hive = false;
	spec->has_as_of = false;
	spec->manifest = false;
	spec->exact = NULL;
	spec->jsonpaths = NULL;
	spec->on_error = DM_ON_ERROR_STOP;
	spec->reject_limit = -1;
	memset(&spec->tweaks, 0, sizeof(spec->tweaks));
	foreach (cell, options)
	{
		DefElem *def = lfirst(cell);

		if (!set_tweak(spec, def->defname, defGetString(def)))
			set_option(spec, def->defname, defGetString(def));
	}
	set_max_error(spec, options);
	if (!dm_option_get(options, "escape"))
		spec->csv.escape = spec->csv.quote;
	if (!dm_option_get(options, "match"))
		spec->match = spec->csv.header ? DM_MATCH_NAME : DM_MATCH_POSITION;
	if (spec->format != DM_FORMAT_CSV && !dm_option_get(options, "encoding"))
		spec->csv.encoding = PG_UTF8; /* RFC 8259 8.1 */
	spec->csv.keep_unterminated = spec->on_error != DM_ON_ERROR_STOP;
	check_format_options(spec, options);
	check_format(spec);
}
