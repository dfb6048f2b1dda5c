/*
 * inspect.h: questions about a dataset, and its end.
 */
#ifndef DM_INSPECT_H
#define DM_INSPECT_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "funcapi.h"

extern void dm_dataset_check(const char *target, ReturnSetInfo *result);
extern void dm_dataset_diff(const char *target, TimestampTz from, TimestampTz to, ReturnSetInfo *result);
extern void dm_dataset_drop(const char *target, bool keep_tables);

#endif
