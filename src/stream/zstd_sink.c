/*
 * zstd_sink.c: compresses what is written to one zstd frame (RFC 8878) with a checksum.
 */
#include "postgres.h"

#include <zstd.h>

#include "miscadmin.h"

#include "base/handle.h"
#include "stream/sink.h"

#define DM_ZSTD_BUFFER (64 * 1024)
#define DM_ZSTD_PIECE (256 * 1024) /* bytes that are compressed without asking for interrupts */

typedef struct ZstdSink
{
	DmSink head;
	DmHandle *handle; /* of the ZSTD_CCtx */
	char output[DM_ZSTD_BUFFER];
} ZstdSink;

/* Frees the compressor's state behind a handle. */
static void
zstd_sink_release(void *resource)
{
	ZSTD_freeCCtx(resource);
}

/* Compresses the bytes, as operation says, and writes all that comes out of it. */
static void
zstd_compress(ZstdSink *zstd, const char *data, Size len, ZSTD_EndDirective operation)
{
	ZSTD_CCtx *context = dm_handle_get(zstd->handle);
	ZSTD_inBuffer in = {data, len, 0};
	size_t left;

	do
	{
		ZSTD_outBuffer out = {zstd->output, DM_ZSTD_BUFFER, 0};

		left = ZSTD_compressStream2(context, &out, &in, operation);
		if (ZSTD_isError(left))
			elog(ERROR, "could not compress with zstd: %s", ZSTD_getErrorName(left));
		dm_sink_write(zstd->head.below, zstd->output, out.pos);
	} while (operation == ZSTD_e_continue ? in.pos < in.size : left > 0);
}

/* Takes bytes, piece by piece. */
static void
zstd_write(DmSink *sink, const char *data, Size len)
{
	while (len > 0)
	{
		Size piece = Min(len, DM_ZSTD_PIECE);

		CHECK_FOR_INTERRUPTS();
		zstd_compress((ZstdSink *) sink, data, piece, ZSTD_e_continue);
		data += piece;
		len -= piece;
	}
}

/* Hands out all that was taken. */
static void
zstd_flush(DmSink *sink)
{
	zstd_compress((ZstdSink *) sink, NULL, 0, ZSTD_e_flush);
}

/* Ends the frame and frees the compressor's state. */
static void
zstd_finish(DmSink *sink)
{
	zstd_compress((ZstdSink *) sink, NULL, 0, ZSTD_e_end);
	dm_handle_free(((ZstdSink *) sink)->handle);
}

static const DmSinkOps zstd_sink_ops = {zstd_write, zstd_flush, zstd_finish};

/* Stacks zstd on a sink. */
DmSink *
dm_sink_zstd_open(DmSink *below, int level)
{
	ZstdSink *zstd = palloc(sizeof(ZstdSink));
	ZSTD_CCtx *context = ZSTD_createCCtx();

	if (!context)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	dm_sink_init(&zstd->head, &zstd_sink_ops, below);
	zstd->handle = dm_handle_make(CurrentMemoryContext, context, zstd_sink_release);
	if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)))
		elog(ERROR, "could not set the level of zstd");
	return &zstd->head;
}
