/*
 * infer.c: names and types of the columns of objects, from a bounded sample of them.
 *
 * 1. The sample is the same for the same objects: records at the start of a few objects spread over the list. Which
 *    types come out does not depend on the order of its records.
 * 2. Names are those of the header, as they are. A name that Postgres cannot hold, an empty one and one that comes
 *    twice are errors, since cutting or numbering them would make columns that nobody named.
 * 3. Members of JSON are columns in the order in which the sample has them first. Others than those are not seen here.
 * 4. That every object has the same header is for the scan to check.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "codec/json.h"
#include "rows/guess.h"
#include "source/hive.h"
#include "source/infer.h"
#include "source/objscan_internal.h"

#define DM_SAMPLE_OBJECTS 8
#define DM_SAMPLE_RECORDS 1000
#define DM_SAMPLE_BYTES (1024 * 1024)
/* Of an example at most. */
#define DM_EXAMPLE_BYTES 100

/* What is known of one column. */
typedef struct Column
{
	char *name;
	DmGuess guess;
	int json_kinds; /* of JSON: mask of the kinds of its values, nulls not among them */
	char *example;	/* a value, cut off when long */
} Column;

typedef struct Sample
{
	const DmObjScanSpec *spec;
	MemoryContext context; /* of the columns' names */
	Column *columns;	   /* NULL before the first header, or record of JSON */
	int ncolumns;
	int columns_size; /* of JSON: how many there is room for */
	const char *uri;  /* of the object being read, for the error context */
	int64 rows;
	bool complete;		/* all objects were read to their ends */
	const char *unlike; /* an object with other fields than the first one, or NULL */
} Sample;

/* Says which object an error came from. */
static void
sample_error_context(void *arg)
{
	const Sample *sample = arg;

	if (sample->uri)
		errcontext("inferring columns from %s", sample->uri);
}

/* Returns the column of a name, or -1. */
static int
find_column(const Sample *sample, const char *name)
{
	for (int i = 0; i < sample->ncolumns; i++)
	{
		if (strcmp(sample->columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* Raises unless a header's field can name a column: not empty, not too long, not there already. */
static void
check_name(const Sample *sample, const char *name, int position)
{
	const char *what = sample->spec->format == DM_FORMAT_CSV ? "header field" : "member";

	if (name[0] == '\0')
		ereport(
			ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("%s %d of \"%s\" is empty", what, position, sample->uri),
			 sample->spec->format != DM_FORMAT_CSV
				 ? errhint("Every column needs a name.")
				 : errhint("Every column needs a name. If there is no header, set option \"header\" to false.")));
	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("%s %d of \"%s\" is too long for a column's name", what, position, sample->uri),
				 errdetail("\"%s\" has %zu bytes; the limit is %d.", name, strlen(name), NAMEDATALEN - 1)));
	if (find_column(sample, name) >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("header of \"%s\" has field \"%s\" twice", sample->uri, name)));
}

/* Returns the names of an object's fields, of its header or column1, column2, .., in the sample's context. */
static char **
read_names(Sample *sample, DmCsvReader *csv)
{
	MemoryContext caller = MemoryContextSwitchTo(sample->context);
	char **names = palloc(Max(csv->nfields, 1) * sizeof(char *));

	for (int i = 0; i < csv->nfields; i++)
	{
		DmCsvField *field = &csv->fields[i];

		if (sample->spec->csv.header && csv->has_high)
			dm_csv_field_recode(csv, field);
		names[i] = sample->spec->csv.header ? pnstrdup(field->data, field->len) : psprintf("column%d", i + 1);
	}
	MemoryContextSwitchTo(caller);
	return names;
}

/* Makes the columns from the names of the first object's fields. */
static void
make_columns(Sample *sample, char **names, int count)
{
	sample->columns = MemoryContextAllocZero(sample->context, Max(count, 1) * sizeof(Column));
	for (int i = 0; i < count; i++)
	{
		check_name(sample, names[i], i + 1);
		sample->columns[i].name = names[i];
		sample->ncolumns++;
	}
}

