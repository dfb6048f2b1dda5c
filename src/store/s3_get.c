/*
 * s3_get.c: reads objects with concurrent ranged GETs ahead of the reader.
 *
 * The bytes of all pieces (objects, and ranges of objects), one after another, are cut into parts; a range is one part. A ring of slots holds the parts from the one being
 * read (head) to the last one asked for; each slot has a request and a buffer, which curl fills directly and the reader
 * is copied from. Parts start in order while
 *   1. the buffers fit into the queue's share of memory (one part is always allowed),
 *   2. no more than max_concurrency requests are under way, and
 *   3. the window allows it: it starts at two parts and grows by two with every part read, so that a query with LIMIT 10 does not
 *      fetch 64 MB.
 * The reader gets bytes of the head part as they arrive. A part that is cut off goes on where it stopped; If-Match with the
 * listed etag on every request makes sure that all bytes are of one version. An error of a part that was fetched ahead is
 * raised when the reader gets there, not before.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/s3.h"

/* Transfers under way are served at least each time the reader has taken so many bytes. */
#define DM_S3_PUMP_BYTES (256 * 1024)
#define DM_S3_MIN_PART_BYTES (64 * 1024)
/* Longest wait elsewhere: the executor's waits do not all wake for interrupts. */
#define DM_S3_WAIT_MS 50
/* Bytes of a part that is still coming which are worth to be read. */
#define DM_S3_READY_BYTES 4096

typedef struct S3Part
{
	DmS3Call *call;
	DmPiece piece;
	int serial; /* of the piece */
	int64 start;
	Size len;
	Size taken;	   /* by the reader */
	char *buffer;  /* NULL while the slot is free */
	bool last;	   /* of its piece */
	bool changed;  /* the answer is of another version */
	bool ended;	   /* done or failed */
	bool reported; /* of a range: the queue knows that it is there */
	char *query;   /* of a version, or NULL */
} S3Part;

typedef struct S3Stream
{
	DmStream stream;
	struct S3Fetch *fetch; /* NULL once closed */
	bool at_end;
} S3Stream;

typedef struct S3Fetch
{
	DmFetch fetch;
	MemoryContext context;
	S3Part *slots;
	int nslots;
	int head;
	int count;
	int window;
	DmPiece pulled;	   /* the last piece taken from the queue */
	int pulled_serial; /* its number, 0 before the first */
	bool is_pulled;	   /* parts of it are still to be started */
	int64 next_offset; /* of the next one */
	int open_serial;   /* piece that the reader has open, 0 before the first */
	bool closed;
	S3Stream *stream;
	Size part_size;	   /* 0 before the first part */
	int64 memory_held; /* all buffers, idle ones too */
	char **idle;	   /* buffers of part_size that no part uses */
	int nidle;
	Size since_pump;
} S3Fetch;

static Size s3_stream_read(DmStream *stream, char *buf, Size len);
static void s3_stream_close(DmStream *stream);
static bool accept_part(DmHttpRequest *request);
static DmHttpVerdict judge_part(DmHttpRequest *request);
static void start_parts(S3Fetch *fetch);
static void drop_head(S3Fetch *fetch);
static void check_head(S3Fetch *fetch, S3Part *part);
static void wait_parts(S3Fetch *fetch, long max_ms);
static void report_range(S3Fetch *fetch, S3Part *part);

static const DmStreamOps s3_stream_ops = {s3_stream_read, s3_stream_close};

/* Starts to read a queue of pieces. Nothing is asked for before the first dm_fetch_next. */
DmFetch *
dm_s3_fetch_open(DmStore *store)
{
	S3Fetch *fetch = palloc0(sizeof(S3Fetch));

	fetch->context = CurrentMemoryContext;
	fetch->nslots = store->settings->max_concurrency * 2;
	fetch->slots = palloc0(sizeof(S3Part) * fetch->nslots);
	fetch->idle = palloc(sizeof(char *) * fetch->nslots);
	fetch->window = 2;
	return &fetch->fetch;
}

/* Takes the next piece from the queue, to start parts of it. Returns false if there is none now. */
static bool
pull_piece(S3Fetch *fetch)
{
	int ahead = fetch->pulled_serial - fetch->open_serial;

	if (fetch->closed || !dm_fetch_pull(&fetch->fetch, ahead, &fetch->pulled))
		return false;
	fetch->pulled_serial++;
	fetch->is_pulled = true;
	fetch->next_offset = fetch->pulled.start;
	return true;
}

