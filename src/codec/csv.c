/*
 * csv.c: reads CSV records out of a stream.
 *
 * What a record is: RFC 4180 with what COPY adds to it, and byte for byte what COPY makes of it: a quote may open and
 * close anywhere in a field, the escape character counts only inside quotes and only before a quote or itself, and a field
 * with any quote is never NULL. Where COPY 15 and we differ:
 * 1. Lines may end in LF or CRLF, mixed. A file whose first line ends in a bare CR has CR lines. A bare CR outside
 *    quotes in the former, or a LF in the latter, is an error, as it is for COPY.
 * 2. A line of just \. is data, as RFC 4180 has it and as COPY does since PostgreSQL 18: an object is not a terminal
 *    session, and what follows such a line must not vanish.
 * 3. A UTF-8 byte order mark is skipped; one of UTF-16 is named in the error.
 *
 * How: the buffer is scanned 64 bytes at a time into a mask of the bytes that matter (csv_scan.h), and the loop
 * in dm_csv_read() goes from bit to bit. Invariants:
 * 1. Bytes before scan.next have been scanned; those of the current block not yet dealt with are the bits of scan.mask.
 * 2. When more bytes are needed, the mask is empty and the buffer scanned to its end. Then the bytes of the current
 *    record move to the front, once, and all pointers into them are shifted.
 * 3. Fields are unescaped in place, only after their end was found, so nothing is scanned twice.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/guc.h"
#include "codec/csv_internal.h"

static bool csv_last_record(DmCsvState *csv);

/* Sets COPY's defaults for CSV. */
void
dm_csv_options_init(DmCsvOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->delimiter = ',';
	options->quote = '"';
	options->escape = '"';
	options->null = "";
	options->encoding = GetDatabaseEncoding();
}

/*
 * Raises for a combination that cannot be read. In encodings of clients only (SJIS, BIG5, GBK, ...) the second byte
 * of a character may be an ASCII one from 0x30 up, so nothing from there up can structure a record.
 */
static void
check_options(const DmCsvOptions *options)
{
	if (options->delimiter == options->quote || strchr("\r\n", options->delimiter) != NULL ||
		strchr("\r\n", options->quote) != NULL || strchr("\r\n", options->escape) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delimiter, quote and escape of CSV must be single characters other than newline and "
						"carriage return, and delimiter and quote must differ")));
	if (PG_ENCODING_IS_CLIENT_ONLY(options->encoding) &&
		((unsigned char) options->delimiter >= 0x30 || (unsigned char) options->quote >= 0x30 ||
		 (unsigned char) options->escape >= 0x30))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("delimiter, quote and escape must be below \"0\" in ASCII for CSV in encoding \"%s\"",
						pg_encoding_to_char(options->encoding)),
				 errhint("Convert the objects to UTF8, or write them with a comma and double quotes.")));
}

/* Opens a reader in the current memory context. The options are copied, but not the null string. */
DmCsvReader *
dm_csv_open(DmStream *in, const DmCsvOptions *options)
{
	DmCsvState *csv = palloc0(sizeof(DmCsvState));

	check_options(options);
	csv->options = *options;
	dm_csv_pattern_init(&csv->pattern, options->delimiter, options->quote);
	csv->buffer_size = dm_guc_csv_buffer_bytes;
	csv->buffer = palloc(csv->buffer_size + DM_CSV_PADDING);
	csv->fields_size = 2 * DM_CSV_BLOCK;
	csv->head.fields = palloc(csv->fields_size * sizeof(DmCsvField));
	dm_csv_reset(&csv->head, in);
	return &csv->head;
}

/* Starts over on another stream with the same buffers. */
void
dm_csv_reset(DmCsvReader *reader, DmStream *in)
{
	DmCsvState *csv = (DmCsvState *) reader;

	csv->in = in;
	csv->at_end = false;
	csv->eol = DM_CSV_EOL_UNKNOWN;
	csv->buffer_offset = 0;
	csv->next_line = 1;
	csv->record = csv->opened = csv->buffer;
	memset(&csv->scan, 0, sizeof(DmCsvScan));
	csv->scan.block = csv->scan.next = csv->scan.end = csv->scan.field = csv->buffer;
	reader->nfields = 0;
	reader->record = 0;
	reader->line = 1;
	reader->offset = 0;
	reader->has_high = false;
	reader->unterminated = false;
	reader->in_middle = false;
}

/* Goes on with a stream of the same file whose first byte is a record's first; there is no byte order mark to skip. */
void
dm_csv_continue(DmCsvReader *reader, DmStream *in, uint64 offset)
{
	DmCsvState *csv = (DmCsvState *) reader;
	DmCsvEol eol = csv->eol;

	dm_csv_reset(reader, in);
	csv->eol = eol;
	csv->buffer_offset = offset;
	reader->record = 1;
	reader->offset = offset;
	reader->in_middle = true;
}

