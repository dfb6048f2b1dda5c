/*
 * rewrite.h: writes columns of the current tables that no user writes.
 */
#ifndef DM_REWRITE_H
#define DM_REWRITE_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/cdc.h"

/* Fills new, a virtual slot with a copy of the stored row, in a memory context of the row; false: it stays as it is. */
typedef bool (*DmRewrite)(const DmShape *shape, TupleTableSlot *new);

extern int64 dm_dataset_rewrite(const DmDataset *dataset, DmRewrite fill);

#endif
