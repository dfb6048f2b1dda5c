/*
 * json_writer.c: rows to JSON objects, each byte for byte what row_to_json makes of the row.
 *
 * Numbers are numbers, but for those that JSON has not (NaN, Infinity), which are strings; dates and times are ISO 8601
 * whatever DateStyle says; json and jsonb stay as they are; arrays and composite types are arrays and objects; types with a
 * cast to json go by it; all else is a string. The encoding is changed at the end, of a whole record at once.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "codec/record_writer.h"
#include "rows/format.h"

typedef enum JsonKind
{
	JSON_STRING,
	JSON_BOOL,
	JSON_INTEGER, /* as it is */
	JSON_NUMBER,  /* as it is if it is one in JSON */
	JSON_TIME,	  /* date, timestamp or timestamptz */
	JSON_JSON,	  /* json or jsonb: its text as it is */
	JSON_ARRAY,
	JSON_OBJECT,
	JSON_CAST /* by the type's cast to json */
} JsonKind;

typedef struct JsonColumn
{
	int attribute; /* index in the row, from 0 */
	JsonKind kind;
	Oid type;	   /* of JSON_TIME */
	FmgrInfo cast; /* of JSON_CAST */
	char *name;	   /* what stands before the value: a brace or comma, the name and a colon */
	int name_len;
	DmFormatter formatter;
} JsonColumn;

typedef struct JsonWriter
{
	DmRecordWriter head;
	bool as_array;
	bool is_first; /* no record was written to this file yet */
	int encoding;
	int ncolumns;
	JsonColumn *columns;
} JsonWriter;

/* Appends a string within quotes, as escape_json() does, which wants it terminated and goes byte by byte. */
static void
append_string(StringInfo out, const char *text, int len)
{
	const char *end = text + len;
	const char *start = text; /* of what is not yet appended */

	appendStringInfoCharMacro(out, '"');
	for (; text < end; text++)
	{
		const char *escape = NULL;

		if (likely((unsigned char) *text >= ' ' && *text != '"' && *text != '\\'))
			continue;
		dm_append(out, start, (int) (text - start));
		start = text + 1;
		switch (*text)
		{
			case '\b': escape = "\\b"; break;
			case '\f': escape = "\\f"; break;
			case '\n': escape = "\\n"; break;
			case '\r': escape = "\\r"; break;
			case '\t': escape = "\\t"; break;
			case '"': escape = "\\\""; break;
			case '\\': escape = "\\\\"; break;
			default: appendStringInfo(out, "\\u%04x", (unsigned char) *text); break;
		}
		if (escape)
			appendStringInfoString(out, escape);
	}
	dm_append(out, start, (int) (end - start));
	appendStringInfoCharMacro(out, '"');
}

/* Appends the text of a json Datum. */
static void
append_json(StringInfo out, Datum json)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(json);

	dm_append(out, VARDATA_ANY(text), (int) VARSIZE_ANY_EXHDR(text));
}

/* Appends a date or time as a string of ISO 8601. */
static void
append_time(const JsonColumn *column, Datum value, StringInfo out)
{
	char text[MAXDATELEN + 1];

	JsonEncodeDateTime(text, value, column->type, NULL);
	appendStringInfoCharMacro(out, '"');
	appendStringInfoString(out, text);
	appendStringInfoCharMacro(out, '"');
}

/* Appends one value that is not NULL. */
static void
append_value(JsonColumn *column, Datum value, StringInfo out)
{
	const char *text;
	int len;

	switch (column->kind)
	{
		case JSON_BOOL: appendStringInfoString(out, DatumGetBool(value) ? "true" : "false"); return;
		case JSON_TIME: append_time(column, value, out); return;
		case JSON_ARRAY: append_json(out, DirectFunctionCall1(array_to_json, value)); return;
		case JSON_OBJECT: append_json(out, DirectFunctionCall1(row_to_json, value)); return;
		case JSON_CAST: append_json(out, FunctionCall1(&column->cast, value)); return;
		default: break;
	}
	text = column->formatter.format(&column->formatter, value, &len);
	if (column->kind == JSON_INTEGER || column->kind == JSON_JSON ||
		(column->kind == JSON_NUMBER && IsValidJsonNumber(text, len)))
		dm_append(out, text, len);
	else
		append_string(out, text, len);
}

