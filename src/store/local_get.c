/*
 * local_get.c: reads the objects of a local directory store.
 *
 * A read compares the file's etag with the listed one when it opens it and when it has read its last byte. A range is read at
 * once.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

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
	char *range; /* its bytes, or NULL: an object, read as it is asked for */
	Size len;
} LocalStream;

typedef struct LocalFetch
{
	DmFetch fetch;
	MemoryContext context;
	DmStream *current;
	bool closed;
} LocalFetch;

static Size local_stream_read(DmStream *stream, char *buf, Size len);
static void local_stream_close(DmStream *stream);

static const DmStreamOps local_stream_ops = {local_stream_read, local_stream_close};

/* Starts to read a queue of pieces; opens none yet. */
DmFetch *
dm_local_fetch_open(DmStore *store)
{
	LocalFetch *fetch = palloc0(sizeof(LocalFetch));

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

/* Reads up to len bytes. Returns 0 at the end of the file. */
static Size
read_bytes(LocalStream *local, char *buf, Size len)
{
	ssize_t got;

	do
	{
		CHECK_FOR_INTERRUPTS();
		got = read(local->fd, buf, len);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read object \"%s\": %m", local->stream.name)));
	local->store->stats.bytes_in += got;
	return got;
}

/* Reads all of a range into memory. */
static void
read_range(LocalStream *local, const DmPiece *piece)
{
	Size got;

	local->len = piece->end - piece->start;
	local->range = MemoryContextAllocHuge(CurrentMemoryContext, Max(local->len, 1));
	if (lseek(local->fd, piece->start, SEEK_SET) != piece->start)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read object \"%s\": %m", local->stream.name)));
	for (Size have = 0; have < local->len; have += got)
	{
		got = read_bytes(local, local->range + have, local->len - have);
		if (got == 0)
			dm_object_raise_changed(local->object, "replaced");
	}
	check_unchanged(local->fd, local->object);
}

/* Closes the last piece and opens the next, or returns NULL after the last one. */
DmStream *
dm_local_fetch_next(DmFetch *fetch, DmPiece *piece)
{
	LocalFetch *local = (LocalFetch *) fetch;
	MemoryContext old;
	LocalStream *stream;

	if (local->current)
		local_stream_close(local->current);
	local->current = NULL;
	if (local->closed || !dm_fetch_pull(fetch, 0, piece))
		return NULL;
	old = MemoryContextSwitchTo(local->context);
	stream = palloc0(sizeof(LocalStream));
	dm_stream_init(&stream->stream, &local_stream_ops, NULL, dm_object_uri(piece->object));
	stream->object = piece->object;
	stream->store = fetch->store;
	stream->fd = open_object(fetch->store, stream->object);
	stream->handle = dm_local_fd_handle(local->context, stream->fd);
	check_unchanged(stream->fd, stream->object);
	fetch->store->stats.get_requests++;
	local->current = &stream->stream;
	if (piece->is_range)
	{
		read_range(stream, piece);
		piece->data = stream->range;
		if (fetch->queue.arrived)
			fetch->queue.arrived(fetch->queue.arg, piece);
	}
	else
		(void) posix_fadvise(stream->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	MemoryContextSwitchTo(old);
	return local->current;
}

/* There is nothing under way: sleeps on the latch alone. */
void
dm_local_fetch_wait(DmFetch *fetch, long max_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, max_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Closes the stream that is open, if any; there is no other one. */
void
dm_local_fetch_close(DmFetch *fetch)
{
	LocalFetch *local = (LocalFetch *) fetch;

	if (local->current)
		local_stream_close(local->current);
	local->current = NULL;
	local->closed = true;
}

/* Reads the next bytes; at the end of the file checks that it is still the listed version. */
static Size
local_stream_read(DmStream *stream, char *buf, Size len)
{
	LocalStream *local = (LocalStream *) stream;
	Size got;

	if (local->fd < 0)
		elog(ERROR, "read from closed stream \"%s\"", stream->name);
	if (local->range)
	{
		got = Min(len, local->len - stream->bytes_out);
		memcpy(buf, local->range + stream->bytes_out, got);
		return got;
	}
	got = read_bytes(local, buf, len);
	if (got == 0)
	{
		check_unchanged(local->fd, local->object);
		if (stream->bytes_out != (uint64) local->object->size)
			dm_object_raise_changed(local->object, "replaced");
	}
	return got;
}

/* Closes the file; may be called twice, by the reader and by the fetch. */
static void
local_stream_close(DmStream *stream)
{
	LocalStream *local = (LocalStream *) stream;

	dm_handle_free(local->handle);
	local->fd = -1;
	if (local->range)
		pfree(local->range);
	local->range = NULL;
}
