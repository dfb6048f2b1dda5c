/*
 * stream.c: what all streams share: the head they embed, reading with a count, closing a stack.
 *
 * Invariants of this folder:
 * 1. read() hands out at least one byte or 0 for the end; after the end it keeps answering 0.
 * 2. A stream owns its state, never the one below it, yet closing the top of a stack closes all of it.
 * 3. Closing twice is harmless, so an owner further down may close its own stream again.
 * 4. A stream is abandoned safely at any time by resetting its memory context.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "stream/stream.h"

/* Answers the end to whoever reads a closed stream. */
static Size
closed_read(DmStream *stream, char *buf, Size len)
{
	return 0;
}

static const DmStreamOps closed_ops = {closed_read, NULL};

/* Fills in the head of a stream that reads from below (NULL: from nothing). The name is not copied. */
void
dm_stream_init(DmStream *stream, const DmStreamOps *ops, DmStream *below, const char *name)
{
	stream->ops = ops;
	stream->below = below;
	stream->name = name;
	stream->bytes_out = 0;
}

/* Puts 1..len bytes into buf and returns how many, or 0 at the end. Answers interrupts. */
Size
dm_stream_read(DmStream *stream, char *buf, Size len)
{
	Size got;

	Assert(len > 0);
	CHECK_FOR_INTERRUPTS();
	got = stream->ops->read(stream, buf, len);
	Assert(got <= len);
	stream->bytes_out += got;
	return got;
}

/* Closes a stream and all below it. Memory stays until their context goes. */
void
dm_stream_close(DmStream *stream)
{
	for (; stream; stream = stream->below)
	{
		const DmStreamOps *ops = stream->ops;

		stream->ops = &closed_ops;
		if (ops->close)
			ops->close(stream);
	}
}
