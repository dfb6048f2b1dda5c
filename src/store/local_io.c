/*
 * local_io.c: reads and writes the objects of a local directory store.
 *
 * A read compares the file's etag with the listed one when it opens it and when it has read its last byte. A write goes
 * to a temporary file in the same folder, which is flushed to disk and renamed when it is whole; ERROR removes it. (A crash
 * of the server leaves it behind: a hidden file that is never listed.)
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"

#include "base/compat.h"
#include "base/errors.h"
#include "base/handle.h"
#include "store/local.h"

#define DM_LOCAL_WRITE_BYTES (64 * 1024)

typedef struct LocalStream
{
	DmStream stream;
	const DmObject *object;
	DmStore *store;
	DmHandle *handle;
	int fd;
} LocalStream;

typedef struct LocalFetch
{
	DmFetch fetch;
	int next; /* index of the object to open next */
	MemoryContext context;
	DmStream *current;
} LocalFetch;

/* What must be undone if an upload is not finished; a handle's resource. Released before its memory goes. */
typedef struct LocalTemp
{
	int folder;
	int fd;
	char name[64];
} LocalTemp;

typedef struct LocalUpload
{
	DmUpload upload;
	const char *name; /* last step of the key */
	LocalTemp *temp;
	DmHandle *handle;
	char *buffer;
	Size used;
} LocalUpload;

static Size local_stream_read(DmStream *stream, char *buf, Size len);
static void local_stream_close(DmStream *stream);
static void report_upload(const char *bucket, const char *key) pg_attribute_noreturn();

static const DmStreamOps local_stream_ops = {local_stream_read, local_stream_close};

/* Starts to read a list of objects; opens none yet. */
DmFetch *
dm_local_fetch_open(DmStore *store, List *objects)
{
	LocalFetch *fetch = palloc0(sizeof(LocalFetch));

	fetch->fetch.store = store;
	fetch->fetch.objects = objects;
	fetch->context = CurrentMemoryContext;
	return &fetch->fetch;
}

/* Raises unless the open file is the version that was listed. */
static void
check_unchanged(int fd, const DmObject *object)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not stat object \"%s\": %m", dm_object_uri(object))));
	if (!S_ISREG(st.st_mode) || strcmp(dm_local_etag(&st), object->etag) != 0)
		dm_object_raise_changed(object, "replaced");
}

/* Opens the file of an object, read-only, and checks that it is the listed one. */
static int
open_object(DmStore *store, const DmObject *object)
{
	const char *name;
	int folder = dm_local_folder_open(store, object->bucket, object->key, &name, false);
	int fd = -1;
	int save_errno;

	if (folder >= 0)
	{
		fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		save_errno = errno;
		close(folder);
		errno = save_errno;
	}
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		dm_object_raise_changed(object, "removed");
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open object \"%s\": %m", dm_object_uri(object))));
	return fd;
}

/* Closes the last object and opens the next, or returns NULL after the last one. */
DmStream *
dm_local_fetch_next(DmFetch *fetch, const DmObject **object)
{
	LocalFetch *local = (LocalFetch *) fetch;
	MemoryContext old;
	LocalStream *stream;

	dm_local_fetch_close(fetch);
	if (local->next >= list_length(fetch->objects))
		return NULL;
	old = MemoryContextSwitchTo(local->context);
	stream = palloc0(sizeof(LocalStream));
	stream->object = list_nth(fetch->objects, local->next++);
	stream->store = fetch->store;
	stream->fd = open_object(fetch->store, stream->object);
	stream->handle = dm_local_fd_handle(local->context, stream->fd);
	check_unchanged(stream->fd, stream->object);
	(void) posix_fadvise(stream->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	dm_stream_init(&stream->stream, &local_stream_ops, NULL, dm_object_uri(stream->object));
	fetch->store->stats.get_requests++;
	local->current = &stream->stream;
	MemoryContextSwitchTo(old);
	if (object)
		*object = stream->object;
	return local->current;
}

/* Closes the stream that is open, if any. */
void
dm_local_fetch_close(DmFetch *fetch)
{
	LocalFetch *local = (LocalFetch *) fetch;

	if (local->current)
		local_stream_close(local->current);
	local->current = NULL;
}

/* Reads the next bytes; at the end of the file checks that it is still the listed version. */
static Size
local_stream_read(DmStream *stream, char *buf, Size len)
{
	LocalStream *local = (LocalStream *) stream;
	ssize_t got;

	if (local->fd < 0)
		elog(ERROR, "read from closed stream \"%s\"", stream->name);
	do
	{
		CHECK_FOR_INTERRUPTS();
		got = read(local->fd, buf, len);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read object \"%s\": %m", stream->name)));
	if (got == 0)
	{
		check_unchanged(local->fd, local->object);
		if (stream->bytes_out != (uint64) local->object->size)
			dm_object_raise_changed(local->object, "replaced");
	}
	local->store->stats.bytes_in += got;
	return got;
}

