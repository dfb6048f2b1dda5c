/*
 * store.h: object stores behind one interface: S3 and a local directory.
 *
 * A store is opened from a foreign server of datamill_s3 and the user whose mapping gives the credentials. Endpoint
 * file:///dir makes the directory's subdirectories the buckets. Listing order (bytes of the key) and meaning are the
 * same for both; an etag changes whenever the content does.
 */
#ifndef DM_STORE_H
#define DM_STORE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "stream/stream.h"

typedef struct DmStore DmStore;
typedef struct DmFetch DmFetch;
typedef struct DmUpload DmUpload;

/* Where the bytes of an object are instead of at its own place: in gzip. */
typedef struct DmArchived
{
	DmStore *store;
	struct DmObject *blob;
} DmArchived;

typedef struct DmObject
{
	char *bucket;
	char *key;
	char *etag;	   /* as the store gives it, without the double quotes */
	char *version; /* NULL where the store has none */
	int64 size;	   /* bytes as stored */
	TimestampTz modified;
	const DmArchived *archived; /* NULL: at its own place. Copies of the object share it */
} DmObject;

typedef struct DmStoreStats
{
	int64 list_requests;
	int64 get_requests;
	int64 put_requests; /* all that write or remove, parts of an upload too */
	int64 retries;
	int64 bytes_in; /* body bytes received */
} DmStoreStats;

/*
 * Opens the store of a server for a user, in the current memory context, which also bounds the life of everything
 * opened from it. Does not touch the network. The caller has checked USAGE on the server.
 */
extern DmStore *dm_store_open(Oid server_oid, Oid user_oid);
extern const DmStoreStats *dm_store_stats(const DmStore *store);

/*
 * Calls each(object, arg) for every object of the bucket whose key starts with prefix, in byte order of the keys, a
 * page at a time. The object and its strings live until each() returns; each() runs in the caller's memory context and
 * returns false to stop. A bucket that does not exist raises; no matching key does not.
 */
typedef bool (*DmStoreEach)(const DmObject *object, void *arg);
extern void dm_store_list(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg);

/*
 * The same as it was at a time: of each key the version that was the latest then, if that was no deletion. Raises 0A000 for a store
 * that keeps no versions. (In a bucket that has none, objects made since are left out.)
 */
extern void dm_store_list_as_of(DmStore *store, const char *bucket, const char *prefix, TimestampTz as_of,
								DmStoreEach each, void *arg);

extern bool dm_store_keeps_versions(const DmStore *store);

/* The object of a key, now or as it was at a time, in the current memory context; NULL if there is none. */
extern DmObject *dm_store_find(DmStore *store, const char *bucket, const char *key);
extern DmObject *dm_store_find_as_of(DmStore *store, const char *bucket, const char *key, TimestampTz as_of);

/*
 * The folders directly below a prefix: calls each(folder, arg), in byte order, for every "prefix...name/" under which there may
 * be keys, each with the whole of it; the slash that ends a folder is the first one after the prefix. Keys that are no folder are
 * left out. Otherwise as dm_store_list().
 */
typedef bool (*DmStoreEachFolder)(const char *folder, void *arg);
extern void dm_store_list_folders(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each,
								  void *arg);

/* Deep copy into the current memory context. */
extern DmObject *dm_object_copy(const DmObject *object);
/* "s3://bucket/key", as users write it (not percent-encoded). */
extern char *dm_object_uri(const DmObject *object);

/*
 * Reads a list of DmObject* one after another, fetching ahead (ranges of the current object and the next objects,
 * concurrently) within datamill.prefetch_memory. Every request carries If-Match with the object's etag: a replaced
 * object raises DM_ERRCODE_OBJECT_CHANGED. dm_fetch_next() closes the stream it gave before and returns the next
 * object's bytes as stored, or NULL after the last one; which object it is comes in *object.
 */
extern DmFetch *dm_fetch_open(DmStore *store, List *objects);
extern DmStream *dm_fetch_next(DmFetch *fetch, const DmObject **object);
extern void dm_fetch_close(DmFetch *fetch);

/*
 * What a fetch from a queue reads next: an object, or bytes start..end - 1 of one. The bytes of a range come as one, when all
 * of them are there.
 */
typedef struct DmPiece
{
	const DmObject *object; /* lives until the fetch is closed */
	int64 start;			/* 0 for an object */
	int64 end;				/* its size for an object */
	bool is_range;
	int64 number;	  /* for the queue's own use */
	const char *data; /* of a range that was opened: all of it, until the next one is */
} DmPiece;

