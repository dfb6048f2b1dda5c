/*
 * objscan.c: rows of all objects that a URL names.
 *
 * An object's bytes pass through a digest (if a receipt is open), a decompressor (if their first bytes ask for one) and the
 * CSV reader; the fields of needed columns are converted straight into the slot.
 *
 * Invariants:
 * 1. Three lifetimes: the scan; one pass over the list (fetch); one object (its streams); and the row, whose
 *    context is reset before the next. A row of common types allocates nothing.
 * 2. Every record is checked to have as many fields as its object's header, whatever the query needs.
 * 3. Each object goes to the open receipt once a scan, however often it is rescanned: with its digest when it was read to
 *    the end, without when the scan stopped earlier.
 * 4. While a row is made, the error context knows object, row, line, column and value.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "receipt/receipt.h"
#include "source/listing.h"
#include "source/manifest.h"
#include "source/objfilter.h"
#include "source/objscan_internal.h"

/* Bytes of a bad value that a message shows. */
#define DM_MAX_VALUE_SHOWN 100
/* Rows between two reports of progress. */
#define DM_REPORT_ROWS 1000
/* Bytes read ahead that are likely to hold a record. */
#define DM_READY_BYTES 4096

static bool next_record(DmObjScan *scan);
static void scan_error_context(void *arg);
static void report_progress(DmObjScan *scan);

/* Raises if the URL matched nothing. */
static void
check_not_empty(const DmObjScanSpec *spec, List *objects, const DmObjScanStats *stats)
{
	Size len = strlen(spec->url);

	if (objects != NIL || spec->allow_empty || stats->objects_pruned + stats->folders_pruned > 0)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_UNDEFINED_FILE),
		 errmsg("no object matches \"%s\"", spec->url),
		 errdetail("%lld objects were listed whose keys begin like the URL.", (long long) stats->objects_listed),
		 len > 0 && spec->url[len - 1] == '/'
			 ? errhint("A folder is no object: write %s*, or %s** for all below it.", spec->url, spec->url)
			 : errhint("Check the URL, or set the option allow_empty if there may be none.")));
}

/* Bytes, as stored, of the objects of a scan. */
int64
dm_objscan_size(const DmObjScan *scan)
{
	int64 bytes = 0;
	ListCell *cell;

	foreach (cell, scan->listed)
		bytes += ((const DmObject *) lfirst(cell))->size;
	return bytes;
}

/* Returns those of the planner's list that the filter wants: it may know more than the planner did. */
static List *
filter_listing(DmObjScan *scan, List *objects)
{
	List *wanted = NIL;
	ListCell *cell;

	foreach (cell, objects)
	{
		CHECK_FOR_INTERRUPTS();
		if (dm_objfilter_object(scan->spec.filter, lfirst(cell), false))
			wanted = lappend(wanted, lfirst(cell));
	}
	scan->stats.objects_pruned += list_length(objects) - list_length(wanted);
	scan->stats.objects_matched = list_length(wanted);
	return wanted;
}

/* Gets the list of objects: given, from the planner, or from the store. */
static void
list_objects(DmObjScan *scan)
{
	const DmObjScanSpec *spec = &scan->spec;
	DmListing listing;

	if (spec->listed)
		scan->listed = spec->objects;
	else if (spec->listing > 0 && dm_listing_take(spec->listing, &listing))
	{
		scan->listed = listing.objects;
		scan->stats = listing.stats;
		if (spec->filter)
			scan->listed = filter_listing(scan, listing.objects);
		scan->planned.list_requests = listing.requests;
		scan->planned.retries = listing.retries;
	}
	else
		scan->listed = dm_objlist_make(scan->store, spec, &scan->stats);
	if (!spec->listed)
		check_not_empty(spec, scan->listed, &scan->stats);
}

/* Picks from the list what a pass that begins reads: all, unless conditions change from pass to pass. */
static void
pick_objects(DmObjScan *scan)
{
	DmObjFilter *filter = scan->spec.filter;
	MemoryContext old;
	ListCell *cell;

	scan->objects = scan->listed;
	/* Receipts and rejects count objects by their place in the list. */
	if (!filter || scan->share || scan->reads_all || !dm_objfilter_varies(filter) || scan->batch ||
		dm_receipt_is_open())
		return;
	old = MemoryContextSwitchTo(scan->context);
	list_free(scan->picked);
	scan->picked = NIL;
	foreach (cell, scan->listed)
	{
		CHECK_FOR_INTERRUPTS();
		if (dm_objfilter_object(filter, lfirst(cell), true))
			scan->picked = lappend(scan->picked, lfirst(cell));
	}
	scan->stats.objects_pruned += list_length(scan->listed) - list_length(scan->picked);
	scan->objects = scan->picked;
	MemoryContextSwitchTo(old);
}

