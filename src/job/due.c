/*
 * due.c: queues runs of jobs whose time has come.
 *
 * 1. Every time that a schedule names becomes a row: a run, or a skipped one with its reason. Times that passed while nothing could run are
 *    treated by the job's policy, and those that are left out share one row.
 * 2. The next time is stored with the rows, in one transaction: no time comes twice, none is lost.
 * 3. Jobs whose row a session has locked are left for the next tick.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/columns.h"
#include "job/job.h"
#include "job/schedule.h"
#include "job/scheduler.h"
#include "job/states.h"
#include "job/watch.h"

#define MAX_JOBS 1000
#define MAX_CATCHUP 10000
#define MAX_STEPS 1000000
#define ON_TIME_US (60 * USECS_PER_SEC)

typedef struct DueJob
{
	int64 job_id;
	Oid owner;
	char *schedule;
	char *timezone;
	char *overlap;
	char *missed;
	int64 catchup_us;
	TimestampTz next_due;
	TimestampTz anchor;
	int64 open_run;		/* that is not over, 0 if there is none */
	bool is_look;		/* a time is one to look for objects */
	bool looks_already; /* or is kept to some that are known */
	/* computed: */
	TimestampTz *times; /* the last ones that are due */
	int ntimes;
	int64 nlost; /* before those */
	TimestampTz first;
	TimestampTz new_due;
	char *problem;
} DueJob;

typedef struct DueRows
{
	DmColumn job_id;
	DmColumn time;
	DmColumn skip_reason; /* NULL: to be queued */
} DueRows;

static uint64 read_jobs(TimestampTz now, DueJob **jobs);
static void compute(DueJob *job, TimestampTz now, void (*find)(DueJob *job, TimestampTz now));
static void find_next(DueJob *job, TimestampTz now);
static void find_times(DueJob *job, TimestampTz now);
static void apply_policy(const DueJob *job, TimestampTz now, DueRows *rows, List **replaced);
static void add_row(DueRows *rows, const DueJob *job, TimestampTz time, const char *skip_reason);
static void store_rows(const DueRows *rows);
static void store_jobs(const DueJob *jobs, uint64 n);

/* Queues what is due; adds to *replaced (of int64*) the jobs whose runs are to make room. */
void
dm_due_queue(TimestampTz now, List **replaced)
{
	DueRows rows = {.job_id = {.type = INT8OID}, .time = {.type = TIMESTAMPTZOID}};
	DueJob *jobs;
	uint64 n = read_jobs(now, &jobs);

	for (uint64 i = 0; i < n; i++)
	{
		compute(&jobs[i], now, find_times);
		if (!jobs[i].problem)
			apply_policy(&jobs[i], now, &rows, replaced);
	}
	if (n == 0)
		return;
	if (rows.job_id.n > 0)
		store_rows(&rows);
	store_jobs(jobs, n);
}

/* Queues the jobs that run once a start of the server, unless that was done since it started. */
void
dm_due_queue_reboot(void)
{
	DmCatalogArgs args = {0};

	dm_args_time(&args, PgStartTime);
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_run(
		"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, arguments) "
		"SELECT job_id, name, owner, $1, CASE WHEN " DM_WATCHES_OBJECTS
		" THEN 'look' ELSE 'schedule' END, 'queued', "
		"arguments FROM datamill.job_catalog j "
		"WHERE lower(btrim(schedule)) = '@reboot' AND state = 'active' AND created_at < $1 "
		"AND system_identifier = $2 AND database_id = $3 ON CONFLICT DO NOTHING",
		&args);
}

/*
 * The clock was put back, perhaps while the server was down: jobs whose next time lies further ahead than their schedule can mean are due
 * by the clock as it is. Intervals are counted from now; times of a cron expression that have a run already do not get another.
 */
void
dm_due_follow_clock(TimestampTz now)
{
	DmCatalogArgs args = {0};
	DmColumn ids = {.type = INT8OID};
	DmColumn due = {.type = TIMESTAMPTZOID};
	DmColumn anchors = {.type = TIMESTAMPTZOID};
	uint64 n;

	dm_args_time(&args, now);
	n = dm_catalog_run("SELECT job_id, schedule, timezone, next_due, anchor FROM datamill.job_catalog "
					   "WHERE state = 'active' AND next_due > $1 FOR NO KEY UPDATE SKIP LOCKED",
					   &args);
	for (uint64 i = 0; i < n; i++)
	{
		DueJob job = {.job_id = dm_catalog_int8(i, 1),
					  .schedule = dm_catalog_text(i, 2),
					  .timezone = dm_catalog_text(i, 3),
					  .next_due = dm_catalog_time(i, 4),
					  .anchor = dm_catalog_time(i, 5)};

		compute(&job, now, find_next);
		/* what is wrong with it shows when it is due */
		if (job.problem || job.new_due >= job.next_due)
			continue;
		dm_column_add_int8(&ids, job.job_id);
		dm_column_add_time(&due, job.new_due);
		dm_column_add_time(&anchors, job.anchor);
	}
	if (ids.n == 0)
		return;
	args.n = 0;
	dm_args_column(&args, &ids);
	dm_args_column(&args, &due);
	dm_args_column(&args, &anchors);
	dm_catalog_run("UPDATE datamill.job_catalog j SET next_due = u.due, anchor = u.anchor "
				   "FROM unnest($1, $2, $3) u(job_id, due, anchor) WHERE j.job_id = u.job_id",
				   &args);
}

