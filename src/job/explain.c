/*
 * explain.c: says in words when a job runs next, or why it does not.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/guc.h"
#include "job/job.h"
#include "job/shared.h"
#include "job/states.h"

static void explain_server(StringInfo out);
static void explain_state(StringInfo out, const DmJob *job, const DmCatalogArgs *args);
static void explain_times(StringInfo out, const DmJob *job, const DmCatalogArgs *args);
static void explain_upstream(StringInfo out, const DmCatalogArgs *args);
static void explain_runs(StringInfo out, const DmCatalogArgs *args);

/* Returns the text, a fact a line. Raises 42704 if the caller has no such job. */
char *
dm_job_explain(const char *name)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	StringInfoData out;
	DmJob job;

	dm_job_find(name, &job);
	initStringInfo(&out);
	dm_args_int8(&args, job.job_id);
	dm_args_text(&args, job.values[DM_JOB_TIMEZONE]);
	explain_server(&out);
	dm_catalog_begin(&scope);
	explain_state(&out, &job, &args);
	explain_times(&out, &job, &args);
	explain_upstream(&out, &args);
	explain_runs(&out, &args);
	dm_catalog_end(&scope);
	out.data[out.len - 1] = '\0';
	return out.data;
}

/* What holds all jobs back. */
static void
explain_server(StringInfo out)
{
	if (!dm_shared_is_there())
		appendStringInfoString(out, "Nothing starts jobs: datamill is not in shared_preload_libraries.\n");
	else if (!dm_guc_scheduler)
		appendStringInfoString(out, "Nothing starts jobs: datamill.scheduler is off.\n");
}

/* The state of the job and its reason. */
static void
explain_state(StringInfo out, const DmJob *job, const DmCatalogArgs *args)
{
	if (dm_catalog_run("SELECT state_reason, not_before, failures, to_char(not_before AT TIME ZONE $2, 'YYYY-MM-DD "
					   "HH24:MI:SS'), "
					   "not_before > now() FROM datamill.job_catalog WHERE job_id = $1",
					   args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("job \"%s\" was dropped", job->values[DM_JOB_NAME])));
	appendStringInfo(out, "The job is %s", job->state);
	if (dm_catalog_text(0, 1))
		appendStringInfo(out, ": %s", dm_catalog_text(0, 1));
	appendStringInfoString(out, ".\n");
	if (strcmp(job->state, DM_STATE_ACTIVE) != 0)
		appendStringInfoString(out, "Only run(), retry() and backfill() start it, until resume().\n");
	if (dm_catalog_int8(0, 3) > 0)
		appendStringInfo(out, "It has failed %s times in a row.\n", dm_catalog_text(0, 3));
	if (dm_catalog_text(0, 5) && strcmp(dm_catalog_text(0, 5), "t") == 0)
		appendStringInfo(out,
						 "It waits until %s %s, since a run of it ended with a crash of the server.\n",
						 dm_catalog_text(0, 4),
						 job->values[DM_JOB_TIMEZONE]);
}

/* When it is due. */
static void
explain_times(StringInfo out, const DmJob *job, const DmCatalogArgs *args)
{
	const char *schedule = job->values[DM_JOB_SCHEDULE];

	if (!schedule)
		appendStringInfoString(out, "It has no schedule.\n");
	else if (TIMESTAMP_IS_NOEND(job->next_due))
		appendStringInfo(out, "Its schedule %s names no time to come.\n", schedule);
	else
	{
		/* another session may have changed or dropped the job since it was read */
		if (dm_catalog_run("SELECT to_char(next_due AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS'), next_due <= now() "
						   "FROM datamill.job_catalog WHERE job_id = $1 AND next_due IS NOT NULL",
						   args) > 0)
			appendStringInfo(out,
							 "By its schedule %s it %s due at %s %s.\n",
							 schedule,
							 strcmp(dm_catalog_text(0, 2), "t") == 0 ? "was" : "is",
							 dm_catalog_text(0, 1),
							 job->values[DM_JOB_TIMEZONE]);
	}
	if (job->values[DM_JOB_WATCH])
		appendStringInfo(out, "It watches %s.\n", job->values[DM_JOB_WATCH]);
	if (job->values[DM_JOB_WHEN_SQL])
		appendStringInfo(out, "A run is skipped unless this is true: %s\n", job->values[DM_JOB_WHEN_SQL]);
}

/* What it follows, and what became of that. */
static void
explain_upstream(StringInfo out, const DmCatalogArgs *args)
{
	uint64 n = dm_catalog_run(
		"SELECT u.name, u.state, r.state, to_char(r.scheduled_time AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS') "
		"FROM datamill.dependency_catalog d JOIN datamill.job_catalog u ON u.job_id = d.upstream_id "
		"LEFT JOIN LATERAL (SELECT * FROM datamill.run_catalog r WHERE r.job_id = u.job_id "
		"ORDER BY r.scheduled_time DESC, r.attempt DESC LIMIT 1) r ON true WHERE d.job_id = $1 ORDER BY 1",
		args);

	for (uint64 i = 0; i < n; i++)
	{
		appendStringInfo(out, "It follows job \"%s\" (%s)", dm_catalog_text(i, 1), dm_catalog_text(i, 2));
		if (dm_catalog_text(i, 3))
			appendStringInfo(out, ", whose run for %s is %s.\n", dm_catalog_text(i, 4), dm_catalog_text(i, 3));
		else
			appendStringInfoString(out, ", which never ran.\n");
	}
}

/* Its last runs. */
static void
explain_runs(StringInfo out, const DmCatalogArgs *args)
{
	uint64 n = dm_catalog_run(
		"SELECT run_id, state, to_char(scheduled_time AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS'), "
		"concat_ws(': ', reason, message), "
		"to_char(not_before AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS') FROM datamill.run_catalog "
		"WHERE job_id = $1 ORDER BY finished_at IS NOT NULL, scheduled_time DESC, attempt DESC LIMIT 3",
		args);

	if (n == 0)
		appendStringInfoString(out, "It never ran.\n");
	for (uint64 i = 0; i < n; i++)
	{
		appendStringInfo(
			out, "Run %s for %s is %s", dm_catalog_text(i, 1), dm_catalog_text(i, 3), dm_catalog_text(i, 2));
		if (dm_catalog_text(i, 5))
			appendStringInfo(out, " until %s", dm_catalog_text(i, 5));
		if (dm_catalog_text(i, 4)[0])
			appendStringInfo(out, ": %s", dm_catalog_text(i, 4));
		appendStringInfoString(out, ".\n");
	}
}