/* Gives up all parts of the piece that was read last, and finds the next one. Returns false after the last one. */
static bool
find_piece(S3Fetch *fetch, DmPiece *piece)
{
	while (fetch->count > 0 && fetch->slots[fetch->head].serial <= fetch->open_serial)
		drop_head(fetch);
	if (fetch->pulled_serial <= fetch->open_serial)
	{
		fetch->is_pulled = false;
		if (!pull_piece(fetch))
			return false;
	}
	*piece = fetch->count > 0 ? fetch->slots[fetch->head].piece : fetch->pulled;
	fetch->open_serial++;
	return true;
}

/* Waits for all bytes of the range that the head part is and returns them. Raises if they do not come. */
static const char *
await_range(S3Fetch *fetch)
{
	for (;;)
	{
		S3Part *part = &fetch->slots[fetch->head];

		if (part->ended)
		{
			check_head(fetch, part);
			report_range(fetch, part);
			return part->buffer;
		}
		wait_parts(fetch, -1);
	}
}

/* Closes the last piece, giving up what was fetched of it, and opens the next; NULL after the last one. */
DmStream *
dm_s3_fetch_next(DmFetch *base, DmPiece *piece)
{
	S3Fetch *fetch = (S3Fetch *) base;
	MemoryContext old;

	if (fetch->stream)
		s3_stream_close(&fetch->stream->stream);
	old = MemoryContextSwitchTo(fetch->context);
	if (find_piece(fetch, piece))
	{
		start_parts(fetch);
		if (piece->is_range)
			piece->data = await_range(fetch);
		fetch->stream = palloc0(sizeof(S3Stream));
		fetch->stream->fetch = fetch;
		dm_stream_init(&fetch->stream->stream, &s3_stream_ops, NULL, dm_object_uri(piece->object));
	}
	MemoryContextSwitchTo(old);
	return fetch->stream ? &fetch->stream->stream : NULL;
}

/* Stops all requests and frees the buffers. */
void
dm_s3_fetch_close(DmFetch *base)
{
	S3Fetch *fetch = (S3Fetch *) base;

	if (fetch->stream)
		s3_stream_close(&fetch->stream->stream);
	while (fetch->count > 0)
		drop_head(fetch);
	for (int i = 0; i < fetch->nslots; i++)
	{
		if (fetch->slots[i].call)
			dm_http_free(fetch->slots[i].call->http);
		fetch->slots[i].call = NULL;
	}
	while (fetch->nidle > 0)
		pfree(fetch->idle[--fetch->nidle]);
	fetch->closed = true;
	fetch->is_pulled = false;
}

/* Detaches the stream from the fetch; it reads nothing more. May be called twice, by the reader and by the fetch. */
static void
s3_stream_close(DmStream *stream)
{
	S3Stream *s3 = (S3Stream *) stream;

	if (s3->fetch && s3->fetch->stream == s3)
		s3->fetch->stream = NULL;
	s3->fetch = NULL;
}

/* Requests under way. */
static int
count_running(const S3Fetch *fetch)
{
	int running = 0;

	for (int i = 0; i < fetch->count; i++)
		running += !fetch->slots[(fetch->head + i) % fetch->nslots].ended;
	return running;
}

/*
 * Gives a part its buffer: an idle one, or a new one if memory allows (the only part of a fetch always gets one). False
 * if there is no memory for it now.
 */
static bool
reserve_buffer(S3Fetch *fetch, S3Part *part, Size len)
{
	if (len == fetch->part_size && fetch->nidle > 0)
	{
		part->buffer = fetch->idle[--fetch->nidle];
		return true;
	}
	while (fetch->nidle > 0 && fetch->memory_held + (int64) len > fetch->fetch.queue.memory)
	{
		pfree(fetch->idle[--fetch->nidle]);
		fetch->memory_held -= fetch->part_size;
	}
	if (fetch->count > 0 && fetch->memory_held + (int64) len > fetch->fetch.queue.memory)
		return false;
	part->buffer = MemoryContextAllocHuge(fetch->context, Max(len, 1));
	fetch->memory_held += len;
	return true;
}

/* Takes a part's buffer back; whole ones wait for the next part. */
static void
release_buffer(S3Fetch *fetch, S3Part *part)
{
	if (part->len == fetch->part_size)
		fetch->idle[fetch->nidle++] = part->buffer;
	else
	{
		pfree(part->buffer);
		fetch->memory_held -= part->len;
	}
	part->buffer = NULL;
}

/* Starts the request of one part. */
static void
start_part(S3Fetch *fetch, S3Part *part)
{
	DmStore *store = fetch->fetch.store;
	DmS3Call *call = part->call;

	if (!call)
	{
		call = part->call = dm_s3_call_make((DmS3Store *) store, "GET", &store->stats.get_requests);
		call->http->accept = accept_part;
		call->http->judge = judge_part;
		call->owner = part;
	}
	call->bucket = part->piece.object->bucket;
	call->key = part->piece.object->key;
	if (part->query)
		pfree(part->query);
	part->query = part->piece.object->version
					  ? psprintf("versionId=%s", dm_s3_key_encode(part->piece.object->version, false))
					  : NULL;
	call->query = part->query ? part->query : "";
	call->if_match = part->piece.object->etag;
	/* An empty object has no byte to ask for; a whole one is still asked for by range, to know that its length is right. */
	call->range_start = part->len > 0 ? part->start : -1;
	call->range_end = part->start + part->len - 1;
	call->http->body = part->buffer;
	call->http->body_capacity = call->http->body_max = part->len;
	part->taken = 0;
	part->changed = part->ended = part->reported = false;
	dm_http_start(call->http);
}

