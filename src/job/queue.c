/*
 * queue.c: runs that users ask for. They are rows in state queued; the scheduler sees them when the transaction commits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/columns.h"
#include "base/compat.h"
#include "job/job.h"
#include "job/queue.h"
#include "job/schedule.h"
#include "job/shared.h"
#include "job/worker.h"
#include "notify/notify.h"

#define MAX_BACKFILL 100000
#define MAX_EVENT_BYTES 200
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

static const char *const own_events[] = {
	"failure", "recovered", "success", "late", "suspended", "broken", "new_objects", "ensure", NULL};

static void check_object(Datum arguments);
static Oid run_owner(int64 run_id, char **state, int64 *job_id);
static void backfill_bounds(Datum range, TimestampTz *from, TimestampTz *until);
static void backfill_times(const DmJob *job, TimestampTz from, TimestampTz until, DmColumn *times);
static void backfill_steps(const DmJob *job, TimestampTz from, TimestampTz until, Datum step, DmColumn *times);

/* Queues a run of a job for now and returns its id; arguments (jsonb) come over those of the job. */
int64
dm_run_queue(const char *name, const char *trigger, Datum arguments)
{
	DmCatalogScope scope;
	DmJob job;
	int64 run_id;

	dm_job_check_context();
	check_object(arguments);
	dm_job_find(name, &job);
	dm_catalog_begin(&scope);
	run_id = dm_run_insert_now(job.job_id, trigger, arguments);
	dm_catalog_end(&scope);
	if (run_id == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("job \"%s\" was dropped", name)));
	return run_id;
}

/*
 * Inserts a run of a job for this moment, in a catalog scope, and returns its id; 0 if there is no such job any more. The moment is moved on by a
 * microsecond while the job has a run for it.
 */
int64
dm_run_insert_now(int64 job_id, const char *trigger, Datum arguments)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, job_id);
	dm_args_text(&args, trigger);
	dm_args_add(&args, JSONBOID, arguments, false);
	for (int64 us = 0;; us++)
	{
		CHECK_FOR_INTERRUPTS();
		args.n = 3;
		dm_args_int8(&args, us);
		if (dm_catalog_run(
				"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, arguments) "
				"SELECT job_id, name, owner, clock_timestamp() + $4 * interval '1 us', $2, 'queued', "
				"arguments || $3 FROM datamill.job_catalog WHERE job_id = $1 ON CONFLICT DO NOTHING RETURNING "
				"run_id",
				&args) > 0)
			break;
		args.n = 1;
		if (dm_catalog_run("SELECT FROM datamill.job_catalog WHERE job_id = $1", &args) == 0)
			return 0;
	}
	dm_shared_wake_at_commit();
	return dm_catalog_int8(0, 1);
}

/* Queues another attempt of a run that is over, and returns its id. */
int64
dm_run_retry(int64 run_id)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	char *state;
	int64 job_id;
	int64 retry_id;

	dm_job_check_context();
	run_owner(run_id, &state, &job_id);
	dm_args_int8(&args, run_id);
	dm_catalog_begin(&scope);
	if (dm_catalog_run("SELECT o.run_id FROM datamill.run_catalog r JOIN datamill.run_catalog o USING (job_id, "
					   "scheduled_time) "
					   "WHERE r.run_id = $1 AND o.finished_at IS NULL",
					   &args) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " cannot be tried again while run " INT64_FORMAT " is not over",
						run_id,
						dm_catalog_int8(0, 1)),
				 errhint("Wait for it, or datamill.cancel() it.")));
	if (dm_catalog_run("INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, attempt, trigger, "
					   "state, reason, arguments, replay_of) "
					   "SELECT r.job_id, j.name, j.owner, r.scheduled_time, (SELECT max(o.attempt) + 1 FROM "
					   "datamill.run_catalog o "
					   "WHERE o.job_id = r.job_id AND o.scheduled_time = r.scheduled_time), "
					   "CASE r.trigger WHEN 'look' THEN 'look' ELSE 'retry' END, 'queued', "
					   "'retry of run ' || r.run_id, r.arguments, r.replay_of FROM datamill.run_catalog r JOIN "
					   "datamill.job_catalog j USING (job_id) "
					   "WHERE r.run_id = $1 RETURNING run_id",
					   &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the job of run " INT64_FORMAT " does not exist any more", run_id)));
	retry_id = dm_catalog_int8(0, 1);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
	return retry_id;
}

/*
 * Queues a run for each time in the range (tstzrange) at which the job is due, or each step (interval) from the lower bound. Returns how
 * many were queued: times that have a run which succeeded, or is not over, are left out.
 */
int64
dm_run_backfill(const char *name, Datum range, Datum step, bool has_step)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmColumn times = {.type = TIMESTAMPTZOID};
	TimestampTz from;
	TimestampTz until;
	uint64 n;
	DmJob job;

	dm_job_check_context();
	dm_job_find(name, &job);
	backfill_bounds(range, &from, &until);
	if (has_step)
		backfill_steps(&job, from, until, step, &times);
	else
		backfill_times(&job, from, until, &times);
	dm_args_int8(&args, job.job_id);
	dm_args_column(&args, &times);
	dm_catalog_begin(&scope);
	n = dm_catalog_run(
		"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, attempt, trigger, state, "
		"arguments) "
		"SELECT j.job_id, j.name, j.owner, t, o.attempts + 1, 'backfill', 'queued', j.arguments "
		"FROM datamill.job_catalog j CROSS JOIN unnest($2) WITH ORDINALITY u(t, i) CROSS JOIN LATERAL "
		"(SELECT coalesce(max(attempt), 0) AS attempts, coalesce(bool_or(state = 'succeeded' OR finished_at IS "
		"NULL), false) "
		"AS is_done FROM datamill.run_catalog r WHERE r.job_id = j.job_id AND r.scheduled_time = t) o "
		"WHERE j.job_id = $1 AND NOT o.is_done ORDER BY i",
		&args);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
	return (int64) n;
}

