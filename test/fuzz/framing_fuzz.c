/*
 * framing_fuzz.c: gunzip and zstd, as plain.c picks them, against zlib and libzstd decoding the whole input in one call, on any
 * bytes; test/fuzz/run.sh builds and runs it.
 *
 * The first bytes of an input choose how many bytes a read gives and takes, and whether the rest is decoded as it is, or first
 * packed (in members or frames) and then perhaps damaged in one byte or cut off: checksums keep a fuzzer from getting far
 * otherwise. What the libraries decode must be decoded to the same bytes, and what they refuse be refused. A difference aborts.
 */
#include "backend.h"

#include <zlib.h>
#include <zstd.h>

static void *arena_alloc(Size size);

/* Streams are never freed by themselves: their context would be. */
#define palloc0(size) arena_alloc(size)

#include "base/handle.c"
#include "stream/gunzip.c"
#include "stream/plain.c"
#include "stream/stream.c"
#include "stream/zstd.c"

#define OUTPUT_MAX (1024 * 1024)
#define PACKED_MAX (64 * 1024)
#define ARENA_MAX 64
#define REFUSED (-1)
#define ENDLESS (-2) /* more than OUTPUT_MAX: not compared */

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

MemoryContext CurrentMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;
static MemoryContextCallback *callbacks = NULL;
static void *arena[ARENA_MAX];
static int narena = 0;
static char ours[OUTPUT_MAX + 70000];
static char theirs[OUTPUT_MAX];
static char packed[PACKED_MAX];

void
ProcessInterrupts(void)
{
}

/* Zeroed memory that reset_context() frees. */
static void *
arena_alloc(Size size)
{
	if (narena == ARENA_MAX)
		abort();
	return arena[narena++] = calloc(1, size);
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	return arena_alloc(size);
}

void
MemoryContextRegisterResetCallback(MemoryContext context, MemoryContextCallback *callback)
{
	callback->next = callbacks;
	callbacks = callback;
}

/* Does what a reset of the context would do. */
static void
reset_context(void)
{
	for (; callbacks; callbacks = callbacks->next)
		callbacks->func(callbacks->arg);
	while (narena > 0)
		free(arena[--narena]);
}

/* A stream that gives a few bytes a read. */
typedef struct ChunkStream
{
	DmStream head;
	const char *data;
	Size left;
	Size chunk;
} ChunkStream;

/* Hands out the next chunk. */
static Size
chunk_read(DmStream *stream, char *buf, Size len)
{
	ChunkStream *chunks = (ChunkStream *) stream;
	Size count = Min(Min(len, chunks->chunk), chunks->left);

	memcpy(buf, chunks->data, count);
	chunks->data += count;
	chunks->left -= count;
	return count;
}

static const DmStreamOps chunk_ops = {chunk_read, NULL};

/* Decodes with our streams into ours. Returns the length, ENDLESS, or REFUSED with unit_sqlstate. */
static int64
decode(const char *data, Size len, Size chunk, Size piece)
{
	ChunkStream *below = arena_alloc(sizeof(ChunkStream));
	volatile int64 done = 0;
	volatile bool refused;

	*below = (ChunkStream){.data = data, .left = len, .chunk = chunk};
	dm_stream_init(&below->head, &chunk_ops, NULL, "input");
	if (setjmp(unit_jump) == 0)
	{
		DmStream *stream = dm_stream_plain_open(&below->head);
		Size got;

		while ((got = dm_stream_read(stream, ours + done, piece)) > 0)
		{
			if (got > piece)
				abort();
			done += got;
			if (done > OUTPUT_MAX)
				break;
		}
		refused = false;
		if (got == 0 && dm_stream_read(stream, ours + done, piece) != 0)
			abort(); /* an end is an end */
		dm_stream_close(stream);
	}
	else
		refused = true;
	reset_context();
	return refused ? REFUSED : done > OUTPUT_MAX ? ENDLESS : done;
}

/* Decodes gzip members with zlib, each in one call, into theirs; zero bytes may follow the last. */
static int64
oracle_gzip(const char *data, Size len)
{
	Size in = 0;
	Size out = 0;

	while (in < len && data[in] == 0x1f)
	{
		z_stream zip = {.next_in = (Bytef *) data + in, .avail_in = len - in, .next_out = (Bytef *) theirs + out, .avail_out = OUTPUT_MAX - out};
		int result;

		if (inflateInit2(&zip, 15 + 16) != Z_OK)
			abort();
		result = inflate(&zip, Z_FINISH);
		in += zip.total_in;
		out += zip.total_out;
		inflateEnd(&zip);
		if (result != Z_STREAM_END)
			return out == OUTPUT_MAX ? ENDLESS : REFUSED;
	}
	while (in < len && data[in] == '\0')
		in++;
	return in == len ? (int64) out : REFUSED;
}

