/*
 * adopt.h: makes an existing table the current table of a dataset.
 */
#ifndef DM_ADOPT_H
#define DM_ADOPT_H

#include "postgres.h"

#include "cdc/cdc.h"

extern TupleDesc dm_adopt_columns(Oid current);
extern void dm_adopt_check_free(Oid table);
extern void dm_adopt_check_table(Oid current, const DmDataset *dataset);
extern void dm_adopt_check_keys(Oid current, const DmDataset *dataset);
extern bool dm_adopt_has_key(Oid current, List *keys);
extern int64 dm_dataset_adopt(const RangeVar *target, Oid current, DmDataset *dataset, Datum effective,
							  int64 merge_id);
extern int64 dm_dataset_rehash(const DmDataset *dataset);

#endif