/* Where a fetch gets its pieces from, one at a time, shortly before it asks for their bytes. */
typedef struct DmFetchQueue
{
	/* Sets *piece and returns true; false: there is none, or (if ahead > 0) none before the next one is read. */
	bool (*next)(void *arg, int ahead, DmPiece *piece);
	/* Told of each range that is there, data and all, before its stream is opened, in any order; or NULL. Raises nothing. */
	void (*arrived)(void *arg, const DmPiece *piece);
	void *arg;
	int64 memory; /* bytes that may be fetched ahead */
} DmFetchQueue;

/* The same as dm_fetch_open() for the pieces of a queue, which is copied. */
extern DmFetch *dm_fetch_open_queue(DmStore *store, const DmFetchQueue *queue);
extern DmStream *dm_fetch_next_piece(DmFetch *fetch, DmPiece *piece);
/* Asks for the first bytes, before any piece is opened. */
extern void dm_fetch_start(DmFetch *fetch);
/* Lets transfers go on and tells whether there are bytes to read, or an end or error to learn of, without a wait. */
extern bool dm_fetch_ready(DmFetch *fetch);
/* What to wait for elsewhere while it is not ready: see dm_http_wait_fd(). */
extern int dm_fetch_wait_fd(DmFetch *fetch);
/* Sleeps until something happens to the fetch or the backend's latch, max_ms at most; lets transfers go on. */
extern void dm_fetch_wait(DmFetch *fetch, long max_ms);

/* How an object is written; NULL where one is taken means all zero. */
typedef struct DmUploadOptions
{
	bool create_only;		  /* an object of that key is an error (42710), and is never replaced */
	const char *content_type; /* like "text/csv"; NULL: the store's own. A local directory keeps neither of these */
	const char *content_encoding; /* like "gzip"; NULL: none */
} DmUploadOptions;

/*
 * Writes one object, whose bytes go to the store as they come. All uploads of the backend hold datamill.prefetch_memory
 * bytes at most, or two parts each if that is more. The object is seen by
 * nobody before it is published, and then it is whole: dm_upload_seal() brings all bytes to the store and frees the
 * buffers, dm_upload_publish() makes the object appear and returns it, with its etag and size, in the current memory
 * context. dm_upload_finish() does both, with one request if the object is small. What writes several objects seals each
 * one as it ends and publishes all of them at the end.
 *
 * An upload lives in the memory context and subtransaction that it was opened in; one that is not published by their end, by
 * commit too, or that dm_upload_abort() gives up, leaves nothing behind. A published object stays, whatever the transaction does.
 */
extern DmUpload *dm_upload_open(DmStore *store, const char *bucket, const char *key,
								const DmUploadOptions *options);
extern void dm_upload_write(DmUpload *upload, const char *data, Size len);
extern void dm_upload_seal(DmUpload *upload);
extern DmObject *dm_upload_publish(DmUpload *upload);
extern DmObject *dm_upload_finish(DmUpload *upload);
extern void dm_upload_abort(DmUpload *upload);

/* For a process that only rehearses: from now on nothing that it writes or removes reaches a store. */
extern void dm_store_set_dry(void);
extern bool dm_store_is_dry(void);

/* How many objects this backend has written or removed. */
extern uint64 dm_store_writes(void);

/*
 * Removes objects (DmObject *), of any etag, several at once; one that is not there is no error. Needs the rights of writing. Only
 * bucket and key of an object are used. An error leaves some removed and others not.
 */
extern void dm_store_delete(DmStore *store, List *objects);

/* What there is of an object that somebody has begun to upload and neither finished nor aborted. */
typedef struct DmOpenUpload
{
	char *bucket;
	char *key;
	char *upload_id;
	TimestampTz initiated;
} DmOpenUpload;

/*
 * Calls each(upload, arg) for every open upload of the bucket whose key starts with prefix, a page at a time, in the caller's memory
 * context; the upload lives until it returns. Of a local directory these are the temporary files in the folders
 * under the prefix: their key is that of the folder, their id the file's name, initiated its last change.
 * dm_store_abort_upload() removes one, which each() may do, too; one that is not there is no error. Needs the rights of writing.
 */
typedef void (*DmOpenUploadEach)(const DmOpenUpload *upload, void *arg);
extern void dm_store_list_uploads(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each,
								  void *arg);
extern void dm_store_abort_upload(DmStore *store, const DmOpenUpload *upload);

/* Splits s3://bucket/key into its parts (palloc'd; key may be empty). Raises 22023 on anything else. */
extern void dm_url_split(const char *url, char **bucket, char **key);
extern bool dm_url_is_object(const char *text);
/* Replaces %XX by the byte it stands for, and + by a blank if told to; palloc'd. */
extern char *dm_percent_decode(const char *text, Size len, bool plus);

/* The literal part of a glob before its first wildcard, palloc'd; and whether key matches all of it. */
extern char *dm_glob_prefix(const char *pattern);
extern bool dm_glob_match(const char *pattern, const char *key);

#endif
