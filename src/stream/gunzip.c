/*
 * gunzip.c: inflates gzip data (RFC 1952): one or more members, one after another.
 *
 * As gzip does, zero bytes after the last member are taken for padding (tapes, block devices). Anything else there
 * is an error, where gzip only warns: half a row lost in silence is what we are here to prevent. All bytes of the stream
 * below are read before the end is reported, so a digest underneath sees the whole object.
 */
#include "postgres.h"

#include <zlib.h>

#include "base/handle.h"
#include "stream/stream.h"

#define DM_GUNZIP_BUFFER (64 * 1024)
#define DM_GUNZIP_READ_MAX (1024 * 1024)
#define DM_GZIP_WINDOW (15 + 16) /* largest window, gzip header and trailer required */

typedef enum GunzipState
{
	GUNZIP_MEMBER,	/* inside a member */
	GUNZIP_BETWEEN, /* after one: another, padding or the end */
	GUNZIP_PADDING, /* after a zero byte that follows a member */
	GUNZIP_END
} GunzipState;

typedef struct GunzipStream
{
	DmStream head;
	GunzipState state;
	bool below_ended;
	DmHandle *handle; /* of zip */
	z_stream zip;
	char input[DM_GUNZIP_BUFFER];
} GunzipStream;

/* Frees zlib's state behind a handle. */
static void
gunzip_release(void *resource)
{
	inflateEnd(resource);
}

/* Offset in the compressed bytes of the next one not yet consumed. */
static uint64
gunzip_offset(const GunzipStream *gunzip)
{
	return gunzip->head.below->bytes_out - gunzip->zip.avail_in;
}

/* Gets more compressed bytes when none are left. Returns false at their end. */
static bool
gunzip_fill(GunzipStream *gunzip)
{
	if (gunzip->zip.avail_in > 0)
		return true;
	if (gunzip->below_ended)
		return false;
	gunzip->zip.next_in = (Bytef *) gunzip->input;
	gunzip->zip.avail_in = (uInt) dm_stream_read(gunzip->head.below, gunzip->input, DM_GUNZIP_BUFFER);
	gunzip->below_ended = gunzip->zip.avail_in == 0;
	return !gunzip->below_ended;
}

/* Raises for compressed data that stops inside a member. */
static void
gunzip_truncated(GunzipStream *gunzip)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("gzip data of \"%s\" is cut off", gunzip->head.name),
			 errdetail("The compressed data ends at byte %llu, before the end of its gzip member.",
					   (unsigned long long) gunzip_offset(gunzip)),
			 errhint("Store the object again from its source: its end is missing.")));
}

/* Raises for zlib's result of a damaged member. */
static void
gunzip_damaged(GunzipStream *gunzip, int result)
{
	if (result == Z_MEM_ERROR)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("gzip data of \"%s\" is damaged", gunzip->head.name),
			 errdetail("Near compressed byte %llu: %s.",
					   (unsigned long long) gunzip_offset(gunzip),
					   gunzip->zip.msg ? gunzip->zip.msg : "unexpected data"),
			 errhint("Store the object again from its source.")));
}

/* Moves on from the end of a member: to the next one, over padding, or to the end. */
static void
gunzip_between(GunzipStream *gunzip)
{
	while (gunzip_fill(gunzip))
	{
		Bytef byte = *gunzip->zip.next_in;

		if (byte == 0x1f && gunzip->state == GUNZIP_BETWEEN)
		{
			if (inflateReset(&gunzip->zip) != Z_OK)
				elog(ERROR, "could not reset zlib");
			gunzip->state = GUNZIP_MEMBER;
			return;
		}
		if (byte != 0)
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("gzip data of \"%s\" is followed by something else", gunzip->head.name),
					 errdetail("The data after the last gzip member begins at compressed byte %llu.",
							   (unsigned long long) gunzip_offset(gunzip))));
		gunzip->state = GUNZIP_PADDING;
		gunzip->zip.next_in++;
		gunzip->zip.avail_in--;
	}
	gunzip->state = GUNZIP_END;
}

/* Inflates up to len bytes. */
static Size
gunzip_read(DmStream *stream, char *buf, Size len)
{
	GunzipStream *gunzip = (GunzipStream *) stream;
	uInt room = (uInt) Min(len, DM_GUNZIP_READ_MAX);

	gunzip->zip.next_out = (Bytef *) buf;
	gunzip->zip.avail_out = room;
	while (gunzip->zip.avail_out == room && gunzip->state != GUNZIP_END)
	{
		int result;

		if (gunzip->state != GUNZIP_MEMBER)
		{
			gunzip_between(gunzip);
			continue;
		}
		if (!gunzip_fill(gunzip))
			gunzip_truncated(gunzip);
		result = inflate(&gunzip->zip, Z_NO_FLUSH);
		if (result == Z_STREAM_END)
			gunzip->state = GUNZIP_BETWEEN;
		else if (result != Z_OK && result != Z_BUF_ERROR)
			gunzip_damaged(gunzip, result);
	}
	return room - gunzip->zip.avail_out;
}

/* Frees zlib's state before its context goes. */
static void
gunzip_close(DmStream *stream)
{
	dm_handle_free(((GunzipStream *) stream)->handle);
}

static const DmStreamOps gunzip_ops = {gunzip_read, gunzip_close};

/* Stacks inflation on a stream of gzip data. */
DmStream *
dm_stream_gunzip_open(DmStream *below)
{
	GunzipStream *gunzip = palloc0(sizeof(GunzipStream));

	dm_stream_init(&gunzip->head, &gunzip_ops, below, below->name);
	if (inflateInit2(&gunzip->zip, DM_GZIP_WINDOW) != Z_OK)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	gunzip->handle = dm_handle_make(CurrentMemoryContext, &gunzip->zip, gunzip_release);
	return &gunzip->head;
}