/* Raises 42704 unless the caller may see the run. */
void
dm_run_check_visible(int64 run_id)
{
	char *state;
	int64 job_id;

	run_owner(run_id, &state, &job_id);
}

/* Cancels a run: true if it was not over. */
bool
dm_run_cancel(int64 run_id)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	char *state;
	int64 job_id;
	bool done;

	dm_job_check_context();
	run_owner(run_id, &state, &job_id);
	dm_args_int8(&args, run_id);
	dm_args_text(&args, psprintf("by %s", GetUserNameFromId(GetUserId(), false)));
	dm_catalog_begin(&scope);
	done = dm_catalog_run(
			   "UPDATE datamill.run_catalog SET state = 'cancelled', reason = $2, finished_at = clock_timestamp() "
			   "WHERE run_id = $1 AND state = 'queued'",
			   &args) > 0;
	dm_catalog_end(&scope);
	if (done)
		dm_shared_wake_at_commit();
	else if (dm_shared_is_there())
	{
		done = dm_slot_stop(MyDatabaseId, run_id, DM_STOP_CANCEL);
		dm_shared_wake(MyDatabaseId);
	}
	return done;
}

/* Notes an event of the current user and queues runs of jobs that watch it. Returns its number. */
int64
dm_event_emit(const char *event, Datum payload)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmColumn event_nos = {.type = INT8OID};
	Oid caller = GetUserId();
	int64 event_no;
	uint64 njobs;
	int64 *jobs;
	Oid *owners;

	dm_job_check_context();
	for (const char *const *own = own_events; *own; own++)
	{
		if (strcmp(*own, event) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" is an event that datamill itself tells", event),
					 errhint("Give it another name.")));
	}
	if (event[0] == '\0' || strlen(event) > MAX_EVENT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of an event must have 1 to %d bytes", MAX_EVENT_BYTES)));
	dm_args_text(&args, event);
	dm_args_oid(&args, caller);
	dm_args_add(&args, JSONBOID, payload, false);
	dm_args_int8(&args, dm_run_current() ? dm_run_current()->run_id : 0);
	dm_catalog_begin(&scope);
	dm_catalog_run("INSERT INTO datamill.event_log (event, owner, payload, run_id, job_id) "
				   "SELECT $1, $2::regrole, $3, nullif($4, 0), (SELECT r.job_id FROM datamill.run_catalog r "
				   "WHERE r.run_id = $4) RETURNING event_no",
				   &args);
	event_no = dm_catalog_int8(0, 1);
	dm_column_add_int8(&event_nos, event_no);
	dm_outbox_add(&event_nos);
	dm_shared_wake_at_commit();
	args.n = 1;
	njobs = dm_catalog_run(
		"SELECT job_id, owner::oid FROM datamill.job_catalog WHERE watch = 'event:' || $1 AND state = 'active' "
		"ORDER BY job_id",
		&args);
	jobs = palloc((njobs + 1) * sizeof(int64));
	owners = palloc((njobs + 1) * sizeof(Oid));
	for (uint64 i = 0; i < njobs; i++)
	{
		bool is_null;

		jobs[i] = dm_catalog_int8(i, 1);
		owners[i] = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));
	}
	args.n = 0;
	dm_args_add(&args, JSONBOID, payload, false);
	dm_args_text(&args, event);
	dm_args_int8(&args, event_no);
	dm_catalog_run("SELECT jsonb_build_object('event', $2, 'event_no', $3, 'payload', $1)", &args);
	payload = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &(bool){false});
	for (uint64 i = 0; i < njobs; i++)
	{
		/* no one else's code gets arguments that the caller chose */
		if (dm_role_can_become(caller, owners[i]))
			dm_run_insert_now(jobs[i], "event", payload);
	}
	dm_catalog_end(&scope);
	return event_no;
}