/* Reads and locks the jobs that are due. */
static uint64
read_jobs(TimestampTz now, DueJob **jobs)
{
	DmCatalogArgs args = {0};
	uint64 n;

	dm_args_time(&args, now);
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_args_int4(&args, MAX_JOBS);
	n = dm_catalog_run(
		"SELECT j.job_id, j.owner::oid, j.schedule, j.timezone, j.overlap, j.missed, "
		"(least(extract(epoch FROM j.catchup), 1e11) * 1e6)::bigint, j.next_due, j.anchor, coalesce("
		"(SELECT min(run_id) FROM datamill.run_catalog r WHERE r.job_id = j.job_id AND r.state IN ('starting', "
		"'running') "
		"AND r.trigger NOT IN ('backfill', 'replay', 'rehearsal')), "
		"(SELECT min(run_id) FROM datamill.run_catalog r WHERE r.job_id = j.job_id AND r.state = 'queued' "
		"AND r.trigger NOT IN ('backfill', 'replay', 'rehearsal'))), " DM_WATCHES_OBJECTS
		", j.pinned IS NOT NULL OR EXISTS "
		"(SELECT FROM datamill.run_catalog r WHERE r.job_id = j.job_id AND r.trigger = 'look' "
		"AND r.state IN ('queued', 'starting', 'running')) "
		"FROM datamill.job_catalog j WHERE j.state = 'active' AND j.next_due <= $1 "
		"AND (j.not_before IS NULL OR j.not_before <= $1) AND j.system_identifier = $2 AND j.database_id = $3 "
		"ORDER BY j.next_due LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED",
		&args);
	*jobs = palloc0((n + 1) * sizeof(DueJob));
	for (uint64 i = 0; i < n; i++)
	{
		DueJob *job = &(*jobs)[i];
		bool is_null;

		job->job_id = dm_catalog_int8(i, 1);
		job->owner = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));
		job->schedule = dm_catalog_text(i, 3);
		job->timezone = dm_catalog_text(i, 4);
		job->overlap = dm_catalog_text(i, 5);
		job->missed = dm_catalog_text(i, 6);
		job->catchup_us = dm_catalog_int8(i, 7);
		job->next_due = dm_catalog_time(i, 8);
		job->anchor = dm_catalog_time(i, 9);
		job->open_run = dm_catalog_int8(i, 10);
		job->is_look = DatumGetBool(dm_catalog_value(i, 11, &is_null));
		job->looks_already = DatumGetBool(dm_catalog_value(i, 12, &is_null));
	}
	return n;
}

