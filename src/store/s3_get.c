/*
 * s3_get.c: reads objects with concurrent ranged GETs ahead of the reader.
 *
 * The bytes of all objects, one after another, are cut into parts. A ring of slots holds the parts from the one being
 * read (head) to the last one asked for; each slot has a request and a buffer, which curl fills directly and the reader
 * is copied from. Parts start in order while
 *   1. the buffers fit into datamill.prefetch_memory (one part is always allowed),
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
#include "base/guc.h"
#include "store/s3.h"

/* Transfers under way are served at least each time the reader has taken so many bytes. */
#define DM_S3_PUMP_BYTES (256 * 1024)
#define DM_S3_MIN_PART_BYTES (64 * 1024)

typedef struct S3Part
{
	DmS3Call *call;
	const DmObject *object;
	int index; /* of the object in the list */
	int64 start;
	Size len;
	Size taken;	  /* by the reader */
	char *buffer; /* NULL while the slot is free */
	bool last;	  /* of its object */
	bool changed; /* the answer is of another version */
	bool ended;	  /* done or failed */
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
	int next_index; /* object and offset of the next part to start */
	int64 next_offset;
	int open_index; /* object that the reader has open, -1 before the first */
	S3Stream *stream;
	Size part_size;
	int64 memory_held; /* all buffers, idle ones too */
	int64 memory_max;
	char **idle; /* buffers of part_size that no part uses */
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
static void wait_parts(S3Fetch *fetch, bool block);

static const DmStreamOps s3_stream_ops = {s3_stream_read, s3_stream_close};

/* Starts to read a list of objects. Nothing is asked for before the first dm_fetch_next. */
DmFetch *
dm_s3_fetch_open(DmStore *store, List *objects)
{
	S3Fetch *fetch = palloc0(sizeof(S3Fetch));

	fetch->fetch.store = store;
	fetch->fetch.objects = objects;
	fetch->context = CurrentMemoryContext;
	fetch->nslots = store->settings->max_concurrency * 2;
	fetch->slots = palloc0(sizeof(S3Part) * fetch->nslots);
	fetch->idle = palloc(sizeof(char *) * fetch->nslots);
	fetch->window = 2;
	fetch->open_index = -1;
	fetch->memory_max = dm_guc_prefetch_memory_kb * INT64CONST(1024);
	fetch->part_size = Max(Min(store->settings->part_size_bytes, fetch->memory_max / 2), DM_S3_MIN_PART_BYTES);
	return &fetch->fetch;
}

/* Closes the last object, giving up what was fetched of it, and opens the next; NULL after the last one. */
DmStream *
dm_s3_fetch_next(DmFetch *base, const DmObject **object)
{
	S3Fetch *fetch = (S3Fetch *) base;
	MemoryContext old;

	if (fetch->stream)
		s3_stream_close(&fetch->stream->stream);
	if (fetch->open_index + 1 >= list_length(base->objects))
		return NULL;
	fetch->open_index++;
	old = MemoryContextSwitchTo(fetch->context);
	while (fetch->count > 0 && fetch->slots[fetch->head].index < fetch->open_index)
		drop_head(fetch);
	if (fetch->next_index < fetch->open_index)
	{
		fetch->next_index = fetch->open_index;
		fetch->next_offset = 0;
	}
	fetch->stream = palloc0(sizeof(S3Stream));
	fetch->stream->fetch = fetch;
	dm_stream_init(
		&fetch->stream->stream, &s3_stream_ops, NULL, dm_object_uri(list_nth(base->objects, fetch->open_index)));
	start_parts(fetch);
	MemoryContextSwitchTo(old);
	if (object)
		*object = list_nth(base->objects, fetch->open_index);
	return &fetch->stream->stream;
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
	fetch->open_index = list_length(base->objects);
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
	while (fetch->nidle > 0 && fetch->memory_held + (int64) len > fetch->memory_max)
	{
		pfree(fetch->idle[--fetch->nidle]);
		fetch->memory_held -= fetch->part_size;
	}
	if (fetch->count > 0 && fetch->memory_held + (int64) len > fetch->memory_max)
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
	call->bucket = part->object->bucket;
	call->key = part->object->key;
	call->if_match = part->object->etag;
	/* An empty object has no byte to ask for; a whole one is still asked for by range, to know that its length is right. */
	call->range_start = part->len > 0 ? part->start : -1;
	call->range_end = part->start + part->len - 1;
	call->http->body = part->buffer;
	call->http->body_capacity = call->http->body_max = part->len;
	part->taken = 0;
	part->changed = part->ended = false;
	dm_http_start(call->http);
}

/* Starts as many parts as memory, concurrency and window allow. */
static void
start_parts(S3Fetch *fetch)
{
	MemoryContext old = MemoryContextSwitchTo(fetch->context);
	int concurrency = fetch->fetch.store->settings->max_concurrency;

	while (fetch->next_index < list_length(fetch->fetch.objects) &&
		   fetch->count < Min(fetch->nslots, fetch->window) && count_running(fetch) < concurrency)
	{
		const DmObject *object = list_nth(fetch->fetch.objects, fetch->next_index);
		Size len = Min((int64) fetch->part_size, object->size - fetch->next_offset);
		S3Part *part = &fetch->slots[(fetch->head + fetch->count) % fetch->nslots];

		if (!reserve_buffer(fetch, part, len))
			break;
		part->object = object;
		part->index = fetch->next_index;
		part->start = fetch->next_offset;
		part->len = len;
		part->last = part->start + (int64) len >= object->size;
		fetch->next_offset += len;
		if (part->last)
		{
			fetch->next_index++;
			fetch->next_offset = 0;
		}
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

		if (len - (quoted ? 2 : 0) != strlen(part->object->etag) ||
			strncmp(value + (quoted ? 1 : 0), part->object->etag, strlen(part->object->etag)) != 0)
		{
			part->changed = true;
			return false;
		}
	}
	if (request->status == 206)
		return dm_http_header_copy(request, "Content-Range", value, sizeof(value)) &&
			   sscanf(value, "bytes " INT64_FORMAT "-", &from) == 1 && from == want;
	request->body_skip = request->body_len;
	return part->start == 0 && part->last;
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
		dm_object_raise_changed(part->object, "replaced");
	if (http->state == DM_HTTP_DONE && http->status == 404)
		dm_object_raise_changed(part->object, "removed");
	uri = dm_object_uri(part->object);
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

/* Lets transfers go on, waiting for news if asked to, and starts what can be started. */
static void
wait_parts(S3Fetch *fetch, bool block)
{
	long wait_ms = block ? -1 : 0;

	for (int i = 0; i < fetch->count; i++)
	{
		S3Part *part = &fetch->slots[(fetch->head + i) % fetch->nslots];

		if (part->ended)
			continue;
		part->ended = dm_http_advance(part->call->http);
		if (part->ended)
			wait_ms = 0;
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
				wait_parts(fetch, false);
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
			wait_parts(fetch, true);
	}
	return 0;
}
