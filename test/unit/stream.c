/*
 * stream.c: tests of src/stream/: stacks of memory, digest, gunzip and zstd, read in pieces of every size.
 *
 * Digests are sha256sum's; the gzip members are those of `printf ... | gzip -n`, the zstd
 * frames those of `printf ... | zstd`.
 */
#include "backend.h"

#include "base/handle.c"
#include "stream/digest.c"
#include "stream/gunzip.c"
#include "stream/memory.c"
#include "stream/plain.c"
#include "stream/sink.c"
#include "stream/stream.c"
#include "stream/zstd.c"

/* "hello " and "world\n". */
static const char hello[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x57\x00\x00\xf6\xf9\x81\xed\x06\x00\x00\x00";
static const char world[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x2b\xcf\x2f\xca\x49\xe1\x02\x00\xa8\x61\x38\xdd\x06\x00\x00\x00";
static const char zhello[] = "\x28\xb5\x2f\xfd\x04\x58\x31\x00\x00\x68\x65\x6c\x6c\x6f\x20\xd2\x3b\xe1\xa9";
static const char zworld[] = "\x28\xb5\x2f\xfd\x04\x58\x31\x00\x00\x77\x6f\x72\x6c\x64\x0a\xaa\x6e\x56\x9f";

MemoryContext CurrentMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;
static MemoryContextCallback *callbacks = NULL; /* of the only context there is */

void
ProcessInterrupts(void)
{
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	return palloc(size);
}

void
MemoryContextRegisterResetCallback(MemoryContext context, MemoryContextCallback *callback)
{
	callback->next = callbacks;
	callbacks = callback;
}

/* Runs what a reset of the context would run. */
static void
reset_context(void)
{
	for (; callbacks; callbacks = callbacks->next)
		callbacks->func(callbacks->arg);
}

/* Reads a stream to its end, piece bytes at a time; the text is terminated. */
static char *
read_all(DmStream *stream, Size piece)
{
	static char text[1000];
	Size len = 0;
	Size got;

	while ((got = dm_stream_read(stream, text + len, piece)) > 0)
		len += got;
	if (dm_stream_read(stream, text + len, piece) != 0 || stream->bytes_out != len)
		strcpy(text, "no end");
	else
		text[len] = '\0';
	return text;
}

/* Joins members and padding, and checks what is read from them. */
static void
test_gunzip(void)
{
	char packed[200];
	Size len = 0;
	volatile bool same = true;

	memcpy(packed, hello, sizeof(hello) - 1);
	len = sizeof(hello) - 1;
	memcpy(packed + len, world, sizeof(world) - 1);
	len += sizeof(world) - 1;
	memset(packed + len, 0, 20);
	for (Size piece = 1; piece < 20; piece++)
	{
		DmStream *digest = dm_stream_digest_open(dm_stream_memory_open(packed, len + 20, "packed"));
		DmStream *plain = dm_stream_plain_open(digest);

		same &= dm_stream_digest_hex(digest) == NULL;
		same &= strcmp(read_all(plain, piece), "hello world\n") == 0;
		same &= digest->bytes_out == len + 20 && dm_stream_digest_hex(digest) != NULL;
		dm_stream_close(plain);
		dm_stream_close(plain);
	}
	ok(same, "two members and padding, read in pieces of 1 to 19 bytes; the digest ends with them");
	for (Size cut = 1; cut < len; cut++)
	{
		bool whole = cut == sizeof(hello) - 1 || cut < 2;

		if (RAISES(read_all(dm_stream_plain_open(dm_stream_memory_open(packed, cut, "cut")), 7)) == whole)
			same = false;
	}
	ok(same, "members cut off anywhere raise");
	reset_context();
}

/* Joins frames and a skippable one, and checks what is read from them, whole and cut off. */
static void
test_zstd(void)
{
	static const char skippable[] = "\x5f\x2a\x4d\x18\x03\x00\x00\x00xyz";
	char packed[200];
	Size ends[] = {sizeof(skippable) - 1, sizeof(zhello) - 1, sizeof(zworld) - 1};
	Size len = 0;
	volatile bool same = true;

	memcpy(packed, skippable, ends[0]);
	memcpy(packed + ends[0], zhello, ends[1]);
	memcpy(packed + ends[0] + ends[1], zworld, ends[2]);
	len = ends[0] + ends[1] + ends[2];
	for (Size piece = 1; piece < 20; piece++)
	{
		DmStream *digest = dm_stream_digest_open(dm_stream_memory_open(packed, len, "packed"));
		DmStream *plain = dm_stream_plain_open(digest);

		same &= strcmp(read_all(plain, piece), "hello world\n") == 0;
		same &= digest->bytes_out == len && dm_stream_digest_hex(digest) != NULL;
		dm_stream_close(plain);
		dm_stream_close(plain);
	}
	ok(same, "zstd: frames read in pieces of 1 to 19 bytes; the digest ends with them");
	for (Size cut = 4; cut < len; cut++)
	{
		bool whole = cut == ends[0] || cut == ends[0] + ends[1];

		if (RAISES(read_all(dm_stream_plain_open(dm_stream_memory_open(packed, cut, "cut")), 7)) == whole)
			same = false;
	}
	ok(same, "zstd: frames cut off anywhere raise");
	reset_context();
}

/* Digests of plain bytes. */
static void
test_digest(void)
{
	DmStream *digest = dm_stream_digest_open(dm_stream_memory_open("abc", 3, "abc"));
	DmStream *empty = dm_stream_digest_open(dm_stream_memory_open("", 0, "empty"));

	ok(strcmp(read_all(dm_stream_plain_open(digest), 2), "abc") == 0, "bytes without magic pass");
	ok(strcmp(dm_stream_digest_hex(digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0,
	   "digest of abc");
	ok(strcmp(read_all(empty, 2), "") == 0, "no bytes");
	ok(strcmp(dm_stream_digest_hex(empty), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0,
	   "digest of nothing");
	dm_stream_close(digest);
	ok(dm_stream_digest_hex(digest) != NULL, "a closed digest can be asked for");
	reset_context();
}

/*
 * Frames whose header gives a size: "hello " as `zstd --stream-size=6` writes it, and one (made by damaging an empty frame's size) that
 * says 65 and holds nothing, which the zstd tool takes.
 */
static void
test_zstd_size(void)
{
	static const char sized[] = "\x28\xb5\x2f\xfd\x24\x06\x31\x00\x00\x68\x65\x6c\x6c\x6f\x20\xd2\x3b\xe1\xa9";
	static const char wrong[] = "\x28\xb5\x2f\xfd\x24\x41\x01\x00\x00\x99\xe9\xd8\x51";
	char packed[sizeof(sized) + sizeof(zworld)];

	memcpy(packed, sized, sizeof(sized) - 1);
	memcpy(packed + sizeof(sized) - 1, zworld, sizeof(zworld) - 1);
	ok(strcmp(read_all(dm_stream_plain_open(dm_stream_memory_open(packed, sizeof(sized) + sizeof(zworld) - 2, "sized")), 5), "hello world\n") == 0,
	   "a zstd frame with its size, and one without");
	ok(RAISES(read_all(dm_stream_plain_open(dm_stream_memory_open(wrong, sizeof(wrong) - 1, "wrong")), 5)) && strstr(unit_error, "damaged"),
	   "a zstd frame with a wrong size");
	reset_context();
}

int
main(void)
{
	test_gunzip();
	test_zstd();
	test_zstd_size();
	test_digest();
	return done();
}
