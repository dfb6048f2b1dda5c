/*
 * settle.c: what follows from runs that ended: another attempt, the jobs that come after, counts of failures, suspension, events.
 *
 * A run is settled once: the mark is set in the transaction of all that follows from it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "base/columns.h"
#include "base/guc.h"
#include "job/job.h"
#include "job/scheduler.h"
#include "job/shared.h"
#include "job/states.h"
#include "notify/notify.h"

#define BATCH 500
#define MAX_LAUNCHES 3
#define MAX_CRASHES 3
#define CRASH_PAUSE_US (60 * USECS_PER_SEC)
#define MAX_BACKOFF_US USECS_PER_HOUR
#define EXPIRE_BATCH "10000"
#define SERVER_STOPPED "the server was stopped while it ran"

/* What is known of a job while runs of it are settled. */
typedef struct JobState
{
	int64 job_id; /* key */
	bool is_locked;
	bool is_changed;
	Oid owner;
	char *state;
	char *reason;
	int64 failures;
	int64 crashes;
	int64 retries;
	int64 backoff_us;
	int64 suspend_after;
	TimestampTz not_before;
	bool is_followed;
} JobState;

typedef struct Ended
{
	int64 run_id;
	int64 job_id;
	TimestampTz scheduled_time;
	int64 attempt;
	char *trigger;
	char *state;
	char *sqlstate;
	char *message;
} Ended;

typedef struct Follow
{
	DmColumn settled; /* run ids */
	DmColumn retried; /* run ids */
	DmColumn retry_at;
	DmColumn fired;	  /* run ids whose followers may start */
	DmColumn stopped; /* run ids whose followers will not */
	DmEvents *events;
} Follow;

static uint64 read_ended(Ended **ended);
static HTAB *read_jobs(const Ended *ended, uint64 n);
static void settle_one(const Ended *ended, JobState *job, TimestampTz now, Follow *follow);
static void settle_failure(const Ended *ended, JobState *job, TimestampTz now, Follow *follow);
static bool is_transient(const char *sqlstate);
static void suspend(JobState *job, const Ended *ended, Follow *follow, char *reason);
static void store_follow(Follow *follow);
static void store_jobs(HTAB *jobs);
static void sweep_orphans(TimestampTz now);

/*
 * Writes the end of runs whose process could not, and of those whose process is not there. Returns the tickets (DmRunTicket*) of the slots
 * to be freed after commit.
 */
List *
dm_settle_slots(TimestampTz now)
{
	DmColumn ids = {.type = INT8OID};
	DmColumn states = {0};
	DmColumn reasons = {0};
	DmColumn codes = {0};
	DmColumn messages = {0};
	DmCatalogArgs args = {0};
	List *tickets = NIL;
	DmRunSlot slot;

	for (int i = 0; dm_slot_copy(i, &slot); i++)
	{
		DmRunTicket *ticket;

		if (slot.phase != DM_SLOT_ENDED || slot.database != MyDatabaseId)
			continue;
		ticket = palloc0(sizeof(DmRunTicket));
		ticket->slot = i;
		ticket->generation = slot.generation;
		tickets = lappend(tickets, ticket);
		dm_column_add_int8(&ids, slot.run_id);
		dm_column_add_text(&states,
						   slot.stop == DM_STOP_TIMEOUT	 ? DM_RUN_TIMED_OUT
						   : slot.stop == DM_STOP_SERVER ? DM_RUN_CRASHED
						   : slot.stop != DM_STOP_NONE	 ? DM_RUN_CANCELLED
														 : DM_RUN_FAILED);
		dm_column_add_text(&reasons,
						   slot.stop == DM_STOP_TIMEOUT
							   ? "it went on for longer than its timeout, and was terminated"
						   : slot.stop != DM_STOP_NONE && slot.stop != DM_STOP_SERVER
							   ? "it did not end when cancelled, and was terminated"
							   : NULL);
		dm_column_add_text(&codes, slot.sqlstate);
		dm_column_add_text(&messages, slot.stop == DM_STOP_SERVER ? SERVER_STOPPED : slot.message);
	}
	if (tickets != NIL)
	{
		dm_args_column(&args, &ids);
		dm_args_column(&args, &states);
		dm_args_column(&args, &reasons);
		dm_args_column(&args, &codes);
		dm_args_column(&args, &messages);
		dm_catalog_run("UPDATE datamill.run_catalog r SET state = u.state, reason = coalesce(u.reason, r.reason), "
					   "sqlstate = u.sqlstate, message = u.message, finished_at = clock_timestamp() "
					   "FROM unnest($1, $2, $3, $4, $5) u(run_id, state, reason, sqlstate, message) "
					   "WHERE r.run_id = u.run_id AND r.state IN ('starting', 'running')",
					   &args);
	}
	sweep_orphans(now);
	return tickets;
}

