/*
 * zstd.c: decompresses Zstandard data (RFC 8878): frames and skippable frames, one after another.
 *
 * A frame says how much of its past it refers to, and asks for memory of that size: more than DM_ZSTD_WINDOW_LOG is
 * refused, which is what the zstd tool does without --long, so a made-up object cannot take the server's memory. Checksums
 * of frames are verified, and so is the size that a frame's header may give: the library's streaming decoder does not look at
 * it where the last block is empty. As in gunzip.c, whatever follows the last frame is an error, and all bytes of the stream below are
 * read before the end is reported.
 */
#include "postgres.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "base/handle.h"
#include "stream/stream.h"

#define DM_ZSTD_BUFFER (64 * 1024)
#define DM_ZSTD_WINDOW_LOG 27 /* 128 MB */
#define DM_ZSTD_HEADER_MAX 18 /* RFC 8878 3.1.1.1: magic number and frame header */

typedef struct ZstdStream
{
	DmStream head;
	bool inside;  /* a frame is begun and not complete */
	bool pending; /* the last call filled its output, so there may be more without more input */
	bool below_ended;
	uint64 frame_size; /* what the frame's header says that it holds; ZSTD_CONTENTSIZE_UNKNOWN: nothing */
	uint64 frame_out;  /* bytes of the frame so far */
	DmHandle *handle;  /* of the ZSTD_DCtx */
	ZSTD_inBuffer in;  /* over input */
	char input[DM_ZSTD_BUFFER];
} ZstdStream;

/* Frees the decompressor's state behind a handle. */
static void
zstd_release(void *resource)
{
	ZSTD_freeDCtx(resource);
}

/* Offset in the compressed bytes of the next one not yet consumed. */
static uint64
zstd_offset(const ZstdStream *zstd)
{
	return zstd->head.below->bytes_out - (zstd->in.size - zstd->in.pos);
}

/* Gets more compressed bytes when none are left. Returns false at their end. */
static bool
zstd_fill(ZstdStream *zstd)
{
	if (zstd->in.pos < zstd->in.size)
		return true;
	if (zstd->below_ended)
		return false;
	zstd->in.src = zstd->input;
	zstd->in.pos = 0;
	zstd->in.size = dm_stream_read(zstd->head.below, zstd->input, DM_ZSTD_BUFFER);
	zstd->below_ended = zstd->in.size == 0;
	return !zstd->below_ended;
}

/* Reads what the next frame's header says of its size; for that, the whole header must be in the buffer. */
static void
zstd_begin_frame(ZstdStream *zstd)
{
	Size len = zstd->in.size - zstd->in.pos;

	if (len < DM_ZSTD_HEADER_MAX)
	{
		memmove(zstd->input, zstd->input + zstd->in.pos, len);
		while (len < DM_ZSTD_HEADER_MAX && !zstd->below_ended)
		{
			Size got = dm_stream_read(zstd->head.below, zstd->input + len, DM_ZSTD_BUFFER - len);

			zstd->below_ended = got == 0;
			len += got;
		}
		zstd->in.pos = 0;
		zstd->in.size = len;
	}
	zstd->frame_out = 0;
	zstd->frame_size = ZSTD_getFrameContentSize(zstd->input + zstd->in.pos, len);
	if (zstd->frame_size == ZSTD_CONTENTSIZE_ERROR) /* the decoder knows what is wrong */
		zstd->frame_size = ZSTD_CONTENTSIZE_UNKNOWN;
}

/* Raises if a frame has ended and holds another number of bytes than its header says. */
static void
zstd_end_frame(const ZstdStream *zstd)
{
	if (zstd->frame_size == ZSTD_CONTENTSIZE_UNKNOWN || zstd->frame_size == zstd->frame_out)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("zstd data of \"%s\" is damaged", zstd->head.name),
			 errdetail("The frame that ends at compressed byte %llu holds %llu bytes, and its header says %llu.",
					   (unsigned long long) zstd_offset(zstd),
					   (unsigned long long) zstd->frame_out,
					   (unsigned long long) zstd->frame_size),
			 errhint("Store the object again from its source.")));
}

/* Raises for compressed data that stops inside a frame. */
static void
zstd_truncated(ZstdStream *zstd)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("zstd data of \"%s\" is cut off", zstd->head.name),
			 errdetail("The compressed data ends at byte %llu, before the end of its frame.",
					   (unsigned long long) zstd_offset(zstd)),
			 errhint("Store the object again from its source: its end is missing.")));
}

/* Raises for the library's result of a frame that cannot be decompressed. */
static void
zstd_fail(ZstdStream *zstd, size_t result)
{
	unsigned long long offset = zstd_offset(zstd);

	switch (ZSTD_getErrorCode(result))
	{
		case ZSTD_error_memory_allocation:
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
			break;
		case ZSTD_error_frameParameter_windowTooLarge:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("zstd data of \"%s\" needs too much memory", zstd->head.name),
					 errdetail("A frame's window is larger than %d MB.", 1 << (DM_ZSTD_WINDOW_LOG - 20)),
					 errhint("Compress the object again without --long or --ultra.")));
			break;
		case ZSTD_error_prefix_unknown:
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("zstd data of \"%s\" is followed by something else", zstd->head.name),
					 errdetail("The data after the last frame is near compressed byte %llu.", offset)));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("zstd data of \"%s\" is damaged", zstd->head.name),
					 errdetail("At or after compressed byte %llu: %s.", offset, ZSTD_getErrorName(result)),
					 errhint("Store the object again from its source.")));
	}
}

/* Decompresses up to len bytes. */
static Size
zstd_read(DmStream *stream, char *buf, Size len)
{
	ZstdStream *zstd = (ZstdStream *) stream;
	ZSTD_DCtx *context = dm_handle_get(zstd->handle);
	ZSTD_outBuffer out = {buf, len, 0};

	while (out.pos == 0)
	{
		size_t result;

		if (!zstd->pending && !zstd_fill(zstd))
		{
			if (zstd->inside)
				zstd_truncated(zstd);
			return 0;
		}
		if (!zstd->inside)
			zstd_begin_frame(zstd);
		result = ZSTD_decompressStream(context, &out, &zstd->in);
		if (ZSTD_isError(result))
			zstd_fail(zstd, result);
		zstd->frame_out += out.pos;
		zstd->inside = result != 0;
		if (!zstd->inside)
			zstd_end_frame(zstd);
		zstd->pending = zstd->inside && out.pos == out.size;
	}
	return out.pos;
}

/* Frees the decompressor's state before its context goes. */
static void
zstd_close(DmStream *stream)
{
	dm_handle_free(((ZstdStream *) stream)->handle);
}

static const DmStreamOps zstd_ops = {zstd_read, zstd_close};

/* Stacks decompression on a stream of zstd data. */
DmStream *
dm_stream_zstd_open(DmStream *below)
{
	ZstdStream *zstd = palloc0(sizeof(ZstdStream));
	ZSTD_DCtx *context = ZSTD_createDCtx();

	if (!context)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	dm_stream_init(&zstd->head, &zstd_ops, below, below->name);
	zstd->handle = dm_handle_make(CurrentMemoryContext, context, zstd_release);
	if (ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, DM_ZSTD_WINDOW_LOG)))
		elog(ERROR, "could not limit the window of zstd");
	return &zstd->head;
}
