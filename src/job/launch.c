/*
 * launch.c: gives queued runs a process, as far as limits and the server allow.
 *
 * 1. The row says starting, committed, before the process is asked for: if all goes down in between, the run is not lost and not doubled.
 * 2. What there is no room for stays queued; nothing fails for want of a process.
 * 3. Runs of a job go on one after another unless its overlap is allow.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/columns.h"
#include "base/compat.h"
#include "base/guc.h"
#include "job/job.h"
#include "job/scheduler.h"
#include "job/shared.h"
#include "job/states.h"

#define RETURN_US USECS_PER_SEC
#define LOCKED_US (USECS_PER_SEC / 2)

typedef struct Usage
{
	char *pool;
	Oid owner;
	int64 used;
} Usage;

typedef struct Candidate
{
	int64 run_id;
	int64 job_id;
	Oid owner;
	char *pool;
	int64 slots;
	char *name;
	bool is_chosen;
	const char *problem;
} Candidate;

typedef struct Launch
{
	int64 run_id;
	Oid owner;
	char *name;
} Launch;

static List *read_usage(void);
static uint64 read_candidates(TimestampTz now, int room, Candidate **candidates);
static void choose(Candidate *candidates, uint64 n, int room, List *usage);
static bool has_room(const Candidate *candidate, List *usage);
static const char *owner_problem(Oid owner);
static bool refuse(const Candidate *candidates, uint64 n);
static List *take(const Candidate *candidates, uint64 n);
static bool start_process(const Launch *launch);

/*
 * Sets queued runs to starting and returns them (Launch*): to be started once that is committed. *refused is set if runs were ended,
 * since nobody can run them.
 */
List *
dm_launch_choose(TimestampTz now, bool *refused)
{
	int elsewhere;
	int used = dm_slot_used(MyDatabaseId, &elsewhere);
	int room = dm_guc_max_runs - used - elsewhere;
	Candidate *candidates;
	uint64 n = read_candidates(now, Max(room, 1), &candidates);

	if (n == 0)
	{
		dm_shared_scheduler_starves(false);
		return NIL;
	}
	choose(candidates, n, room, read_usage());
	*refused = refuse(candidates, n);
	dm_shared_scheduler_starves(elsewhere > 0 && room <= (int) n);
	return take(candidates, n);
}

/* Asks for a process for each; returns those (Launch*) for which there was none. */
List *
dm_launch_start(List *launches)
{
	List *failed = NIL;
	ListCell *cell;

	foreach (cell, launches)
	{
		if (!start_process(lfirst(cell)))
			failed = lappend(failed, lfirst(cell));
	}
	return failed;
}

/* Puts runs that got no process back, to be tried again in a second. */
void
dm_launch_return(List *failed, TimestampTz now)
{
	DmColumn ids = {.type = INT8OID};
	DmCatalogArgs args = {0};
	ListCell *cell;

	foreach (cell, failed)
		dm_column_add_int8(&ids, ((Launch *) lfirst(cell))->run_id);
	dm_args_column(&args, &ids);
	dm_args_time(&args, now + RETURN_US);
	dm_catalog_run("UPDATE datamill.run_catalog SET state = 'queued', launches = launches - 1, not_before = $2, "
				   "reason = 'waits for a process: all of max_worker_processes are in use' "
				   "WHERE run_id = ANY ($1) AND state = 'starting'",
				   &args);
}

/* Returns when there is something to do next; DT_NOEND for never. */
TimestampTz
dm_launch_next(TimestampTz now)
{
	DmCatalogArgs args = {0};
	TimestampTz next;

	dm_args_time(&args, now);
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_run(
		"SELECT least((SELECT next_due FROM datamill.job_catalog WHERE state = 'active' AND next_due IS NOT NULL "
		"AND (not_before IS NULL OR not_before <= $1) AND system_identifier = $2 AND database_id = $3 "
		"ORDER BY next_due LIMIT 1), "
		"(SELECT not_before FROM datamill.job_catalog WHERE state = 'active' AND not_before > $1 "
		"ORDER BY not_before LIMIT 1), "
		"(SELECT not_before FROM datamill.run_catalog WHERE state = 'queued' AND not_before > $1 "
		"ORDER BY not_before LIMIT 1))",
		&args);
	next = dm_catalog_time(0, 1);
	return next <= now ? now + LOCKED_US : next;
}

