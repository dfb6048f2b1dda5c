/*
 * plain.c: finds out from the first bytes whether a stream is compressed and stacks the decompressor it needs.
 *
 * Names are not trusted: a .gz may have been inflated on its way (Content-Encoding), and a .csv may be gzip.
 */
#include "postgres.h"

#include "stream/stream.h"

#define DM_MAGIC_BYTES 4

typedef struct PlainStream
{
	DmStream head;
	char magic[DM_MAGIC_BYTES]; /* the bytes looked at, to be handed out first */
	Size magic_len;
	Size magic_used;
} PlainStream;

/* Hands out the bytes looked at, then reads from below. */
static Size
plain_read(DmStream *stream, char *buf, Size len)
{
	PlainStream *plain = (PlainStream *) stream;
	Size left = plain->magic_len - plain->magic_used;
	Size count = Min(len, left);

	if (left == 0)
		return dm_stream_read(stream->below, buf, len);
	memcpy(buf, plain->magic + plain->magic_used, count);
	plain->magic_used += count;
	if (count < len)
		count += dm_stream_read(stream->below, buf + count, len - count);
	return count;
}

static const DmStreamOps plain_ops = {plain_read, NULL};

/* Whether the first bytes are those of a zstd frame, skippable ones included: RFC 8878 3.1.1 and 3.1.2, Magic_Number. */
static bool
is_zstd(const PlainStream *plain)
{
	const unsigned char *magic = (const unsigned char *) plain->magic;

	return plain->magic_len == 4 && (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0 ||
									 ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, "\x2a\x4d\x18", 3) == 0));
}

/* Opens a stream over the uncompressed bytes of another. Reads the first bytes at once. */
DmStream *
dm_stream_plain_open(DmStream *below)
{
	PlainStream *plain = palloc0(sizeof(PlainStream));
	Size got = 0;

	dm_stream_init(&plain->head, &plain_ops, below, below->name);
	while (plain->magic_len < DM_MAGIC_BYTES &&
		   (got = dm_stream_read(below, plain->magic + plain->magic_len, DM_MAGIC_BYTES - plain->magic_len)) > 0)
		plain->magic_len += got;

	/* RFC 1952 2.3.1: ID1 and ID2. */
	if (plain->magic_len >= 2 && memcmp(plain->magic, "\x1f\x8b", 2) == 0)
		return dm_stream_gunzip_open(&plain->head);
	if (is_zstd(plain))
		return dm_stream_zstd_open(&plain->head);
	return &plain->head;
}

/* Whether dm_stream_plain_open() found the bytes uncompressed. */
bool
dm_stream_is_plain(const DmStream *stream)
{
	return stream->ops == &plain_ops;
}
