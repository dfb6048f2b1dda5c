/*
 * schedule_sql.c: schedules as SQL calls them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "job/schedule.h"

#define MAX_TIMES 100000

PG_FUNCTION_INFO_V1(dm_cron_next_sql);
PG_FUNCTION_INFO_V1(dm_cron_previous_sql);

/* cron_next(schedule text, timezone text, after timestamptz, n integer) returns the next n times. */
PGDLLEXPORT Datum
dm_cron_next_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz after = PG_GETARG_TIMESTAMPTZ(2);
	TimestampTz anchor = after;
	int n = PG_GETARG_INT32(3);
	DmSchedule schedule;
	pg_tz *zone;

	if (n < 0 || n > MAX_TIMES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("n must be between 0 and %d", MAX_TIMES)));
	dm_schedule_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &schedule);
	zone = dm_schedule_zone(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum value;
		bool isnull = false;

		CHECK_FOR_INTERRUPTS();
		after = dm_schedule_next(&schedule, zone, after, anchor);
		if (TIMESTAMP_IS_NOEND(after))
			break;
		value = TimestampTzGetDatum(after);
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/*
 * cron_previous(schedule text, timezone text, before timestamptz, anchor timestamptz) returns the last time; NULL also for a zone that
 * is not known here, since a view that looks at all jobs must not fail for one of them.
 */
PGDLLEXPORT Datum
dm_cron_previous_sql(PG_FUNCTION_ARGS)
{
	DmSchedule schedule;
	pg_tz *zone;
	TimestampTz previous;

	dm_schedule_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &schedule);
	zone = pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!zone || !pg_tz_acceptable(zone))
		PG_RETURN_NULL();
	previous = dm_schedule_previous(&schedule, zone, PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_TIMESTAMPTZ(3));
	if (TIMESTAMP_IS_NOBEGIN(previous))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(previous);
}