/* From the next pass on all objects are read that were listed, whatever conditions change. */
void
dm_objscan_read_all(DmObjScan *scan)
{
	scan->reads_all = true;
}

/* Sets the paths of the columns that are fields from a file. */
static void
set_paths(DmObjScan *scan)
{
	DmObjScanSpec *spec = &scan->spec;
	List *paths = dm_jsonpaths_read(scan->store, spec->jsonpaths);
	char **set = palloc0((spec->desc->natts + 1) * sizeof(char *));
	int used = 0;
	int columns = 0;

	for (int i = 0; i < spec->desc->natts; i++)
	{
		if (TupleDescAttr(spec->desc, i)->attisdropped || dm_objmap_kind(spec, i) != DM_OBJ_FIELD)
			continue;
		columns++;
		if (used < list_length(paths))
			set[i] = list_nth(paths, used++);
	}
	if (columns != list_length(paths))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("\"%s\" has %d paths for %d columns", spec->jsonpaths, list_length(paths), columns),
				 errhint("It must have one path for each column, in their order.")));
	spec->paths = set;
}

/* Lists the objects; opens none yet. What spec points to must outlive the scan. */
DmObjScan *
dm_objscan_begin(const DmObjScanSpec *spec)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill object scan", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DmObjScan *scan = palloc0(sizeof(DmObjScan));

	scan->spec = *spec;
	scan->context = context;
	scan->pass_context = AllocSetContextCreate(context, "datamill object pass", ALLOCSET_SMALL_SIZES);
	scan->object_context = AllocSetContextCreate(context, "datamill object", ALLOCSET_SMALL_SIZES);
	scan->row_context = AllocSetContextCreate(context, "datamill row", ALLOCSET_DEFAULT_SIZES);
	scan->null_len = (int) strlen(spec->csv.null);
	if (spec->on_error != DM_ON_ERROR_STOP)
		scan->batch = dm_objbatch_make(scan);
	scan->store = dm_store_open(spec->server, spec->user);
	if (spec->jsonpaths)
		set_paths(scan);
	scan->map = dm_objmap_make(&scan->spec);
	if (spec->format != DM_FORMAT_CSV)
		scan->json_map = dm_objjson_make(scan->map);
	list_objects(scan);
	scan->objects = scan->listed;
	dm_progress_expect(list_length(scan->objects), dm_objscan_size(scan)); /* for whoever watches */
	MemoryContextSwitchTo(old);
	return scan;
}

/* Lists the objects without a scan. Raises if there is none and spec does not allow that. */
List *
dm_objscan_list(const DmObjScanSpec *spec)
{
	DmObjScanStats stats = {0};
	List *objects = dm_objlist_make(dm_store_open(spec->server, spec->user), spec, &stats);

	check_not_empty(spec, objects, &stats);
	return objects;
}

/*
 * Stores the next row in slot and returns true; false, slot cleared, at the end. Values live until the next call. Raises
 * for bad data, with its place in the error context.
 */
bool
dm_objscan_next(DmObjScan *scan, TupleTableSlot *slot)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = scan_error_context, .arg = scan};
	MemoryContext old;
	bool found;

	CHECK_FOR_INTERRUPTS();
	ExecClearTuple(slot);
	MemoryContextReset(scan->row_context);
	old = MemoryContextSwitchTo(scan->row_context);
	error_context_stack = &callback;
	if (scan->batch)
		found = dm_objbatch_next(scan, slot);
	else if ((found = next_record(scan)))
	{
		dm_objscan_convert(scan, slot->tts_values, slot->tts_isnull);
		ExecStoreVirtualTuple(slot);
	}
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old);
	if (unlikely(scan->stats.rows >= scan->report_at))
		report_progress(scan);
	return found;
}

/* Returns how many rows of the current object were good so far. */
static int64
good_rows(const DmObjScan *scan)
{
	return scan->row - (scan->batch ? scan->batch->object_rejected : 0);
}

