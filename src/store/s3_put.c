/*
 * s3_put.c: writes one object with a single PUT.
 *
 * Bytes are kept in a buffer of bounded size and, once there are more, in a temporary file of the server (under
 * temp_file_limit, removed with the transaction); a running SHA-256 of them is signed with the request, so S3 checks that it
 * got what was written. The object appears, whole, when the PUT succeeds.
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "storage/fd.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/handle.h"
#include "store/s3.h"

#define DM_S3_SPOOL_BYTES (1024 * 1024)
/* S3's own limit of a single PUT. */
#define DM_S3_PUT_MAX_BYTES (INT64CONST(5) * 1024 * 1024 * 1024)

typedef struct S3Upload
{
	DmUpload upload;
	char *buffer;
	Size used;
	File file; /* 0: all bytes are in the buffer */
	int64 file_bytes;
	EVP_MD_CTX *digest;
	DmHandle *digest_handle;
} S3Upload;

static void report_digest(void) pg_attribute_noreturn();

/* Frees the digest that a handle owns. */
static void
release_digest(void *resource)
{
	EVP_MD_CTX_free(resource);
}

/* Raises: the crypto library does not do its part. */
static void
report_digest(void)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute SHA-256 of an upload")));
}

/* Raises unless a call succeeded; what is like "could not write". */
static void
check_call(const DmS3Call *call, const char *what)
{
	if (!dm_s3_call_succeeded(call))
		dm_s3_call_raise(call, psprintf("%s object \"s3://%s/%s\"", what, call->bucket, call->key));
}

/* Raises 42710 if the key is taken and must not be replaced. */
static void
check_not_there(const S3Upload *s3)
{
	DmS3Call *call;

	if (!s3->upload.options.create_only)
		return;
	call = dm_s3_call_make((DmS3Store *) s3->upload.store, "HEAD", &s3->upload.store->stats.list_requests);
	call->bucket = s3->upload.bucket;
	call->key = s3->upload.key;
	dm_http_perform(call->http);
	if (dm_s3_call_succeeded(call))
		dm_upload_raise_exists(call->bucket, call->key);
	if (call->http->state != DM_HTTP_DONE || call->http->status != 404)
		check_call(call, "could not look for");
	dm_http_free(call->http);
}

/* Adds a header to a call, unless it has no value. */
static void
call_header_add(DmS3Call *call, const char *name, const char *value)
{
	if (value)
		call->headers[call->nheaders++] = (DmS3Header){name, value};
}

/* Starts an upload in the current memory context; nothing is sent yet. */
DmUpload *
dm_s3_upload_open(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options)
{
	S3Upload *s3 = palloc0(sizeof(S3Upload));

	dm_upload_init(&s3->upload, store, bucket, key, options);
	check_not_there(s3);
	s3->buffer = palloc(DM_S3_SPOOL_BYTES);
	s3->digest = EVP_MD_CTX_new();
	if (!s3->digest)
		report_digest();
	s3->digest_handle = dm_handle_make(CurrentMemoryContext, s3->digest, release_digest);
	if (EVP_DigestInit_ex(s3->digest, EVP_sha256(), NULL) != 1)
		report_digest();
	return &s3->upload;
}

/* Writes bytes to the temporary file, all of them. */
static void
spool(S3Upload *s3, const char *data, Size len)
{
	if (s3->file == 0)
		s3->file = OpenTemporaryFile(false);
	while (len > 0)
	{
		int wrote;

		errno = 0;
		wrote = FileWrite(s3->file,
						  unconstify(char *, data),
						  Min(len, 1024 * 1024 * 1024),
						  s3->file_bytes,
						  WAIT_EVENT_BUFFILE_WRITE);
		if (wrote <= 0)
		{
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not write to a temporary file: %m")));
		}
		s3->file_bytes += wrote;
		data += wrote;
		len -= wrote;
	}
}

/* Appends bytes to the upload. */
void
dm_s3_upload_write(DmUpload *upload, const char *data, Size len)
{
	S3Upload *s3 = (S3Upload *) upload;

	if (s3->file_bytes + (int64) s3->used + (int64) len > DM_S3_PUT_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("object \"s3://%s/%s\" is longer than 5 GB", upload->bucket, upload->key),
				 errhint("Write several objects.")));
	if (EVP_DigestUpdate(s3->digest, data, len) != 1)
		report_digest();
	if (s3->used + len > DM_S3_SPOOL_BYTES)
	{
		spool(s3, s3->buffer, s3->used);
		s3->used = 0;
	}
	if (len > DM_S3_SPOOL_BYTES)
		spool(s3, data, len);
	else
	{
		memcpy(s3->buffer + s3->used, data, len);
		s3->used += len;
	}
}