/* Calls find(job, now); notes a schedule or time zone that is not valid any more. */
static void
compute(DueJob *job, TimestampTz now, void (*find)(DueJob *job, TimestampTz now))
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		find(job, now);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		job->problem = pstrdup(error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* Finds the next time of a job from now on; one that is due each so many seconds counts them from now if its time is too far ahead. */
static void
find_next(DueJob *job, TimestampTz now)
{
	DmSchedule schedule;

	dm_schedule_parse(job->schedule, &schedule);
	if (schedule.kind == DM_SCHEDULE_EVERY && job->next_due - now > schedule.every_us)
		job->anchor = now;
	job->new_due = dm_schedule_next(&schedule, dm_schedule_zone(job->timezone), now, job->anchor);
}

/* Finds the times of a job that have come. */
static void
find_times(DueJob *job, TimestampTz now)
{
	pg_tz *zone = dm_schedule_zone(job->timezone);
	TimestampTz oldest = now - job->catchup_us;
	TimestampTz time = job->next_due;
	int64 n = 0;
	DmSchedule schedule;

	dm_schedule_parse(job->schedule, &schedule);
	job->first = time;
	job->times = palloc(MAX_CATCHUP * sizeof(TimestampTz));
	if (time < oldest)
	{
		job->nlost = 1;
		time = dm_schedule_next(&schedule, zone, oldest - 1, job->anchor);
	}
	while (time <= now)
	{
		CHECK_FOR_INTERRUPTS();
		job->times[n++ % MAX_CATCHUP] = time;
		/* a schedule this dense, missed for this long, goes on from now */
		time = dm_schedule_next(&schedule, zone, n < MAX_STEPS ? time : Max(now, time), job->anchor);
	}
	job->new_due = time;
	job->ntimes = (int) Min(n, MAX_CATCHUP);
	job->nlost += n - job->ntimes;
	if (n > MAX_CATCHUP)
	{
		TimestampTz *sorted = palloc(MAX_CATCHUP * sizeof(TimestampTz));

		for (int i = 0; i < MAX_CATCHUP; i++)
			sorted[i] = job->times[(n + i) % MAX_CATCHUP];
		job->times = sorted;
	}
}

/* Decides which times run and which are left out. */
static void
apply_policy(const DueJob *job, TimestampTz now, DueRows *rows, List **replaced)
{
	bool all = strcmp(job->missed, "all") == 0;
	TimestampTz latest = job->ntimes > 0 ? job->times[job->ntimes - 1] : DT_NOBEGIN;
	bool too_late = job->ntimes == 0 || (strcmp(job->missed, "skip") == 0 && now - latest > ON_TIME_US);
	int nruns = too_late ? 0 : all ? job->ntimes : 1;
	int nskipped = job->ntimes - nruns;
	bool is_taken = job->open_run != 0 && strcmp(job->overlap, "skip") == 0;

	/* a look that is left out is made up for by the next one, and leaves no row */
	if (job->is_look)
	{
		bool waits = job->open_run != 0 && strcmp(job->overlap, "allow") != 0;

		if (job->ntimes > 0 && !waits && !job->looks_already)
			add_row(rows, job, latest, NULL);
		return;
	}
	if (nskipped > 0 || job->nlost > 0)
	{
		TimestampTz last = nskipped > 0 ? job->times[nskipped - 1] : job->first;

		add_row(rows,
				job,
				job->first,
				last == job->first && job->nlost <= 1
					? psprintf("missed: nothing ran at the time (missed => %s)", job->missed)
					: psprintf("missed: nothing ran from then to %s (missed => %s)",
							   timestamptz_to_str(last),
							   job->missed));
	}
	for (int i = job->ntimes - nruns; i < job->ntimes; i++)
		add_row(rows,
				job,
				job->times[i],
				is_taken ? psprintf("run " INT64_FORMAT " was not over (overlap => skip)", job->open_run) : NULL);
	if (nruns > 0 && job->open_run != 0 && strcmp(job->overlap, "cancel") == 0)
	{
		int64 *job_id = palloc(sizeof(int64));

		*job_id = job->job_id;
		*replaced = lappend(*replaced, job_id);
	}
}

/* Adds a row of a run. */
static void
add_row(DueRows *rows, const DueJob *job, TimestampTz time, const char *skip_reason)
{
	dm_column_add_int8(&rows->job_id, job->job_id);
	dm_column_add_time(&rows->time, time);
	dm_column_add_text(&rows->skip_reason, skip_reason);
}

/* Stores the runs. */
static void
store_rows(const DueRows *rows)
{
	DmCatalogArgs args = {0};

	dm_args_column(&args, &rows->job_id);
	dm_args_column(&args, &rows->time);
	dm_args_column(&args, &rows->skip_reason);
	dm_catalog_run(
		"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, reason, arguments, "
		"finished_at) SELECT j.job_id, j.name, j.owner, u.t, CASE WHEN " DM_WATCHES_OBJECTS
		" THEN 'look' ELSE 'schedule' END, "
		"CASE WHEN u.why IS NULL THEN 'queued' ELSE 'skipped' END, u.why, j.arguments, "
		"CASE WHEN u.why IS NOT NULL THEN clock_timestamp() END "
		"FROM unnest($1, $2, $3) WITH ORDINALITY u(job_id, t, why, i) JOIN datamill.job_catalog j USING (job_id) "
		"ORDER BY u.i ON CONFLICT DO NOTHING",
		&args);
}

/* Stores when the jobs are due next, and what is wrong with them. */
static void
store_jobs(const DueJob *jobs, uint64 n)
{
	DmEvents *events = dm_events_make();
	DmCatalogArgs args = {0};
	DmColumn ids = {.type = INT8OID};
	DmColumn due = {.type = TIMESTAMPTZOID};
	DmColumn problems = {0};

	for (uint64 i = 0; i < n; i++)
	{
		dm_column_add_int8(&ids, jobs[i].job_id);
		dm_column_add_time(&due, jobs[i].problem ? jobs[i].next_due : jobs[i].new_due);
		dm_column_add_text(&problems, jobs[i].problem);
		if (jobs[i].problem)
			dm_events_add(events, DM_STATE_BROKEN, jobs[i].owner, jobs[i].job_id, 0, jobs[i].problem);
	}
	dm_args_column(&args, &ids);
	dm_args_column(&args, &due);
	dm_args_column(&args, &problems);
	dm_catalog_run(
		"UPDATE datamill.job_catalog j SET next_due = u.due, state = CASE WHEN u.problem IS NULL THEN state "
		"ELSE '" DM_STATE_BROKEN "' END, state_reason = coalesce(u.problem, state_reason) "
		"FROM unnest($1, $2, $3) u(job_id, due, problem) WHERE j.job_id = u.job_id",
		&args);
	dm_events_store(events);
}
