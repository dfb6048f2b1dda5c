/*
 * store.c: the one interface of all object stores: picks the kind by the endpoint and passes each call on.
 *
 * Invariants of this folder:
 * 1. A bucket is checked against its name rules and the server's allowlist before a kind ever sees it.
 * 2. What a kind holds outside palloc (files, requests) is bound to the memory context it was opened in.
 * 3. A reader gets all bytes of the version that was listed, or an error; never fewer bytes, never two versions.
 * 4. Secrets stay in DmStoreSettings: no message, name or stream carries them.
 */
#include "postgres.h"

#include "base/errors.h"
#include "base/guc.h"
#include "store/dry.h"
#include "store/kind.h"

/* Keeps the object of a key that is listed. */
typedef struct Wanted
{
	const char *key;
	DmObject *object;
} Wanted;

static void check_bucket(const DmStore *store, const char *bucket);
static bool take_wanted(const DmObject *object, void *arg);

static uint64 writes = 0;

/* How many objects this backend has written or removed. */
uint64
dm_store_writes(void)
{
	return writes;
}

/* Opens the store that the server's endpoint names; see store.h. */
DmStore *
dm_store_open(Oid server_oid, Oid user_oid)
{
	DmStoreSettings *settings = dm_store_settings_read(server_oid, user_oid);

	if (strncmp(settings->endpoint, "file://", 7) == 0)
		return dm_local_open(settings);
	return dm_s3_open(settings);
}

/* Counts of requests and bytes so far; they live as long as the store. */
const DmStoreStats *
dm_store_stats(const DmStore *store)
{
	return &store->stats;
}

/* Lists the keys under a prefix; see store.h. */
void
dm_store_list(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg)
{
	check_bucket(store, bucket);
	store->ops->list(store, bucket, prefix, each, arg);
}

/* Gives the objects of a list, one after another. */
static bool
list_next(void *arg, int ahead, DmPiece *piece)
{
	DmFetch *fetch = arg;
	const DmObject *object;

	if (fetch->next >= list_length(fetch->objects))
		return false;
	object = list_nth(fetch->objects, fetch->next++);
	*piece = (DmPiece){.object = object, .end = object->size};
	return true;
}

/* May the store keep versions of objects? */
bool
dm_store_keeps_versions(const DmStore *store)
{
	return store->ops->list_as_of != NULL;
}

/* Lists the keys under a prefix as they were at a time; see store.h. */
void
dm_store_list_as_of(DmStore *store, const char *bucket, const char *prefix, TimestampTz as_of, DmStoreEach each,
					void *arg)
{
	check_bucket(store, bucket);
	if (!store->ops->list_as_of)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("server \"%s\" keeps no versions of objects", store->settings->server_name),
				 errhint("The option as_of is for S3 buckets with versioning.")));
	store->ops->list_as_of(store, bucket, prefix, as_of, each, arg);
}

/* Finds an object by its key. */
DmObject *
dm_store_find(DmStore *store, const char *bucket, const char *key)
{
	Wanted wanted = {key, NULL};

	dm_store_list(store, bucket, key, take_wanted, &wanted);
	return wanted.object;
}

/* Finds an object by its key, as it was at a time. */
DmObject *
dm_store_find_as_of(DmStore *store, const char *bucket, const char *key, TimestampTz as_of)
{
	Wanted wanted = {key, NULL};

	dm_store_list_as_of(store, bucket, key, as_of, take_wanted, &wanted);
	return wanted.object;
}

/* Takes the first object of a listing if it is the wanted one. Keys come in byte order: no other can be. */
static bool
take_wanted(const DmObject *object, void *arg)
{
	Wanted *wanted = arg;

	if (strcmp(object->key, wanted->key) == 0)
		wanted->object = dm_object_copy(object);
	return false;
}

/* Lists the folders directly below a prefix; see store.h. */
void
dm_store_list_folders(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each, void *arg)
{
	check_bucket(store, bucket);
	store->ops->list_folders(store, bucket, prefix, each, arg);
}

/* Starts to read a list of DmObject*; see store.h. The list must outlive the fetch. */
DmFetch *
dm_fetch_open(DmStore *store, List *objects)
{
	DmFetchQueue queue = {.next = list_next, .memory = dm_guc_prefetch_memory_kb * INT64CONST(1024)};
	DmFetch *fetch;
	ListCell *cell;

	foreach (cell, objects)
	{
		if (((const DmObject *) lfirst(cell))->archived)
		{
			store = dm_archived_store(store);
			break;
		}
	}
	fetch = dm_fetch_open_queue(store, &queue);
	fetch->queue.arg = fetch;
	fetch->objects = objects;
	return fetch;
}