/* Decodes zstd frames with libzstd in one call into theirs. */
static int64
oracle_zstd(const char *data, Size len)
{
	size_t result = ZSTD_decompress(theirs, OUTPUT_MAX, data, len);

	if (!ZSTD_isError(result))
		return result;
	return ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall ? ENDLESS : REFUSED;
}

/*
 * True if libzstd's other decoder, fed everything at once, refuses the input: it knows that a block may not be longer than the
 * window (RFC 8878 3.1.1.2.4), which the one of a single call overlooks.
 */
static bool
is_refused_by_stream(const char *data, Size len)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	ZSTD_inBuffer in = {data, len, 0};
	ZSTD_outBuffer out = {theirs, OUTPUT_MAX, 0};
	size_t result = 1;

	while (in.pos < in.size && !ZSTD_isError(result))
		result = ZSTD_decompressStream(context, &out, &in);
	ZSTD_freeDCtx(context);
	return ZSTD_isError(result);
}

/* Packs data in gzip members of at most `member` bytes, and some padding, into packed. Returns the length. */
static Size
pack_gzip(const char *data, Size len, Size member)
{
	Size out = 0;

	do
	{
		Size part = Min(member, len);
		z_stream zip = {.next_in = (Bytef *) data, .avail_in = part, .next_out = (Bytef *) packed + out, .avail_out = PACKED_MAX - out};

		if (deflateInit2(&zip, member % 10, Z_DEFLATED, 15 + 16, 1 + member % 9, member % 5) != Z_OK || deflate(&zip, Z_FINISH) != Z_STREAM_END)
			abort();
		out += zip.total_out;
		deflateEnd(&zip);
		data += part;
		len -= part;
	} while (len > 0);
	memset(packed + out, 0, member % 4);
	return out + member % 4;
}

/* Packs data in zstd frames of at most `member` bytes into packed, some with checksums, some skippable ones between. */
static Size
pack_zstd(const char *data, Size len, Size member)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	Size out = 0;

	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, member % 2);
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, member % 3 != 0);
	do
	{
		Size part = Min(member, len);
		size_t result = ZSTD_compress2(context, packed + out, PACKED_MAX - out, data, part);

		if (ZSTD_isError(result))
			abort();
		out += result;
		if (member % 5 == 0)
		{
			memcpy(packed + out, "\x53\x2a\x4d\x18\x02\x00\x00\x00zz", 10);
			out += 10;
		}
		data += part;
		len -= part;
	} while (len > 0);
	ZSTD_freeCCtx(context);
	return out;
}

/* Compares our decoding of an input with that of its library. */
static void
compare(const char *data, Size len, Size chunk, Size piece)
{
	bool gzip = len >= 2 && memcmp(data, "\x1f\x8b", 2) == 0;
	bool zstd = len >= 4 && (memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0 || ((data[0] & 0xf0) == 0x50 && memcmp(data + 1, "\x2a\x4d\x18", 3) == 0));
	int64 mine = decode(data, len, chunk, piece);
	int64 want = gzip ? oracle_gzip(data, len) : zstd ? oracle_zstd(data, len) : (int64) len;

	if (mine == ENDLESS || want == ENDLESS)
		return;
	if (mine == REFUSED && zstd && unit_sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		return; /* a window that is too large for us */
	if (mine == REFUSED && want >= 0 && zstd && is_refused_by_stream(data, len))
		return;
	/* the other way round: a last block that is compressed and has no bytes is the end to the one, a fault to the other */
	if (mine >= 0 && want == REFUSED && zstd && !is_refused_by_stream(data, len))
		return;
	if (mine != want || (mine > 0 && memcmp(ours, gzip || zstd ? theirs : data, mine) != 0))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *rest = (const char *) data + 6;
	Size len = size - 6;
	Size member;

	if (size < 6)
		return 0;
	member = 1 + data[3];
	if (data[2] % 3 > 0)
	{
		Size whole = data[2] % 3 == 1 ? pack_gzip(rest, len, member) : pack_zstd(rest, len, member);
		int64 got = decode(packed, whole, 1 + data[0], 1 + data[1] * 17);

		if (got != (int64) len || memcmp(ours, rest, len) != 0)
			abort();
		if (data[2] & 0x40)
			packed[(data[4] * 256 + data[5]) % whole] ^= 1 + data[3];
		if (data[2] & 0x80)
			whole = (data[4] * 256 + data[5]) % (whole + 1);
		rest = packed;
		len = whole;
	}
	compare(rest, len, 1 + data[0], 1 + data[1] * 17);
	return 0;
}