/* Puts what out holds from start on into the encoding that is written. */
static void
recode(const JsonWriter *writer, StringInfo out, int start)
{
	char *text = out->data + start;
	char *recoded = pg_server_to_any(text, out->len - start, writer->encoding);

	if (recoded == text)
		return;
	out->len = start;
	appendStringInfoString(out, recoded);
}

/* Appends a record; see record_writer.h. */
static void
json_record(DmRecordWriter *head, const Datum *values, const bool *nulls, StringInfo out)
{
	JsonWriter *writer = (JsonWriter *) head;
	int start = out->len;

	if (writer->as_array && !writer->is_first)
		appendStringInfoString(out, ",\n");
	writer->is_first = false;
	if (writer->ncolumns == 0)
		appendStringInfoCharMacro(out, '{');
	for (int i = 0; i < writer->ncolumns; i++)
	{
		JsonColumn *column = &writer->columns[i];

		head->attribute = column->attribute;
		dm_append(out, column->name, column->name_len);
		if (nulls[column->attribute])
			dm_append(out, "null", 4);
		else
			append_value(column, values[column->attribute], out);
	}
	head->attribute = -1;
	appendStringInfoCharMacro(out, '}');
	if (!writer->as_array)
		appendStringInfoCharMacro(out, '\n');
	if (writer->encoding != GetDatabaseEncoding())
		recode(writer, out, start);
}

/* Appends what a file begins with. */
static void
json_begin(DmRecordWriter *head, StringInfo out)
{
	JsonWriter *writer = (JsonWriter *) head;

	writer->is_first = true;
	if (writer->as_array)
		appendStringInfoCharMacro(out, '[');
}

/* Appends what a file ends with. */
static void
json_end(DmRecordWriter *head, StringInfo out)
{
	if (((JsonWriter *) head)->as_array)
		appendStringInfoString(out, "]\n");
}

/* Sets how values of a type that is not built in, and neither array nor composite, are written. */
static void
other_kind(JsonColumn *column, Oid type)
{
	Oid function;

	column->kind = JSON_STRING;
	if (type < FirstNormalObjectId)
		return;
	if (find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) != COERCION_PATH_FUNC)
		return;
	column->kind = JSON_CAST;
	fmgr_info(function, &column->cast);
}

/* Sets how values of a type are written: what row_to_json makes of it. */
static void
column_kind(JsonColumn *column, Oid type)
{
	type = getBaseType(type);
	column->type = type;
	switch (type)
	{
		case BOOLOID: column->kind = JSON_BOOL; break;
		case INT2OID:
		case INT4OID:
		case INT8OID: column->kind = JSON_INTEGER; break;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID: column->kind = JSON_NUMBER; break;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID: column->kind = JSON_TIME; break;
		case JSONOID:
		case JSONBOID: column->kind = JSON_JSON; break;
		default:
			if (OidIsValid(get_element_type(type)) || type == ANYARRAYOID || type == RECORDARRAYOID)
				column->kind = JSON_ARRAY;
			else if (type_is_rowtype(type))
				column->kind = JSON_OBJECT;
			else
				other_kind(column, type);
	}
}

/* Prepares the columns. */
static void
columns_make(JsonWriter *writer, TupleDesc desc)
{
	writer->columns = palloc0(sizeof(JsonColumn) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		JsonColumn *column = &writer->columns[writer->ncolumns];
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		StringInfoData name;

		if (attribute->attisdropped)
			continue;
		initStringInfo(&name);
		appendStringInfoChar(&name, writer->ncolumns == 0 ? '{' : ',');
		append_string(&name, NameStr(attribute->attname), (int) strlen(NameStr(attribute->attname)));
		appendStringInfoChar(&name, ':');
		column->attribute = i;
		column->name = name.data;
		column->name_len = name.len;
		column_kind(column, attribute->atttypid);
		dm_formatter_init(&column->formatter, attribute->atttypid);
		writer->ncolumns++;
	}
}

/* Makes a writer of JSON; see record_writer.h. */
DmRecordWriter *
dm_json_writer_make(TupleDesc desc, bool as_array, int encoding)
{
	JsonWriter *writer = palloc0(sizeof(JsonWriter));

	writer->head = (DmRecordWriter){json_begin, json_end, json_record, -1};
	writer->as_array = as_array;
	writer->encoding = encoding;
	columns_make(writer, desc);
	return &writer->head;
}
