/*
 * schedule.h: when a job is due.
 *
 * A schedule is a cron expression or macro (0 3 * * *, @daily), an interval (every 30 s, rate(5 minutes), 30 seconds),
 * @reboot (once, when the scheduler starts), or @after (never by itself: what it follows starts it).
 */
#ifndef DM_SCHEDULE_H
#define DM_SCHEDULE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "pgtime.h"

#include "job/cron.h"

typedef enum DmScheduleKind
{
	DM_SCHEDULE_CRON,
	DM_SCHEDULE_EVERY,
	DM_SCHEDULE_REBOOT,
	DM_SCHEDULE_AFTER
} DmScheduleKind;

typedef struct DmSchedule
{
	DmScheduleKind kind;
	DmCron cron;
	int64 every_us; /* of elapsed time */
} DmSchedule;

/* Reads a schedule. Raises 22023 on anything else. */
extern void dm_schedule_parse(const char *text, DmSchedule *schedule);
/* Finds a time zone by name. Raises 22023 if there is none. */
extern pg_tz *dm_schedule_zone(const char *name);
/*
 * The first time after `after` at which it is due; DT_NOEND for never. Intervals are counted from the anchor, which is due
 * itself.
 */
extern TimestampTz dm_schedule_next(const DmSchedule *schedule, pg_tz *zone, TimestampTz after, TimestampTz anchor);
/* The last time before `before` at which it was due, and since the anchor; DT_NOBEGIN for never. */
extern TimestampTz dm_schedule_previous(const DmSchedule *schedule, pg_tz *zone, TimestampTz before,
										TimestampTz anchor);

#endif