/* Raises unless arguments (jsonb) are an object. */
static void
check_object(Datum arguments)
{
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(arguments)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("arguments of a run must be a JSON object")));
}

/* Returns the owner of a run that the caller may touch, with its state and job. Raises 42704. */
static Oid
run_owner(int64 run_id, char **state, int64 *job_id)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	MemoryContext caller_context = CurrentMemoryContext;
	Oid owner = InvalidOid;
	bool is_null;

	dm_args_int8(&args, run_id);
	dm_catalog_begin(&scope);
	if (dm_catalog_run("SELECT owner::oid, state, job_id FROM datamill.run_catalog WHERE run_id = $1", &args) > 0)
	{
		owner = DatumGetObjectId(dm_catalog_value(0, 1, &is_null));
		*job_id = dm_catalog_int8(0, 3);
		MemoryContextSwitchTo(caller_context);
		*state = dm_catalog_text(0, 2);
	}
	dm_catalog_end(&scope);
	if (!OidIsValid(owner) || !dm_role_can_become(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " does not exist", run_id),
				 errhint("See datamill.runs.")));
	return owner;
}

/* Finds the first moment of a range and the first after it. Raises 22023 unless it has both bounds. */
static void
backfill_bounds(Datum range, TimestampTz *from, TimestampTz *until)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	dm_args_add(&args, TSTZRANGEOID, range, false);
	dm_catalog_begin(&scope);
	dm_catalog_run("SELECT lower($1) + CASE WHEN lower_inc($1) THEN interval '0' ELSE interval '1 us' END, "
				   "upper($1) + CASE WHEN upper_inc($1) THEN interval '1 us' ELSE interval '0' END",
				   &args);
	*from = dm_catalog_time(0, 1);
	*until = dm_catalog_time(0, 2);
	dm_catalog_end(&scope);
	if (TIMESTAMP_NOT_FINITE(*from) || TIMESTAMP_NOT_FINITE(*until))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the range of a backfill must have a lower and an upper bound")));
}

/* Adds the times from ... before until at which the job is due. */
static void
backfill_times(const DmJob *job, TimestampTz from, TimestampTz until, DmColumn *times)
{
	TimestampTz time = from - 1;

	if (!job->values[DM_JOB_SCHEDULE])
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has no schedule to backfill by", job->values[DM_JOB_NAME]),
				 errhint("Give a step.")));
	for (;;)
	{
		DmJob backwards = *job;

		CHECK_FOR_INTERRUPTS();
		/* an interval is due before its anchor, too, when looking back */
		if (from < job->anchor)
			backwards.anchor = from;
		time = dm_job_due(&backwards, time);
		if (time >= until)
			return;
		if (times->n == MAX_BACKFILL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a backfill of more than " TEXT(MAX_BACKFILL) " times is refused"),
					 errhint("Give a shorter range.")));
		dm_column_add_time(times, time);
	}
}

/* Adds the times from, from + step, ... before until, as clocks of the job's time zone show them. */
static void
backfill_steps(const DmJob *job, TimestampTz from, TimestampTz until, Datum step, DmColumn *times)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	MemoryContext caller_context = CurrentMemoryContext;
	Interval zero = {0};
	uint64 n;

	if (!DatumGetBool(DirectFunctionCall2(interval_gt, step, IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the step of a backfill must be above zero")));
	dm_args_time(&args, from);
	dm_args_time(&args, until);
	dm_args_add(&args, INTERVALOID, step, false);
	dm_args_text(&args, job->values[DM_JOB_TIMEZONE]);
	dm_catalog_begin(&scope);
	n = dm_catalog_run(
		"SELECT t FROM generate_series(0, " TEXT(
			MAX_BACKFILL) ") n CROSS JOIN LATERAL "
						  "(SELECT (($1 AT TIME ZONE $4) + n * $3) AT TIME ZONE $4) u(t) WHERE t < $2 ORDER BY n",
		&args);
	if (n > MAX_BACKFILL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a backfill of more than " TEXT(MAX_BACKFILL) " times is refused"),
				 errhint("Give a shorter range or a longer step.")));
	MemoryContextSwitchTo(caller_context);
	for (uint64 i = 0; i < n; i++)
		dm_column_add_time(times, dm_catalog_time(i, 1));
	dm_catalog_end(&scope);
}