/* Adds the current object to the open receipt, unless an earlier pass did. */
static void
record_object(DmObjScan *scan)
{
	DmReceiptInput input = {.uri = scan->uri,
							.etag = scan->object->etag,
							.version = scan->object->version,
							.sha256 = scan->digest ? dm_stream_digest_hex(scan->digest) : NULL,
							.size = scan->object->size,
							.rows = good_rows(scan),
							.server = GetForeignServer(scan->spec.server)->servername};

	if (scan->share || scan->spec.pieces || scan->position <= scan->nrecorded)
		return;
	scan->nrecorded = scan->position;
	dm_receipt_input(&input);
}

/* Ends the current object, read to its end or not. */
void
dm_objscan_close_object(DmObjScan *scan)
{
	if (!scan->object)
		return;
	record_object(scan);
	scan->bytes_closed += dm_objsplit_bytes(scan);
	if (scan->piece.is_range)
		dm_stream_close(scan->stored);
	scan->object = NULL;
	scan->stored = NULL;
	scan->digest = NULL;
	MemoryContextReset(scan->object_context);
}

/* Opens the JSON reader on the bytes of the current object. */
void
dm_objscan_open_json(DmObjScan *scan, DmStream *bytes)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);

	if (scan->json)
		dm_json_reset(scan->json, bytes);
	else
		scan->json = dm_json_open(bytes, scan->spec.format == DM_FORMAT_JSONL);
	MemoryContextSwitchTo(old);
}

/* Goes on with the JSON reader at a line of the current object. */
void
dm_objscan_continue_json(DmObjScan *scan, DmStream *bytes, int64 offset)
{
	if (!scan->json)
		dm_objscan_open_json(scan, bytes);
	dm_json_continue(scan->json, bytes, offset);
}

/* Opens the CSV reader on the bytes of the current object, from its first one on. */
void
dm_objscan_open_csv(DmObjScan *scan, DmStream *bytes)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);

	if (scan->csv)
		dm_csv_reset(scan->csv, bytes);
	else
		scan->csv = dm_csv_open(bytes, &scan->spec.csv);
	MemoryContextSwitchTo(old);
}

/* Tells what was done so far, for whoever watches. */
static void
report_progress(DmObjScan *scan)
{
	const DmObjScanStats *stats = dm_objscan_stats(scan);
	DmProgress done = {.objects = stats->objects_read - (scan->object ? 1 : 0),
					   .bytes = stats->bytes_read,
					   .rows = scan->spec.in_query ? 0 : stats->rows - stats->rejected,
					   .rejected = stats->rejected,
					   .retries = dm_store_stats(scan->store)->retries};

	scan->report_at = stats->rows + DM_REPORT_ROWS;
	dm_progress_advance(&scan->reported, &done);
}

/* Ends the current object after all of it was read. */
void
dm_objscan_finish_object(DmObjScan *scan)
{
	if (scan->spec.object_done)
		scan->spec.object_done(scan->object, good_rows(scan), scan->spec.object_arg);
	dm_objscan_close_object(scan);
	report_progress(scan);
}

/* Opens the readers on the bytes of the current object, in the current memory context. */
static void
open_readers(DmObjScan *scan)
{
	DmStream *bytes = scan->stored;

	if (dm_receipt_is_open() && scan->position > scan->nrecorded)
		bytes = scan->digest = dm_stream_digest_open(bytes);
	bytes = dm_stream_plain_open(bytes);
	if (scan->spec.format != DM_FORMAT_CSV)
	{
		dm_objscan_open_json(scan, bytes);
		return;
	}
	dm_objscan_open_csv(scan, bytes);
	dm_objscan_read_header(scan);
}

/* Reads the header of the current object and maps its fields to columns. An empty object needs none. */
void
dm_objscan_read_header(DmObjScan *scan)
{
	for (int i = 0; i < scan->spec.tweaks.ignore_header; i++)
	{
		if (!dm_csv_read(scan->csv))
			break;
	}
	if (scan->spec.csv.header && !dm_csv_read(scan->csv))
		return;
	if (scan->spec.csv.header && scan->spec.match == DM_MATCH_NAME)
		dm_objmap_by_header(scan->map, scan->csv, scan->uri);
	else
		dm_objmap_by_position(scan->map);
}

