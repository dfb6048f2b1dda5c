/*
 * memory.c: a stream over bytes that are already in memory.
 */
#include "postgres.h"

#include "stream/stream.h"

typedef struct MemoryStream
{
	DmStream head;
	const char *data; /* the caller's */
	Size left;
} MemoryStream;

/* Hands out what is left of the bytes. */
static Size
memory_read(DmStream *stream, char *buf, Size len)
{
	MemoryStream *memory = (MemoryStream *) stream;
	Size count = Min(len, memory->left);

	memcpy(buf, memory->data, count);
	memory->data += count;
	memory->left -= count;
	return count;
}

static const DmStreamOps memory_ops = {memory_read, NULL};

/* Opens the bytes data[0..len) as a stream. They are not copied and must outlive it. */
DmStream *
dm_stream_memory_open(const char *data, Size len, const char *name)
{
	MemoryStream *memory = palloc0(sizeof(MemoryStream));

	dm_stream_init(&memory->head, &memory_ops, NULL, name);
	memory->data = data;
	memory->left = len;
	return &memory->head;
}
