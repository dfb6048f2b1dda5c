/*
 * row_buffer.c: a bounded batch of rows kept as datums.
 *
 * Rows are stored as arrays of values with their by-reference parts beside them, so that they need no deforming when
 * they are used. Memory is taken in blocks and given back all at once.
 */
#include "postgres.h"

#include "utils/expandeddatum.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/large.h"
#include "rows/row_buffer.h"

#define BLOCK_BYTES ((Size) 256 * 1024)
#define SMALL_BLOCKS 16

static void rows_grow(DmRowBuffer *buffer);
static void next_block(DmRowBuffer *buffer);
static void *buffer_alloc(DmRowBuffer *buffer, Size size);
static Datum datum_keep(DmRowBuffer *buffer, Form_pg_attribute attribute, Datum value);

/* Makes an empty buffer for rows of desc, in a context of its own below the current one. */
DmRowBuffer *
dm_row_buffer_make(TupleDesc desc, Size max_bytes)
{
	DmRowBuffer *buffer = palloc0(sizeof(DmRowBuffer));

	buffer->context = AllocSetContextCreate(CurrentMemoryContext, "datamill row buffer", ALLOCSET_DEFAULT_SIZES);
	buffer->large_context = AllocSetContextCreate(buffer->context, "datamill long rows", ALLOCSET_DEFAULT_SIZES);
	buffer->desc = desc;
	buffer->natts = desc->natts;
	buffer->max_bytes = max_bytes;
	return buffer;
}

/* Makes room for more rows. */
static void
rows_grow(DmRowBuffer *buffer)
{
	int capacity = Max(buffer->capacity * 2, 1024);
	DmBufferedRow *rows = dm_large_alloc(buffer->context, sizeof(DmBufferedRow) * capacity);

	if (buffer->rows)
	{
		memcpy(rows, buffer->rows, sizeof(DmBufferedRow) * buffer->nrows);
		pfree(buffer->rows);
	}
	if (buffer->spare)
		pfree(buffer->spare);
	buffer->spare = NULL;
	buffer->rows = rows;
	buffer->capacity = capacity;
}

/*
 * Copies a row into the buffer. Returns false when the buffer has now reached its size: the caller works it off and
 * resets it before adding more.
 */
bool
dm_row_buffer_add(DmRowBuffer *buffer, const Datum *values, const bool *nulls, uint64 order, uint64 tag)
{
	DmBufferedRow *row;
	Size values_bytes = MAXALIGN(sizeof(Datum) * buffer->natts);

	if (buffer->nrows == buffer->capacity)
		rows_grow(buffer);
	row = &buffer->rows[buffer->nrows];
	row->order = order;
	row->tag = tag;
	row->values = buffer_alloc(buffer, values_bytes + MAXALIGN(buffer->natts));
	row->nulls = (bool *) row->values + values_bytes;
	memcpy(row->nulls, nulls, buffer->natts);
	for (int i = 0; i < buffer->natts; i++)
	{
		if (nulls[i])
			row->values[i] = (Datum) 0;
		else
			row->values[i] = datum_keep(buffer, TupleDescAttr(buffer->desc, i), values[i]);
	}
	buffer->nrows++;
	/* twice: sorting needs a second array */
	return buffer->used_bytes + 2 * sizeof(DmBufferedRow) * buffer->nrows < buffer->max_bytes;
}

/* Moves rows from one array to another in the order of eight bits of `order`, those alike as they stood. */
static void
sort_by_digit(const DmBufferedRow *from, DmBufferedRow *to, int nrows, int shift)
{
	int places[256] = {0};
	int place = 0;

	for (int i = 0; i < nrows; i++)
		places[(from[i].order >> shift) & 0xff]++;
	for (int i = 0; i < lengthof(places); i++)
	{
		int count = places[i];

		places[i] = place;
		place += count;
	}
	for (int i = 0; i < nrows; i++)
		to[places[(from[i].order >> shift) & 0xff]++] = from[i];
}

