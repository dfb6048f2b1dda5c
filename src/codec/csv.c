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
#include "utils/memutils.h"

#include "base/guc.h"
#include "codec/csv.h"
#include "codec/csv_scan.h"

/* Most fields a record may have: far above a table's columns, to bound what a damaged object can ask for. */
#define DM_CSV_MAX_FIELDS 65536
/* Room behind the data, so that a block can be loaded from any byte of it. */
#define DM_CSV_PADDING DM_CSV_BLOCK
#define DM_CSV_MAX_BUFFER (MaxAllocSize - DM_CSV_PADDING)

typedef enum CsvEol
{
	CSV_EOL_UNKNOWN, /* before the end of the first line */
	CSV_EOL_LF,		 /* LF, with or without a CR before it */
	CSV_EOL_CR
} CsvEol;

/* Where the scan stands; copied to locals in the innermost loop. */
typedef struct CsvScan
{
	uint64 mask; /* the bytes of block that matter and are not yet dealt with */
	char *block; /* first byte of the last block scanned */
	char *next;	 /* first byte not scanned */
	char *end;	 /* end of the data in the buffer */
	char *field; /* start of the current field */
	int nfields; /* complete ones of this record */
	bool block_high; /* the last block holds a NUL or a byte that is not ASCII */
	bool high;	 /* ... or another block of this record does */
} CsvScan;

typedef struct CsvReader
{
	DmCsvReader head;
	CsvScan scan;
	DmCsvPattern pattern;
	DmCsvOptions options;
	CsvEol eol;
	int fields_size;	/* how many head.fields has room for */
	DmStream *in;
	bool at_end;		/* the stream has no more */
	char *buffer;
	Size buffer_size;	/* without the padding */
	uint64 buffer_offset; /* of the buffer's first byte in the stream */
	char *record;		/* start of the current record */
	char *opened;		/* the quote that is open, or the field's last one */
	int64 next_line;	/* line after what was read so far */
} CsvReader;

static bool csv_more(CsvReader *csv);
static bool csv_special(CsvReader *csv, char *at);
static bool csv_last_record(CsvReader *csv);
static void csv_begin(CsvReader *csv);

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
	CsvReader *csv = palloc0(sizeof(CsvReader));

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
	CsvReader *csv = (CsvReader *) reader;

	csv->in = in;
	csv->at_end = false;
	csv->eol = CSV_EOL_UNKNOWN;
	csv->buffer_offset = 0;
	csv->next_line = 1;
	csv->record = csv->opened = csv->buffer;
	memset(&csv->scan, 0, sizeof(CsvScan));
	csv->scan.block = csv->scan.next = csv->scan.end = csv->scan.field = csv->buffer;
	reader->nfields = 0;
	reader->record = 0;
	reader->line = 1;
	reader->offset = 0;
	reader->has_high = false;
}

/* Scans the next block; there are bytes to scan. Bits past the end of the data are cleared. */
static pg_attribute_always_inline void
csv_scan_next(CsvScan *scan, const DmCsvNeedles *needles)
{
	Size left = scan->end - scan->next;

	scan->block = scan->next;
	scan->mask = dm_csv_scan_block(needles, scan->block, &scan->block_high);
	scan->high |= scan->block_high;
	if (likely(left >= DM_CSV_BLOCK))
		scan->next += DM_CSV_BLOCK;
	else
	{
		scan->mask &= (UINT64CONST(1) << left) - 1;
		scan->next = scan->end;
	}
}

/* Adds the bytes from the field's start up to end as an unquoted field. There is room for it. */
static pg_attribute_always_inline void
csv_add_field(CsvScan *scan, DmCsvField *fields, char *end)
{
	DmCsvField *field = &fields[scan->nfields++];

	field->data = scan->field;
	field->len = (int) (end - scan->field);
	field->quoted = false;
}

/*
 * Reads the next record into reader->fields, which live until the next read. Returns false at the end. Raises for
 * what cannot be a record: a quote that stays open, a newline of the wrong kind, a record or a number of fields beyond
 * all limits.
 */
