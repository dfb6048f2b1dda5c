/*
 * job_defaults.c: what a job has where nothing is said of it: the defaults of create_job's parameters in the install script.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "job/job.h"

static const char *const DEFAULTS[DM_JOB_FIELDS] = {
	[DM_JOB_TIMEZONE] = "UTC",
	[DM_JOB_OVERLAP] = "skip",
	[DM_JOB_MISSED] = "once",
	[DM_JOB_CATCHUP] = "1 day",
	[DM_JOB_TIMEOUT] = "1 hour",
	[DM_JOB_RETRIES] = "0",
	[DM_JOB_BACKOFF] = "30 s",
	[DM_JOB_SUSPEND_AFTER] = "10",
	[DM_JOB_POOL] = "default",
	[DM_JOB_ARGUMENTS] = "{}",
};

static Datum interval(const char *value);

/* Returns the default of a field, as text; NULL if it has none. The owner's is the current user. */
const char *
dm_job_default(DmJobField field)
{
	return DEFAULTS[field];
}

/* Fills in a new job whose fields are the defaults, NULL where there is none. */
void
dm_job_init(DmJob *job)
{
	memset(job, 0, sizeof(*job));
	for (int i = 0; i < DM_JOB_FIELDS; i++)
		job->values[i] = DEFAULTS[i] ? pstrdup(DEFAULTS[i]) : NULL;
}

/* Does a job have the default in a field? */
bool
dm_job_is_default(const DmJob *job, DmJobField field, Oid owner)
{
	const char *value = job->values[field];

	if (field == DM_JOB_OWNER)
		return job->owner == owner;
	if (!value || !DEFAULTS[field])
		return value == DEFAULTS[field];
	if (field == DM_JOB_CATCHUP || field == DM_JOB_TIMEOUT || field == DM_JOB_BACKOFF)
		return DatumGetBool(DirectFunctionCall2(interval_eq, interval(value), interval(DEFAULTS[field])));
	return strcmp(value, DEFAULTS[field]) == 0;
}

/* Reads an interval. */
static Datum
interval(const char *value)
{
	return DirectFunctionCall3(
		interval_in, CStringGetDatum(value), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}
