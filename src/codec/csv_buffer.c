/*
 * csv_buffer.c: the CSV reader's buffer: keeps the current record in it, moves and grows it, and reads on.
 */
#include "postgres.h"

#include "codec/csv_internal.h"

/* Raises for a record that is too much to hold; what says of which there are more than limit. */
static void
csv_too_large(DmCsvState *csv, const char *what, Size limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("CSV record of \"%s\" has more than %zu %s", csv->in->name, limit, what),
			 errdetail("It is %s.", dm_csv_place(csv)),
			 errhint("Look for a quote that is never closed, or for another delimiter or newline.")));
}

/* Shifts every pointer into the buffer, whose bytes from `from` now stand at `to`. */
static void
csv_shift(DmCsvState *csv, char *from, char *to)
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
csv_grow_fields(DmCsvState *csv)
{
	if (csv->scan.nfields > DM_CSV_MAX_FIELDS)
		csv_too_large(csv, "fields", DM_CSV_MAX_FIELDS);
	csv->fields_size = Min(2 * csv->fields_size, DM_CSV_MAX_FIELDS + 2 * DM_CSV_BLOCK);
	csv->head.fields = repalloc(csv->head.fields, csv->fields_size * sizeof(DmCsvField));
}

/* Doubles the buffer, which the current record fills from its front. */
static void
csv_grow_buffer(DmCsvState *csv)
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
bool
dm_csv_more(DmCsvState *csv)
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
void
dm_csv_begin(DmCsvState *csv)
{
	const char *data;
	Size len;

	while (csv->scan.end - csv->buffer < 3)
	{
		csv->scan.next = csv->scan.end;
		if (!dm_csv_more(csv))
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
