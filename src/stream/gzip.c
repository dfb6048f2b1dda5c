/*
 * gzip.c: deflates what is written to one gzip member (RFC 1952).
 */
#include "postgres.h"

#include <zlib.h>

#include "miscadmin.h"

#include "base/handle.h"
#include "stream/sink.h"

#define DM_GZIP_BUFFER (64 * 1024)
#define DM_GZIP_PIECE (256 * 1024) /* bytes that are deflated without asking for interrupts */
#define DM_GZIP_WINDOW (15 + 16)   /* largest window, gzip header and trailer */
#define DM_GZIP_MEMORY 8		   /* zlib's default */

typedef struct GzipSink
{
	DmSink head;
	DmHandle *handle; /* of zip */
	z_stream zip;
	char output[DM_GZIP_BUFFER];
} GzipSink;

/* Frees zlib's state behind a handle. */
static void
gzip_release(void *resource)
{
	deflateEnd(resource);
}

/* Deflates what zip.next_in holds, as flush says, and writes all that comes out of it. */
static void
gzip_deflate(GzipSink *gzip, int flush)
{
	int result;

	do
	{
		gzip->zip.next_out = (Bytef *) gzip->output;
		gzip->zip.avail_out = DM_GZIP_BUFFER;
		result = deflate(&gzip->zip, flush);
		if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
			elog(ERROR, "could not compress with gzip: %s", gzip->zip.msg ? gzip->zip.msg : "unknown error");
		dm_sink_write(gzip->head.below, gzip->output, DM_GZIP_BUFFER - gzip->zip.avail_out);
	} while (gzip->zip.avail_out == 0);
}

/* Takes bytes, piece by piece. */
static void
gzip_write(DmSink *sink, const char *data, Size len)
{
	GzipSink *gzip = (GzipSink *) sink;

	while (len > 0)
	{
		Size piece = Min(len, DM_GZIP_PIECE);

		CHECK_FOR_INTERRUPTS();
		gzip->zip.next_in = (Bytef *) unconstify(char *, data);
		gzip->zip.avail_in = (uInt) piece;
		gzip_deflate(gzip, Z_NO_FLUSH);
		data += piece;
		len -= piece;
	}
}

/* Hands out all that was taken. */
static void
gzip_flush(DmSink *sink)
{
	GzipSink *gzip = (GzipSink *) sink;

	gzip->zip.avail_in = 0;
	gzip_deflate(gzip, Z_SYNC_FLUSH);
}

/* Writes the trailer and frees zlib's state. */
static void
gzip_finish(DmSink *sink)
{
	GzipSink *gzip = (GzipSink *) sink;

	gzip->zip.avail_in = 0;
	gzip_deflate(gzip, Z_FINISH);
	dm_handle_free(gzip->handle);
}

static const DmSinkOps gzip_ops = {gzip_write, gzip_flush, gzip_finish};

/* Stacks gzip on a sink. */
DmSink *
dm_sink_gzip_open(DmSink *below, int level)
{
	GzipSink *gzip = palloc(sizeof(GzipSink));

	dm_sink_init(&gzip->head, &gzip_ops, below);
	memset(&gzip->zip, 0, sizeof(gzip->zip));
	if (deflateInit2(&gzip->zip, level, Z_DEFLATED, DM_GZIP_WINDOW, DM_GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	gzip->handle = dm_handle_make(CurrentMemoryContext, &gzip->zip, gzip_release);
	return &gzip->head;
}
