/*
 * stream.h: byte sources that can be stacked: memory, an object's bytes, gunzip, zstd, a digest of what passes.
 *
 * A stream is pulled: dm_stream_read() fills the caller's buffer. Each stream lives in the memory context that was
 * current when it was opened; what palloc does not own is bound to that context (base/handle.h), so ERROR leaks
 * nothing. Closing the top of a stack closes all below it.
 */
#ifndef DM_STREAM_H
#define DM_STREAM_H

#include "postgres.h"

typedef struct DmStream DmStream;

typedef struct DmStreamOps
{
	/* Puts 1..len bytes into buf and returns how many, or 0 at the end. Raises on any fault. */
	Size (*read)(DmStream *stream, char *buf, Size len);
	/* Releases what this stream alone holds; NULL if nothing. The stack below is closed by dm_stream_close. */
	void (*close)(DmStream *stream);
} DmStreamOps;

struct DmStream
{
	const DmStreamOps *ops; /* first member: every kind of stream embeds DmStream as its head */
	DmStream *below;		/* what this one reads from, or NULL */
	const char *name;		/* what messages call it: a path or URI, without secrets */
	uint64 bytes_out;		/* handed to the reader so far; kept by dm_stream_read */
};

extern void dm_stream_init(DmStream *stream, const DmStreamOps *ops, DmStream *below, const char *name);
extern Size dm_stream_read(DmStream *stream, char *buf, Size len);
extern void dm_stream_close(DmStream *stream);

/* The bytes data[0..len); they are not copied. */
extern DmStream *dm_stream_memory_open(const char *data, Size len, const char *name);
/* SHA-256 of all that is read through it. The hex digest (64 digits) is NULL until the end was read. */
extern DmStream *dm_stream_digest_open(DmStream *below);
extern char *dm_stream_digest_hex(DmStream *digest);
/* Members of RFC 1952 one after another; raises on a truncated or damaged one, naming the compressed byte offset. */
extern DmStream *dm_stream_gunzip_open(DmStream *below);
/* Frames of RFC 8878, skippable ones included; raises likewise, and for a frame whose window needs more than 128 MB. */
extern DmStream *dm_stream_zstd_open(DmStream *below);
/* Looks at the first bytes and stacks gunzip or zstd on it if they are their magic; else hands the bytes on as they are. */
extern DmStream *dm_stream_plain_open(DmStream *below);
/* Whether it found nothing to decompress. */
extern bool dm_stream_is_plain(const DmStream *stream);

#endif