/* Settles some runs that ended; returns how many. *postponed is set if some could not be, since a session has their job locked. */
int
dm_settle_runs(TimestampTz now, bool *postponed)
{
	Follow follow = {.settled = {.type = INT8OID},
					 .retried = {.type = INT8OID},
					 .retry_at = {.type = TIMESTAMPTZOID},
					 .fired = {.type = INT8OID},
					 .stopped = {.type = INT8OID}};
	Ended *ended;
	uint64 n = read_ended(&ended);
	HTAB *jobs;

	if (n == 0)
		return 0;
	follow.events = dm_events_make();
	jobs = read_jobs(ended, n);
	for (uint64 i = 0; i < n; i++)
	{
		JobState *job = hash_search(jobs, &ended[i].job_id, HASH_FIND, NULL);

		if (job && !job->is_locked)
		{
			*postponed = true;
			continue;
		}
		dm_column_add_int8(&follow.settled, ended[i].run_id);
		if (job)
			settle_one(&ended[i], job, now, &follow);
	}
	store_follow(&follow);
	store_jobs(jobs);
	return follow.settled.n;
}

/* Deletes what is older than datamill.run_retention. */
void
dm_settle_expire(TimestampTz now)
{
	DmCatalogArgs args = {0};

	if (dm_guc_run_retention_days == 0)
		return;
	dm_args_time(&args, now - dm_guc_run_retention_days * USECS_PER_DAY);
	/* the last success of a job stays, else a job that is due once a year would look late */
	dm_catalog_run("DELETE FROM datamill.run_catalog WHERE run_id IN (SELECT run_id FROM datamill.run_catalog r "
				   "WHERE finished_at < $1 AND settled AND NOT (state = '" DM_RUN_SUCCEEDED "' "
				   "AND EXISTS (SELECT FROM datamill.job_catalog j WHERE j.job_id = r.job_id) "
				   "AND NOT EXISTS (SELECT FROM datamill.run_catalog l WHERE l.job_id = r.job_id "
				   "AND l.state = '" DM_RUN_SUCCEEDED "' AND l.scheduled_time > r.scheduled_time)) "
				   "ORDER BY finished_at LIMIT " EXPIRE_BATCH ")",
				   &args);
	dm_catalog_run("DELETE FROM datamill.event_log WHERE event_no IN (SELECT event_no FROM datamill.event_log "
				   "WHERE happened_at < $1 ORDER BY event_no LIMIT " EXPIRE_BATCH ")",
				   &args);
	dm_outbox_expire(now - dm_guc_run_retention_days * USECS_PER_DAY);
}