/* Returns the column of each field of an object, -1 for a field that is none. The first object makes the columns. */
static int *
map_fields(Sample *sample, DmCsvReader *csv)
{
	char **names = read_names(sample, csv);
	int *columns = palloc(Max(csv->nfields, 1) * sizeof(int));
	int found = 0;
	bool twice = false;

	if (!sample->columns)
		make_columns(sample, names, csv->nfields);
	for (int i = 0; i < csv->nfields; i++)
	{
		if (sample->spec->match == DM_MATCH_NAME)
			columns[i] = find_column(sample, names[i]);
		else
			columns[i] = i < sample->ncolumns ? i : -1;
		for (int j = 0; j < i; j++)
			twice = twice || (columns[i] >= 0 && columns[j] == columns[i]);
		found += columns[i] >= 0;
	}
	if (!sample->unlike && (twice || found != sample->ncolumns || csv->nfields != sample->ncolumns))
		sample->unlike = MemoryContextStrdup(sample->context, sample->uri);
	return columns;
}

/* Takes one value that is not NULL into account; keeps the first as an example, if its bytes are text. */
static void
add_value(Sample *sample, Column *column, const char *data, int len)
{
	dm_guess_add(&column->guess, data, len);
	if (column->example || len == 0)
		return;
	len = pg_mbcliplen(data, len, DM_EXAMPLE_BYTES);
	if (pg_verifymbstr(data, len, true))
	{
		column->example = MemoryContextAlloc(sample->context, len + 1);
		memcpy(column->example, data, len);
		column->example[len] = '\0';
	}
}

/* Takes one record into account. Bytes that no type but text has need no check here. */
static void
add_record(Sample *sample, const DmCsvReader *csv, const int *columns, int nfields)
{
	int null_len = strlen(sample->spec->csv.null);

	sample->rows++;
	for (int i = 0; i < Min(csv->nfields, nfields); i++)
	{
		const DmCsvField *field = &csv->fields[i];
		bool is_null =
			!field->quoted && field->len == null_len && memcmp(field->data, sample->spec->csv.null, null_len) == 0;

		if (columns[i] >= 0 && !is_null)
			add_value(sample, &sample->columns[columns[i]], field->data, field->len);
	}
}

/* Returns the column of a JSON member, which is added if it is new. */
static Column *
json_column(Sample *sample, const char *data, int len)
{
	char *name = MemoryContextStrdup(sample->context, pnstrdup(data, len));
	int column = find_column(sample, name);

	if (column >= 0)
		return &sample->columns[column];
	if (sample->ncolumns == MaxTupleAttributeNumber)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("records of \"%s\" have more than %d members", sample->uri, MaxTupleAttributeNumber)));
	check_name(sample, name, sample->ncolumns + 1);
	if (sample->ncolumns == sample->columns_size)
	{
		sample->columns_size *= 2;
		sample->columns = repalloc(sample->columns, sample->columns_size * sizeof(Column));
		memset(sample->columns + sample->ncolumns, 0, (sample->columns_size - sample->ncolumns) * sizeof(Column));
	}
	sample->columns[sample->ncolumns].name = name;
	return &sample->columns[sample->ncolumns++];
}

/* Takes one member of a JSON record into account. */
static void
add_member(Sample *sample, DmJsonSpan *name, DmJsonSpan *value)
{
	Column *column;

	if (name->escaped)
		dm_json_unescape(name);
	column = json_column(sample, name->data, name->len);
	if (value->kind == DM_JSON_NULL)
		return;
	column->json_kinds |= 1 << value->kind;
	/* what has escapes looks like text either way */
	add_value(sample, column, value->data, value->len);
}

/* Reads the first records of a JSON object. A bad one is no sample; whether it is an error is for the scan to say. */
static void
sample_json(Sample *sample, DmStream *bytes)
{
	DmJsonReader *json = dm_json_open(bytes, sample->spec->format == DM_FORMAT_JSONL);
	DmJsonScan scan;
	DmJsonSpan name;
	DmJsonSpan value;

	while (json->record < DM_SAMPLE_RECORDS && json->offset < DM_SAMPLE_BYTES && dm_json_read(json))
	{
		char *text;

		CHECK_FOR_INTERRUPTS();
		if (json->broken)
			break;
		if (sample->spec->on_error != DM_ON_ERROR_STOP &&
			pg_encoding_verifymbstr(sample->spec->csv.encoding, json->data, json->len) != json->len)
			continue;
		if (!sample->columns)
		{
			sample->columns_size = 16;
			sample->columns = MemoryContextAllocZero(sample->context, sample->columns_size * sizeof(Column));
		}
		text = pg_any_to_server(json->data, json->len, sample->spec->csv.encoding);
		if (!dm_json_object_begin(&scan, text, text == json->data ? json->len : (int) strlen(text)))
			continue;
		sample->rows++;
		while (dm_json_next_member(&scan, &name, &value))
			add_member(sample, &name, &value);
	}
	if (json->broken || json->record >= DM_SAMPLE_RECORDS || json->offset >= DM_SAMPLE_BYTES)
		sample->complete = false;
}

