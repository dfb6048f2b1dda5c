/*
 * file.c: a local file as a stream.
 *
 * The file is one of fd.c's virtual descriptors: it counts against no limit and outlives a rolled-back savepoint, as
 * a cursor that reads it may. A handle closes it with the memory context.
 */
#include "postgres.h"

#include <fcntl.h>

#include "storage/fd.h"
#include "utils/wait_event.h"

#include "base/handle.h"
#include "stream/stream.h"

#define DM_FILE_READ_MAX (16 * 1024 * 1024)

typedef struct FileStream
{
	DmStream head;
	DmHandle *handle; /* of the File */
	off_t position;
} FileStream;

/* Closes the descriptor behind a handle. */
static void
file_release(void *resource)
{
	FileClose((File) (intptr_t) resource);
}

/* Reads the next bytes of the file. Raises the system's error with the stream's name. */
static Size
file_read(DmStream *stream, char *buf, Size len)
{
	FileStream *file = (FileStream *) stream;
	File vfd = (File) (intptr_t) dm_handle_get(file->handle);
	int got = FileRead(vfd, buf, (int) Min(len, DM_FILE_READ_MAX), file->position, WAIT_EVENT_COPY_FILE_READ);

	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read \"%s\": %m", stream->name)));
	file->position += got;
	return (Size) got;
}

/* Closes the file before its context goes. */
static void
file_close(DmStream *stream)
{
	dm_handle_free(((FileStream *) stream)->handle);
}

static const DmStreamOps file_ops = {file_read, file_close};

/* Opens the file at path for reading; messages call it name (not copied). Raises if it cannot be opened. */
DmStream *
dm_stream_file_open(const char *path, const char *name)
{
	FileStream *file = palloc0(sizeof(FileStream));
	File vfd = PathNameOpenFile(path, O_RDONLY | PG_BINARY);

	if (vfd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", name)));
	dm_stream_init(&file->head, &file_ops, NULL, name);
	file->handle = dm_handle_make(CurrentMemoryContext, (void *) (intptr_t) vfd, file_release);
	return &file->head;
}