/* Pauses jobs, and cancels queued runs, that came here in a dump, a backup or a copied database. */
void
dm_settle_pause_restored(void)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	if (dm_catalog_run("UPDATE datamill.job_catalog SET state = '" DM_STATE_PAUSED
					   "', state_reason = '" DM_REASON_RESTORED "' "
					   "WHERE (system_identifier <> $1 OR database_id <> $2) AND state = '" DM_STATE_ACTIVE "'",
					   &args) == 0)
		return;
	dm_catalog_run("UPDATE datamill.run_catalog r SET state = '" DM_RUN_CANCELLED "', reason = '" DM_REASON_RESTORED
				   "', "
				   "finished_at = clock_timestamp(), settled = true FROM datamill.job_catalog j "
				   "WHERE r.job_id = j.job_id AND r.finished_at IS NULL AND (j.system_identifier <> $1 OR "
				   "j.database_id <> $2)",
				   &args);
}

/* Reads and locks runs that ended. */
static uint64
read_ended(Ended **ended)
{
	DmCatalogArgs args = {0};
	uint64 n;

	dm_args_int4(&args, BATCH);
	n = dm_catalog_run(
		"SELECT run_id, job_id, scheduled_time, attempt::bigint, trigger, state, sqlstate, coalesce(message, "
		"reason) "
		"FROM datamill.run_catalog WHERE finished_at IS NOT NULL AND NOT settled ORDER BY run_id LIMIT $1 "
		"FOR NO KEY UPDATE SKIP LOCKED",
		&args);
	*ended = palloc0((n + 1) * sizeof(Ended));
	for (uint64 i = 0; i < n; i++)
	{
		Ended *one = &(*ended)[i];

		one->run_id = dm_catalog_int8(i, 1);
		one->job_id = dm_catalog_int8(i, 2);
		one->scheduled_time = dm_catalog_time(i, 3);
		one->attempt = dm_catalog_int8(i, 4);
		one->trigger = dm_catalog_text(i, 5);
		one->state = dm_catalog_text(i, 6);
		one->sqlstate = dm_catalog_text(i, 7);
		one->message = dm_catalog_text(i, 8);
	}
	return n;
}

/* Reads the jobs of the runs and locks those that no session has locked: a table by job id. */
static HTAB *
read_jobs(const Ended *ended, uint64 n)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(JobState), .hcxt = CurrentMemoryContext};
	HTAB *jobs = hash_create("datamill jobs of runs", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	DmColumn ids = {.type = INT8OID};
	DmCatalogArgs args = {0};
	uint64 nfound;
	bool found;

	for (uint64 i = 0; i < n; i++)
		dm_column_add_int8(&ids, ended[i].job_id);
	dm_args_column(&args, &ids);
	nfound = dm_catalog_run("SELECT job_id FROM datamill.job_catalog WHERE job_id = ANY ($1)", &args);
	for (uint64 i = 0; i < nfound; i++)
	{
		int64 job_id = dm_catalog_int8(i, 1);
		JobState *job = hash_search(jobs, &job_id, HASH_ENTER, &found);

		memset(job, 0, sizeof(*job));
		job->job_id = job_id;
	}
	nfound = dm_catalog_run(
		"SELECT job_id, owner::oid, state, failures::bigint, crashes::bigint, retries::bigint, "
		"(least(extract(epoch FROM backoff), 1e6) * 1e6)::bigint, suspend_after::bigint, not_before, state_reason, "
		"EXISTS (SELECT FROM datamill.dependency_catalog d WHERE d.upstream_id = j.job_id) "
		"FROM datamill.job_catalog j WHERE job_id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED",
		&args);
	for (uint64 i = 0; i < nfound; i++)
	{
		int64 job_id = dm_catalog_int8(i, 1);
		JobState *job = hash_search(jobs, &job_id, HASH_ENTER, &found);
		bool is_null;

		memset(job, 0, sizeof(*job));
		job->job_id = job_id;
		job->is_locked = true;
		job->owner = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));
		job->state = dm_catalog_text(i, 3);
		job->failures = dm_catalog_int8(i, 4);
		job->crashes = dm_catalog_int8(i, 5);
		job->retries = dm_catalog_int8(i, 6);
		job->backoff_us = dm_catalog_int8(i, 7);
		job->suspend_after = dm_catalog_int8(i, 8);
		job->not_before = dm_catalog_time(i, 9);
		job->reason = dm_catalog_text(i, 10);
		job->is_followed = DatumGetBool(dm_catalog_value(i, 11, &is_null));
	}
	return jobs;
}

