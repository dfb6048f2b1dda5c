/*
 * image.h: whether a source row stands in a heap bit for bit.
 */
#ifndef DM_IMAGE_H
#define DM_IMAGE_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/cdc.h"

typedef struct DmImage DmImage;

extern DmImage *dm_image_make(const DmShape *shape, TupleDesc current);
extern bool dm_image_equal(const DmImage *image, const TupleTableSlot *slot, const Datum *values,
						   const bool *nulls);

#endif
