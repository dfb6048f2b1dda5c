/*
 * schedule.c: when a job is due.
 */
#include "postgres.h"

#include "common/int.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "job/schedule.h"

/* Raises for a text that is no schedule. */
static void
schedule_error(const char *text, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid schedule \"%s\"", text),
			 errdetail("%s", detail),
			 errhint("Write a cron expression (0 3 * * *), a macro (@daily), an interval (every 30 s, rate(5 "
					 "minutes)), @reboot or @after.")));
}

/* Reads an interval of elapsed time. The text is for messages. */
static int64
parse_every(const char *text, const char *interval)
{
	Interval *every = DatumGetIntervalP(DirectFunctionCall3(
		interval_in, CStringGetDatum(interval), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	int64 us = every->time + every->day * USECS_PER_DAY;

	if (every->month != 0)
		schedule_error(text, "Months differ in length: use a cron expression.");
	if (us < USECS_PER_SEC)
		schedule_error(text, "An interval is one second at least.");
	return us;
}

/* Returns what stands between `prefix` and `suffix` if text, blanks around it aside, is like that; else NULL. */
static char *
between(const char *text, const char *prefix, const char *suffix)
{
	Size len = strlen(text);
	Size head = strlen(prefix);
	Size tail = strlen(suffix);

	while (len > 0 && scanner_isspace(text[len - 1]))
		len--;
	if (len <= head + tail || pg_strncasecmp(text, prefix, head) != 0 ||
		pg_strncasecmp(text + len - tail, suffix, tail) != 0)
		return NULL;
	return pnstrdup(text + head, len - head - tail);
}

/* Does the text look like N seconds, N minutes and the like: a number and a word? */
static bool
is_bare_interval(const char *text)
{
	text += strspn(text, "0123456789");
	if (*text != ' ')
		return false;
	text += strspn(text, " ");
	return isalpha((unsigned char) *text) && strspn(text, "abcdefghijklmnopqrstuvwxyz") == strlen(text);
}

/* Reads a schedule. */
void
dm_schedule_parse(const char *text, DmSchedule *schedule)
{
	char *interval;

	memset(schedule, 0, sizeof(*schedule));
	while (scanner_isspace(*text))
		text++;
	if (*text == '\0')
		schedule_error(text, "It is empty.");
	if (pg_strcasecmp(text, "@reboot") == 0)
		schedule->kind = DM_SCHEDULE_REBOOT;
	else if (pg_strcasecmp(text, "@after") == 0)
		schedule->kind = DM_SCHEDULE_AFTER;
	else if ((interval = between(text, "every ", "")) != NULL || (interval = between(text, "rate(", ")")) != NULL ||
			 (is_bare_interval(text) && (interval = pstrdup(text)) != NULL))
	{
		schedule->kind = DM_SCHEDULE_EVERY;
		schedule->every_us = parse_every(text, interval);
	}
	else
	{
		schedule->kind = DM_SCHEDULE_CRON;
		dm_cron_parse(text, &schedule->cron);
	}
}

/* Finds a time zone. */
pg_tz *
dm_schedule_zone(const char *name)
{
	pg_tz *zone = pg_tzset(name);

	if (!zone || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", name),
				 errhint("See pg_timezone_names.")));
	return zone;
}

/* Finds the next multiple of the interval after the anchor. */
static TimestampTz
next_every(int64 every_us, TimestampTz after, TimestampTz anchor)
{
	int64 passed;

	if (after < anchor)
		return anchor;
	passed = (after - anchor) / every_us;
	if (pg_mul_s64_overflow(passed + 1, every_us, &passed) || pg_add_s64_overflow(anchor, passed, &passed))
		return DT_NOEND;
	return passed;
}

/* The first time after `after` at which it is due. */
TimestampTz
dm_schedule_next(const DmSchedule *schedule, pg_tz *zone, TimestampTz after, TimestampTz anchor)
{
	pg_time_t next;

	if (schedule->kind == DM_SCHEDULE_EVERY)
		return next_every(schedule->every_us, after, anchor);
	if (schedule->kind != DM_SCHEDULE_CRON || TIMESTAMP_NOT_FINITE(after))
		return DT_NOEND;
	/* the second that `after` lies in; Postgres rounds times before 2000 up */
	next = dm_cron_next(
		&schedule->cron, zone, timestamptz_to_time_t(after) - (after < 0 && after % USECS_PER_SEC != 0));
	return next >= PG_INT64_MAX / 2 ? DT_NOEND : time_t_to_timestamptz(next);
}

/* The last time before `before` at which it was due, and since the anchor. */
TimestampTz
dm_schedule_previous(const DmSchedule *schedule, pg_tz *zone, TimestampTz before, TimestampTz anchor)
{
	TimestampTz previous;
	pg_time_t moment;
	int64 passed;

	if (TIMESTAMP_NOT_FINITE(before) || before <= anchor)
		return DT_NOBEGIN;
	if (schedule->kind == DM_SCHEDULE_EVERY)
	{
		if (TIMESTAMP_NOT_FINITE(anchor) || pg_sub_s64_overflow(before - 1, anchor, &passed))
			return DT_NOBEGIN;
		return anchor + passed / schedule->every_us * schedule->every_us;
	}
	if (schedule->kind != DM_SCHEDULE_CRON)
		return DT_NOBEGIN;
	/* the first second that is not before it; timestamptz_to_time_t() rounds times before 2000 up, others down */
	moment = timestamptz_to_time_t(before) + (before > 0 && before % USECS_PER_SEC != 0);
	moment = dm_cron_previous(&schedule->cron, zone, moment);
	if (moment == PG_INT64_MIN)
		return DT_NOBEGIN;
	previous = time_t_to_timestamptz(moment);
	return previous > anchor ? previous : DT_NOBEGIN;
}