/* Decides what follows from one run. */
static void
settle_one(const Ended *ended, JobState *job, TimestampTz now, Follow *follow)
{
	bool is_look = strcmp(ended->trigger, "look") == 0;

	if (strcmp(ended->trigger, "rehearsal") == 0)
		return;
	if (strcmp(ended->state, DM_RUN_SUCCEEDED) == 0)
	{
		if (job->failures > 0)
			dm_events_add(follow->events, "recovered", job->owner, job->job_id, ended->run_id, NULL);
		if (!is_look)
			dm_events_add(follow->events, "success", job->owner, job->job_id, ended->run_id, NULL);
		job->is_changed = job->is_changed || job->failures > 0 || job->crashes > 0;
		job->failures = job->crashes = 0;
		if (job->is_followed && !is_look)
			dm_column_add_int8(&follow->fired, ended->run_id);
		return;
	}
	if (strcmp(ended->state, DM_RUN_SKIPPED) != 0 && strcmp(ended->state, DM_RUN_CANCELLED) != 0)
	{
		int nretried = follow->retried.n;

		settle_failure(ended, job, now, follow);
		if (follow->retried.n > nretried)
			return;
	}
	if (job->is_followed && !is_look)
		dm_column_add_int8(&follow->stopped, ended->run_id);
}

/* Another attempt, or a failure of the job. */
static void
settle_failure(const Ended *ended, JobState *job, TimestampTz now, Follow *follow)
{
	bool crashed = strcmp(ended->state, DM_RUN_CRASHED) == 0;
	TimestampTz retry_at = now;

	if (crashed && strcmp(ended->sqlstate, "57P02") == 0)
	{
		job->crashes++;
		job->is_changed = true;
		job->not_before = now + (CRASH_PAUSE_US << Min(job->crashes - 1, 5));
		retry_at = job->not_before;
		if (job->crashes >= MAX_CRASHES)
			suspend(job, ended, follow, psprintf("%d runs in a row ended with a crash of the server", MAX_CRASHES));
	}
	if (ended->attempt <= job->retries && (crashed || is_transient(ended->sqlstate)) &&
		strcmp(ended->state, DM_RUN_TIMED_OUT) != 0 && strcmp(job->state, DM_STATE_SUSPENDED) != 0)
	{
		/* twice as long each time, half to one and a half times that, so that many do not come at once */
		double wait_us = Min(ldexp((double) job->backoff_us, (int) Min(ended->attempt - 1, 30)), MAX_BACKOFF_US);

		wait_us *= 0.5 + pg_prng_double(&pg_global_prng_state);
		dm_column_add_int8(&follow->retried, ended->run_id);
		dm_column_add_time(&follow->retry_at, retry_at + (int64) wait_us);
		return;
	}
	job->failures++;
	job->is_changed = true;
	dm_events_add(follow->events, "failure", job->owner, job->job_id, ended->run_id, ended->message);
	if (job->suspend_after > 0 && job->failures >= job->suspend_after)
		suspend(job, ended, follow, psprintf(INT64_FORMAT " failures in a row (suspend_after)", job->failures));
}

/* May the same work succeed a little later? */
static bool
is_transient(const char *sqlstate)
{
	static const char *const codes[] = {"40001", "40P01", "57P01", "57P02", "57P03", "DM001", "DM002", NULL};

	if (!sqlstate)
		return false;
	for (const char *const *code = codes; *code; code++)
	{
		if (strcmp(*code, sqlstate) == 0)
			return true;
	}
	return strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "53", 2) == 0;
}

