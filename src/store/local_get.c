/*
 * local_get.c: reads the objects of a local directory store.
 *
 * A read compares the file's etag with the listed one when it opens it and when it has read its last byte.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"

#include "base/compat.h"
#include "base/errors.h"
#include "base/handle.h"
#include "store/local.h"

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

static Size local_stream_read(DmStream *stream, char *buf, Size len);
static void local_stream_close(DmStream *stream);

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
