/*
 * dry.c: uploads of a process that only rehearses: the bytes are counted and let go, and nothing is removed.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "store/dry.h"

typedef struct DryUpload
{
	DmUpload upload;
	int64 size;
} DryUpload;

static bool is_dry = false;

static DmUpload *dry_open(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options);
static void dry_write(DmUpload *upload, const char *data, Size len);
static void dry_nothing(DmUpload *upload);
static DmObject *dry_publish(DmUpload *upload);

static const DmStoreOps dry_ops = {.upload_open = dry_open,
								   .upload_write = dry_write,
								   .upload_seal = dry_nothing,
								   .upload_publish = dry_publish,
								   .upload_abort = dry_nothing};

/* From now on nothing that this process writes or removes reaches a store. */
void
dm_store_set_dry(void)
{
	is_dry = true;
}

/* Does this process only rehearse? */
bool
dm_store_is_dry(void)
{
	return is_dry;
}

/* Returns a store like the one given whose uploads lead nowhere, in the current memory context. */
DmStore *
dm_dry_store(const DmStore *store)
{
	DmStore *dry = palloc(sizeof(DmStore));

	*dry = *store;
	dry->ops = &dry_ops;
	return dry;
}

/* Opens an upload. */
static DmUpload *
dry_open(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options)
{
	DryUpload *dry = palloc0(sizeof(DryUpload));

	dm_upload_init(&dry->upload, store, bucket, key, options);
	return &dry->upload;
}

/* Counts bytes. */
static void
dry_write(DmUpload *upload, const char *data, Size len)
{
	((DryUpload *) upload)->size += len;
}

/* Sealing and aborting. */
static void
dry_nothing(DmUpload *upload)
{
}

/* Returns the object as it would be. */
static DmObject *
dry_publish(DmUpload *upload)
{
	DmObject *object = palloc0(sizeof(DmObject));

	object->bucket = pstrdup(upload->bucket);
	object->key = pstrdup(upload->key);
	object->etag = pstrdup("rehearsal");
	object->size = ((DryUpload *) upload)->size;
	object->modified = GetCurrentTimestamp();
	return object;
}