/* Suspends an active job. */
static void
suspend(JobState *job, const Ended *ended, Follow *follow, char *reason)
{
	if (strcmp(job->state, DM_STATE_ACTIVE) != 0)
		return;
	job->state = DM_STATE_SUSPENDED;
	job->reason = reason;
	job->is_changed = true;
	dm_events_add(follow->events, "suspended", job->owner, job->job_id, ended->run_id, reason);
}

/* Stores what follows from the runs. */
static void
store_follow(Follow *follow)
{
	DmCatalogArgs args = {0};

	dm_args_column(&args, &follow->settled);
	dm_catalog_run("UPDATE datamill.run_catalog SET settled = true WHERE run_id = ANY ($1)", &args);
	if (follow->retried.n > 0)
	{
		args.n = 0;
		dm_args_column(&args, &follow->retried);
		dm_args_column(&args, &follow->retry_at);
		dm_catalog_run(
			"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, attempt, trigger, state, "
			"reason, "
			"arguments, replay_of, not_before) SELECT r.job_id, j.name, j.owner, r.scheduled_time, r.attempt + 1, "
			"r.trigger, "
			"'queued', concat('retry of run ', r.run_id, ': ', coalesce(r.sqlstate, r.state)), r.arguments, "
			"r.replay_of, u.at "
			"FROM unnest($1, $2) u(run_id, at) JOIN datamill.run_catalog r USING (run_id) "
			"JOIN datamill.job_catalog j USING (job_id) ON CONFLICT DO NOTHING",
			&args);
	}
	args.n = 0;
	dm_args_column(&args, &follow->fired);
	/* all that a job follows must have succeeded for the same time */
	if (follow->fired.n > 0)
		dm_catalog_run(
			"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, attempt, trigger, state, "
			"reason, arguments, "
			"finished_at) SELECT j.job_id, j.name, j.owner, u.t, "
			"(SELECT coalesce(max(o.attempt), 0) + 1 FROM datamill.run_catalog o WHERE o.job_id = j.job_id "
			"AND o.scheduled_time = u.t), 'after', CASE j.state WHEN 'active' THEN 'queued' ELSE 'skipped' END, "
			"CASE WHEN j.state <> 'active' THEN 'the job is ' || j.state END, j.arguments, "
			"CASE WHEN j.state <> 'active' THEN clock_timestamp() END "
			"FROM (SELECT DISTINCT d.job_id, r.scheduled_time AS t FROM datamill.run_catalog r "
			"JOIN datamill.dependency_catalog d ON d.upstream_id = r.job_id WHERE r.run_id = ANY ($1)) u "
			"JOIN datamill.job_catalog j ON j.job_id = u.job_id "
			"WHERE NOT EXISTS (SELECT FROM datamill.dependency_catalog d WHERE d.job_id = j.job_id AND NOT EXISTS "
			"(SELECT FROM datamill.run_catalog s WHERE s.job_id = d.upstream_id AND s.scheduled_time = u.t "
			"AND s.state = 'succeeded')) AND NOT EXISTS (SELECT FROM datamill.run_catalog o WHERE o.job_id = "
			"j.job_id "
			"AND o.scheduled_time = u.t AND (o.finished_at IS NULL OR o.state = 'succeeded')) ON CONFLICT DO "
			"NOTHING",
			&args);
	args.n = 0;
	dm_args_column(&args, &follow->stopped);
	if (follow->stopped.n > 0)
		dm_catalog_run("INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, attempt, trigger, "
					   "state, reason, arguments, "
					   "finished_at) SELECT DISTINCT ON (j.job_id, r.scheduled_time) j.job_id, j.name, j.owner, "
					   "r.scheduled_time, 1, "
					   "'after', 'skipped', format('job \"%s\", which it follows, did not succeed (%s)', r.name, "
					   "r.state), j.arguments, "
					   "clock_timestamp() FROM datamill.run_catalog r JOIN datamill.dependency_catalog d ON "
					   "d.upstream_id = r.job_id "
					   "JOIN datamill.job_catalog j ON j.job_id = d.job_id WHERE r.run_id = ANY ($1) "
					   "AND NOT EXISTS (SELECT FROM datamill.run_catalog o WHERE o.job_id = j.job_id "
					   "AND o.scheduled_time = r.scheduled_time) ORDER BY j.job_id, r.scheduled_time, r.run_id ON "
					   "CONFLICT DO NOTHING",
					   &args);
	dm_events_store(follow->events);
}

