/*
 * probe.h: finds the rows of a key in a table of a dataset by its primary key.
 */
#ifndef DM_PROBE_H
#define DM_PROBE_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"

#include "cdc/cdc.h"

typedef struct DmProbe DmProbe;

extern DmProbe *dm_probe_begin(Relation rel, const DmShape *shape, Snapshot snapshot);
extern void dm_probe_start(DmProbe *probe, const Datum *values, const bool *nulls);
extern bool dm_probe_next(DmProbe *probe, TupleTableSlot *slot);
extern void dm_probe_end(DmProbe *probe);

#endif
