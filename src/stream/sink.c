/*
 * sink.c: what all sinks share: the head they embed, writing with a count, flushing and ending a stack.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "stream/sink.h"

/* Fills in the head of a sink that writes to below (NULL: it is the bottom). */
void
dm_sink_init(DmSink *sink, const DmSinkOps *ops, DmSink *below)
{
	sink->ops = ops;
	sink->below = below;
	sink->bytes_in = 0;
}

/* Writes bytes to a sink. Answers interrupts. */
void
dm_sink_write(DmSink *sink, const char *data, Size len)
{
	CHECK_FOR_INTERRUPTS();
	if (len == 0)
		return;
	sink->bytes_in += len;
	sink->ops->write(sink, data, len);
}

/* Flushes a sink and all below it; see sink.h. */
void
dm_sink_flush(DmSink *sink)
{
	for (; sink; sink = sink->below)
	{
		if (sink->ops->flush)
			sink->ops->flush(sink);
	}
}

/* Ends a sink and all below it; see sink.h. */
void
dm_sink_finish(DmSink *sink)
{
	for (; sink; sink = sink->below)
	{
		if (sink->ops->finish)
			sink->ops->finish(sink);
	}
}

/*
 * See sink.h. Neither format expands data by more than the headers of blocks that it then stores as they are: 5 bytes per
 * 16 kB in deflate, 3 per 128 kB in zstd. The rest is room for headers, trailers and the mark of a flush.
 */
uint64
dm_sink_compressed_max(uint64 len)
{
	return len + len / 256 + 128;
}