/* Starts to read the pieces of a queue; see store.h. */
DmFetch *
dm_fetch_open_queue(DmStore *store, const DmFetchQueue *queue)
{
	DmFetch *fetch = store->ops->fetch_open(store);

	fetch->store = store;
	fetch->queue = *queue;
	return fetch;
}

/* Takes the next piece from the queue of a fetch. */
bool
dm_fetch_pull(DmFetch *fetch, int ahead, DmPiece *piece)
{
	if (!fetch->queue.next(fetch->queue.arg, ahead, piece))
		return false;
	check_bucket(fetch->store, piece->object->bucket);
	return true;
}

/* Gives the stream of the next object, or NULL after the last; see store.h. */
DmStream *
dm_fetch_next(DmFetch *fetch, const DmObject **object)
{
	DmStream *stream = dm_fetch_next_piece(fetch, &fetch->opened);

	if (stream && object)
		*object = fetch->opened.object;
	return stream;
}

/* Gives the stream of the next piece, or NULL after the last; see store.h. */
DmStream *
dm_fetch_next_piece(DmFetch *fetch, DmPiece *piece)
{
	return fetch->store->ops->fetch_next(fetch, piece);
}

/* Asks for the first bytes. */
void
dm_fetch_start(DmFetch *fetch)
{
	if (fetch->store->ops->fetch_start)
		fetch->store->ops->fetch_start(fetch);
}

/* Whether there is something to read, or to learn, without a wait. */
bool
dm_fetch_ready(DmFetch *fetch)
{
	return !fetch->store->ops->fetch_ready || fetch->store->ops->fetch_ready(fetch);
}

/* What to wait for; only where dm_fetch_ready() said no. */
int
dm_fetch_wait_fd(DmFetch *fetch)
{
	return fetch->store->ops->fetch_wait_fd(fetch);
}

/* Sleeps until there is news; see store.h. */
void
dm_fetch_wait(DmFetch *fetch, long max_ms)
{
	fetch->store->ops->fetch_wait(fetch, max_ms);
}

/* Ends a fetch at any point: stops requests in flight and closes the stream it gave. */
void
dm_fetch_close(DmFetch *fetch)
{
	fetch->store->ops->fetch_close(fetch);
}

/* Starts to write one object; see store.h. */
DmUpload *
dm_upload_open(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options)
{
	static const DmUploadOptions defaults = {0};

	check_bucket(store, bucket);
	if (key[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot write an object without a key"),
				 errdetail("The URL is \"s3://%s/\".", bucket),
				 errhint("Name the object after the bucket: s3://%s/name.", bucket)));
	if (dm_store_is_dry())
		store = dm_dry_store(store);
	return store->ops->upload_open(store, bucket, key, options ? options : &defaults);
}

/* Fills the part of an upload that all kinds share, with copies in the current memory context. */
void
dm_upload_init(DmUpload *upload, DmStore *store, const char *bucket, const char *key,
			   const DmUploadOptions *options)
{
	upload->store = store;
	upload->bucket = pstrdup(bucket);
	upload->key = pstrdup(key);
	upload->options = *options;
	if (options->content_type)
		upload->options.content_type = pstrdup(options->content_type);
	if (options->content_encoding)
		upload->options.content_encoding = pstrdup(options->content_encoding);
	upload->state = DM_UPLOAD_OPEN;
}

/* Appends bytes to the object being written. */
void
dm_upload_write(DmUpload *upload, const char *data, Size len)
{
	if (upload->state != DM_UPLOAD_OPEN)
		elog(ERROR, "write to an upload that has ended");
	upload->store->ops->upload_write(upload, data, len);
}

/* Brings all bytes to the store; nobody sees the object yet. Does nothing if that is done. */
void
dm_upload_seal(DmUpload *upload)
{
	if (upload->state == DM_UPLOAD_SEALED)
		return;
	if (upload->state != DM_UPLOAD_OPEN)
		elog(ERROR, "seal of an upload that has ended");
	upload->store->ops->upload_seal(upload);
	upload->state = DM_UPLOAD_SEALED;
}

