/*
 * objscan_split.c: reads one range of a large object that several processes share.
 *
 * A record belongs to the range that holds the byte before it: the end of the line before. (The first record of all belongs to the
 * first range, or, behind a header, to the range that holds the header's end.) So a range's reader goes to the first line's end
 * in the range and reads from behind it, until a record begins behind the range's end; the last one may end anywhere.
 *
 * What the object's head tells (is it compressed, what fields does its header name, how do its lines end) every process
 * reads for itself. An object that turns out to be compressed is read by who has its first range; the others have no rows.
 */
#include "postgres.h"

#include "codec/csv_split.h"
#include "source/objscan_internal.h"

/* Bytes of the first fetch behind what is there; each further one is twice as large, up to the other. */
#define DM_MORE_BYTES (64 * 1024)
#define DM_MAX_MORE_BYTES (8 * 1024 * 1024)
/* Bytes of all of them, in a sample. */
#define DM_MAX_SAMPLE_BYTES (1024 * 1024)

/* All bytes of an object from a place on: those of a range that are there, then what is fetched on demand. */
typedef struct RangeStream
{
	DmStream head;
	DmObjScan *scan;
	const char *data; /* bytes that are there and not handed out yet */
	Size len;
	int64 next; /* offset of the first byte behind them */
	int64 last; /* nothing is fetched from here on */
	int64 more; /* bytes to fetch there */
	DmPiece piece;
	DmFetch *fetch; /* of the bytes behind the range, or NULL */
} RangeStream;

/* Gives the one piece behind, as a queue's callback. */
static bool
next_more(void *arg, int ahead, DmPiece *piece)
{
	RangeStream *stream = arg;

	if (ahead > 0 || stream->next >= stream->last)
		return false;
	*piece = (DmPiece){.object = stream->scan->piece.object,
					   .start = stream->next,
					   .end = Min(stream->next + stream->more, stream->last),
					   .is_range = true};
	stream->next = piece->end;
	stream->more = Min(stream->more * 2, DM_MAX_MORE_BYTES);
	return true;
}

/* Fetches the bytes behind those that are there. */
static void
fetch_more(RangeStream *stream)
{
	DmFetchQueue queue = {.next = next_more, .arg = stream, .memory = DM_MAX_MORE_BYTES};
	MemoryContext old = MemoryContextSwitchTo(stream->scan->object_context);

	dm_objshare_step(stream->scan, true);
	if (!stream->fetch)
		stream->fetch = dm_fetch_open_queue(stream->scan->store, &queue);
	if (dm_fetch_next_piece(stream->fetch, &stream->piece))
	{
		stream->data = stream->piece.data;
		stream->len = stream->piece.end - stream->piece.start;
	}
	dm_objshare_step(stream->scan, false);
	MemoryContextSwitchTo(old);
}

/* Hands out the next bytes; lets fetches under way go on. */
static Size
range_read(DmStream *base, char *buf, Size len)
{
	RangeStream *stream = (RangeStream *) base;
	Size count;

	if (stream->len == 0)
		fetch_more(stream);
	else
	{
		dm_objshare_step(stream->scan, false);
		dm_fetch_wait(stream->scan->fetch, 0);
	}
	count = Min(len, stream->len);
	memcpy(buf, stream->data, count);
	stream->data += count;
	stream->len -= count;
	return count;
}

/* Stops what it has under way. */
static void
range_close(DmStream *base)
{
	RangeStream *stream = (RangeStream *) base;

	if (stream->fetch)
		dm_fetch_close(stream->fetch);
	stream->fetch = NULL;
}

/* Opens a stream of the current object's bytes from `from` on, of which the first len are there. */
static RangeStream *
range_open(DmObjScan *scan, int64 from, const char *data, Size len)
{
	static const DmStreamOps ops = {range_read, range_close};
	RangeStream *stream = palloc0(sizeof(RangeStream));

	dm_stream_init(&stream->head, &ops, NULL, scan->uri);
	stream->scan = scan;
	stream->data = data;
	stream->len = len;
	stream->next = from + (int64) len;
	stream->more = DM_MORE_BYTES;
	stream->last = scan->piece.object->size;
	if (!scan->share) /* a sample, whose last record may begin at a wrong guess */
		stream->last = Min(stream->last, stream->next + DM_MAX_SAMPLE_BYTES);
	return stream;
}