/* Opens the fetch of a pass, in the current memory context. */
static void
open_fetch(DmObjScan *scan)
{
	if (scan->fetch)
		return;
	pick_objects(scan);
	if (scan->share)
		scan->fetch = dm_objshare_fetch(scan);
	else if (scan->spec.pieces)
		scan->fetch = dm_objsample_fetch(scan);
	else
		scan->fetch = dm_fetch_open(scan->store, scan->objects);
}

/* Opens the next object up to its first data record. Returns false after the last one. */
bool
dm_objscan_open_object(DmObjScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(scan->pass_context);
	DmStream *stored;

	open_fetch(scan);
	dm_objshare_step(scan, true);
	stored = dm_fetch_next_piece(scan->fetch, &scan->piece);
	if (stored)
	{
		MemoryContextSwitchTo(scan->object_context);
		scan->uri = dm_object_uri(scan->piece.object);
		scan->object = scan->piece.object;
		scan->stored = stored;
		scan->in_middle = false;
		scan->row = 0;
		scan->record.row = 0;
		scan->position++;
		dm_objmap_enter(scan->map, scan->object);
		if (scan->piece.start == 0)
		{
			scan->stats.objects_read++;
			scan->head.key = NULL;
		}
		if (scan->piece.is_range)
			dm_objsplit_open(scan);
		else
			open_readers(scan);
	}
	dm_objshare_step(scan, false);
	MemoryContextSwitchTo(old);
	return stored != NULL;
}

/* Reads the next data record of this or a following object. Returns false after the last one. */
static bool
next_record(DmObjScan *scan)
{
	for (;;)
	{
		if (!scan->object && !dm_objscan_open_object(scan))
			return false;
		if (dm_objscan_read_record(scan))
			return true;
		dm_objscan_finish_object(scan);
	}
}

/* Adds where in the data an error occurred, where rows and lines are not counted: object, byte, column. */
static void
range_error_context(const DmObjScan *scan)
{
	uint64 offset = scan->record.line > 0 ? scan->record.offset
					: scan->csv			  ? scan->csv->offset
										  : scan->json->offset;

	if (!scan->target)
		errcontext("%s, record at byte %llu", scan->uri, (unsigned long long) offset);
	else if (!scan->field)
		errcontext("%s, record at byte %llu, column %s",
				   scan->uri,
				   (unsigned long long) offset,
				   NameStr(TupleDescAttr(scan->map->desc, scan->target->attribute)->attname));
	else
		errcontext("%s, record at byte %llu, column %s: \"%.*s%s\"",
				   scan->uri,
				   (unsigned long long) offset,
				   NameStr(TupleDescAttr(scan->map->desc, scan->target->attribute)->attname),
				   pg_mbcliplen(scan->field->data, scan->field->len, DM_MAX_VALUE_SHOWN),
				   scan->field->data,
				   scan->field->len > DM_MAX_VALUE_SHOWN ? "..." : "");
}

/* Adds where in the data an error occurred: object, row, line, column and value, as far as they are known. */
static void
scan_error_context(void *arg)
{
	const DmObjScan *scan = arg;
	const char *column;
	int64 line;

	if (!scan->object)
		return;
	if (scan->record.row == 0)
	{
		errcontext("%s", scan->uri);
		return;
	}
	if (scan->in_middle)
	{
		range_error_context(scan);
		return;
	}
	line = scan->record.line > 0 ? scan->record.line : scan->csv ? scan->csv->line : scan->json->line;
	if (!scan->target)
	{
		errcontext("%s, row %lld (line %lld)", scan->uri, (long long) scan->record.row, (long long) line);
		return;
	}
	column = NameStr(TupleDescAttr(scan->map->desc, scan->target->attribute)->attname);
	if (!scan->field)
		errcontext("%s, row %lld (line %lld), column %s",
				   scan->uri,
				   (long long) scan->record.row,
				   (long long) line,
				   column);
	else
		errcontext("%s, row %lld (line %lld), column %s: \"%.*s%s\"",
				   scan->uri,
				   (long long) scan->record.row,
				   (long long) line,
				   column,
				   pg_mbcliplen(scan->field->data, scan->field->len, DM_MAX_VALUE_SHOWN),
				   scan->field->data,
				   scan->field->len > DM_MAX_VALUE_SHOWN ? "..." : "");
}