bool
dm_csv_read(DmCsvReader *reader)
{
	CsvReader *csv = (CsvReader *) reader;
	const char delimiter = csv->options.delimiter;
	const DmCsvNeedles needles = dm_csv_needles(&csv->pattern);
	CsvScan scan;

	if (unlikely(reader->record == 0))
		csv_begin(csv);
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
				csv_scan_next(&scan, &needles);
				continue;
			}
			csv->scan = scan;
			if (!csv_more(csv))
				return csv_last_record(csv);
			scan = csv->scan;
		}
		at = scan.block + pg_rightmost_one_pos64(scan.mask);
		scan.mask &= scan.mask - 1;
		if (likely(*at == delimiter))
		{
			csv_add_field(&scan, reader->fields, at);
			scan.field = at + 1;
		}
		else if (*at == '\n' && csv->eol == CSV_EOL_LF)
		{
			csv_add_field(&scan, reader->fields, at);
			scan.field = at + 1;
			csv->scan = scan;
			break;
		}
		else
		{
			csv->scan = scan;
			if (csv_special(csv, at))
				break;
			scan = csv->scan;
		}
	}
	csv->next_line++;
	reader->nfields = csv->scan.nfields;
	reader->has_high = csv->scan.high;
	return true;
}

/* Raises for a record that is too much to hold; what says of which there are more than limit. */
static void
csv_too_large(CsvReader *csv, const char *what, Size limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("CSV record of \"%s\" has more than %zu %s", csv->in->name, limit, what),
			 errdetail("It is record %lld and begins on line %lld, byte %llu.",
					   (long long) csv->head.record,
					   (long long) csv->head.line,
					   (unsigned long long) csv->head.offset),
			 errhint("Look for a quote that is never closed, or for another delimiter or newline.")));
}

/* Shifts every pointer into the buffer, whose bytes from `from` now stand at `to`. */
static void
csv_shift(CsvReader *csv, char *from, char *to)
{
	csv->record = to + (csv->record - from);
	csv->opened = to + (csv->opened - from);
	csv->scan.field = to + (csv->scan.field - from);
	csv->scan.end = to + (csv->scan.end - from);
	csv->scan.next = csv->scan.block = csv->scan.end;
	for (int i = 0; i < csv->scan.nfields; i++)
		csv->head.fields[i].data = to + (csv->head.fields[i].data - from);
}

/* Makes room for more fields. */
static void
csv_grow_fields(CsvReader *csv)
{
	if (csv->scan.nfields > DM_CSV_MAX_FIELDS)
		csv_too_large(csv, "fields", DM_CSV_MAX_FIELDS);
	csv->fields_size *= 2;
	csv->head.fields = repalloc(csv->head.fields, csv->fields_size * sizeof(DmCsvField));
}

/* Doubles the buffer, which the current record fills from its front. */
static void
csv_grow_buffer(CsvReader *csv)
{
	char *old = csv->buffer;

	if (csv->buffer_size >= DM_CSV_MAX_BUFFER)
		csv_too_large(csv, "bytes", DM_CSV_MAX_BUFFER);
	csv->buffer_size = Min(csv->buffer_size * 2, DM_CSV_MAX_BUFFER);
	csv->buffer = repalloc(csv->buffer, csv->buffer_size + DM_CSV_PADDING);
	csv_shift(csv, old, csv->buffer);
}

/*
 * Makes the scan able to go on: room for the fields of one more block and bytes to scan. The mask is empty. Returns false
 * when the stream has no more bytes.
 */
static bool
csv_more(CsvReader *csv)
{
	Size kept = csv->scan.end - csv->record;
	Size got;

	Assert(csv->scan.mask == 0);
	if (csv->scan.nfields + DM_CSV_BLOCK >= csv->fields_size)
		csv_grow_fields(csv);
	if (csv->scan.next < csv->scan.end)
		return true;
	if (csv->at_end)
		return false;
	if (csv->record > csv->buffer)
	{
		char *from = csv->record;

		memmove(csv->buffer, from, kept);
		csv->buffer_offset += from - csv->buffer;
		csv_shift(csv, from, csv->buffer);
	}
	if (kept == csv->buffer_size)
		csv_grow_buffer(csv);
	got = dm_stream_read(csv->in, csv->buffer + kept, csv->buffer_size - kept);
	csv->at_end = got == 0;
	csv->scan.block_high = false;
	csv->scan.end += got;
	memset(csv->scan.end, 'x', DM_CSV_PADDING);
	return !csv->at_end;
}

