/*
 * scheduler.h: the parts of a scheduler's tick. Each is called in a transaction and a catalog scope of its own.
 */
#ifndef DM_SCHEDULER_H
#define DM_SCHEDULER_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* due.c: queues what is due. */
extern void dm_due_queue(TimestampTz now, List **replaced);
extern void dm_due_queue_reboot(void);
extern void dm_due_follow_clock(TimestampTz now);

/* settle.c: draws conclusions from what ended. */
extern List *dm_settle_slots(TimestampTz now);
extern int dm_settle_runs(TimestampTz now, bool *postponed);
extern void dm_settle_expire(TimestampTz now);
extern void dm_settle_pause_restored(void);

/* launch.c: gives queued runs a process. */
extern List *dm_launch_choose(TimestampTz now, bool *refused);
extern List *dm_launch_start(List *launches);
extern void dm_launch_return(List *failed, TimestampTz now);
extern TimestampTz dm_launch_next(TimestampTz now);

/* late.c: tells of late jobs; false if nobody wants to hear of them. */
extern bool dm_late_tell(void);

/* Events of jobs, collected and stored at once. */
typedef struct DmEvents DmEvents;

extern DmEvents *dm_events_make(void);
extern void dm_events_add(DmEvents *events, const char *event, Oid owner, int64 job_id, int64 run_id,
						  const char *reason);
extern void dm_events_store(DmEvents *events);

#endif
