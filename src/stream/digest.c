/*
 * digest.c: SHA-256 of all bytes that pass through, of a stream that is read and of a sink that is written to.
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "base/handle.h"
#include "stream/sink.h"
#include "stream/stream.h"

#define DM_SHA256_BYTES 32

typedef struct Digest
{
	DmHandle *handle; /* of the EVP_MD_CTX */
	bool at_end;	  /* sha256 holds the digest of everything */
	unsigned char sha256[DM_SHA256_BYTES];
} Digest;

typedef struct DigestStream
{
	DmStream head;
	Digest digest;
} DigestStream;

typedef struct DigestSink
{
	DmSink head;
	Digest digest;
} DigestSink;

/* Frees the hash's state behind a handle. */
static void
digest_release(void *resource)
{
	EVP_MD_CTX_free(resource);
}

/* Raises for a failure inside OpenSSL, which a working library has no reason for. */
static void
digest_fail(void)
{
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a SHA-256 digest")));
}

/* Makes a hash, in the current memory context. */
static void
digest_init(Digest *digest)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();

	if (!hash)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	digest->handle = dm_handle_make(CurrentMemoryContext, hash, digest_release);
	if (EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
		digest_fail();
}

/* Adds bytes to the hash. */
static void
digest_add(Digest *digest, const char *data, Size len)
{
	if (EVP_DigestUpdate(dm_handle_get(digest->handle), data, len) != 1)
		digest_fail();
}

/* Finishes the hash. */
static void
digest_end(Digest *digest)
{
	if (EVP_DigestFinal_ex(dm_handle_get(digest->handle), digest->sha256, NULL) != 1)
		digest_fail();
	digest->at_end = true;
}

/* Returns the digest in hex digits, palloc'd; NULL unless it is finished. */
static char *
digest_hex(const Digest *digest)
{
	static const char digits[] = "0123456789abcdef";
	char *hex;

	if (!digest->at_end)
		return NULL;
	hex = palloc(DM_SHA256_BYTES * 2 + 1);
	for (int i = 0; i < DM_SHA256_BYTES; i++)
	{
		hex[2 * i] = digits[digest->sha256[i] >> 4];
		hex[2 * i + 1] = digits[digest->sha256[i] & 0xf];
	}
	hex[DM_SHA256_BYTES * 2] = '\0';
	return hex;
}

/* Reads from below and adds what came to the hash; finishes the hash at the end. */
static Size
digest_read(DmStream *stream, char *buf, Size len)
{
	Digest *digest = &((DigestStream *) stream)->digest;
	Size got;

	if (digest->at_end)
		return 0;
	got = dm_stream_read(stream->below, buf, len);
	if (got > 0)
		digest_add(digest, buf, got);
	else
		digest_end(digest);
	return got;
}

/* Frees the hash's state before its context goes; a finished digest can still be asked for. */
static void
digest_close(DmStream *stream)
{
	dm_handle_free(((DigestStream *) stream)->digest.handle);
}

static const DmStreamOps digest_ops = {digest_read, digest_close};

/* Stacks a hash on a stream. */
DmStream *
dm_stream_digest_open(DmStream *below)
{
	DigestStream *stream = palloc0(sizeof(DigestStream));

	dm_stream_init(&stream->head, &digest_ops, below, below->name);
	digest_init(&stream->digest);
	return &stream->head;
}

/* Returns the digest in 64 hex digits, palloc'd; NULL unless all bytes were read to the end. */
char *
dm_stream_digest_hex(DmStream *stream)
{
	return digest_hex(&((DigestStream *) stream)->digest);
}

/* Adds bytes to the hash and hands them on. */
static void
digest_write(DmSink *sink, const char *data, Size len)
{
	digest_add(&((DigestSink *) sink)->digest, data, len);
	dm_sink_write(sink->below, data, len);
}

/* Finishes the hash and frees its state. */
static void
digest_finish(DmSink *sink)
{
	Digest *digest = &((DigestSink *) sink)->digest;

	digest_end(digest);
	dm_handle_free(digest->handle);
}

static const DmSinkOps digest_sink_ops = {digest_write, NULL, digest_finish};

/* Stacks a hash on a sink. */
DmSink *
dm_sink_digest_open(DmSink *below)
{
	DigestSink *sink = palloc0(sizeof(DigestSink));

	dm_sink_init(&sink->head, &digest_sink_ops, below);
	digest_init(&sink->digest);
	return &sink->head;
}

/* Returns the digest in 64 hex digits, palloc'd; NULL until the sink was finished. */
char *
dm_sink_digest_hex(DmSink *sink)
{
	return digest_hex(&((DigestSink *) sink)->digest);
}
