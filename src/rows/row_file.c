/*
 * row_file.c: rows set aside in a temporary file, which ends with its resource owner and counts for temp_file_limit.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

#include "rows/row_file.h"

struct DmRowFile
{
	BufFile *file;
};

/* What stands before each row. */
typedef struct RowHeader
{
	uint64 order;
	uint64 tag;
	uint32 length; /* of the row, a minimal tuple */
} RowHeader;

/* Makes an empty file that lives in the context. */
DmRowFile *
dm_row_file_make(MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	DmRowFile *file = palloc(sizeof(DmRowFile));

	file->file = BufFileCreateTemp(false);
	MemoryContextSwitchTo(caller);
	return file;
}

/* Appends a row with its two numbers. Raises if the disk is full or temp_file_limit is reached. */
void
dm_row_file_put(DmRowFile *file, TupleTableSlot *slot, uint64 order, uint64 tag)
{
	bool should_free;
	MinimalTuple tuple = ExecFetchSlotMinimalTuple(slot, &should_free);
	RowHeader header = {.order = order, .tag = tag, .length = tuple->t_len};

	BufFileWrite(file->file, &header, sizeof(header));
	BufFileWrite(file->file, tuple, tuple->t_len);
	if (should_free)
		pfree(tuple);
}

/* Goes back to the first row. */
void
dm_row_file_rewind(DmRowFile *file)
{
	if (BufFileSeek(file->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file: %m")));
}

/* Reads the next row into slot (of minimal tuples); false at the end. */
bool
dm_row_file_get(DmRowFile *file, TupleTableSlot *slot, uint64 *order, uint64 *tag)
{
	RowHeader header;
	MinimalTuple tuple;

	if (BufFileRead(file->file, &header, sizeof(header)) != sizeof(header))
		return false;
	tuple = palloc(header.length);
	if (BufFileRead(file->file, tuple, header.length) != header.length)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a temporary file: too few bytes")));
	*order = header.order;
	*tag = header.tag;
	ExecStoreMinimalTuple(tuple, slot, true);
	return true;
}

/* Ends; the file is removed. */
void
dm_row_file_close(DmRowFile *file)
{
	BufFileClose(file->file);
	pfree(file);
}
