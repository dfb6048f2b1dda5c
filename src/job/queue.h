/*
 * queue.h: rows of runs that are made outside the scheduler.
 */
#ifndef DM_QUEUE_H
#define DM_QUEUE_H

#include "postgres.h"

extern int64 dm_run_insert_now(int64 job_id, const char *trigger, Datum arguments);

#endif
