/*
 * cron.h: cron expressions as sets of minutes, and when their time comes in a time zone.
 */
#ifndef DM_CRON_H
#define DM_CRON_H

#include "postgres.h"
#include "pgtime.h"

typedef struct DmCron
{
	uint64 minutes; /* a bit a minute, 0..59 */
	uint32 hours;	/* 0..23 */
	uint32 days;	/* of the month, 1..31 */
	uint16 months;	/* 1..12 */
	uint8 weekdays; /* 0..6 from Sunday */
	bool last_day;	/* of the month, besides days */
	bool any_day;	/* the field of days begins with *: weekdays alone decide, and the other way round */
	bool any_weekday;
	bool elapsed; /* minutes or hours begin with *: follows elapsed time through changes of the clock */
} DmCron;

/*
 * Reads five fields (minute, hour, day of month, month, day of week), or a macro like @daily. Raises 22023 that says which field and why;
 * also for days that never come, such as 30 February.
 */
extern void dm_cron_parse(const char *text, DmCron *cron);
/* The first moment after `after` (both in seconds since 1970) at which it is due in the time zone. */
extern pg_time_t dm_cron_next(const DmCron *cron, pg_tz *zone, pg_time_t after);
/* The last moment before `before` at which it was due; PG_INT64_MIN if that is more than 60 years ago. */
extern pg_time_t dm_cron_previous(const DmCron *cron, pg_tz *zone, pg_time_t before);

/*
 * Finds the moments at which clocks of the zone show a local time (in seconds since 1970 as if it were UTC): their number
 * (0 in a gap, 2 in an overlap), with first and last; in a gap both are the moment at which it is jumped over.
 */
extern int dm_zone_moments(pg_tz *zone, int64 local, pg_time_t *first, pg_time_t *last);

#endif
