/*
 * s3_analyze.c: ANALYZE of datamill_s3's foreign tables.
 *
 * What is small is read whole. Of what is large, random ranges are read (CSV and JSON lines as they are) or the first part of some
 * objects (compressed ones, JSON documents); the number of all rows follows from the rows that the bytes read have given. Bad rows are left
 * out, whatever the table's on_error. As for any table, the owner's rights count.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"

#include "base/compat.h"
#include "base/guc.h"
#include "fdw/s3_fdw.h"
#include "fdw/s3_options.h"
#include "source/source.h"

/* Bytes to read for each row of the sample, and at least. */
#define DM_SAMPLE_ROW_BYTES 384
#define DM_SAMPLE_MIN_BYTES (4 * 1024 * 1024)
/* Objects of which the first part is read, and its bytes as stored. */
#define DM_SAMPLE_FIRST_OBJECTS 16
#define DM_SAMPLE_FIRST_BYTES (512 * 1024)

/* A sample that grows. */
typedef struct Sample
{
	DmObjScanSpec spec;
	HeapTuple *rows;
	int nrows;
	int wanted;
	double seen; /* rows that could have come in */
	double skip;
	ReservoirStateData reservoir;
	MemoryContext context; /* of the rows */
} Sample;

static int acquire_rows(Relation relation, int elevel, HeapTuple *rows, int wanted, double *total, double *dead);

/* Fills in what is read of a table, as its owner. */
static void
owner_spec(Relation relation, DmObjScanSpec *spec)
{
	Oid owner = relation->rd_rel->relowner;

	dm_s3_table_spec(spec, RelationGetRelid(relation), owner);
	dm_source_check_usage(spec->server, owner);
	spec->desc = RelationGetDescr(relation);
	spec->all_needed = true;
	spec->allow_empty = true;
	spec->on_error = DM_ON_ERROR_IGNORE;
	spec->reject_limit = -1;
	spec->csv.keep_unterminated = true;
}

/* Tells how to sample a table, and how large it is. */
static bool
analyze_table(Relation relation, AcquireSampleRowsFunc *acquire, BlockNumber *pages)
{
	Oid owner = relation->rd_rel->relowner;
	DmObjScanSpec spec;
	DmObjMeasure measure;

	dm_s3_table_spec(&spec, RelationGetRelid(relation), owner);
	dm_source_check_usage(spec.server, owner);
	dm_objscan_measure(&spec, &measure);
	*acquire = acquire_rows;
	*pages = (BlockNumber) Min(measure.plain_bytes / BLCKSZ + 1, (int64) MaxBlockNumber);
	return true;
}

/* Takes a row into the sample, or leaves it out: each row that is seen is as likely to be in it in the end. */
static void
take_row(Sample *sample, TupleTableSlot *slot)
{
	MemoryContext old;
	int place;

	sample->seen++;
	if (sample->nrows < sample->wanted)
		place = sample->nrows++;
	else
	{
		if (sample->skip < 0)
			sample->skip = reservoir_get_next_S(&sample->reservoir, sample->seen - 1, sample->wanted);
		if (sample->skip-- > 0)
			return;
		place = (int) (sample->wanted * sampler_random_fract(&sample->reservoir.randstate));
		heap_freetuple(sample->rows[place]);
	}
	old = MemoryContextSwitchTo(sample->context);
	sample->rows[place] = heap_form_tuple(sample->spec.desc, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
}

/*
 * Reads objects, or ranges of them, in a context of its own, up to so many bytes as stored (0: all). Returns how many rows there are
 * in the bytes that were read, which it adds to *bytes.
 */
static double
read_objects(Sample *sample, List *objects, List *pieces, int64 most, double *bytes)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "datamill analyze", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DmObjScanSpec spec = sample->spec;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(spec.desc, &TTSOpsVirtual);
	DmObjScan *scan;
	double rows;

	spec.listed = true;
	spec.objects = objects;
	spec.pieces = pieces;
	scan = dm_objscan_begin(&spec);
	while ((most == 0 || dm_objscan_stats(scan)->bytes_read < most) && dm_objscan_next(scan, slot))
		take_row(sample, slot);
	rows = (double) dm_objscan_stats(scan)->rows;
	*bytes += (double) dm_objscan_stats(scan)->bytes_read;
	dm_objscan_end(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return rows;
}

/* Bytes, as stored, of a list of objects. */
static double
sum_sizes(List *objects)
{
	double bytes = 0;
	ListCell *cell;

	foreach (cell, objects)
		bytes += (double) ((const DmObject *) lfirst(cell))->size;
	return bytes;
}

/* Samples objects that can only be read from their start. Returns how many rows they are likely to have. */
static double
sample_starts(Sample *sample, List *objects, int64 most)
{
	double size = sum_sizes(objects);
	double bytes = 0;
	double rows = 0;
	int left = Min(list_length(objects), DM_SAMPLE_FIRST_OBJECTS);
	int others = list_length(objects);
	ListCell *cell;

	if (size <= (double) most)
		return read_objects(sample, objects, NIL, 0, &bytes);
	foreach (cell, objects)
	{
		if (pg_prng_double(&pg_global_prng_state) * others-- >= left)
			continue;
		left--;
		rows += read_objects(sample, list_make1(lfirst(cell)), NIL, DM_SAMPLE_FIRST_BYTES, &bytes);
	}
	return bytes > 0 ? rows * size / bytes : 0;
}

/* Samples objects of which any range should be readable. Returns how many rows they are likely to have. */
static double
sample_ranges(Sample *sample, List *objects, int64 most)
{
	double size = sum_sizes(objects);
	double bytes = 0;
	double rows;

	if (size <= 2.0 * (double) most)
		return read_objects(sample, objects, NIL, 0, &bytes);
	rows = read_objects(sample, objects, dm_objsample_pieces(objects, most), 0, &bytes);
	/* No bytes: they are compressed, whatever their names say. */
	return bytes > 0 ? rows * size / bytes : sample_starts(sample, objects, most);
}

/* Fills rows with a sample of so many rows at most; *total: how many the table is likely to have. */
static int
acquire_rows(Relation relation, int elevel, HeapTuple *rows, int wanted, double *total, double *dead)
{
	Sample sample = {.rows = rows, .wanted = wanted, .skip = -1, .context = CurrentMemoryContext};
	int64 most = Min(Max((int64) wanted * DM_SAMPLE_ROW_BYTES, DM_SAMPLE_MIN_BYTES),
					 dm_guc_prefetch_memory_kb * INT64CONST(1024));
	List *plain;
	List *others;

	owner_spec(relation, &sample.spec);
	reservoir_init_selection_state(&sample.reservoir, wanted);
	dm_objsample_split(&sample.spec, dm_objscan_list(&sample.spec), &plain, &others);
	*total = sample_ranges(&sample, plain, most) + sample_starts(&sample, others, most);
	*dead = 0;
	ereport(elevel,
			(errmsg("\"%s\": sampled %d of an estimated %.0f rows in %d objects",
					RelationGetRelationName(relation),
					sample.nrows,
					*total,
					list_length(plain) + list_length(others))));
	return sample.nrows;
}

/* Sets the callback of ANALYZE. */
void
dm_s3_analyze_routine(FdwRoutine *routine)
{
	routine->AnalyzeForeignTable = analyze_table;
}
