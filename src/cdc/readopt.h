/*
 * readopt.h: takes up tables that were those of a dataset before.
 */
#ifndef DM_READOPT_H
#define DM_READOPT_H

#include "postgres.h"

#include "cdc/cdc.h"

extern bool dm_dataset_is_former(Oid current, const DmSettings *settings);
extern int64 dm_dataset_readopt(const RangeVar *target, Oid current, List *keys, const DmMergeOptions *options,
								DmDataset *dataset, int64 *merge_id, TimestampTz *effective);

#endif