/* Stores the jobs that changed. */
static void
store_jobs(HTAB *jobs)
{
	DmColumn ids = {.type = INT8OID};
	DmColumn states = {0};
	DmColumn reasons = {0};
	DmColumn failures = {.type = INT8OID};
	DmColumn crashes = {.type = INT8OID};
	DmColumn pauses = {.type = TIMESTAMPTZOID};
	DmCatalogArgs args = {0};
	HASH_SEQ_STATUS scan;
	JobState *job;

	hash_seq_init(&scan, jobs);
	while ((job = hash_seq_search(&scan)) != NULL)
	{
		if (!job->is_changed)
			continue;
		dm_column_add_int8(&ids, job->job_id);
		dm_column_add_text(&states, job->state);
		dm_column_add_text(&reasons, job->reason);
		dm_column_add_int8(&failures, job->failures);
		dm_column_add_int8(&crashes, job->crashes);
		dm_column_add_time(&pauses, job->not_before);
	}
	if (ids.n == 0)
		return;
	dm_args_column(&args, &ids);
	dm_args_column(&args, &states);
	dm_args_column(&args, &reasons);
	dm_args_column(&args, &failures);
	dm_args_column(&args, &crashes);
	dm_args_column(&args, &pauses);
	dm_catalog_run(
		"UPDATE datamill.job_catalog j SET state = u.state, state_reason = u.reason, failures = u.failures, "
		"crashes = u.crashes, not_before = u.pause FROM unnest($1, $2, $3, $4, $5, $6) "
		"u(job_id, state, reason, failures, crashes, pause) WHERE j.job_id = u.job_id",
		&args);
}

/*
 * Runs that the catalog says go on, but which have no slot: the server was stopped, or crashed, under them. One that never began is
 * queued again, a few times.
 */
static void
sweep_orphans(TimestampTz now)
{
	DmColumn ids = {.type = INT8OID};
	DmCatalogArgs args = {0};
	uint64 n =
		dm_catalog_run("SELECT run_id FROM datamill.run_catalog WHERE state IN ('starting', 'running')", NULL);

	dm_slot_forget_reserved(now - 60 * USECS_PER_SEC);
	for (uint64 i = 0; i < n; i++)
	{
		int64 run_id = dm_catalog_int8(i, 1);

		if (!dm_slot_has_run(MyDatabaseId, run_id))
			dm_column_add_int8(&ids, run_id);
	}
	if (ids.n == 0)
		return;
	dm_args_column(&args, &ids);
	dm_args_int4(&args, MAX_LAUNCHES);
	dm_args_time(&args, PgStartTime);
	dm_catalog_run("UPDATE datamill.run_catalog SET state = 'queued', reason = 'its process did not start' "
				   "WHERE run_id = ANY ($1) AND state = 'starting' AND launches < $2 AND $3 IS NOT NULL",
				   &args);
	dm_catalog_run("UPDATE datamill.run_catalog SET state = 'crashed', finished_at = clock_timestamp(), "
				   "sqlstate = CASE WHEN coalesce(started_at, queued_at) < $3 THEN '57P01' ELSE '57P02' END, "
				   "message = CASE WHEN state = 'starting' THEN 'its process did not start, several times' "
				   "WHEN started_at < $3 THEN '" SERVER_STOPPED "' "
				   "ELSE 'the server crashed while it ran' END "
				   "WHERE run_id = ANY ($1) AND state IN ('starting', 'running') AND $2 IS NOT NULL",
				   &args);
}
