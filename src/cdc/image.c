/*
 * image.c: whether a source row stands in a heap bit for bit.
 *
 * Most rows of most merges did not change. Where all columns of the source have a fixed place in the stored row, the row
 * is compared as it lies there, without being taken apart. Only types are looked at of which the same bits are equal
 * for sure; whatever is not found equal here is compared by the types' own rules.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"

#include "cdc/image.h"
#include "rows/row_ops.h"

typedef struct ImageColumn
{
	int column; /* of the wanted ones */
	int offset; /* in the stored row's data */
	int16 len;
	bool byval;
} ImageColumn;

struct DmImage
{
	int natts; /* that a stored row must have */
	int count;
	ImageColumn *columns;
};

/* Returns the places of all wanted columns, in the current memory context; NULL if one has no fixed place. */
DmImage *
dm_image_make(const DmShape *shape, TupleDesc current)
{
	int count = shape->wanted->natts;
	int *offsets = palloc(sizeof(int) * Max(current->natts, 1));
	DmImage *image = palloc0(sizeof(DmImage));
	int offset = 0;
	int fixed = 0;

	for (; fixed < current->natts && TupleDescAttr(current, fixed)->attlen > 0; fixed++)
	{
		Form_pg_attribute attribute = TupleDescAttr(current, fixed);

		offset = (int) att_align_nominal(offset, attribute->attalign);
		offsets[fixed] = offset;
		offset += attribute->attlen;
	}
	image->count = count;
	image->columns = palloc0(sizeof(ImageColumn) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		ImageColumn *column = &image->columns[i];
		int attribute = shape->current_attribute[i] - 1;
		const DmColumnOps *ops = &shape->ops->columns[i];

		if (shape->part_of[i] != 0 || attribute < 0 || attribute >= fixed ||
			!(ops->typbyval || ops->digest_bytes == ops->typlen))
			return NULL;
		column->column = i;
		column->offset = offsets[attribute];
		column->len = ops->typlen;
		column->byval = ops->typbyval;
		image->natts = Max(image->natts, attribute + 1);
	}
	return image;
}

/* True if the row in the slot, of current, holds these values of the wanted columns, none of them NULL; false says nothing. */
bool
dm_image_equal(const DmImage *image, const TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	HeapTuple tuple;
	const char *data;

	if (!TTS_IS_BUFFERTUPLE(slot))
		return false;
	tuple = ((const BufferHeapTupleTableSlot *) slot)->base.tuple;
	if (!tuple || HeapTupleHasNulls(tuple) || HeapTupleHeaderGetNatts(tuple->t_data) < image->natts)
		return false;
	data = (const char *) tuple->t_data + tuple->t_data->t_hoff;
	for (int i = 0; i < image->count; i++)
	{
		const ImageColumn *column = &image->columns[i];
		const char *stored = data + column->offset;
		Datum value = values[column->column];

		if (nulls[column->column])
			return false;
		if (column->len == sizeof(Datum) && column->byval)
		{
			if (memcmp(stored, &value, sizeof(Datum)) != 0)
				return false;
		}
		else if (column->byval ? fetch_att(stored, true, column->len) != value
							   : memcmp(stored, DatumGetPointer(value), column->len) != 0)
			return false;
	}
	return true;
}
