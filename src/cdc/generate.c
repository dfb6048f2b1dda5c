/*
 * generate.c: writes two days of an extract as CSV objects.
 *
 * Every record is made from its number and the seed alone, so day 2 is written without keeping day 1, in constant memory,
 * and the same arguments give the same bytes. Which records are deleted, updated or left alone is drawn one after another
 * without replacement, so the counts are exact; new records stand among the old ones.
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "cdc/generate.h"
#include "source/source.h"
#include "store/store.h"

#define OBJECT_NAME "part-00000.csv"
#define CHUNK_BYTES (256 * 1024)
#define MAX_COLUMNS 1500
#define MAX_VALUE 999999999

/* What becomes of an initial record on day 2; a new record has no fate. */
typedef enum Fate
{
	FATE_DELETED,
	FATE_UPDATED,
	FATE_UNCHANGED,
	FATES
} Fate;

typedef struct Writer
{
	const DmGenerateSpec *spec;
	DmUpload *upload;
	StringInfoData buffer;
	int64 records;
} Writer;

static void spec_check(const DmGenerateSpec *spec);
static void counts_share(const DmGenerateSpec *spec, int64 counts[FATES]);
static void writer_open(Writer *writer, const DmGenerateSpec *spec, const char *folder);
static void writer_finish(Writer *writer, DmGenerated *written);
static void day2_write(Writer *writer, const int64 counts[FATES]);
static void record_write(Writer *writer, uint64 number, bool is_updated);
static void append_uuid(StringInfo out, pg_prng_state *random);

/* Writes both days and says what was written where (strings in the current memory context). Raises 22023 on bad numbers. */
void
dm_generate_cdc(const DmGenerateSpec *spec, DmGenerated written[2])
{
	int64 counts[FATES];
	Writer writer;

	spec_check(spec);
	counts_share(spec, counts);
	writer_open(&writer, spec, spec->initial_url);
	for (int64 i = 0; i < spec->initial; i++)
		record_write(&writer, i, false);
	writer_finish(&writer, &written[0]);
	writer_open(&writer, spec, spec->incremental_url);
	day2_write(&writer, counts);
	writer_finish(&writer, &written[1]);
}

/* Raises 22023 unless the numbers can be met. */
static void
spec_check(const DmGenerateSpec *spec)
{
	const double shares[] = {spec->deleted, spec->updated, spec->unchanged};

	for (int i = 0; i < lengthof(shares); i++)
	{
		if (!(shares[i] >= 0 && shares[i] <= 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("deleted, updated and unchanged must be shares from 0 to 1, not %g", shares[i])));
	}
	if (fabs(spec->deleted + spec->updated + spec->unchanged - 1) > 1e-9)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deleted, updated and unchanged must sum to 1, not %g",
						spec->deleted + spec->updated + spec->unchanged)));
	if (spec->initial < 1 || spec->incremental < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("initial must be at least 1 and incremental at least 0")));
	if (spec->keys < 1 || spec->nonkeys < 0 || spec->keys + spec->nonkeys > MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys must be at least 1, nonkeys at least 0, and both together at most %d", MAX_COLUMNS)));
	if (spec->updated > 0 && spec->nonkeys == 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("updated records need at least one nonkey column")));
}

/* Turns the shares into numbers of records that sum to the initial ones; raises 22023 if day 2 has no room for them. */
static void
counts_share(const DmGenerateSpec *spec, int64 counts[FATES])
{
	counts[FATE_UPDATED] = llrint(spec->initial * spec->updated);
	counts[FATE_UNCHANGED] =
		spec->deleted == 0 ? spec->initial - counts[FATE_UPDATED] : llrint(spec->initial * spec->unchanged);
	counts[FATE_UNCHANGED] = Min(counts[FATE_UNCHANGED], spec->initial - counts[FATE_UPDATED]);
	counts[FATE_DELETED] = spec->initial - counts[FATE_UPDATED] - counts[FATE_UNCHANGED];
	if (spec->incremental < counts[FATE_UPDATED] + counts[FATE_UNCHANGED])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("incremental must be at least initial x (updated + unchanged) = " INT64_FORMAT,
						counts[FATE_UPDATED] + counts[FATE_UNCHANGED])));
}