/* Reads the first bytes of the stream and skips a byte order mark. */
static void
csv_begin(CsvReader *csv)
{
	const char *data;
	Size len;

	while (csv->scan.end - csv->buffer < 3)
	{
		csv->scan.next = csv->scan.end;
		if (!csv_more(csv))
			break;
	}
	data = csv->buffer; /* only now: it may have grown */
	len = csv->scan.end - data;
	csv->scan.next = csv->buffer;
	if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
		csv->scan.field = csv->scan.next = csv->buffer + 3;
	else if (len >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("\"%s\" begins with a UTF-16 byte order mark", csv->in->name),
				 errhint("Convert the object to UTF-8.")));
}

/*
 * Goes to the next byte that matters and returns it, or NULL at the end of the stream. The slow twin of the loop in
 * dm_csv_read().
 */
static char *
csv_next(CsvReader *csv)
{
	const DmCsvNeedles needles = dm_csv_needles(&csv->pattern);
	CsvScan *scan = &csv->scan;
	char *at;

	while (scan->mask == 0)
	{
		if (scan->next < scan->end && scan->nfields + DM_CSV_BLOCK < csv->fields_size)
			csv_scan_next(scan, &needles);
		else if (!csv_more(csv))
			return NULL;
	}
	at = scan->block + pg_rightmost_one_pos64(scan->mask);
	scan->mask &= scan->mask - 1;
	return at;
}

/* Raises for a newline that does not fit the first one. */
static void
csv_bad_newline(CsvReader *csv, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("unquoted %s found in \"%s\"", what, csv->in->name),
			 errdetail("It is in record %lld, which begins on line %lld, byte %llu; lines end in %s.",
					   (long long) csv->head.record,
					   (long long) csv->head.line,
					   (unsigned long long) csv->head.offset,
					   csv->eol == CSV_EOL_CR ? "a carriage return" : "a newline"),
			 errhint("Put fields that hold line breaks into quotes.")));
}

/*
 * Takes the CR or LF at `at`, outside quotes, for a line's end and returns where the field before it ends (the buffer may have
 * moved). The line's end is consumed. Raises if it is not of this file's kind.
 */
static char *
csv_end_line(CsvReader *csv, char *at)
{
	CsvScan *scan = &csv->scan;
	bool followed;

	if (*at == '\n')
	{
		if (csv->eol == CSV_EOL_CR)
			csv_bad_newline(csv, "newline");
		csv->eol = CSV_EOL_LF;
		return at;
	}
	if (csv->eol == CSV_EOL_CR)
		return at;

	/* Is there a LF behind the CR? If the CR is the last byte, the mask is empty, so more may be read. */
	if (at + 1 == scan->end)
	{
		Size position = at - csv->record;

		(void) csv_more(csv);
		at = csv->record + position;
	}
	followed = at + 1 < scan->end && at[1] == '\n';
	if (!followed && csv->eol == CSV_EOL_LF)
		csv_bad_newline(csv, "carriage return");
	csv->eol = followed ? CSV_EOL_LF : CSV_EOL_CR;
	return at;
}

/* Consumes a line's end at `at`: sets the next record's start, and drops the bit of the LF of a CRLF. */
static void
csv_skip_line_end(CsvReader *csv, char *at)
{
	CsvScan *scan = &csv->scan;

	scan->field = at + 1;
	if (*at != '\r' || csv->eol == CSV_EOL_CR)
		return;
	scan->field++;
	if (scan->mask != 0)
		scan->mask &= scan->mask - 1;
	else
		scan->next = at + 2;
}

/*
 * Whether the quote at `at`, inside quotes, is escaped: an odd number of escapes stands before it. Each run of them is
 * counted once, so this stays linear.
 */
static bool
csv_is_escaped(const CsvReader *csv, const char *at)
{
	const char *escape = at;

	if (csv->options.escape == csv->options.quote)
		return false;
	while (escape - 1 > csv->opened && escape[-1] == csv->options.escape)
		escape--;
	return (at - escape) % 2 == 1;
}