/* Reads the head of the current object, unless that of the last range was of the same. */
static void
read_head(DmObjScan *scan)
{
	DmObjHead *head = &scan->head;
	RangeStream *stream;
	DmStream *bytes;

	if (head->key == scan->piece.object->key)
		return;
	head->key = NULL;
	stream = range_open(scan, 0, NULL, 0);
	bytes = dm_stream_plain_open(&stream->head);
	head->is_plain = dm_stream_is_plain(bytes);
	if (head->is_plain && scan->spec.format == DM_FORMAT_CSV)
	{
		dm_objscan_open_csv(scan, bytes);
		dm_objscan_read_header(scan);
		head->data_start = dm_csv_next_offset(scan->csv);
		/* Without a header, the first record tells how lines end. */
		if (dm_csv_newline(scan->csv) == '\0')
			(void) dm_csv_read(scan->csv);
		head->newline = dm_csv_newline(scan->csv);
	}
	dm_stream_close(bytes);
	head->key = scan->piece.object->key;
}

/* Finds where the first record of the current range begins. Returns false if the range has none. */
static bool
find_first(DmObjScan *scan, int64 *first)
{
	const DmPiece *piece = &scan->piece;
	const Size len = scan->range_end - piece->start;
	DmCsvPhase phase;
	const bool skips = scan->spec.csv.header || scan->spec.tweaks.ignore_header > 0;
	int64 at;

	read_head(scan);
	if (!scan->head.is_plain)
		return false;
	if (scan->spec.format == DM_FORMAT_JSONL)
	{
		const char *newline = memchr(piece->data, '\n', len);

		*first = newline ? piece->start + (newline + 1 - piece->data) : 0;
		return newline != NULL;
	}
	*first = scan->head.data_start;
	if (scan->head.newline == '\0' || (skips && *first > scan->range_end))
		return false;
	if (skips && *first > piece->start)
		return true;
	if (scan->share)
		phase = dm_objshare_phase(scan);
	else if (!dm_objsample_phase(scan, &phase))
		return false;
	at = dm_csv_find_end(&scan->spec.csv, scan->head.newline, phase, piece->data, len);
	*first = piece->start + at + 1;
	return at >= 0;
}

/* Opens the current piece, a range that begins with the object. */
static void
open_first_range(DmObjScan *scan)
{
	const DmPiece *piece = &scan->piece;
	RangeStream *stream = range_open(scan, 0, piece->data, piece->end);
	DmStream *bytes = dm_stream_plain_open(&stream->head);

	scan->stored = &stream->head;
	scan->head.is_plain = dm_stream_is_plain(bytes);
	if (!scan->head.is_plain)
		scan->range_end = scan->share ? PG_INT64_MAX : -1;
	if (scan->range_end < 0)
		return;
	if (scan->spec.format != DM_FORMAT_CSV)
	{
		dm_objscan_open_json(scan, bytes);
		return;
	}
	dm_objscan_open_csv(scan, bytes);
	dm_objscan_read_header(scan);
	scan->at_first = dm_csv_next_offset(scan->csv) == 0;
}

/* Bytes of the object that the current piece stands for; it may have fetched more. */
int64
dm_objsplit_bytes(const DmObjScan *scan)
{
	if (!scan->piece.is_range || scan->range_end == PG_INT64_MAX)
		return (int64) scan->stored->bytes_out;
	if (!scan->head.is_plain)
		return 0;
	return dm_objshare_range_end(scan->share, &scan->piece) - scan->piece.start;
}

/* Opens the current piece, a range. The current memory context is the object's. */
void
dm_objsplit_open(DmObjScan *scan)
{
	const DmPiece *piece = &scan->piece;
	RangeStream *stream;
	int64 first = 0;

	scan->range_end = dm_objshare_range_end(scan->share, piece);
	if (piece->start == 0)
	{
		open_first_range(scan);
		return;
	}
	scan->in_middle = true;
	if (!find_first(scan, &first))
	{
		scan->range_end = -1;
		first = piece->end;
	}
	stream = range_open(scan, first, piece->data + (first - piece->start), piece->end - first);
	scan->stored = &stream->head;
	if (scan->range_end < 0)
		return;
	if (scan->spec.format == DM_FORMAT_CSV)
		dm_csv_continue(scan->csv, &stream->head, first);
	else
		dm_objscan_continue_json(scan, &stream->head, first);
}

/* Whether the next record of CSV belongs to a range behind the current one. */
bool
dm_objsplit_is_behind(DmObjScan *scan)
{
	if (scan->range_end < 0)
		return true;
	if (scan->at_first)
	{
		scan->at_first = false;
		return false;
	}
	return dm_csv_next_offset(scan->csv) > (uint64) scan->range_end;
}