/* Starts as many parts as memory, concurrency and window allow. */
static void
start_parts(S3Fetch *fetch)
{
	MemoryContext old = MemoryContextSwitchTo(fetch->context);
	int concurrency = fetch->fetch.store->settings->max_concurrency;

	if (fetch->part_size == 0)
		fetch->part_size = Max(Min(fetch->fetch.store->settings->part_size_bytes, fetch->fetch.queue.memory / 2),
							   DM_S3_MIN_PART_BYTES);

	while (fetch->count < Min(fetch->nslots, fetch->window) && count_running(fetch) < concurrency &&
		   (fetch->is_pulled || pull_piece(fetch)))
	{
		const DmPiece *piece = &fetch->pulled;
		int64 left = piece->end - fetch->next_offset;
		Size len = piece->is_range ? left : Min((int64) fetch->part_size, left);
		S3Part *part = &fetch->slots[(fetch->head + fetch->count) % fetch->nslots];

		if (!reserve_buffer(fetch, part, len))
			break;
		part->piece = *piece;
		part->serial = fetch->pulled_serial;
		part->start = fetch->next_offset;
		part->len = len;
		part->last = part->start + (int64) len >= piece->end;
		fetch->next_offset += len;
		fetch->is_pulled = !part->last;
		fetch->count++;
		start_part(fetch, part);
	}
	MemoryContextSwitchTo(old);
}

/* Gives up the head part: its slot can be used again. */
static void
drop_head(S3Fetch *fetch)
{
	S3Part *part = &fetch->slots[fetch->head];

	if (part->call)
	{
		fetch->fetch.store->stats.bytes_in += part->call->http->body_len;
		dm_http_stop(part->call->http);
	}
	release_buffer(fetch, part);
	fetch->head = (fetch->head + 1) % fetch->nslots;
	fetch->count--;
	fetch->window += 2;
	if (fetch->window > fetch->nslots)
		fetch->window = fetch->nslots;
}

/*
 * Looks at status and headers of an answer before its first byte is kept (inside curl: raises nothing). A 206 must be for
 * the range asked for; a 200 is the whole object, of which the bytes that are there already are dropped.
 */
static bool
accept_part(DmHttpRequest *request)
{
	DmS3Call *call = request->arg;
	S3Part *part = call->owner;
	char value[256];
	int64 want = part->start + request->body_len;
	int64 from;

	if (dm_http_header_copy(request, "ETag", value, sizeof(value)))
	{
		Size len = strlen(value);
		bool quoted = len >= 2 && value[0] == '"' && value[len - 1] == '"';

		if (len - (quoted ? 2 : 0) != strlen(part->piece.object->etag) ||
			strncmp(value + (quoted ? 1 : 0), part->piece.object->etag, strlen(part->piece.object->etag)) != 0)
		{
			part->changed = true;
			return false;
		}
	}
	if (request->status == 206)
		return dm_http_header_copy(request, "Content-Range", value, sizeof(value)) &&
			   sscanf(value, "bytes " INT64_FORMAT "-", &from) == 1 && from == want;
	request->body_skip = request->body_len;
	return part->start == 0 && (int64) part->len >= part->piece.object->size;
}

/* Judges the answer to a part: one that is shorter than it should be is fetched further. */
static DmHttpVerdict
judge_part(DmHttpRequest *request)
{
	const S3Part *part = ((DmS3Call *) request->arg)->owner;

	if (request->status >= 200 && request->status <= 299 && request->body_len < part->len)
		return DM_HTTP_RETRY;
	return dm_s3_call_judge(request);
}