/*
 * Removes quotes and escapes from the field data[0..len), in place, and returns the new length. Its quotes are known to
 * be balanced.
 */
static int
csv_unescape(const CsvReader *csv, char *data, int len)
{
	const char quote = csv->options.quote;
	const char escape = csv->options.escape;
	const char *end = data + len;
	char *out = data;
	bool inside = false;

	for (const char *in = data; in < end; in++)
	{
		if (inside && *in == escape && in + 1 < end && (in[1] == escape || in[1] == quote))
			*out++ = *++in;
		else if (*in == quote)
			inside = !inside;
		else
			*out++ = *in;
	}
	return (int) (out - data);
}

/* Adds the field up to end, which holds this many quotes. */
static void
csv_add_quoted(CsvReader *csv, char *end, int64 quotes)
{
	CsvScan *scan = &csv->scan;
	DmCsvField *field = &csv->head.fields[scan->nfields];

	csv_add_field(scan, csv->head.fields, end);
	field->quoted = true;
	if (quotes == 2 && csv->options.escape == csv->options.quote && *field->data == csv->options.quote &&
		end[-1] == csv->options.quote)
	{
		field->data++;
		field->len -= 2;
	}
	else
		field->len = csv_unescape(csv, field->data, field->len);
}

/* Raises for a quote that is still open at the end of the stream. */
static void
csv_unterminated(CsvReader *csv)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("unterminated quoted field in \"%s\"", csv->in->name),
			 errdetail("Its record %lld begins on line %lld, byte %llu; the quote at byte %llu is never closed.",
					   (long long) csv->head.record,
					   (long long) csv->head.line,
					   (unsigned long long) csv->head.offset,
					   (unsigned long long) (csv->buffer_offset + (csv->opened - csv->buffer))),
			 errhint("Check the quote and escape options, or whether the object was cut off.")));
}

/* Reads on from the first quote of a field to the field's end and adds it. Returns true if that ended the record. */
static bool
csv_read_quoted(CsvReader *csv, char *at)
{
	const char newline = csv->eol == CSV_EOL_CR ? '\r' : '\n';
	const char quote = csv->options.quote;
	int64 quotes = 1;
	bool inside = true;

	csv->opened = at;
	for (;;)
	{
		at = csv_next(csv);
		if (at == NULL)
		{
			if (inside)
				csv_unterminated(csv);
			csv_add_quoted(csv, csv->scan.end, quotes);
			csv->scan.field = csv->scan.end;
			return true;
		}
		if (*at == quote)
		{
			quotes++;
			if (!inside)
				csv->opened = at;
			inside = !inside || csv_is_escaped(csv, at);
		}
		else if (inside)
			csv->next_line += *at == newline;
		else if (*at == csv->options.delimiter)
		{
			csv_add_quoted(csv, at, quotes);
			csv->scan.field = at + 1;
			return false;
		}
		else
		{
			at = csv_end_line(csv, at);
			csv_add_quoted(csv, at, quotes);
			csv_skip_line_end(csv, at);
			return true;
		}
	}
}

/* Deals with a quote or a line's end. Returns true if the record is complete. */
static bool
csv_special(CsvReader *csv, char *at)
{
	if (*at == csv->options.quote)
		return csv_read_quoted(csv, at);
	at = csv_end_line(csv, at);
	csv_add_field(&csv->scan, csv->head.fields, at);
	csv_skip_line_end(csv, at);
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
	text = pg_any_to_server(field->data, field->len, ((CsvReader *) reader)->options.encoding);
	if (text != field->data)
	{
		field->data = text;
		field->len = (int) strlen(text);
	}
}

/* Completes a last record without a line's end. Returns false if there is none. */
static bool
csv_last_record(CsvReader *csv)
{
	DmCsvReader *reader = &csv->head;

	if (csv->record == csv->scan.end)
	{
		reader->nfields = 0;
		reader->record--;
		return false;
	}
	csv_add_field(&csv->scan, reader->fields, csv->scan.end);
	csv->scan.field = csv->scan.end;
	csv->next_line++;
	reader->nfields = csv->scan.nfields;
	reader->has_high = csv->scan.high;
	return true;
}
