/*
 * csv_special.c: quotes and the ends of lines in CSV: all that the innermost loop of csv.c leaves out.
 */
#include "postgres.h"

#include "codec/csv_internal.h"

/*
 * Goes to the next byte that matters and returns it, or NULL at the end of the stream. The slow twin of the loop in
 * dm_csv_read().
 */
static char *
csv_next(DmCsvState *csv)
{
	const DmCsvNeedles needles = dm_csv_needles(&csv->pattern);
	DmCsvScan *scan = &csv->scan;
	char *at;

	while (scan->mask == 0)
	{
		if (scan->next < scan->end && scan->nfields + DM_CSV_BLOCK < csv->fields_size)
			dm_csv_scan_next(scan, &needles);
		else if (!dm_csv_more(csv))
			return NULL;
	}
	at = scan->block + pg_rightmost_one_pos64(scan->mask);
	scan->mask &= scan->mask - 1;
	return at;
}

/* Raises for a newline that does not fit the first one. */
static void
csv_bad_newline(DmCsvState *csv, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("unquoted %s found in \"%s\"", what, csv->in->name),
			 errdetail("It is in %s; lines end in %s.",
					   dm_csv_place(csv),
					   csv->eol == DM_CSV_EOL_CR ? "a carriage return" : "a newline"),
			 errhint("Put fields that hold line breaks into quotes.")));
}

/*
 * Takes the CR or LF at `at`, outside quotes, for a line's end and returns where the field before it ends (the buffer may have
 * moved). The line's end is consumed. Raises if it is not of this file's kind.
 */
static char *
csv_end_line(DmCsvState *csv, char *at)
{
	DmCsvScan *scan = &csv->scan;
	bool followed;

	if (*at == '\n')
	{
		if (csv->eol == DM_CSV_EOL_CR)
			csv_bad_newline(csv, "newline");
		csv->eol = DM_CSV_EOL_LF;
		return at;
	}
	if (csv->eol == DM_CSV_EOL_CR)
		return at;

	/* Is there a LF behind the CR? If the CR is the last byte, the mask is empty, so more may be read. */
	if (at + 1 == scan->end)
	{
		Size position = at - csv->record;

		(void) dm_csv_more(csv);
		at = csv->record + position;
	}
	followed = at + 1 < scan->end && at[1] == '\n';
	if (!followed && csv->eol == DM_CSV_EOL_LF)
		csv_bad_newline(csv, "carriage return");
	csv->eol = followed ? DM_CSV_EOL_LF : DM_CSV_EOL_CR;
	return at;
}

/* Consumes a line's end at `at`: sets the next record's start, and drops the bit of the LF of a CRLF. */
static void
csv_skip_line_end(DmCsvState *csv, char *at)
{
	DmCsvScan *scan = &csv->scan;

	scan->field = at + 1;
	if (*at != '\r' || csv->eol == DM_CSV_EOL_CR)
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
csv_is_escaped(const DmCsvState *csv, const char *at)
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
csv_unescape(const DmCsvState *csv, char *data, int len)
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
csv_add_quoted(DmCsvState *csv, char *end, int64 quotes)
{
	DmCsvScan *scan = &csv->scan;
	DmCsvField *field = &csv->head.fields[scan->nfields];

	dm_csv_add_field(scan, csv->head.fields, end);
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
csv_unterminated(DmCsvState *csv)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("unterminated quoted field in \"%s\"", csv->in->name),
			 errdetail("It is in %s; the quote at byte %llu is never closed.",
					   dm_csv_place(csv),
					   (unsigned long long) (csv->buffer_offset + (csv->opened - csv->buffer))),
			 errhint("Check the quote and escape options, or whether the object was cut off.")));
}

/* Reads on from the first quote of a field to the field's end and adds it. Returns true if that ended the record. */
static bool
csv_read_quoted(DmCsvState *csv, char *at)
{
	const char newline = csv->eol == DM_CSV_EOL_CR ? '\r' : '\n';
	const char quote = csv->options.quote;
	int64 quotes = 1;
	bool inside = true;

	csv->opened = at;
	for (;;)
	{
		at = csv_next(csv);
		if (at == NULL)
		{
			if (inside && !csv->options.keep_unterminated)
				csv_unterminated(csv);
			csv->head.unterminated = inside;
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
bool
dm_csv_special(DmCsvState *csv, char *at)
{
	if (*at == csv->options.quote)
		return csv_read_quoted(csv, at);
	at = csv_end_line(csv, at);
	dm_csv_add_field(&csv->scan, csv->head.fields, at);
	csv_skip_line_end(csv, at);
	return true;
}