/*
 * Returns the type of a column. Strings of JSON that look like numbers are text, since the writer could have written
 * numbers; containers are jsonb; scalars of several kinds are text.
 */
static Oid
column_type(const Sample *sample, const Column *column)
{
	Oid type = dm_guess_type(&column->guess);
	int kinds = column->json_kinds;

	if (sample->spec->format == DM_FORMAT_CSV)
		return type;
	if (kinds & (1 << DM_JSON_OBJECT | 1 << DM_JSON_ARRAY))
		return JSONBOID;
	if (kinds == 1 << DM_JSON_BOOL)
		return BOOLOID;
	if (kinds == 1 << DM_JSON_NUMBER)
		return type == INT8OID ? INT8OID : NUMERICOID;
	if (kinds == 1 << DM_JSON_STRING &&
		(type == UUIDOID || type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID))
		return type;
	return TEXTOID;
}

/* Reads the first records of an object. */
static void
sample_stream(Sample *sample, DmStream *stored)
{
	DmStream *bytes = dm_stream_plain_open(stored);
	DmCsvReader *csv;
	int *columns;
	int nfields;

	if (sample->spec->format != DM_FORMAT_CSV)
	{
		sample_json(sample, bytes);
		return;
	}
	csv = dm_csv_open(bytes, &sample->spec->csv);
	for (int i = 0; i < sample->spec->tweaks.ignore_header; i++)
	{
		if (!dm_csv_read(csv))
			return;
	}
	if (!dm_csv_read(csv))
		return;
	columns = map_fields(sample, csv);
	nfields = csv->nfields;
	if (!sample->spec->csv.header)
		add_record(sample, csv, columns, nfields);
	while (csv->record < DM_SAMPLE_RECORDS && csv->offset < DM_SAMPLE_BYTES && dm_csv_read(csv))
	{
		CHECK_FOR_INTERRUPTS();
		if (csv->unterminated)
			break;
		add_record(sample, csv, columns, nfields);
	}
	if (csv->unterminated || csv->record >= DM_SAMPLE_RECORDS || csv->offset >= DM_SAMPLE_BYTES)
		sample->complete = false;
}

/* Reads the start of one object, and releases all that it took. */
static void
sample_object(Sample *sample, DmStore *store, DmObject *object)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill sampled object", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	const DmObject *fetched;
	DmFetch *fetch;

	sample->uri = dm_object_uri(object);
	fetch = dm_fetch_open(store, list_make1(object));
	sample_stream(sample, dm_fetch_next(fetch, &fetched));
	dm_fetch_close(fetch);
	sample->uri = NULL;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* Reads the sample: the first records of a few objects spread over the list. */
static void
read_sample(Sample *sample, DmStore *store, List *objects)
{
	ErrorContextCallback callback = {error_context_stack, sample_error_context, sample};
	int count = Min(list_length(objects), DM_SAMPLE_OBJECTS);

	sample->complete = count == list_length(objects);
	error_context_stack = &callback;
	for (int i = 0; i < count; i++)
		sample_object(sample, store, list_nth(objects, (int) ((int64) i * list_length(objects) / count)));
	error_context_stack = callback.previous;
}

/* Sets a column to the type of a text such as numeric(10,2). Raises 22023 or what the type's name raises. */
static void
override_type(DmInferredColumn *column, JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"columns\" must give each column's type as a string"),
				 errhint("For example {\"columns\": {\"%s\": \"text\"}}.", column->name)));
	dm_parse_type(pnstrdup(value->val.string.val, value->val.string.len), &column->type, &column->typmod);
	if (get_typtype(column->type) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"columns\" gives column \"%s\" the pseudo-type %s",
						column->name,
						format_type_be(column->type))));
	column->doubt = NULL;
}

/* Returns the column of a name. Raises 42703 if there is none. */
static DmInferredColumn *
inferred_column(DmInferred *inferred, const char *url, const char *name)
{
	for (int i = 0; i < inferred->ncolumns; i++)
	{
		if (strcmp(inferred->columns[i].name, name) == 0)
			return &inferred->columns[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("option \"columns\" names column \"%s\", which \"%s\" lacks", name, url)));
}

/* Sets the types that the option "columns" gives. Raises 42703 on a column that there is not. */
static void
override_types(DmInferred *inferred, const char *url, const char *types_json)
{
	Jsonb *types = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(types_json)));
	JsonbIterator *iterator = JsonbIteratorInit(&types->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		DmInferredColumn *column;

		if (token != WJB_KEY)
			continue;
		column = inferred_column(inferred, url, pnstrdup(value.val.string.val, value.val.string.len));
		(void) JsonbIteratorNext(&iterator, &value, true);
		override_type(column, &value);
	}
}