/* Reads how many runs go on in this database, by pool and owner. */
static List *
read_usage(void)
{
	List *usage = NIL;
	uint64 n = dm_catalog_run(
		"SELECT j.pool, r.owner::oid, count(*) FROM datamill.run_catalog r "
		"JOIN datamill.job_catalog j USING (job_id) WHERE r.state IN ('starting', 'running') GROUP BY 1, 2",
		NULL);

	for (uint64 i = 0; i < n; i++)
	{
		Usage *one = palloc(sizeof(Usage));
		bool is_null;

		one->pool = dm_catalog_text(i, 1);
		one->owner = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));
		one->used = dm_catalog_int8(i, 3);
		usage = lappend(usage, one);
	}
	return usage;
}

/* Reads runs that may start: of each job that has any, the first, or as many as there is room for. */
static uint64
read_candidates(TimestampTz now, int room, Candidate **candidates)
{
	DmCatalogArgs args = {0};
	uint64 n;

	dm_args_time(&args, now);
	dm_args_int4(&args, room);
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	n = dm_catalog_run(
		"WITH RECURSIVE q(job_id) AS ((SELECT job_id FROM datamill.run_catalog WHERE state = 'queued' ORDER BY "
		"job_id LIMIT 1) "
		"UNION ALL SELECT (SELECT r.job_id FROM datamill.run_catalog r WHERE r.state = 'queued' AND r.job_id > "
		"q.job_id "
		"ORDER BY r.job_id LIMIT 1) FROM q WHERE q.job_id IS NOT NULL) "
		"SELECT r.run_id, j.job_id, j.owner::oid, j.pool, p.slots::bigint, j.name FROM q "
		"JOIN datamill.job_catalog j ON j.job_id = q.job_id JOIN datamill.pool_catalog p ON p.name = j.pool "
		"CROSS JOIN LATERAL (SELECT c.run_id, c.trigger, c.queued_at FROM datamill.run_catalog c "
		"WHERE c.job_id = j.job_id AND c.state = 'queued' AND (c.not_before IS NULL OR c.not_before <= $1) "
		"AND (c.trigger IN ('run', 'retry', 'backfill', 'replay', 'rehearsal') "
		"OR (j.state = 'active' AND (j.not_before IS NULL OR j.not_before <= $1) "
		"AND (j.pinned IS NULL OR c.trigger NOT IN ('watch', 'look')))) "
		"ORDER BY c.scheduled_time, c.attempt LIMIT CASE j.overlap WHEN 'allow' THEN $2 ELSE 1 END) r "
		"WHERE j.system_identifier = $3 AND j.database_id = $4 AND (j.overlap = 'allow' OR NOT EXISTS "
		"(SELECT FROM datamill.run_catalog a WHERE a.job_id = j.job_id AND a.state IN ('starting', 'running'))) "
		"ORDER BY r.trigger = 'backfill', r.queued_at, r.run_id",
		&args);
	*candidates = palloc0((n + 1) * sizeof(Candidate));
	for (uint64 i = 0; i < n; i++)
	{
		Candidate *one = &(*candidates)[i];
		bool is_null;

		one->run_id = dm_catalog_int8(i, 1);
		one->job_id = dm_catalog_int8(i, 2);
		one->owner = DatumGetObjectId(dm_catalog_value(i, 3, &is_null));
		one->pool = dm_catalog_text(i, 4);
		one->slots = dm_catalog_int8(i, 5);
		one->name = dm_catalog_text(i, 6);
	}
	return n;
}

/* Marks the candidates that there is room for, in order. */
static void
choose(Candidate *candidates, uint64 n, int room, List *usage)
{
	for (uint64 i = 0; i < n && room > 0; i++)
	{
		Candidate *one = &candidates[i];
		Usage *added;

		one->problem = owner_problem(one->owner);
		if (one->problem || !has_room(one, usage))
			continue;
		one->is_chosen = true;
		room--;
		added = palloc(sizeof(Usage));
		added->pool = one->pool;
		added->owner = one->owner;
		added->used = 1;
		usage = lappend(usage, added);
	}
}

/* Do the limits of pool and owner leave room for a run? */
static bool
has_room(const Candidate *candidate, List *usage)
{
	int64 of_pool = 0;
	int64 of_owner = 0;
	ListCell *cell;

	foreach (cell, usage)
	{
		const Usage *one = lfirst(cell);

		of_pool += strcmp(one->pool, candidate->pool) == 0 ? one->used : 0;
		of_owner += one->owner == candidate->owner ? one->used : 0;
	}
	return of_pool < candidate->slots && (dm_guc_max_runs_per_role == 0 || of_owner < dm_guc_max_runs_per_role);
}