/* Byte offset behind the record read last. */
uint64
dm_csv_next_offset(const DmCsvReader *reader)
{
	const DmCsvState *csv = (const DmCsvState *) reader;

	return csv->buffer_offset + (csv->scan.field - csv->buffer);
}

/* Bytes that can be read without asking the stream for more. */
Size
dm_csv_unread(const DmCsvReader *reader)
{
	const DmCsvState *csv = (const DmCsvState *) reader;

	return csv->scan.end - csv->scan.field;
}

/* The byte that ends lines, or NUL. */
char
dm_csv_newline(const DmCsvReader *reader)
{
	switch (((const DmCsvState *) reader)->eol)
	{
		case DM_CSV_EOL_LF: return '\n';
		case DM_CSV_EOL_CR: return '\r';
		case DM_CSV_EOL_UNKNOWN: break;
	}
	return '\0';
}

/* Where the current record is, palloc'd, for messages. */
char *
dm_csv_place(const DmCsvState *csv)
{
	const DmCsvReader *reader = &csv->head;

	if (reader->in_middle)
		return psprintf("the record at byte %llu", (unsigned long long) reader->offset);
	return psprintf("record %lld, which begins on line %lld, byte %llu",
					(long long) reader->record,
					(long long) reader->line,
					(unsigned long long) reader->offset);
}

/*
 * Reads the next record into reader->fields, which live until the next read. Returns false at the end. Raises for
 * what cannot be a record: a quote that stays open, a newline of the wrong kind, a record or a number of fields beyond
 * all limits.
 */
bool
dm_csv_read(DmCsvReader *reader)
{
	DmCsvState *csv = (DmCsvState *) reader;
	const char delimiter = csv->options.delimiter;
	const DmCsvNeedles needles = dm_csv_needles(&csv->pattern);
	DmCsvScan scan;

	if (unlikely(reader->record == 0))
		dm_csv_begin(csv);
	csv->record = csv->scan.field;
	reader->record++;
	reader->line = csv->next_line;
	reader->offset = csv->buffer_offset + (csv->record - csv->buffer);
	scan = csv->scan;
	scan.nfields = 0;
	scan.high = scan.block_high;

	for (;;)
	{
		char *at;

		while (scan.mask == 0)
		{
			if (likely(scan.next < scan.end && scan.nfields + DM_CSV_BLOCK < csv->fields_size))
			{
				dm_csv_scan_next(&scan, &needles);
				continue;
			}
			csv->scan = scan;
			if (!dm_csv_more(csv))
				return csv_last_record(csv);
			scan = csv->scan;
		}
		at = scan.block + pg_rightmost_one_pos64(scan.mask);
		scan.mask &= scan.mask - 1;
		if (likely(*at == delimiter))
		{
			dm_csv_add_field(&scan, reader->fields, at);
			scan.field = at + 1;
		}
		else if (*at == '\n' && csv->eol == DM_CSV_EOL_LF)
		{
			dm_csv_add_field(&scan, reader->fields, at);
			scan.field = at + 1;
			csv->scan = scan;
			break;
		}
		else
		{
			csv->scan = scan;
			if (dm_csv_special(csv, at))
				break;
			scan = csv->scan;
		}
	}
	csv->next_line++;
	reader->nfields = csv->scan.nfields;
	reader->has_high = csv->scan.high;
	return true;
}

/* Completes a last record without a line's end. Returns false if there is none. */
static bool
csv_last_record(DmCsvState *csv)
{
	DmCsvReader *reader = &csv->head;

	if (csv->record == csv->scan.end)
	{
		reader->nfields = 0;
		reader->record--;
		return false;
	}
	dm_csv_add_field(&csv->scan, reader->fields, csv->scan.end);
	csv->scan.field = csv->scan.end;
	csv->next_line++;
	reader->nfields = csv->scan.nfields;
	reader->has_high = csv->scan.high;
	return true;
}

/* Whether text is ASCII without NUL, which is the same in every encoding. */
static bool
is_ascii(const char *text, int len)
{
	const uint64 high = UINT64CONST(0x8080808080808080);
	uint64 bad = 0;

	for (; len >= 8; text += 8, len -= 8)
	{
		uint64 word;

		memcpy(&word, text, 8);
		bad |= (word | (word - UINT64CONST(0x0101010101010101))) & high;
	}
	for (; len > 0; text++, len--)
		bad |= (*text & 0x80) | (*text == '\0');
	return bad == 0;
}

/*
 * Checks the encoding of a field and, if it is not the database's, replaces the field by its conversion, palloc'd in
 * the current memory context. Needed for fields of records with has_high only. Raises 22021 for invalid bytes.
 */
void
dm_csv_field_recode(DmCsvReader *reader, DmCsvField *field)
{
	char *text;

	if (is_ascii(field->data, field->len))
		return;
	text = pg_any_to_server(field->data, field->len, ((DmCsvState *) reader)->options.encoding);
	if (text != field->data)
	{
		field->data = text;
		field->len = (int) strlen(text);
	}
}