/* Raises when nothing was found from which to infer, unless that may be. */
static void
check_found(const DmObjScanSpec *spec, List *objects)
{
	if (spec->allow_empty)
		return;
	if (objects == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("no object matches \"%s\"", spec->url),
				 errhint("Check the URL, or set the option allow_empty if there may be none.")));
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("objects of \"%s\" are empty", spec->url),
			 errhint("Not even a header was found. Set the option allow_empty if that may be.")));
}

/* Describes what the sample says of a field. */
static void
describe_field(const Sample *sample, const Column *column, DmInferredColumn *inferred)
{
	inferred->name = column->name;
	inferred->type = column_type(sample, column);
	inferred->typmod = -1;
	inferred->rows = sample->rows;
	inferred->nulls = sample->rows - column->guess.values;
	inferred->example = column->example;
	/* JSON tells its types: only what it has not got is in doubt */
	if (sample->spec->format == DM_FORMAT_CSV || column->guess.values == 0)
		inferred->doubt = dm_guess_doubt(&column->guess);
	else if (inferred->type == TEXTOID && (column->json_kinds & (column->json_kinds - 1)) != 0)
		inferred->doubt = pstrdup("values of several kinds");
}

/* Describes a partition by its values in all keys. */
static void
describe_partition(const char *name, List *objects, DmInferredColumn *inferred)
{
	DmGuess guess = {0};
	ListCell *cell;

	inferred->name = pstrdup(name);
	inferred->is_partition = true;
	inferred->typmod = -1;
	inferred->rows = list_length(objects);
	foreach (cell, objects)
	{
		bool found;
		char *value = dm_hive_value(((const DmObject *) lfirst(cell))->key, name, &found);

		if (!value)
			continue;
		dm_guess_add(&guess, value, (int) strlen(value));
		if (inferred->example)
			pfree(value);
		else
			inferred->example = value;
	}
	inferred->nulls = inferred->rows - guess.values;
	inferred->type = dm_guess_type(&guess);
	inferred->doubt = dm_guess_doubt(&guess);
}

/* Raises for a partition of the URL that is a field of the objects as well. */
static void
check_partition(const Sample *sample, const char *name)
{
	if (find_column(sample, name) >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("\"%s\" is a partition of \"%s\" and a field of its objects", name, sample->spec->url),
				 errhint("To take the field, set the option hive to false.")));
}

/* Samples the objects; see infer.h. Raises as the object scan does on unreadable data. */
DmInferred *
dm_infer(const DmObjScanSpec *spec, const char *types_json)
{
	DmObjScanStats stats = {0};
	DmStore *store = dm_store_open(spec->server, spec->user);
	List *partitions = spec->no_hive ? NIL : dm_hive_names(spec->url);
	Sample sample = {.spec = spec, .context = CurrentMemoryContext};
	DmInferred *inferred = palloc0(sizeof(DmInferred));
	ListCell *cell;

	inferred->objects = spec->listed ? spec->objects : dm_objlist_make(store, spec, &stats);
	read_sample(&sample, store, inferred->objects);
	if (!sample.columns)
	{
		check_found(spec, inferred->objects);
		return NULL;
	}
	inferred->columns = palloc0((sample.ncolumns + list_length(partitions) + 1) * sizeof(DmInferredColumn));
	inferred->complete = sample.complete;
	inferred->unlike = sample.unlike;
	for (int i = 0; i < sample.ncolumns; i++)
		describe_field(&sample, &sample.columns[i], &inferred->columns[inferred->ncolumns++]);
	foreach (cell, partitions)
	{
		check_partition(&sample, lfirst(cell));
		describe_partition(lfirst(cell), inferred->objects, &inferred->columns[inferred->ncolumns++]);
	}
	if (types_json)
		override_types(inferred, spec->url, types_json);
	return inferred;
}

/* The columns as a row's shape. */
TupleDesc
dm_inferred_desc(const DmInferred *inferred)
{
	TupleDesc desc = CreateTemplateTupleDesc(inferred->ncolumns);

	for (int i = 0; i < inferred->ncolumns; i++)
		TupleDescInitEntry(
			desc, i + 1, inferred->columns[i].name, inferred->columns[i].type, inferred->columns[i].typmod, 0);
	return desc;
}
