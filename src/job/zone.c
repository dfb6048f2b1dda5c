/*
 * zone.c: local times to moments.
 */
#include "postgres.h"

#include "job/cron.h"

/* No zone is further from UTC, and no clock was ever set by more. */
#define REACH (26 * 3600)

/*
 * Finds the moments at which clocks of the zone show a local time. The zone is walked from one change of its offset to the
 * next, from well before to well after the time as if it were UTC.
 */
int
dm_zone_moments(pg_tz *zone, int64 local, pg_time_t *first, pg_time_t *last)
{
	pg_time_t from = local - REACH;
	int count = 0;

	*first = *last = local;
	for (;;)
	{
		long before;
		long after;
		int is_dst;
		pg_time_t change;
		int changes = pg_next_dst_boundary(&from, &before, &is_dst, &change, &after, &is_dst, zone);
		pg_time_t moment = local - before;

		if (changes < 0)
			elog(ERROR, "could not find the changes of time zone \"%s\"", pg_get_timezone_name(zone));
		if (moment >= from && (changes == 0 || moment < change))
		{
			if (count++ == 0)
				*first = moment;
			*last = moment;
		}
		if (changes == 0 || change > local + REACH)
			return count;
		if (count == 0 && change + before <= local && local < change + after)
			*first = *last = change;
		from = change;
	}
}
