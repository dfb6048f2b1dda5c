/*
 * row_file.c: rows set aside in a temporary file.
 */
#include "postgres.h"

#include "access/htup_details.h"

#include "base/temp_file.h"
#include "rows/row_file.h"

/* What stands before each row. */
typedef struct RowHeader
{
	uint64 order;
	uint64 tag;
	uint32 length; /* of the row, a minimal tuple */
} RowHeader;

/* Appends a row with its two numbers. Raises if the disk is full or temp_file_limit is reached. */
void
dm_row_file_put(BufFile *file, TupleTableSlot *slot, uint64 order, uint64 tag)
{
	bool should_free;
	MinimalTuple tuple = ExecFetchSlotMinimalTuple(slot, &should_free);
	RowHeader header = {.order = order, .tag = tag, .length = tuple->t_len};

	BufFileWrite(file, &header, sizeof(header));
	BufFileWrite(file, tuple, tuple->t_len);
	if (should_free)
		pfree(tuple);
}

/* Reads the next row into slot (of minimal tuples); false at the end. */
bool
dm_row_file_get(BufFile *file, TupleTableSlot *slot, uint64 *order, uint64 *tag)
{
	RowHeader header;
	MinimalTuple tuple;

	if (!dm_temp_file_read(file, &header, sizeof(header)))
		return false;
	tuple = palloc(header.length);
	if (!dm_temp_file_read(file, tuple, header.length))
		elog(ERROR, "a temporary file ends before a row");
	*order = header.order;
	*tag = header.tag;
	ExecStoreMinimalTuple(tuple, slot, true);
	return true;
}
