/*
 * worker.h: the run that goes on in this process.
 */
#ifndef DM_WORKER_H
#define DM_WORKER_H

#include "postgres.h"
#include "datatype/timestamp.h"

typedef struct DmRun
{
	int64 run_id;
	TimestampTz scheduled_time;
	Datum arguments; /* jsonb */
} DmRun;

/* NULL in all processes that are no run. */
extern const DmRun *dm_run_current(void);

#endif
