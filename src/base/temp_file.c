/*
 * temp_file.c: temporary files.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/temp_file.h"

/* Makes an empty file that lives in the context. BufFileWrite() appends to it, and raises if the disk is full. */
BufFile *
dm_temp_file_make(MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	BufFile *file = BufFileCreateTemp(false);

	MemoryContextSwitchTo(caller);
	return file;
}

/* Goes back to the start. */
void
dm_temp_file_rewind(BufFile *file)
{
	if (BufFileSeek(file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file: %m")));
}

/* Reads the next bytes; false at the end. Raises where there are some, but fewer. */
bool
dm_temp_file_read(BufFile *file, void *data, Size size)
{
	Size got = BufFileRead(file, data, size);

	if (got != 0 && got != size)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a temporary file ends within a row"),
				 errdetail("%zu bytes were read instead of %zu.", got, size)));
	return got != 0;
}
