/*
 * sniff.c: how CSV is written.
 *
 * Nothing is guessed that could be otherwise: a delimiter is taken only if it splits all records of the sample into the same number of
 * fields, more than one, and no other one does; a first record is taken for a header, or for data, by evidence, and where there is
 * none, it is said. The records are split by the reader that reads them later.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/options.h"
#include "codec/csv.h"
#include "rows/guess.h"
#include "source/sniff.h"

#define DM_SNIFF_BYTES (64 * 1024)
#define DM_SNIFF_RECORDS 1000

static const struct
{
	char delimiter;
	const char *name;
} candidates[] = {{',', "comma"}, {';', "semicolon"}, {'\t', "tab"}, {'|', "bar"}};

/* The start of an object. */
typedef struct Sample
{
	const char *uri;
	char *data;
	Size len;
	bool is_whole; /* it is all of it */
} Sample;

/* Reads the start of an object; false if it is empty. */
static bool
read_start(DmStore *store, DmObject *object, Sample *sample)
{
	const DmObject *fetched;
	DmFetch *fetch = dm_fetch_open(store, list_make1(object));
	DmStream *stream = dm_stream_plain_open(dm_fetch_next(fetch, &fetched));
	Size got = 1;

	sample->uri = dm_object_uri(object);
	sample->len = 0;
	while (sample->len < DM_SNIFF_BYTES && got > 0)
	{
		CHECK_FOR_INTERRUPTS();
		got = dm_stream_read(stream, sample->data + sample->len, DM_SNIFF_BYTES - sample->len);
		sample->len += got;
	}
	sample->is_whole = got == 0;
	dm_fetch_close(fetch);
	return sample->len > 0;
}

/* Reads the start of the first object that is not empty; false if all are. */
static bool
read_sample(const DmObjScanSpec *spec, List *objects, Sample *sample)
{
	DmStore *store = dm_store_open(spec->server, spec->user);
	ListCell *cell;

	sample->data = palloc(DM_SNIFF_BYTES);
	foreach (cell, objects)
	{
		if (read_start(store, lfirst(cell), sample))
			return true;
	}
	return false;
}

/* Opens a reader on the sample, in the current memory context. */
static DmCsvReader *
open_sample(const DmObjScanSpec *spec, const Sample *sample, char delimiter)
{
	DmCsvOptions options = spec->csv;

	options.delimiter = delimiter;
	options.keep_unterminated = true;
	return dm_csv_open(dm_stream_memory_open(sample->data, sample->len, sample->uri), &options);
}

/* Reads the next record that is known to be whole; false after the last one. */
static bool
next_record(DmCsvReader *csv, const Sample *sample)
{
	return csv->record < DM_SNIFF_RECORDS && dm_csv_read(csv) && !csv->unterminated &&
		   (sample->is_whole || dm_csv_next_offset(csv) < sample->len);
}

/* Number of fields that a delimiter splits all records into; 1 if into one each, 0 if not evenly. Raises for what is no CSV with it. */
static int
split_records(const DmObjScanSpec *spec, const Sample *sample, char delimiter)
{
	DmCsvReader *csv = open_sample(spec, sample, delimiter);
	int count = 0;

	while (next_record(csv, sample))
	{
		CHECK_FOR_INTERRUPTS();
		if (count == 0)
			count = csv->nfields;
		else if (csv->nfields != count)
			return 0;
	}
	return Max(count, 1);
}

/* The same, and 0 for what is no CSV with that delimiter: a quoted line break, say, in what is not the start of a field then. */
static int
count_fields(const DmObjScanSpec *spec, const Sample *sample, char delimiter)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile int count = 0;

	/* Nothing but memory is touched in there, so there is nothing to roll back. */
	PG_TRY();
	{
		count = split_records(spec, sample, delimiter);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_BAD_COPY_FILE_FORMAT)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	return count;
}

/* Adds a name to a list for a message. */
static void
add_name(StringInfo list, const char *name)
{
	appendStringInfo(list, "%s%s", list->len > 0 ? " and " : "", name);
}

/* Finds the delimiter. */
static char
sniff_delimiter(const DmObjScanSpec *spec, const Sample *sample)
{
	StringInfoData even;
	StringInfoData uneven;
	int neven = 0;
	char found = candidates[0].delimiter;

	initStringInfo(&even);
	initStringInfo(&uneven);
	for (int i = 0; i < lengthof(candidates); i++)
	{
		int fields = count_fields(spec, sample, candidates[i].delimiter);

		if (fields > 1)
		{
			found = candidates[i].delimiter;
			add_name(&even, candidates[i].name);
			neven++;
		}
		else if (fields == 0)
			add_name(&uneven, candidates[i].name);
	}
	if (neven > 1)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("cannot tell the delimiter of \"%s\"", sample->uri),
				 errdetail("Each of %s splits all records into the same number of fields.", even.data),
				 errhint("Give the option delimiter.")));
	if (neven == 0 && uneven.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("cannot tell the delimiter of \"%s\"", sample->uri),
				 errdetail("There is %s, but not the same number in all records.", uneven.data),
				 errhint("Give the options delimiter and quote, or ignoreheader for lines before the header.")));
	return found;
}

