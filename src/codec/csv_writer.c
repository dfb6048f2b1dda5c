/*
 * csv_writer.c: rows to CSV, byte for byte as COPY TO writes it.
 *
 * A value is put in quotes if it holds the delimiter, a quote or a line break, is the text of NULL, or is a lone `\.`; within
 * quotes the escape character stands before quotes and before itself. NULL is its text without quotes. Lines end in LF.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "codec/record_writer.h"
#include "rows/format.h"

typedef struct CsvColumn
{
	int attribute; /* index in the row, from 0 */
	bool force_quote;
	bool plain; /* its values never need quotes */
	DmFormatter formatter;
} CsvColumn;

typedef struct CsvWriter
{
	DmRecordWriter head;
	TupleDesc desc;
	DmCsvWriteOptions options;
	int options_null_len;
	const char *null; /* in the encoding written */
	int null_len;
	bool recode;	   /* values are in another encoding than the bytes written */
	bool embeds_ascii; /* that encoding has ASCII bytes in the middle of characters */
	bool special[256]; /* bytes that need quotes around their value */
	int ncolumns;
	CsvColumn *columns;
} CsvWriter;

/* Does the value need quotes? text is in the encoding written. */
static bool
needs_quotes(const CsvWriter *writer, const char *text, int len)
{
	const char *end = text + len;

	if (writer->ncolumns == 1 && len == 2 && text[0] == '\\' && text[1] == '.')
		return true;
	while (text < end)
	{
		if (writer->special[(unsigned char) *text])
			return true;
		text +=
			writer->embeds_ascii && IS_HIGHBIT_SET(*text) ? pg_encoding_mblen(writer->options.encoding, text) : 1;
	}
	return false;
}

/* Appends a value within quotes. */
static void
append_quoted(const CsvWriter *writer, const char *text, int len, StringInfo out)
{
	const char *end = text + len;
	const char *start = text; /* of what is not yet appended */

	appendStringInfoCharMacro(out, writer->options.quote);
	while (text < end)
	{
		if (*text == writer->options.quote || *text == writer->options.escape)
		{
			dm_append(out, start, (int) (text - start));
			appendStringInfoCharMacro(out, writer->options.escape);
			start = text;
		}
		text +=
			writer->embeds_ascii && IS_HIGHBIT_SET(*text) ? pg_encoding_mblen(writer->options.encoding, text) : 1;
	}
	dm_append(out, start, (int) (Min(text, end) - start));
	appendStringInfoCharMacro(out, writer->options.quote);
}

/* Appends a value that is in the database's encoding. */
static void
append_value(const CsvWriter *writer, const char *text, int len, bool quotes, StringInfo out)
{
	/* As COPY does, the text of NULL is compared before the change of encoding. */
	if (len == writer->options_null_len && memcmp(text, writer->options.null, len) == 0)
		quotes = true;
	if (writer->recode)
	{
		text = pg_server_to_any(pnstrdup(text, len), len, writer->options.encoding);
		len = (int) strlen(text);
	}
	if (quotes || needs_quotes(writer, text, len))
		append_quoted(writer, text, len, out);
	else
		dm_append(out, text, len);
}

/* Appends a record; see record_writer.h. */
static void
csv_record(DmRecordWriter *head, const Datum *values, const bool *nulls, StringInfo out)
{
	CsvWriter *writer = (CsvWriter *) head;

	for (int i = 0; i < writer->ncolumns; i++)
	{
		CsvColumn *column = &writer->columns[i];
		const char *text;
		int len;

		if (i > 0)
			appendStringInfoCharMacro(out, writer->options.delimiter);
		if (nulls[column->attribute])
		{
			dm_append(out, writer->null, writer->null_len);
			continue;
		}
		head->attribute = column->attribute;
		text = column->formatter.format(&column->formatter, values[column->attribute], &len);
		if (column->plain)
			dm_append(out, text, len);
		else
			append_value(writer, text, len, column->force_quote, out);
	}
	head->attribute = -1;
	appendStringInfoCharMacro(out, '\n');
}

/* Appends the header, if there is one. */
static void
csv_begin(DmRecordWriter *head, StringInfo out)
{
	CsvWriter *writer = (CsvWriter *) head;

	if (!writer->options.header)
		return;
	for (int i = 0; i < writer->ncolumns; i++)
	{
		const char *name = NameStr(TupleDescAttr(writer->desc, writer->columns[i].attribute)->attname);

		if (i > 0)
			appendStringInfoCharMacro(out, writer->options.delimiter);
		append_value(writer, name, (int) strlen(name), false, out);
	}
	appendStringInfoCharMacro(out, '\n');
}

/* Appends nothing: a CSV file has no end of its own. */
static void
csv_end(DmRecordWriter *head, StringInfo out)
{
}

/* Can plain text (see format.h) go into the file as it is? */
static bool
plain_is_safe(const CsvWriter *writer)
{
	bool null_is_plain = writer->options.null[0] != '\0';

	for (const char *c = writer->options.null; *c; c++)
		null_is_plain &= dm_format_is_plain((unsigned char) *c);
	/* All encodings of clients have ASCII as it is. */
	return !null_is_plain && !dm_format_is_plain((unsigned char) writer->options.delimiter) &&
		   !dm_format_is_plain((unsigned char) writer->options.quote);
}

/* Prepares the columns. */
static void
columns_make(CsvWriter *writer)
{
	bool safe = plain_is_safe(writer);

	writer->columns = palloc0(sizeof(CsvColumn) * (writer->desc->natts + 1));
	for (int i = 0; i < writer->desc->natts; i++)
	{
		CsvColumn *column = &writer->columns[writer->ncolumns];

		if (TupleDescAttr(writer->desc, i)->attisdropped)
			continue;
		column->attribute = i;
		column->force_quote = bms_is_member(i + 1, writer->options.force_quote);
		dm_formatter_init(&column->formatter, TupleDescAttr(writer->desc, i)->atttypid);
		column->plain = safe && column->formatter.plain && !column->force_quote;
		writer->ncolumns++;
	}
}

/* Makes a writer of CSV; see record_writer.h. */
DmRecordWriter *
dm_csv_writer_make(TupleDesc desc, const DmCsvWriteOptions *options)
{
	CsvWriter *writer = palloc0(sizeof(CsvWriter));

	writer->head = (DmRecordWriter){csv_begin, csv_end, csv_record, -1};
	writer->desc = desc;
	writer->options = *options;
	/* As in COPY, nothing is changed between equal encodings, and nothing is known of SQL_ASCII. */
	writer->recode = options->encoding != GetDatabaseEncoding() && options->encoding != PG_SQL_ASCII;
	writer->embeds_ascii = PG_ENCODING_IS_CLIENT_ONLY(options->encoding);
	writer->null = options->null;
	if (writer->recode)
		writer->null = pg_server_to_any(options->null, (int) strlen(options->null), options->encoding);
	writer->options_null_len = (int) strlen(options->null);
	writer->null_len = (int) strlen(writer->null);
	writer->special[(unsigned char) options->delimiter] = true;
	writer->special[(unsigned char) options->quote] = true;
	writer->special['\n'] = true;
	writer->special['\r'] = true;
	columns_make(writer);
	return &writer->head;
}