/* Opens objects until one has a header or, without headers, a column map; then the columns are known. */
static void
open_until_mapped(DmObjScan *scan)
{
	while (!scan->map->fitted)
	{
		if (scan->object)
			dm_objscan_finish_object(scan);
		if (!dm_objscan_open_object(scan))
			return;
	}
}

/*
 * Returns the attnums of the columns that have a field, in the current memory context; NULL if no object has so much as a
 * header. To be called before the first row is read. Raises what reading a header raises.
 */
Bitmapset *
dm_objscan_present(DmObjScan *scan)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = scan_error_context, .arg = scan};

	/* Without header, JSON may have any column. */
	if (scan->json_map)
		return dm_objmap_present(scan->map);
	error_context_stack = &callback;
	open_until_mapped(scan);
	error_context_stack = callback.previous;
	return scan->map->fitted ? dm_objmap_present(scan->map) : NULL;
}

/* Sets *uri and *row to the data row handed out last and returns true; false between objects. */
bool
dm_objscan_place(const DmObjScan *scan, const char **uri, int64 *row)
{
	if (!scan->object || scan->row == 0)
		return false;
	*uri = scan->uri;
	*row = scan->batch && scan->batch->next > 0 ? scan->batch->rows[scan->batch->next - 1] : scan->row;
	return true;
}

/* Index in desc of the attribute whose field is being converted, for error contexts; -1 outside of that. */
int
dm_objscan_attribute(const DmObjScan *scan)
{
	return scan->target ? scan->target->attribute : -1;
}

/* Asks for the first bytes, without waiting for them. */
void
dm_objscan_start(DmObjScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(scan->pass_context);

	open_fetch(scan);
	dm_fetch_start(scan->fetch);
	MemoryContextSwitchTo(old);
}

/* Whether the next row is likely to come without a wait: some records are read ahead, or bytes have arrived. */
bool
dm_objscan_ready(DmObjScan *scan)
{
	if (!scan->fetch || (scan->batch && scan->batch->next < scan->batch->ntuples))
		return true;
	if (scan->object && (scan->csv ? dm_csv_unread(scan->csv) : dm_json_unread(scan->json)) >= DM_READY_BYTES)
		return true;
	return dm_fetch_ready(scan->fetch);
}

/* What to wait for; only where dm_objscan_ready() said no. */
int
dm_objscan_wait_fd(DmObjScan *scan)
{
	return dm_fetch_wait_fd(scan->fetch);
}

/* Ends a pass at any point. */
static void
end_pass(DmObjScan *scan)
{
	dm_objscan_close_object(scan);
	if (scan->fetch)
		dm_fetch_close(scan->fetch);
	scan->fetch = NULL;
	scan->position = 0;
	scan->head.key = NULL;
	scan->phase_before = 0;
	if (scan->batch)
		dm_objbatch_rescan(scan);
	MemoryContextReset(scan->pass_context);
}

/* Starts over, with the objects that are wanted now. */
void
dm_objscan_rescan(DmObjScan *scan)
{
	end_pass(scan);
}

/* Ends a scan at any point and frees all of it. */
void
dm_objscan_end(DmObjScan *scan)
{
	end_pass(scan);
	MemoryContextDelete(scan->context);
}

/* What was listed and read so far; lives as long as the scan. */
const DmObjScanStats *
dm_objscan_stats(const DmObjScan *scan)
{
	DmObjScanStats *stats = unconstify(DmObjScanStats *, &scan->stats);

	stats->bytes_read = scan->bytes_closed + (scan->stored ? dm_objsplit_bytes(scan) : 0);
	return stats;
}

/* What the store was asked for so far; lives as long as the scan. */
const DmStoreStats *
dm_objscan_store_stats(const DmObjScan *scan)
{
	return dm_store_stats(scan->store);
}

/* What was read and asked for so far by all processes of a scan. */
void
dm_objscan_totals(const DmObjScan *scan, DmObjScanStats *stats, DmStoreStats *store)
{
	*stats = *dm_objscan_stats(scan);
	*store = *dm_objscan_store_stats(scan);
	stats->objects_read += scan->others.objects_read;
	stats->bytes_read += scan->others.bytes_read;
	stats->rows += scan->others.rows;
	store->list_requests += scan->others_store.list_requests + scan->planned.list_requests;
	store->get_requests += scan->others_store.get_requests;
	store->retries += scan->others_store.retries + scan->planned.retries;
	store->bytes_in += scan->others_store.bytes_in;
}