/* Closes the file; may be called twice, by the reader and by the fetch. */
static void
local_stream_close(DmStream *stream)
{
	LocalStream *local = (LocalStream *) stream;

	dm_handle_free(local->handle);
	local->fd = -1;
}

/* Removes the temporary file of an upload and closes what it holds. */
static void
release_temp(void *resource)
{
	LocalTemp *temp = resource;

	if (temp->fd >= 0)
	{
		close(temp->fd);
		(void) unlinkat(temp->folder, temp->name, 0);
	}
	close(temp->folder);
}

/*
 * Raises 42501 unless both the server's owner and the current user may write files on this machine: USAGE on a server
 * lends its folder for reading only.
 */
static void
check_may_write(const DmStoreSettings *settings)
{
	if (!has_privs_of_role(settings->owner, ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write to the directory of server \"%s\"", settings->server_name),
				 errdetail("Its owner \"%s\" is not a member of pg_write_server_files.",
						   GetUserNameFromId(settings->owner, false))));
	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write to the directory of server \"%s\"", settings->server_name),
				 errdetail("USAGE on the server is for reading; to write, be a member of pg_write_server_files.")));
}

/* Raises for a folder or file that could not be made, with errno. */
static void
report_upload(const char *bucket, const char *key)
{
	int save_errno = errno;

	if (save_errno == EINVAL || save_errno == ENAMETOOLONG || save_errno == ELOOP || save_errno == ENOTDIR ||
		save_errno == EISDIR)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" cannot be a file of a local directory", key),
				 errhint("Its steps must be plain names: not empty, '.' or '..', and no link or file where a "
						 "folder must be.")));
	if (save_errno == ENOENT)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("bucket \"%s\" does not exist", bucket),
				 errhint("Make it as a folder in the directory of the server.")));
	errno = save_errno;
	ereport(ERROR, (errcode_for_file_access(), errmsg("could not write object \"s3://%s/%s\": %m", bucket, key)));
}

/* Starts an upload into a temporary file beside the one it will become; missing folders are made. */
DmUpload *
dm_local_upload_open(DmStore *store, const char *bucket, const char *key)
{
	uint64 unique; /* other servers, and other machines, may write here too */
	LocalUpload *local = palloc0(sizeof(LocalUpload));
	LocalTemp *temp = palloc(sizeof(LocalTemp));

	if (!pg_strong_random(&unique, sizeof(unique)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	temp->folder = -1;
	temp->fd = -1;
	snprintf(temp->name, sizeof(temp->name), "%s" UINT64_FORMAT, DM_LOCAL_TEMP, unique);
	local->handle = dm_handle_make(CurrentMemoryContext, temp, release_temp);
	local->temp = temp;
	local->upload.store = store;
	local->upload.bucket = pstrdup(bucket);
	local->upload.key = pstrdup(key);
	local->buffer = palloc(DM_LOCAL_WRITE_BYTES);
	check_may_write(store->settings);
	temp->folder = dm_local_folder_open(store, bucket, local->upload.key, &local->name, true);
	if (temp->folder < 0)
		report_upload(bucket, key);
	temp->fd =
		openat(temp->folder, temp->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (temp->fd < 0)
		report_upload(bucket, key);
	return &local->upload;
}

/* Writes bytes to the temporary file, all of them. */
static void
write_all(LocalUpload *local, const char *data, Size len)
{
	while (len > 0)
	{
		ssize_t wrote;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		wrote = write(local->temp->fd, data, len);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
		{
			if (errno == 0)
				errno = ENOSPC;
			report_upload(local->upload.bucket, local->upload.key);
		}
		data += wrote;
		len -= wrote;
	}
}

/* Appends bytes, small ones through a buffer. */
void
dm_local_upload_write(DmUpload *upload, const char *data, Size len)
{
	LocalUpload *local = (LocalUpload *) upload;

	if (local->used + len > DM_LOCAL_WRITE_BYTES)
	{
		write_all(local, local->buffer, local->used);
		local->used = 0;
	}
	if (len > DM_LOCAL_WRITE_BYTES)
		write_all(local, data, len);
	else
	{
		memcpy(local->buffer + local->used, data, len);
		local->used += len;
	}
}

/* Flushes the file to disk and renames it into place; the object is whole from then on, also after a crash. */
DmObject *
dm_local_upload_finish(DmUpload *upload)
{
	LocalUpload *local = (LocalUpload *) upload;
	LocalTemp *temp = local->temp;
	DmObject object;
	struct stat st;

	write_all(local, local->buffer, local->used);
	if (pg_fsync(temp->fd) != 0 || fstat(temp->fd, &st) != 0 ||
		renameat(temp->folder, temp->name, temp->folder, local->name) != 0 || pg_fsync(temp->folder) != 0)
		report_upload(upload->bucket, upload->key);
	close(temp->fd);
	temp->fd = -1;
	dm_handle_free(local->handle);
	dm_local_object(&object, upload->bucket, upload->key, &st);
	upload->store->stats.put_requests++;
	return dm_object_copy(&object);
}
