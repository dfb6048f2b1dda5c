/*
 * history.h: partitions of history, and taking old versions out of it.
 */
#ifndef DM_HISTORY_H
#define DM_HISTORY_H

#include "postgres.h"

#include "cdc/cdc.h"

typedef struct DmPruned
{
	List *partitions; /* of char*: qualified names of those that were dropped */
	int64 rows;		  /* removed, in dropped partitions or one by one */
} DmPruned;

extern void dm_history_check_partitions(const DmDataset *dataset, Relation history);
extern Oid dm_history_find(const DmDataset *dataset, Oid history, Datum effective);
extern Oid dm_history_make(const DmDataset *dataset, Oid history, Datum effective);
extern void dm_history_prune(const char *target, TimestampTz older_than, DmPruned *pruned);

#endif
