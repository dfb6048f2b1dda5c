/*
 * unload_file.c: one file of an unload while it is written: compression, digest, upload, and how much it may still take.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "load/unload.h"
#include "stream/sink.h"

/* What stands behind the last record of a file, at most. */
#define DM_UNLOAD_TAIL 8
typedef struct UploadSink
{
	DmSink head;
	DmUpload *upload;
} UploadSink;

/* Hands bytes to the upload. */
static void
upload_sink_write(DmSink *sink, const char *data, Size len)
{
	dm_upload_write(((UploadSink *) sink)->upload, data, len);
}

/* Makes the bottom of the stack. */
static DmSink *
upload_sink_open(DmUpload *upload)
{
	static const DmSinkOps ops = {upload_sink_write, NULL, NULL};
	UploadSink *sink = palloc(sizeof(UploadSink));

	dm_sink_init(&sink->head, &ops, NULL);
	sink->upload = upload;
	return &sink->head;
}

/* Starts a file, in the current memory context. Unless it may be replaced, an object of that key is an error. */
DmUnloadFile *
dm_unload_file_open(DmStore *store, const char *bucket, const char *key, const DmUnloadOptions *options,
					const char *content_type)
{
	DmUploadOptions upload = {.create_only = options->overwrite == DM_OVERWRITE_REFUSE,
							  .content_type = content_type};
	DmUnloadFile *file = palloc0(sizeof(DmUnloadFile));
	MemoryContext caller;

	file->key = pstrdup(key);
	file->upload = dm_upload_open(store, bucket, key, &upload);
	file->context = AllocSetContextCreate(CurrentMemoryContext, "datamill unload file", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(file->context);
	file->stored = dm_sink_digest_open(upload_sink_open(file->upload));
	file->top = file->stored;
	if (options->compression == DM_COMPRESSION_GZIP)
		file->top = dm_sink_gzip_open(file->top, options->level);
	else if (options->compression == DM_COMPRESSION_ZSTD)
		file->top = dm_sink_zstd_open(file->top, options->level);
	MemoryContextSwitchTo(caller);
	return file;
}

/* Writes bytes of records. */
void
dm_unload_file_write(DmUnloadFile *file, const char *data, Size len)
{
	dm_sink_write(file->top, data, len);
	file->pending += len;
}

/*
 * Has the file room for `waiting` more bytes of records, and its end? Of compressed files only the worst case is known until
 * they are flushed: false may then mean that dm_unload_file_flush() makes it true.
 */
bool
dm_unload_file_fits(DmUnloadFile *file, const DmUnloadOptions *options, Size waiting)
{
	uint64 more = file->pending + waiting + DM_UNLOAD_TAIL;

	if (options->compression != DM_COMPRESSION_NONE)
		more = dm_sink_compressed_max(more);
	return file->flushed + more <= (uint64) options->max_file_bytes;
}

/* Stores all that was written. */
void
dm_unload_file_flush(DmUnloadFile *file)
{
	dm_sink_flush(file->top);
	file->flushed = file->stored->bytes_in;
	file->pending = 0;
}

/* Ends a file: all its bytes are with the upload. Only what is small is kept of it. */
void
dm_unload_file_end(DmUnloadFile *file)
{
	dm_sink_finish(file->top);
	file->bytes = (int64) file->stored->bytes_in;
	file->sha256 = dm_sink_digest_hex(file->stored);
	MemoryContextDelete(file->context);
	file->context = NULL;
	file->top = NULL;
	file->stored = NULL;
}

/* Brings all of a file that has ended to the store, where nobody sees it yet. */
void
dm_unload_file_seal(DmUnloadFile *file)
{
	dm_upload_seal(file->upload);
	file->is_sealed = true;
}

/* Makes a file appear. One that was not sealed, being the only one, is sent at once if it is small. */
void
dm_unload_file_publish(DmUnloadFile *file)
{
	file->object = file->is_sealed ? dm_upload_publish(file->upload) : dm_upload_finish(file->upload);
}
