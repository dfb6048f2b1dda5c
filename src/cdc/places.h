/*
 * places.h: rows of the source set aside by the place of their candidate in current.
 */
#ifndef DM_PLACES_H
#define DM_PLACES_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "storage/block.h"

#include "rows/row_buffer.h"

typedef struct DmPlaces DmPlaces;

extern DmPlaces *dm_places_make(BlockNumber blocks, double rows, Size row_bytes, Size batch_bytes);
extern bool dm_places_are_apart(const DmBufferedRow *rows, int nrows);
extern void dm_places_put(DmPlaces *places, TupleTableSlot *slot, BlockNumber page, uint64 tid, uint64 tag);
extern bool dm_places_next(DmPlaces *places, bool downwards);
extern bool dm_places_get(DmPlaces *places, TupleTableSlot *slot, uint64 *tid, uint64 *tag);

#endif
