/*
 * job_sql.c: jobs as SQL calls them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "job/job.h"
#include "job/replay.h"
#include "job/shared.h"
#include "job/worker.h"

PG_FUNCTION_INFO_V1(dm_create_job_sql);
PG_FUNCTION_INFO_V1(dm_alter_job_sql);
PG_FUNCTION_INFO_V1(dm_drop_job_sql);
PG_FUNCTION_INFO_V1(dm_pause_sql);
PG_FUNCTION_INFO_V1(dm_resume_sql);
PG_FUNCTION_INFO_V1(dm_run_job_sql);
PG_FUNCTION_INFO_V1(dm_rehearse_sql);
PG_FUNCTION_INFO_V1(dm_retry_sql);
PG_FUNCTION_INFO_V1(dm_replay_sql);
PG_FUNCTION_INFO_V1(dm_backfill_sql);
PG_FUNCTION_INFO_V1(dm_cancel_sql);
PG_FUNCTION_INFO_V1(dm_set_pool_sql);
PG_FUNCTION_INFO_V1(dm_explain_schedule_sql);
PG_FUNCTION_INFO_V1(dm_accept_jobs_sql);
PG_FUNCTION_INFO_V1(dm_scheduled_time_sql);
PG_FUNCTION_INFO_V1(dm_arguments_sql);
PG_FUNCTION_INFO_V1(dm_run_id_sql);
PG_FUNCTION_INFO_V1(dm_emit_sql);

/* The output functions of create_job's parameters. */
static const Oid FIELD_OUTPUTS[DM_JOB_FIELDS] = {[DM_JOB_NAME] = F_TEXTOUT,
												 [DM_JOB_BODY] = F_TEXTOUT,
												 [DM_JOB_SCHEDULE] = F_TEXTOUT,
												 [DM_JOB_TIMEZONE] = F_TEXTOUT,
												 [DM_JOB_FOLLOWS] = F_ARRAY_OUT,
												 [DM_JOB_WATCH] = F_TEXTOUT,
												 [DM_JOB_WHEN_SQL] = F_TEXTOUT,
												 [DM_JOB_OVERLAP] = F_TEXTOUT,
												 [DM_JOB_MISSED] = F_TEXTOUT,
												 [DM_JOB_CATCHUP] = F_INTERVAL_OUT,
												 [DM_JOB_TIMEOUT] = F_INTERVAL_OUT,
												 [DM_JOB_RETRIES] = F_INT4OUT,
												 [DM_JOB_BACKOFF] = F_INTERVAL_OUT,
												 [DM_JOB_SUSPEND_AFTER] = F_INT4OUT,
												 [DM_JOB_POOL] = F_TEXTOUT,
												 [DM_JOB_OWNER] = F_REGROLEOUT,
												 [DM_JOB_ARGUMENTS] = F_JSONB_OUT,
												 [DM_JOB_EXPECT] = F_ARRAY_OUT};

/* create_job(name, body, schedule, ...) returns the id of the new job. */
PGDLLEXPORT Datum
dm_create_job_sql(PG_FUNCTION_ARGS)
{
	DmJob job = {0};

	for (int i = 0; i < DM_JOB_FIELDS; i++)
	{
		if (!PG_ARGISNULL(i))
			job.values[i] = OidOutputFunctionCall(FIELD_OUTPUTS[i], PG_GETARG_DATUM(i));
	}
	PG_RETURN_INT64(dm_job_create(&job));
}

/* alter_job(name, options jsonb). */
PGDLLEXPORT Datum
dm_alter_job_sql(PG_FUNCTION_ARGS)
{
	dm_job_alter(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_DATUM(1));
	PG_RETURN_VOID();
}

/* drop_job(name, force). */
PGDLLEXPORT Datum
dm_drop_job_sql(PG_FUNCTION_ARGS)
{
	dm_job_drop(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}

/* pause(name). */
PGDLLEXPORT Datum
dm_pause_sql(PG_FUNCTION_ARGS)
{
	dm_job_pause(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* resume(name). */
PGDLLEXPORT Datum
dm_resume_sql(PG_FUNCTION_ARGS)
{
	dm_job_resume(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* run(name, arguments jsonb) returns the id of the queued run. */
PGDLLEXPORT Datum
dm_run_job_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(dm_run_queue(text_to_cstring(PG_GETARG_TEXT_PP(0)), "run", PG_GETARG_DATUM(1)));
}

/* rehearse(name, arguments jsonb) returns the id of the queued run. */
PGDLLEXPORT Datum
dm_rehearse_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(dm_run_queue(text_to_cstring(PG_GETARG_TEXT_PP(0)), "rehearsal", PG_GETARG_DATUM(1)));
}

/* retry(run_id) returns the id of the new attempt. */
PGDLLEXPORT Datum
dm_retry_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(dm_run_retry(PG_GETARG_INT64(0)));
}

/* replay(receipt, force) returns the id of the queued run. */
PGDLLEXPORT Datum
dm_replay_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(dm_run_replay(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1)));
}

/* backfill(name, range, step) returns how many runs were queued. */
PGDLLEXPORT Datum
dm_backfill_sql(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("name and range of a backfill must not be NULL")));
	PG_RETURN_INT64(dm_run_backfill(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									PG_GETARG_DATUM(1),
									PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
									!PG_ARGISNULL(2)));
}

/* cancel(run_id) returns whether the run was not over. */
PGDLLEXPORT Datum
dm_cancel_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dm_run_cancel(PG_GETARG_INT64(0)));
}

/* set_pool(name, slots). */
PGDLLEXPORT Datum
dm_set_pool_sql(PG_FUNCTION_ARGS)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	if (PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("slots of a pool must not be below zero")));
	dm_args_add(&args, TEXTOID, PG_GETARG_DATUM(0), false);
	dm_args_int4(&args, PG_GETARG_INT32(1));
	dm_catalog_begin(&scope);
	dm_catalog_run("INSERT INTO datamill.pool_catalog (name, slots) VALUES ($1, $2) "
				   "ON CONFLICT (name) DO UPDATE SET slots = excluded.slots",
				   &args);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
	PG_RETURN_VOID();
}

/* explain_schedule(name) returns text. */
PGDLLEXPORT Datum
dm_explain_schedule_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(dm_job_explain(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

/* accept_jobs() returns the number of jobs. */
PGDLLEXPORT Datum
dm_accept_jobs_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(dm_job_accept());
}

/* scheduled_time(): of the run that goes on in this process, else now(). */
PGDLLEXPORT Datum
dm_scheduled_time_sql(PG_FUNCTION_ARGS)
{
	const DmRun *run = dm_run_current();

	PG_RETURN_TIMESTAMPTZ(run ? run->scheduled_time : GetCurrentTransactionStartTimestamp());
}

/* arguments(): of the run that goes on in this process, else an empty object. */
PGDLLEXPORT Datum
dm_arguments_sql(PG_FUNCTION_ARGS)
{
	const DmRun *run = dm_run_current();

	PG_RETURN_DATUM(run ? run->arguments : DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* run_id(): of the run that goes on in this process, else NULL. */
PGDLLEXPORT Datum
dm_run_id_sql(PG_FUNCTION_ARGS)
{
	const DmRun *run = dm_run_current();

	if (!run)
		PG_RETURN_NULL();
	PG_RETURN_INT64(run->run_id);
}

/* emit(event, payload jsonb) returns the number of the event. */
PGDLLEXPORT Datum
dm_emit_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(dm_event_emit(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_DATUM(1)));
}
