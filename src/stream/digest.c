/*
 * digest.c: SHA-256 of all bytes that pass through.
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "base/handle.h"
#include "stream/stream.h"

#define DM_SHA256_BYTES 32

typedef struct DigestStream
{
	DmStream head;
	DmHandle *handle; /* of the EVP_MD_CTX */
	bool at_end;	  /* sha256 holds the digest of everything */
	unsigned char sha256[DM_SHA256_BYTES];
} DigestStream;

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

/* Reads from below and adds what came to the hash; finishes the hash at the end. */
static Size
digest_read(DmStream *stream, char *buf, Size len)
{
	DigestStream *digest = (DigestStream *) stream;
	EVP_MD_CTX *hash = dm_handle_get(digest->handle);
	Size got;

	if (digest->at_end)
		return 0;
	got = dm_stream_read(stream->below, buf, len);
	if (got > 0)
	{
		if (EVP_DigestUpdate(hash, buf, got) != 1)
			digest_fail();
		return got;
	}
	if (EVP_DigestFinal_ex(hash, digest->sha256, NULL) != 1)
		digest_fail();
	digest->at_end = true;
	return 0;
}

/* Frees the hash's state before its context goes; a finished digest can still be asked for. */
static void
digest_close(DmStream *stream)
{
	dm_handle_free(((DigestStream *) stream)->handle);
}

static const DmStreamOps digest_ops = {digest_read, digest_close};

/* Stacks a hash on a stream. */
DmStream *
dm_stream_digest_open(DmStream *below)
{
	DigestStream *digest = palloc0(sizeof(DigestStream));
	EVP_MD_CTX *hash = EVP_MD_CTX_new();

	if (!hash)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	dm_stream_init(&digest->head, &digest_ops, below, below->name);
	digest->handle = dm_handle_make(CurrentMemoryContext, hash, digest_release);
	if (EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
		digest_fail();
	return &digest->head;
}

/* Returns the digest in 64 hex digits, palloc'd; NULL unless all bytes were read to the end. */
char *
dm_stream_digest_hex(DmStream *stream)
{
	DigestStream *digest = (DigestStream *) stream;
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