/* What is known of a column for telling a header. */
typedef struct Column
{
	char *first; /* the first record's value */
	int len;
	bool comes_again;
	DmGuess guess; /* of the other records */
} Column;

/* Takes a record other than the first into account. */
static void
compare_record(const DmObjScanSpec *spec, const DmCsvReader *csv, Column *columns, int ncolumns)
{
	int null_len = (int) strlen(spec->csv.null);

	for (int i = 0; i < Min(csv->nfields, ncolumns); i++)
	{
		const DmCsvField *field = &csv->fields[i];

		if (!field->quoted && field->len == null_len && memcmp(field->data, spec->csv.null, null_len) == 0)
			continue;
		dm_guess_add(&columns[i].guess, field->data, field->len);
		if (field->len == columns[i].len && memcmp(field->data, columns[i].first, field->len) == 0)
			columns[i].comes_again = true;
	}
}

/* Can the first record's values be names of columns: none empty, no two the same? */
static bool
can_be_names(const Column *columns, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (columns[i].len == 0)
			return false;
		for (int j = 0; j < i; j++)
		{
			if (columns[i].len == columns[j].len && memcmp(columns[i].first, columns[j].first, columns[i].len) == 0)
				return false;
		}
	}
	return true;
}

/* Tells from the columns whether the first record is a header; returns why that is in doubt, or NULL. */
static char *
judge_header(const Column *columns, int ncolumns, bool *header)
{
	bool for_it = false;
	bool against = !can_be_names(columns, ncolumns);

	for (int i = 0; i < ncolumns; i++)
	{
		DmGuess first = {0};
		Oid type = dm_guess_type(&columns[i].guess);

		dm_guess_add(&first, columns[i].first, columns[i].len);
		/* a number, date or the like names no column */
		against = against || columns[i].comes_again || dm_guess_type(&first) != TEXTOID;
		for_it = for_it || (type != TEXTOID && dm_guess_type(&first) == TEXTOID);
	}
	*header = !against;
	if (against || for_it)
		return NULL;
	return pstrdup("all columns are text: the first record may be data");
}

/* Tells whether the first record is a header; returns why that is in doubt, or NULL. */
static char *
sniff_header(DmObjScanSpec *spec, const Sample *sample)
{
	DmCsvReader *csv = open_sample(spec, sample, spec->csv.delimiter);
	Column *columns;
	int ncolumns;

	if (!next_record(csv, sample))
		return NULL;
	ncolumns = csv->nfields;
	columns = palloc0(ncolumns * sizeof(Column));
	for (int i = 0; i < ncolumns; i++)
	{
		columns[i].first = pnstrdup(csv->fields[i].data, csv->fields[i].len);
		columns[i].len = csv->fields[i].len;
	}
	while (next_record(csv, sample))
	{
		CHECK_FOR_INTERRUPTS();
		compare_record(spec, csv, columns, ncolumns);
	}
	return judge_header(columns, ncolumns, &spec->csv.header);
}

/* Finds what the options do not give; see sniff.h. */
char *
dm_sniff(DmObjScanSpec *spec, List *options, List *objects)
{
	bool needs_delimiter = !dm_option_get(options, "delimiter") && !dm_option_get(options, "ignoreheader");
	bool needs_header = !dm_option_get(options, "header") && !dm_option_get(options, "ignoreheader");
	MemoryContext context;
	MemoryContext old;
	Sample sample = {0};
	char *doubt = NULL;

	if (spec->format != DM_FORMAT_CSV || (!needs_delimiter && !needs_header))
		return NULL;
	context = AllocSetContextCreate(CurrentMemoryContext, "datamill sniff", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (read_sample(spec, objects, &sample))
	{
		if (needs_delimiter)
			spec->csv.delimiter = sniff_delimiter(spec, &sample);
		if (needs_header)
			doubt = sniff_header(spec, &sample);
		if (!dm_option_get(options, "match"))
			spec->match = spec->csv.header ? DM_MATCH_NAME : DM_MATCH_POSITION;
	}
	MemoryContextSwitchTo(old);
	if (doubt)
		doubt = pstrdup(doubt);
	MemoryContextDelete(context);
	return doubt;
}