/* Makes the sealed object appear and returns it in the current memory context. */
DmObject *
dm_upload_publish(DmUpload *upload)
{
	if (upload->state != DM_UPLOAD_SEALED)
		elog(ERROR, "publish of an upload that is not sealed");
	return dm_upload_finish(upload);
}

/* Makes the object appear, whole, and returns it in the current memory context. */
DmObject *
dm_upload_finish(DmUpload *upload)
{
	DmObject *object;

	if (upload->state == DM_UPLOAD_ENDED)
		elog(ERROR, "finish of an upload that has ended");
	writes++;
	object = upload->store->ops->upload_publish(upload);
	upload->state = DM_UPLOAD_ENDED;
	return object;
}

/* Gives an upload up: nothing of it stays. Does nothing if it has ended. */
void
dm_upload_abort(DmUpload *upload)
{
	if (upload->state == DM_UPLOAD_ENDED)
		return;
	upload->state = DM_UPLOAD_ENDED;
	upload->store->ops->upload_abort(upload);
}

/* Removes objects; see store.h. */
void
dm_store_delete(DmStore *store, List *objects)
{
	ListCell *lc;

	foreach (lc, objects)
		check_bucket(store, ((DmObject *) lfirst(lc))->bucket);
	writes++;
	if (!dm_store_is_dry())
		store->ops->remove(store, objects);
}

/* Lists open uploads; see store.h. */
void
dm_store_list_uploads(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each, void *arg)
{
	check_bucket(store, bucket);
	store->ops->uploads_list(store, bucket, prefix, each, arg);
}

/* Removes what there is of an open upload; see store.h. */
void
dm_store_abort_upload(DmStore *store, const DmOpenUpload *upload)
{
	check_bucket(store, upload->bucket);
	store->ops->uploads_abort(store, upload);
}

/* Deep copy into the current memory context. */
DmObject *
dm_object_copy(const DmObject *object)
{
	DmObject *copy = palloc(sizeof(DmObject));

	*copy = *object;
	copy->bucket = pstrdup(object->bucket);
	copy->key = pstrdup(object->key);
	copy->etag = object->etag ? pstrdup(object->etag) : NULL;
	copy->version = object->version ? pstrdup(object->version) : NULL;
	return copy;
}

/* "s3://bucket/key", palloc'd, as users write it. */
char *
dm_object_uri(const DmObject *object)
{
	return psprintf("s3://%s/%s", object->bucket, object->key);
}

/* True if bucket matches one of the comma-separated patterns. */
static bool
is_bucket_allowed(const char *patterns, const char *bucket)
{
	char *list = pstrdup(patterns);
	char *state = NULL;

	for (char *pattern = strtok_r(list, ", ", &state); pattern; pattern = strtok_r(NULL, ", ", &state))
	{
		if (dm_glob_match(pattern, bucket))
			return true;
	}
	return false;
}

/*
 * Raises unless the bucket has a name that is safe in a path and in a host name (22023) and is on the server's
 * allowlist (42501).
 */
static void
check_bucket(const DmStore *store, const char *bucket)
{
	Size len = strlen(bucket);

	if (len == 0 || len > 255 || bucket[0] == '.' ||
		strspn(bucket,
			   "abcdefghijklmnopqrstuvwxyz"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid bucket name \"%s\"", bucket),
				 errhint("Bucket names have letters, digits, dots, hyphens and underscores, and no wildcards.")));
	if (store->settings->buckets && !is_bucket_allowed(store->settings->buckets, bucket))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("server \"%s\" does not allow bucket \"%s\"", store->settings->server_name, bucket),
				 errdetail("Its option \"buckets\" is \"%s\".", store->settings->buckets)));
}

/* Raises DM001: the object is not the one that was listed. what says what happened to it: "replaced" or "removed". */
void
dm_object_raise_changed(const DmObject *object, const char *what)
{
	ereport(ERROR,
			(errcode(DM_ERRCODE_OBJECT_CHANGED),
			 errmsg("object \"%s\" was %s while it was being read", dm_object_uri(object), what),
			 errhint("Run the statement again.")));
}

/* Raises 42710: there is an object where a new one was to be made. */
void
dm_upload_raise_exists(const char *bucket, const char *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("object \"s3://%s/%s\" already exists", bucket, key),
			 errhint("Write to another URL, remove the object, or ask to overwrite it.")));
}
