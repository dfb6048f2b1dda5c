/*
 * intake.h: gives the rows of a source to a merge in the shape of the dataset.
 */
#ifndef DM_INTAKE_H
#define DM_INTAKE_H

#include "postgres.h"

#include "cdc/cdc.h"
#include "source/source.h"

typedef struct DmIntake DmIntake;

extern bool dm_drift_may_alter(const DmDataset *dataset);
extern void dm_drift_settle(DmDataset *dataset, const DmSource *source);
extern DmIntake *dm_intake_bind(const DmDataset *dataset, const DmShape *shape, DmSource *source);
extern int64 dm_intake_run(DmIntake *intake, DmSourceEach each, void *arg);

#endif
