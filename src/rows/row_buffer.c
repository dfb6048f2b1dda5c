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
#include "rows/row_buffer.h"

#define BLOCK_BYTES (256 * 1024)

static void *buffer_alloc(DmRowBuffer *buffer, Size size);
static Datum datum_keep(DmRowBuffer *buffer, Form_pg_attribute attribute, Datum value);
static int row_compare(const void *a, const void *b);

/* Makes an empty buffer for rows of desc, in a context of its own below the current one. */
DmRowBuffer *
dm_row_buffer_make(TupleDesc desc, Size max_bytes)
{
	DmRowBuffer *buffer = palloc0(sizeof(DmRowBuffer));

	buffer->context = AllocSetContextCreate(CurrentMemoryContext, "datamill row buffer", ALLOCSET_DEFAULT_SIZES);
	buffer->desc = desc;
	buffer->natts = desc->natts;
	buffer->max_bytes = max_bytes;
	return buffer;
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
	{
		MemoryContext caller = MemoryContextSwitchTo(buffer->context);

		buffer->capacity = Max(buffer->capacity * 2, 1024);
		buffer->rows = buffer->rows
						   ? repalloc_huge(buffer->rows, sizeof(DmBufferedRow) * buffer->capacity)
						   : MemoryContextAllocHuge(buffer->context, sizeof(DmBufferedRow) * buffer->capacity);
		MemoryContextSwitchTo(caller);
	}
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
	return buffer->used_bytes + sizeof(DmBufferedRow) * buffer->nrows < buffer->max_bytes;
}

/* Sorts the rows by `order`, ascending. */
void
dm_row_buffer_sort(DmRowBuffer *buffer)
{
	if (buffer->nrows > 1)
		qsort(buffer->rows, buffer->nrows, sizeof(DmBufferedRow), row_compare);
}

/* Empties the buffer and gives its memory back. */
void
dm_row_buffer_reset(DmRowBuffer *buffer)
{
	MemoryContextReset(buffer->context);
	buffer->rows = NULL;
	buffer->nrows = buffer->capacity = 0;
	buffer->used_bytes = buffer->free_bytes = 0;
	buffer->free_space = NULL;
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
			return MemoryContextAllocHuge(buffer->context, size);
		}
		buffer->free_space = MemoryContextAlloc(buffer->context, BLOCK_BYTES);
		buffer->free_bytes = BLOCK_BYTES;
		buffer->used_bytes += BLOCK_BYTES;
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

/* qsort comparator of rows. */
static int
row_compare(const void *a, const void *b)
{
	uint64 left = ((const DmBufferedRow *) a)->order;
	uint64 right = ((const DmBufferedRow *) b)->order;

	return left < right ? -1 : left > right;
}
