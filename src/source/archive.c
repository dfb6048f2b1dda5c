/*
 * archive.c: keeps what runs read, so that it can be read again when its source is gone.
 *
 * 1. A blob is named by the SHA-256 of the bytes as they were stored at the source, and holds them in gzip. So equal bytes are kept once, and a
 *    blob that is there is never written again: it does no harm if the run that wrote it fails.
 * 2. What is kept is read again from its source, by its etag, and must have the digest that the receipt has.
 * 3. Memory is that of one transfer, however large the object.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/errors.h"
#include "base/guc.h"
#include "source/archive.h"
#include "source/source.h"
#include "stream/sink.h"
#include "stream/stream.h"

#define BUFFER_BYTES (64 * 1024)
#define GZIP_LEVEL 6

/* The bottom of the stack of sinks. */
typedef struct UploadSink
{
	DmSink head;
	DmUpload *upload;
} UploadSink;

static char *blob_key(const DmArchive *archive, const char *sha256, char **bucket);
static void put_one(const DmArchive *archive, DmStore *store, const DmPin *pin);
static void copy_bytes(DmUpload *upload, const DmPin *pin);
static void upload_sink_write(DmSink *sink, const char *data, Size len);

/* Returns the archive that is set. */
DmArchive *
dm_archive_current(void)
{
	DmArchive *archive;
	char *bucket;
	char *key;

	if (!dm_guc_archive || dm_guc_archive[0] == '\0')
		return NULL;
	dm_url_split(dm_guc_archive, &bucket, &key);
	archive = palloc(sizeof(DmArchive));
	archive->url = pstrdup(dm_guc_archive);
	archive->server = GetForeignServer(dm_source_server(NULL))->servername;
	return archive;
}

/* Opens the store of an archive as the current user. */
DmStore *
dm_archive_open(const DmArchive *archive)
{
	return dm_store_open(dm_source_server(archive->server), GetUserId());
}

/* Puts objects there. */
void
dm_archive_put(const DmArchive *archive, List *pins)
{
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "datamill archive", ALLOCSET_DEFAULT_SIZES);
	DmStore *store = dm_archive_open(archive);
	ListCell *cell;

	foreach (cell, pins)
	{
		const DmPin *pin = lfirst(cell);
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (pin->is_output || !pin->etag || !pin->sha256)
			continue;
		old = MemoryContextSwitchTo(each);
		if (!dm_archive_find(store, archive, pin->sha256))
			put_one(archive, store, pin);
		MemoryContextSwitchTo(old);
		MemoryContextReset(each);
	}
	MemoryContextDelete(each);
}

/* Finds a blob. */
DmArchived *
dm_archive_find(DmStore *store, const DmArchive *archive, const char *sha256)
{
	char *bucket;
	char *key = blob_key(archive, sha256, &bucket);
	DmObject *blob = dm_store_find(store, bucket, key);
	DmArchived *found;

	if (!blob)
		return NULL;
	found = palloc(sizeof(DmArchived));
	found->store = store;
	found->blob = blob;
	return found;
}

/* Returns the key of a blob, and its bucket. */
static char *
blob_key(const DmArchive *archive, const char *sha256, char **bucket)
{
	char *prefix;
	Size len;

	dm_url_split(archive->url, bucket, &prefix);
	len = strlen(prefix);
	return psprintf("%s%s%s.gz", prefix, len > 0 && prefix[len - 1] != '/' ? "/" : "", sha256);
}

/* Writes a blob. */
static void
put_one(const DmArchive *archive, DmStore *store, const DmPin *pin)
{
	DmUploadOptions options = {.content_type = "application/gzip"};
	DmUpload *upload;
	char *bucket;
	char *key = blob_key(archive, pin->sha256, &bucket);

	upload = dm_upload_open(store, bucket, key, &options);
	copy_bytes(upload, pin);
	(void) dm_upload_finish(upload);
}

/* Copies an object from its source into an upload. Raises DM001 if it has not the digest of the pin. */
static void
copy_bytes(DmUpload *upload, const DmPin *pin)
{
	static const DmSinkOps ops = {upload_sink_write, NULL, NULL};
	UploadSink *bottom = palloc0(sizeof(UploadSink));
	DmObject *object = palloc0(sizeof(DmObject));
	DmFetch *fetch;
	DmStream *bytes;
	DmSink *gzip;
	char *buffer = palloc(BUFFER_BYTES);
	const DmObject *which;
	Size got;

	dm_url_split(pin->uri, &object->bucket, &object->key);
	object->etag = pin->etag;
	object->version = pin->version;
	object->size = pin->size;
	fetch = dm_fetch_open(dm_store_open(dm_source_server(pin->server), GetUserId()), list_make1(object));
	bytes = dm_stream_digest_open(dm_fetch_next(fetch, &which));
	dm_sink_init(&bottom->head, &ops, NULL);
	bottom->upload = upload;
	gzip = dm_sink_gzip_open(&bottom->head, GZIP_LEVEL);
	while ((got = dm_stream_read(bytes, buffer, BUFFER_BYTES)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		dm_sink_write(gzip, buffer, got);
	}
	dm_sink_finish(gzip);
	if (strcmp(dm_stream_digest_hex(bytes), pin->sha256) != 0)
		ereport(ERROR,
				(errcode(DM_ERRCODE_OBJECT_CHANGED),
				 errmsg("object \"%s\" was replaced before it was archived", pin->uri),
				 errhint("Run the job again.")));
	dm_fetch_close(fetch);
}

/* Hands bytes to the upload. */
static void
upload_sink_write(DmSink *sink, const char *data, Size len)
{
	dm_upload_write(((UploadSink *) sink)->upload, data, len);
}
