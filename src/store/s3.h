/*
 * s3.h: the parts of the S3 store: s3.c makes and judges calls; s3_list.c, s3_get.c, s3_put.c (with s3_multipart.c and s3_open.c) and
 * s3_uploads.c and s3_delete.c use them. Inside store/ only.
 */
#ifndef DM_STORE_S3_H
#define DM_STORE_S3_H

#include "postgres.h"

#include "base/compat.h"
#include "net/http.h"
#include "store/credentials.h"
#include "store/kind.h"
#include "store/s3_sign.h"

typedef struct DmS3Store
{
	DmStore store;
	DmHttpConfig http;
	DmCredentials *credentials;
	bool tls;
	char *host; /* with the port, if it is not the scheme's own */
	char *base; /* path of the endpoint, percent-encoded as given, without a slash at the end */
} DmS3Store;

#define DM_S3_CALL_HEADERS_MAX 4

/* One S3 request; http->arg points back to it. */
typedef struct DmS3Call
{
	DmS3Store *store;
	DmHttpRequest *http;
	MemoryContext scratch; /* of one attempt */
	const char *method;
	const char *bucket;
	const char *key;							/* NULL: the bucket itself */
	const char *query;							/* sorted and encoded; "" for none */
	const char *if_match;						/* etag, or NULL */
	DmS3Header headers[DM_S3_CALL_HEADERS_MAX]; /* beside those of the signature; not signed */
	int nheaders;
	const char *payload_sha256;
	const char *payload; /* bytes to send, NULL for none */
	char payload_digest[DM_S3_SHA256_BYTES];
	int64 range_start; /* -1: no range */
	int64 range_end;
	int64 *counter; /* of the store's statistics; counts attempts */
	void *owner;
	uint64 keys_serial; /* of the keys that the attempt is signed with */
} DmS3Call;

/* Code, message and so on of an S3 error answer; "" where there is none. */
typedef struct DmS3Error
{
	char code[64];
	char message[512];
	char request_id[128];
	char region[64];
	char retry_after[64];
} DmS3Error;

extern DmS3Call *dm_s3_call_make(DmS3Store *store, const char *method, int64 *counter);
/* What a call's http->judge does unless its maker has more to say, who then calls this first or last. */
extern DmHttpVerdict dm_s3_call_judge(DmHttpRequest *request);
/* The Host header of an origin (scheme, host, port), palloc'd. */
extern char *dm_s3_host_header(const char *origin);
extern void dm_s3_call_error(const DmS3Call *call, DmS3Error *error);
/* Raises for a call that is done with an error status, or failed; `what` like "could not list bucket \"b\"". */
extern void dm_s3_call_raise(const DmS3Call *call, const char *what) pg_attribute_noreturn();
extern bool dm_s3_call_succeeded(const DmS3Call *call);
/* Keys are UTF-8 in S3, and in the database's encoding here. */
extern char *dm_s3_key_encode(const char *key, bool keep_slash);
extern char *dm_s3_key_decode(const char *text, bool percent);

/* s3_xml.c. end() is called at every end tag with that element's own text; false stops with an error. */
typedef bool (*DmXmlEnd)(void *arg, const char *parent, const char *name, const char *text);
extern bool dm_xml_read(const char *data, Size len, DmXmlEnd end, void *arg);

extern void dm_s3_list(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg);
/* Takes one element of an object in a listing; false if its value makes no sense. Key and version stay as sent. */
extern bool dm_s3_note_object(DmObject *object, const char *name, const char *text);
extern void dm_s3_list_as_of(DmStore *store, const char *bucket, const char *prefix, TimestampTz as_of,
							 DmStoreEach each, void *arg);
extern void dm_s3_list_folders(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each,
							   void *arg);
extern DmFetch *dm_s3_fetch_open(DmStore *store);
extern DmStream *dm_s3_fetch_next(DmFetch *fetch, DmPiece *piece);
extern void dm_s3_fetch_wait(DmFetch *fetch, long max_ms);
extern void dm_s3_fetch_start(DmFetch *fetch);
extern bool dm_s3_fetch_ready(DmFetch *fetch);
extern int dm_s3_fetch_wait_fd(DmFetch *fetch);
extern void dm_s3_fetch_close(DmFetch *fetch);
/* A URL, palloc'd and a secret, that does what the call does for whoever has it. */
extern char *dm_s3_call_presign(DmS3Call *call);
/* An etag without its double quotes, palloc'd. */
extern char *dm_s3_etag_strip(const char *text);

/* s3_multipart.c */
typedef struct DmS3Open DmS3Open;
extern DmS3Call *dm_s3_upload_call(const DmUpload *upload, const char *method, int64 *counter);
extern void dm_s3_upload_call_free(DmS3Call *call);
extern DmS3Call *dm_s3_put_call(const DmUpload *upload);
extern char *dm_s3_put_etag(const DmS3Call *call, const char *what);
extern void dm_s3_call_payload(DmS3Call *call, const char *data, Size len);
extern void dm_s3_call_describe(DmS3Call *call, const DmUploadOptions *options);
extern void dm_s3_call_perform_new(DmS3Call *call, const DmUploadOptions *options);
extern void dm_s3_call_check(const DmS3Call *call, const char *what);
extern bool dm_s3_object_head(const DmUpload *upload, DmObject *object);
extern bool dm_s3_object_is_ours(const DmUpload *upload, const char *etag, int64 size);
extern DmS3Open *dm_s3_multipart_create(const DmUpload *upload, SubTransactionId subtransaction, char **upload_id);
extern char *dm_s3_multipart_complete(const DmUpload *upload, const char *upload_id, List *etags, int64 size);

/* s3_open.c: the uploads that must not outlive their transaction */
extern DmS3Open *dm_s3_open_add(const DmUpload *upload, const char *upload_id, SubTransactionId subtransaction);
extern void dm_s3_open_own(DmS3Open *open, DmS3Open **owner);
extern void dm_s3_open_disown(DmS3Open *open);
extern void dm_s3_open_sign(DmS3Open *open, const DmUpload *upload);
extern void dm_s3_open_remove(DmS3Open *open);
extern void dm_s3_open_abort(DmS3Open *open);

extern DmUpload *dm_s3_upload_open(DmStore *store, const char *bucket, const char *key,
								   const DmUploadOptions *options);
extern void dm_s3_upload_write(DmUpload *upload, const char *data, Size len);
extern void dm_s3_upload_seal(DmUpload *upload);
extern DmObject *dm_s3_upload_publish(DmUpload *upload);
extern void dm_s3_upload_abort(DmUpload *upload);
extern void dm_s3_uploads_list(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each,
							   void *arg);
extern void dm_s3_uploads_abort(DmStore *store, const DmOpenUpload *upload);
extern void dm_s3_delete(DmStore *store, List *objects);

#endif