/* Raises if the head part has ended badly. */
static void
check_head(S3Fetch *fetch, S3Part *part)
{
	DmHttpRequest *http = part->call->http;
	char *uri;

	if (!part->ended)
		return;
	if (part->changed || (http->state == DM_HTTP_DONE && (http->status == 412 || http->status == 416)))
		dm_object_raise_changed(part->piece.object, "replaced");
	if (http->state == DM_HTTP_DONE && http->status == 404)
		dm_object_raise_changed(part->piece.object, "removed");
	uri = dm_object_uri(part->piece.object);
	if (http->refused)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("could not read object \"%s\": the server did not send the range that was asked for", uri),
				 errdetail("Asked for bytes " INT64_FORMAT " to " INT64_FORMAT ", got HTTP status %d.",
						   part->call->range_start,
						   part->call->range_end,
						   http->status)));
	if (!dm_s3_call_succeeded(part->call))
		dm_s3_call_raise(part->call, psprintf("could not read object \"%s\"", uri));
	if (http->body_len != part->len)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not read object \"%s\": the server sends too few bytes", uri),
				 errdetail("Bytes " INT64_FORMAT " to " INT64_FORMAT " were asked for; %zu came in %d attempts.",
						   part->start,
						   part->start + (int64) part->len - 1,
						   http->body_len,
						   http->attempts)));
}

/* Tells the queue that a range is there, once. Raises nothing that check_head() would. */
static void
report_range(S3Fetch *fetch, S3Part *part)
{
	const DmFetchQueue *queue = &fetch->fetch.queue;

	if (!part->piece.is_range || part->reported || part->changed || !dm_s3_call_succeeded(part->call) ||
		part->call->http->body_len != part->len)
		return;
	part->reported = true;
	part->piece.data = part->buffer;
	if (queue->arrived)
		queue->arrived(queue->arg, &part->piece);
}

/* Lets transfers go on, waiting for news at most max_ms (-1: no limit), and starts what can be started. */
static void
wait_parts(S3Fetch *fetch, long max_ms)
{
	long wait_ms = max_ms;

	for (int i = 0; i < fetch->count; i++)
	{
		S3Part *part = &fetch->slots[(fetch->head + i) % fetch->nslots];

		if (part->ended)
			continue;
		part->ended = dm_http_advance(part->call->http);
		if (part->ended)
		{
			wait_ms = 0;
			report_range(fetch, part);
		}
		else
		{
			long part_ms = dm_http_wait_ms(part->call->http);

			if (part_ms >= 0 && (wait_ms < 0 || part_ms < wait_ms))
				wait_ms = part_ms;
		}
	}
	start_parts(fetch);
	fetch->since_pump = 0;
	dm_http_pump(wait_ms);
}

/* Sleeps until something happens to the fetch or the latch. */
void
dm_s3_fetch_wait(DmFetch *base, long max_ms)
{
	wait_parts((S3Fetch *) base, max_ms);
}

/* Starts the first parts. */
void
dm_s3_fetch_start(DmFetch *base)
{
	start_parts((S3Fetch *) base);
}

/* Whether the head part has some bytes that were not read, or has ended. */
bool
dm_s3_fetch_ready(DmFetch *base)
{
	S3Fetch *fetch = (S3Fetch *) base;
	const DmHttpRequest *http;
	const S3Part *part;

	wait_parts(fetch, 0);
	if (fetch->count == 0)
		return true;
	part = &fetch->slots[fetch->head];
	http = part->call->http;
	return http->body_len - part->taken >= DM_S3_READY_BYTES ||
		   (http->state != DM_HTTP_RUNNING && http->state != DM_HTTP_WAITING);
}

/* The descriptor of all transfers, set so that a retry starts in time and interrupts are seen. */
int
dm_s3_fetch_wait_fd(DmFetch *base)
{
	S3Fetch *fetch = (S3Fetch *) base;
	long wait_ms = DM_S3_WAIT_MS;

	for (int i = 0; i < fetch->count; i++)
	{
		const S3Part *part = &fetch->slots[(fetch->head + i) % fetch->nslots];
		long part_ms = part->ended ? -1 : dm_http_wait_ms(part->call->http);

		if (part_ms >= 0 && part_ms < wait_ms)
			wait_ms = part_ms;
	}
	return dm_http_wait_fd(wait_ms);
}

/* Copies the next bytes to the reader: those of the head part that have arrived, or waits for some. */
static Size
s3_stream_read(DmStream *stream, char *buf, Size len)
{
	S3Stream *s3 = (S3Stream *) stream;
	S3Fetch *fetch = s3->fetch;

	if (!fetch)
		elog(ERROR, "read from closed stream \"%s\"", stream->name);
	while (!s3->at_end)
	{
		S3Part *part = &fetch->slots[fetch->head];
		Size here = part->call->http->body_len - part->taken;

		if (here > 0)
		{
			Size got = Min(here, len);

			memcpy(buf, part->buffer + part->taken, got);
			part->taken += got;
			fetch->since_pump += got;
			if (fetch->since_pump >= DM_S3_PUMP_BYTES)
				wait_parts(fetch, 0);
			return got;
		}
		check_head(fetch, part);
		if (part->ended)
		{
			s3->at_end = part->last;
			drop_head(fetch);
			start_parts(fetch);
		}
		else
			wait_parts(fetch, -1);
	}
	return 0;
}
