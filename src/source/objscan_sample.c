/*
 * objscan_sample.c: random ranges of objects, for statistics.
 *
 * Nothing is known of the bytes before a range, so whether a range of CSV begins inside of quotes is guessed: where its records, taken
 * for one or the other, have as many fields as the header. A range that fits neither way gives no rows. Rows from a wrong guess
 * could only come into statistics.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "base/guc.h"
#include "source/objscan_internal.h"

/* Bytes of a range, and those fetched behind it for its last record. */
#define DM_SAMPLE_RANGE_BYTES (64 * 1024)
#define DM_SAMPLE_TAIL_BYTES (4 * 1024)

/* Splits a list of objects; see objscan.h. */
void
dm_objsample_split(const DmObjScanSpec *spec, List *objects, List **plain, List **others)
{
	ListCell *cell;

	*plain = *others = NIL;
	foreach (cell, objects)
	{
		DmObject *object = lfirst(cell);

		if (spec->format != DM_FORMAT_JSON && !dm_objlist_looks_compressed(object->key))
			*plain = lappend(*plain, object);
		else
			*others = lappend(*others, object);
	}
}

/* Adds the range start..end - 1 of an object. piece->number is where it ends without the bytes behind. */
static List *
add_piece(List *pieces, const DmObject *object, int64 start, int64 end)
{
	DmPiece *piece = palloc0(sizeof(DmPiece));

	piece->object = object;
	piece->start = start;
	piece->end = Min(end + DM_SAMPLE_TAIL_BYTES, object->size);
	piece->is_range = true;
	piece->number = end;
	return lappend(pieces, piece);
}

/*
 * Returns random ranges. The bytes of all objects, one after another, are cut into as many strata as there are ranges, and each range
 * begins anywhere in its own. One that reaches over an object's end goes on in the next object.
 */
List *
dm_objsample_pieces(List *objects, int64 bytes)
{
	List *pieces = NIL;
	ListCell *cell;
	double total = 0;
	double stratum;
	double next; /* where the next range begins */
	double from = 0;
	int64 left = 0; /* bytes of the range that are still to come */
	int64 count = Max(bytes / DM_SAMPLE_RANGE_BYTES, 1);
	int64 done = 0;

	foreach (cell, objects)
		total += (double) ((const DmObject *) lfirst(cell))->size;
	stratum = Max(total / (double) count, DM_SAMPLE_RANGE_BYTES);
	next = pg_prng_double(&pg_global_prng_state) * (stratum - DM_SAMPLE_RANGE_BYTES);
	foreach (cell, objects)
	{
		const DmObject *object = lfirst(cell);
		int64 at = 0;

		while (at < object->size)
		{
			int64 end;

			if (left == 0)
			{
				if (next >= from + (double) object->size)
					break;
				at = Max(at, (int64) (next - from));
				left = DM_SAMPLE_RANGE_BYTES;
				done++;
				next = stratum * (double) done +
					   pg_prng_double(&pg_global_prng_state) * (stratum - DM_SAMPLE_RANGE_BYTES);
			}
			end = Min(at + left, object->size);
			pieces = add_piece(pieces, object, at, end);
			left -= end - at;
			at = end;
		}
		from += (double) object->size;
	}
	return pieces;
}

/* Gives the next of the ranges, as a queue's callback. */
static bool
next_sample(void *arg, int ahead, DmPiece *piece)
{
	DmObjScan *scan = arg;

	if (scan->next_piece >= list_length(scan->spec.pieces))
		return false;
	*piece = *(const DmPiece *) list_nth(scan->spec.pieces, scan->next_piece++);
	return true;
}

/* Opens the fetch of the ranges, in the current memory context. */
DmFetch *
dm_objsample_fetch(DmObjScan *scan)
{
	DmFetchQueue queue = {.next = next_sample, .arg = scan, .memory = dm_guc_prefetch_memory_kb * INT64CONST(1024)};

	scan->next_piece = 0;
	return dm_fetch_open_queue(scan->store, &queue);
}

/* How well the current range fits the number of fields if it begins in a phase; 0 if it has no whole record. */
static int
count_fitting(const DmObjScan *scan, DmCsvPhase phase)
{
	const DmPiece *piece = &scan->piece;
	const DmCsvOptions *csv = &scan->spec.csv;
	Size len = piece->end - piece->start;
	int64 end = dm_csv_find_end(csv, scan->head.newline, phase, piece->data, len);

	if (end < 0)
		return 0;
	return dm_csv_count_fitting(csv, scan->head.newline, scan->map->nfields, piece->data + end + 1, len - end - 1);
}

/* Guesses the phase that the current range begins in. */
bool
dm_objsample_phase(const DmObjScan *scan, DmCsvPhase *phase)
{
	int outside = count_fitting(scan, DM_CSV_OUTSIDE);
	int inside = count_fitting(scan, DM_CSV_INSIDE);

	*phase = outside >= inside ? DM_CSV_OUTSIDE : DM_CSV_INSIDE;
	return Max(outside, inside) > 0;
}