/* Gives curl bytes from an offset (inside curl: raises nothing; FileRead does not either). */
static ssize_t
read_spool(DmHttpRequest *request, int64 offset, char *buf, Size len)
{
	S3Upload *s3 = ((DmS3Call *) request->arg)->owner;

	if (s3->file != 0)
		return FileRead(s3->file, buf, len, offset, WAIT_EVENT_BUFFILE_READ);
	if (offset >= (int64) s3->used)
		return 0;
	len = Min(len, s3->used - offset);
	memcpy(buf, s3->buffer + offset, len);
	return len;
}

/* The digest of all bytes written, 64 hex digits, palloc'd. */
static char *
finish_digest(S3Upload *s3)
{
	uint8 bytes[EVP_MAX_MD_SIZE];
	unsigned int len;
	char *hex;

	if (EVP_DigestFinal_ex(s3->digest, bytes, &len) != 1)
		report_digest();
	dm_handle_free(s3->digest_handle);
	hex = palloc(len * 2 + 1);
	for (unsigned int i = 0; i < len; i++)
		snprintf(hex + i * 2, 3, "%02x", bytes[i]);
	return hex;
}

/* The etag of a PUT's answer, without quotes, palloc'd; "" if the server sends none. */
static char *
answer_etag(const DmHttpRequest *http)
{
	char *etag = dm_http_header(http, "ETag");
	Size len = etag ? strlen(etag) : 0;

	if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"')
		return pnstrdup(etag + 1, len - 2);
	return etag ? etag : pstrdup("");
}

/* Writes what is left to the file, so that nothing is held in memory. */
void
dm_s3_upload_seal(DmUpload *upload)
{
	S3Upload *s3 = (S3Upload *) upload;

	spool(s3, s3->buffer, s3->used);
	s3->used = 0;
	pfree(s3->buffer);
	s3->buffer = NULL;
}

/* Frees what the upload holds. */
void
dm_s3_upload_abort(DmUpload *upload)
{
	S3Upload *s3 = (S3Upload *) upload;

	if (s3->file != 0)
		FileClose(s3->file);
	if (s3->buffer)
		pfree(s3->buffer);
	dm_handle_free(s3->digest_handle);
}

/* Sends the object; it is there, whole, when this returns. */
DmObject *
dm_s3_upload_publish(DmUpload *upload)
{
	S3Upload *s3 = (S3Upload *) upload;
	DmS3Call *call = dm_s3_call_make((DmS3Store *) upload->store, "PUT", &upload->store->stats.put_requests);
	DmObject *object = palloc0(sizeof(DmObject));

	if (s3->file != 0 && s3->used > 0)
	{
		spool(s3, s3->buffer, s3->used);
		s3->used = 0;
	}
	call->bucket = upload->bucket;
	call->key = upload->key;
	call->payload_sha256 = finish_digest(s3);
	call->owner = s3;
	call_header_add(call, "Content-Type", upload->options.content_type);
	call_header_add(call, "Content-Encoding", upload->options.content_encoding);
	call_header_add(call, "If-None-Match", upload->options.create_only ? "*" : NULL);
	call->http->upload_read = read_spool;
	call->http->upload_bytes = s3->file_bytes + s3->used;
	call->http->body_max = DM_HTTP_ERROR_BODY_BYTES;
	dm_http_perform(call->http);
	if (call->http->status == 412)
		dm_upload_raise_exists(upload->bucket, upload->key);
	check_call(call, "could not write");
	object->bucket = pstrdup(upload->bucket);
	object->key = pstrdup(upload->key);
	object->etag = answer_etag(call->http);
	object->size = call->http->upload_bytes;
	object->modified = GetCurrentTimestamp();
	dm_http_free(call->http);
	dm_s3_upload_abort(upload);
	return object;
}

/* Removes an object; none is no error. */
void
dm_s3_delete(DmStore *store, const DmObject *object)
{
	DmS3Call *call = dm_s3_call_make((DmS3Store *) store, "DELETE", &store->stats.put_requests);

	call->bucket = object->bucket;
	call->key = object->key;
	call->http->body_max = DM_HTTP_ERROR_BODY_BYTES;
	dm_http_perform(call->http);
	if (call->http->state != DM_HTTP_DONE || call->http->status != 404)
		check_call(call, "could not remove");
	dm_http_free(call->http);
}