/* Sorts the rows by `order`, ascending; rows alike stay as they stood. By radix, on the digits in which rows differ. */
void
dm_row_buffer_sort(DmRowBuffer *buffer)
{
	uint64 differ = 0;
	DmBufferedRow *from = buffer->rows;
	DmBufferedRow *to;

	for (int i = 1; i < buffer->nrows; i++)
		differ |= buffer->rows[i].order ^ buffer->rows[0].order;
	if (differ == 0)
		return;
	if (!buffer->spare)
		buffer->spare = dm_large_alloc(buffer->context, sizeof(DmBufferedRow) * buffer->capacity);
	to = buffer->spare;
	for (int shift = 0; shift < 64; shift += 8)
	{
		DmBufferedRow *sorted = to;

		if (((differ >> shift) & 0xff) == 0)
			continue;
		sort_by_digit(from, to, buffer->nrows, shift);
		to = from;
		from = sorted;
	}
	buffer->spare = to;
	buffer->rows = from;
}

/* Asks the processor to bring a row's values near: as many bytes as rows have on average, within bounds. */
void
dm_row_buffer_prefetch(const DmRowBuffer *buffer, const DmBufferedRow *row)
{
	Size bytes = Min(buffer->used_bytes / Max(buffer->nrows, 1), 512);

	for (Size at = 0; at < bytes; at += 64)
		__builtin_prefetch((const char *) row->values + at);
}

/* Empties the buffer. Its blocks are kept for the rows to come: new ones cost a page fault a page. */
void
dm_row_buffer_reset(DmRowBuffer *buffer)
{
	MemoryContextReset(buffer->large_context);
	buffer->nrows = 0;
	buffer->used_bytes = buffer->free_bytes = 0;
	buffer->free_space = NULL;
	buffer->next_block = 0;
}

/* Returns the size of a block: a batch of few rows takes little memory, later blocks are worth huge pages. */
static inline Size
block_bytes(int block)
{
	return block < SMALL_BLOCKS ? BLOCK_BYTES : BLOCK_BYTES * 32;
}

/* Makes the next block the one that rows go to. */
static void
next_block(DmRowBuffer *buffer)
{
	if (buffer->next_block == buffer->nblocks)
	{
		int capacity = Max(buffer->nblocks * 2, 16);

		/* a power of two of them, so room is short only where the number doubles */
		if (buffer->nblocks == 0)
			buffer->blocks = MemoryContextAlloc(buffer->context, capacity * sizeof(char *));
		else if (buffer->nblocks >= 16 && (buffer->nblocks & (buffer->nblocks - 1)) == 0)
			buffer->blocks = repalloc_huge(buffer->blocks, capacity * sizeof(char *));
		buffer->blocks[buffer->nblocks] = dm_large_alloc(buffer->context, block_bytes(buffer->nblocks));
		buffer->nblocks++;
	}
	buffer->free_space = buffer->blocks[buffer->next_block];
	buffer->free_bytes = block_bytes(buffer->next_block++);
	buffer->used_bytes += buffer->free_bytes;
}

/* Returns size bytes (maximally aligned) that live until the next reset. */
static void *
buffer_alloc(DmRowBuffer *buffer, Size size)
{
	char *result;

	size = MAXALIGN(size);
	if (size > buffer->free_bytes)
	{
		if (size > BLOCK_BYTES / 4)
		{
			buffer->used_bytes += size;
			return MemoryContextAllocHuge(buffer->large_context, size);
		}
		next_block(buffer);
	}
	result = buffer->free_space;
	buffer->free_space += size;
	buffer->free_bytes -= size;
	return result;
}

/* Returns a copy of the value that lives in the buffer. Toast pointers stay pointers; expanded objects are flattened. */
static Datum
datum_keep(DmRowBuffer *buffer, Form_pg_attribute attribute, Datum value)
{
	const char *from = DatumGetPointer(value);
	Size len;
	char *copy;

	if (attribute->attbyval)
		return value;
	if (attribute->attlen == -1 && VARATT_IS_EXTERNAL_EXPANDED(from))
	{
		ExpandedObjectHeader *expanded = DatumGetEOHP(value);

		len = EOH_get_flat_size(expanded);
		copy = buffer_alloc(buffer, len);
		EOH_flatten_into(expanded, copy, len);
		return PointerGetDatum(copy);
	}
	if (attribute->attlen > 0)
		len = attribute->attlen;
	else if (attribute->attlen == -1)
		len = VARSIZE_ANY(from);
	else
		len = strlen(from) + 1;
	copy = buffer_alloc(buffer, len);
	memcpy(copy, from, len);
	return PointerGetDatum(copy);
}
