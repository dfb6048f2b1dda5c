/*
 * sink.h: where bytes go, stackable like the streams that they come from: gzip, zstd, a digest of what passes.
 *
 * A sink is pushed: dm_sink_write() hands bytes to the top of a stack, dm_sink_finish() ends all of it. Each sink lives in
 * the memory context that was current when it was opened; what palloc does not own is bound to that context.
 */
#ifndef DM_SINK_H
#define DM_SINK_H

#include "postgres.h"

typedef struct DmSink DmSink;

typedef struct DmSinkOps
{
	/* Takes all len bytes (at least one). Raises on any fault. */
	void (*write)(DmSink *sink, const char *data, Size len);
	/* Hands what it keeps back to the sink below; NULL if it keeps nothing. */
	void (*flush)(DmSink *sink);
	/* Writes its end to the sink below and releases what it holds; NULL if there is nothing to do. */
	void (*finish)(DmSink *sink);
} DmSinkOps;

struct DmSink
{
	const DmSinkOps *ops; /* first member: every kind of sink embeds DmSink as its head */
	DmSink *below;		  /* what this one writes to, or NULL */
	uint64 bytes_in;	  /* taken so far; kept by dm_sink_write */
};

extern void dm_sink_init(DmSink *sink, const DmSinkOps *ops, DmSink *below);
extern void dm_sink_write(DmSink *sink, const char *data, Size len);
/* Brings all that was written to the stack down to its bottom, so that the bytes_in of each part count it. */
extern void dm_sink_flush(DmSink *sink);
/* Ends the stack from its top to its bottom. Memory stays until their context goes. */
extern void dm_sink_finish(DmSink *sink);

/* SHA-256 of all that is written through it. The hex digest (64 digits) is NULL until it was finished. */
extern DmSink *dm_sink_digest_open(DmSink *below);
extern char *dm_sink_digest_hex(DmSink *digest);
/* One gzip member (RFC 1952), level 1 to 9, without a name or time: same bytes, same result. */
extern DmSink *dm_sink_gzip_open(DmSink *below, int level);
/* One zstd frame (RFC 8878) with a checksum, level 1 to 19. */
extern DmSink *dm_sink_zstd_open(DmSink *below, int level);
/* No more bytes than this come out of gzip or zstd, from one flush to the next or to the end, for len bytes that went in. */
extern uint64 dm_sink_compressed_max(uint64 len);

#endif