/* Says why no process can be connected as the role; NULL if one can. */
static const char *
owner_problem(Oid owner)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	Form_pg_authid role;
	const char *problem = NULL;

	if (!HeapTupleIsValid(tuple))
		return "its owner was dropped";
	role = (Form_pg_authid) GETSTRUCT(tuple);
	if (!role->rolcanlogin)
		problem = "its owner cannot log in";
	else if (role->rolsuper && !dm_guc_superuser_jobs)
		problem = "its owner is a superuser, and datamill.superuser_jobs is off";
	else if (dm_database_aclcheck(MyDatabaseId, owner, ACL_CONNECT) != ACLCHECK_OK)
		problem = "its owner has no right to CONNECT to this database";
	ReleaseSysCache(tuple);
	return problem;
}

/* Ends the runs whose owner cannot run anything, and sets their jobs to broken. Returns whether there were any. */
static bool
refuse(const Candidate *candidates, uint64 n)
{
	DmEvents *events = dm_events_make();
	DmColumn runs = {.type = INT8OID};
	DmColumn jobs = {.type = INT8OID};
	DmColumn problems = {0};
	DmCatalogArgs args = {0};

	for (uint64 i = 0; i < n; i++)
	{
		const Candidate *one = &candidates[i];

		if (!one->problem)
			continue;
		dm_column_add_int8(&runs, one->run_id);
		dm_column_add_int8(&jobs, one->job_id);
		dm_column_add_text(&problems, one->problem);
		dm_events_add(events, DM_STATE_BROKEN, one->owner, one->job_id, one->run_id, one->problem);
	}
	if (runs.n == 0)
		return false;
	dm_args_column(&args, &runs);
	dm_args_column(&args, &jobs);
	dm_args_column(&args, &problems);
	dm_catalog_run("UPDATE datamill.run_catalog r SET state = 'failed', sqlstate = '28000', message = u.problem, "
				   "finished_at = clock_timestamp() FROM unnest($1, $2, $3) u(run_id, job_id, problem) "
				   "WHERE r.run_id = u.run_id AND r.state = 'queued'",
				   &args);
	dm_catalog_run(
		"UPDATE datamill.job_catalog j SET state = '" DM_STATE_BROKEN "', state_reason = u.problem "
		"FROM unnest($1, $2, $3) u(run_id, job_id, problem) WHERE j.job_id = u.job_id AND j.state = 'active'",
		&args);
	dm_events_store(events);
	return true;
}

/* Sets the chosen runs to starting, but for those that a session has locked, and returns them. */
static List *
take(const Candidate *candidates, uint64 n)
{
	DmColumn ids = {.type = INT8OID};
	DmColumn owners = {.type = OIDOID};
	DmCatalogArgs args = {0};
	List *launches = NIL;
	uint64 ntaken;

	for (uint64 i = 0; i < n; i++)
	{
		if (!candidates[i].is_chosen)
			continue;
		dm_column_add_int8(&ids, candidates[i].run_id);
		dm_column_add(&owners, ObjectIdGetDatum(candidates[i].owner), false);
	}
	if (ids.n == 0)
		return NIL;
	dm_args_column(&args, &ids);
	dm_args_column(&args, &owners);
	ntaken = dm_catalog_run(
		"UPDATE datamill.run_catalog r SET state = 'starting', launches = launches + 1, owner = u.owner::regrole, "
		"not_before = NULL FROM unnest($1, $2) u(run_id, owner) WHERE r.run_id = u.run_id AND r.run_id IN "
		"(SELECT c.run_id FROM datamill.run_catalog c WHERE c.run_id = ANY ($1) AND c.state = 'queued' "
		"FOR NO KEY UPDATE SKIP LOCKED) RETURNING r.run_id, r.owner::oid, r.name",
		&args);
	for (uint64 i = 0; i < ntaken; i++)
	{
		Launch *launch = palloc(sizeof(Launch));
		bool is_null;

		launch->run_id = dm_catalog_int8(i, 1);
		launch->owner = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));
		launch->name = dm_catalog_text(i, 3);
		launches = lappend(launches, launch);
	}
	return launches;
}

/* Asks the postmaster for the process of a run. */
static bool
start_process(const Launch *launch)
{
	BackgroundWorker worker = {0};
	DmRunTicket ticket = {.owner = launch->owner};

	if (!dm_slot_reserve(MyDatabaseId, launch->run_id, &ticket))
		return false;
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "datamill", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dm_run_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "datamill run of %s", launch->name);
	strlcpy(worker.bgw_type, "datamill run", BGW_MAXLEN);
	StaticAssertStmt(sizeof(ticket) <= BGW_EXTRALEN, "a ticket must fit");
	memcpy(worker.bgw_extra, &ticket, sizeof(ticket));
	if (RegisterDynamicBackgroundWorker(&worker, NULL))
		return true;
	dm_slot_free(&ticket);
	return false;
}
