/*
 * probe.h: finds single rows of the current table by its key index.
 */
#ifndef DM_PROBE_H
#define DM_PROBE_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"

#include "cdc/cdc.h"

typedef struct DmProbe DmProbe;

extern DmProbe *dm_probe_begin(Relation current, const DmShape *shape, Snapshot snapshot);
extern bool dm_probe_find(DmProbe *probe, const Datum *values, TupleTableSlot *slot);
extern void dm_probe_end(DmProbe *probe);

#endif
