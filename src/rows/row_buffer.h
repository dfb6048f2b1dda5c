/*
 * row_buffer.h: a bounded batch of rows kept as datums, to be worked on in another order than they came.
 */
#ifndef DM_ROW_BUFFER_H
#define DM_ROW_BUFFER_H

#include "postgres.h"
#include "access/tupdesc.h"

typedef struct DmBufferedRow
{
	uint64 order; /* rows are sorted by it */
	uint64 tag;	  /* the caller's */
	Datum *values;
	bool *nulls;
} DmBufferedRow;

typedef struct DmRowBuffer
{
	DmBufferedRow *rows;
	int nrows;
	/* private */
	DmBufferedRow *spare; /* for sorting, of the same capacity; NULL until it is needed */
	int capacity;
	int natts;
	TupleDesc desc;
	MemoryContext context;
	MemoryContext large_context; /* of values too long for a block */
	char **blocks;
	int nblocks;
	int next_block;
	Size max_bytes;
	Size used_bytes;
	char *free_space;
	Size free_bytes;
} DmRowBuffer;

extern DmRowBuffer *dm_row_buffer_make(TupleDesc desc, Size max_bytes);
extern bool dm_row_buffer_add(DmRowBuffer *buffer, const Datum *values, const bool *nulls, uint64 order,
							  uint64 tag);
extern void dm_row_buffer_sort(DmRowBuffer *buffer);
/* Asks the processor to bring a row's values near, for a use that comes soon. */
extern void dm_row_buffer_prefetch(const DmRowBuffer *buffer, const DmBufferedRow *row);
extern void dm_row_buffer_reset(DmRowBuffer *buffer);

#endif