/* Opens the object of a folder URL and writes the header. */
static void
writer_open(Writer *writer, const DmGenerateSpec *spec, const char *folder)
{
	char *bucket;
	char *prefix;
	const char *slash;

	dm_url_split(folder, &bucket, &prefix);
	slash = prefix[0] == '\0' || prefix[strlen(prefix) - 1] == '/' ? "" : "/";
	writer->spec = spec;
	writer->records = 0;
	writer->upload = dm_upload_open(dm_store_open(dm_source_server(spec->server), GetUserId()),
									bucket,
									psprintf("%s%s%s", prefix, slash, OBJECT_NAME),
									NULL);
	initStringInfo(&writer->buffer);
	for (int i = 1; i <= spec->keys; i++)
		appendStringInfo(&writer->buffer, "%skey%d", i == 1 ? "" : ",", i);
	for (int i = 1; i <= spec->nonkeys; i++)
		appendStringInfo(&writer->buffer, ",value%d", i);
	appendStringInfoChar(&writer->buffer, '\n');
}

/* Writes what is left and makes the object appear. */
static void
writer_finish(Writer *writer, DmGenerated *written)
{
	dm_upload_write(writer->upload, writer->buffer.data, writer->buffer.len);
	written->url = dm_object_uri(dm_upload_finish(writer->upload));
	written->records = writer->records;
	pfree(writer->buffer.data);
}

/*
 * Writes day 2: goes through the initial records, drawing each one's fate from those left, with new records between
 * them wherever the draw says so.
 */
static void
day2_write(Writer *writer, const int64 counts[FATES])
{
	const DmGenerateSpec *spec = writer->spec;
	int64 left[FATES];
	int64 old_left = spec->initial;
	int64 new_left = spec->incremental - counts[FATE_UPDATED] - counts[FATE_UNCHANGED];
	uint64 next_new = spec->initial;
	uint64 next_old = 0;
	pg_prng_state random;

	memcpy(left, counts, sizeof(left));
	pg_prng_seed(&random, (uint64) spec->seed ^ UINT64CONST(0x6461746d696c6c32));
	while (old_left + new_left > 0)
	{
		int64 draw = (int64) pg_prng_uint64_range(&random, 0, old_left + new_left - 1);

		if (draw >= old_left)
		{
			record_write(writer, next_new++, false);
			new_left--;
			continue;
		}
		if (draw < left[FATE_DELETED])
			left[FATE_DELETED]--;
		else if (draw < left[FATE_DELETED] + left[FATE_UPDATED])
		{
			left[FATE_UPDATED]--;
			record_write(writer, next_old, true);
		}
		else
		{
			left[FATE_UNCHANGED]--;
			record_write(writer, next_old, false);
		}
		next_old++;
		old_left--;
	}
}

/* Writes a record: keys and values follow from seed and number; an updated one differs in its first value. */
static void
record_write(Writer *writer, uint64 number, bool is_updated)
{
	const DmGenerateSpec *spec = writer->spec;
	StringInfo out = &writer->buffer;
	pg_prng_state random;

	CHECK_FOR_INTERRUPTS();
	pg_prng_seed(&random, (uint64) spec->seed * UINT64CONST(0x9e3779b97f4a7c15) + number);
	for (int i = 0; i < spec->keys; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_uuid(out, &random);
	}
	for (int i = 0; i < spec->nonkeys; i++)
	{
		uint64 value = pg_prng_uint64_range(&random, 0, MAX_VALUE);

		appendStringInfo(out, "," UINT64_FORMAT, i == 0 && is_updated ? (value + 1) % (MAX_VALUE + 1) : value);
	}
	appendStringInfoChar(out, '\n');
	writer->records++;
	if (out->len >= CHUNK_BYTES)
	{
		dm_upload_write(writer->upload, out->data, out->len);
		resetStringInfo(out);
	}
}

/* Appends a random (version 4, RFC 4122 4.4) uuid in its text form. */
static void
append_uuid(StringInfo out, pg_prng_state *random)
{
	static const char digits[] = "0123456789abcdef";
	uint64 high = pg_prng_uint64(random);
	uint64 low = pg_prng_uint64(random);
	char text[37];
	int at = 0;

	high = (high & ~UINT64CONST(0xf000)) | UINT64CONST(0x4000);
	low = (low & ~(UINT64CONST(3) << 62)) | (UINT64CONST(2) << 62);
	for (int i = 0; i < 32; i++)
	{
		uint64 half = i < 16 ? high : low;

		if (i == 8 || i == 12 || i == 16 || i == 20)
			text[at++] = '-';
		text[at++] = digits[(half >> (60 - 4 * (i % 16))) & 15];
	}
	appendBinaryStringInfo(out, text, at);
}
