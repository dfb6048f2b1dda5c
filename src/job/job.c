/*
 * job.c: makes, changes and drops jobs.
 *
 * 1. A job belongs to its owner; whoever may become the owner may touch it. All that is checked is checked as the caller, before or
 *    after the catalog scope, never in it.
 * 2. What changes here takes effect, and wakes the scheduler, when the caller's transaction commits.
 * 3. A row of job_catalog that a session has locked is passed over by the scheduler, which never waits for users.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "job/job.h"
#include "job/shared.h"
#include "job/states.h"
#include "job/watch.h"
#include "notify/notify.h"

/* The columns in the order of DmJobField, after those that job_read() takes first. */
#define READ_JOB                                                                                                   \
	"SELECT j.job_id, j.owner::oid, j.state, j.next_due, j.anchor, j.name, j.body, j.schedule, j.timezone, "       \
	"(SELECT array_agg(u.name ORDER BY u.name)::text FROM datamill.dependency_catalog d "                          \
	"JOIN datamill.job_catalog u ON u.job_id = d.upstream_id WHERE d.job_id = j.job_id), "                         \
	"j.watch, j.when_sql, j.overlap, j.missed, j.catchup::text, j.timeout::text, j.retries::text, "                \
	"j.backoff::text, "                                                                                            \
	"j.suspend_after::text, j.pool, j.owner::text, j.arguments::text, j.expect::text FROM datamill.job_catalog j "
#define READ_FIELDS 6

static void job_read(uint64 row, DmJob *job);
static void job_fetch(DmJob *job, const char *sql);
static void job_store(DmJob *job, const char *sql, bool is_new);
static void set_state(int64 job_id, const char *state, TimestampTz next_due);

/* Returns the cluster's number, as jobs are stored with. */
int64
dm_system_identifier(void)
{
	return (int64) GetSystemIdentifier();
}

/* Stores a new job and returns its id. */
int64
dm_job_create(DmJob *job)
{
	if (!job->values[DM_JOB_OWNER])
		job->values[DM_JOB_OWNER] = pstrdup(quote_identifier(GetUserNameFromId(GetUserId(), false)));
	dm_job_check(job);
	dm_watch_prepare(job);
	job->anchor = GetCurrentTimestamp();
	job->next_due = dm_job_due(job, job->anchor);
	job_store(
		job,
		"INSERT INTO datamill.job_catalog (name, body, schedule, timezone, watch, when_sql, overlap, missed, "
		"catchup, "
		"timeout, retries, backoff, suspend_after, pool, owner, arguments, expect, definition, next_due, anchor, "
		"system_identifier, database_id) VALUES ($1, $2, $3, $4, $6, $7, $8, $9, $10::interval, $11::interval, "
		"$12::integer, $13::interval, $14::integer, $15, $16::regrole, $17::jsonb, $18::text[], "
		"encode(sha256(convert_to(concat_ws(E'\\n', $2, $7, $17::jsonb), 'UTF8')), 'hex'), $19, $20, $21, $22) "
		"ON CONFLICT (owner, name) DO NOTHING RETURNING job_id, owner::oid",
		true);
	if (!dm_shared_is_there())
		ereport(WARNING,
				(errmsg("job \"%s\" is stored, but nothing starts it", job->values[DM_JOB_NAME]),
				 errhint("Add datamill to shared_preload_libraries and restart the server.")));
	return job->job_id;
}

/* Changes the fields that options (jsonb) names; a broken job becomes active. */
void
dm_job_alter(const char *name, Datum options)
{
	DmJob job;

	dm_job_find(name, &job);
	dm_job_change(&job, options);
}

/* The same for a job that is known by its id. */
void
dm_job_change(DmJob *job, Datum options)
{
	bool times_change;

	dm_job_lock(job);
	dm_job_apply(job, options, &times_change);
	dm_job_check(job);
	times_change |= dm_watch_prepare(job);
	if (times_change)
	{
		job->anchor = GetCurrentTimestamp();
		job->next_due = dm_job_due(job, job->anchor);
	}
	job_store(
		job,
		"UPDATE datamill.job_catalog SET name = $1, body = $2, schedule = $3, timezone = $4, watch = $6, when_sql "
		"= $7, "
		"overlap = $8, missed = $9, catchup = $10::interval, timeout = $11::interval, retries = $12::integer, "
		"backoff = $13::interval, suspend_after = $14::integer, pool = $15, owner = $16::regrole, "
		"arguments = $17::jsonb, expect = $18::text[], pinned = CASE WHEN watch IS NOT DISTINCT FROM $6 THEN "
		"pinned END, "
		"definition = encode(sha256(convert_to(concat_ws(E'\\n', $2, $7, $17::jsonb), 'UTF8')), 'hex'), "
		"next_due = $19, anchor = $20, system_identifier = $21, database_id = $22, "
		"state = CASE state WHEN '" DM_STATE_BROKEN "' THEN '" DM_STATE_ACTIVE "' ELSE state END, "
		"state_reason = CASE state WHEN '" DM_STATE_BROKEN "' THEN NULL ELSE state_reason END "
		"WHERE job_id = $23 AND NOT EXISTS (SELECT FROM datamill.job_catalog o "
		"WHERE o.owner = $16::regrole AND o.name = $1 AND o.job_id <> $23) RETURNING job_id, owner::oid",
		false);
}

/* Drops a job. A run that goes on is an error, or with force cancelled. */
void
dm_job_drop(const char *name, bool force)
{
	DmJob job;

	dm_job_check_context();
	dm_job_find(name, &job);
	dm_job_remove(&job, force);
}

/* The same for a job that is known by its id. */
void
dm_job_remove(DmJob *job, bool force)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	const char *name = job->values[DM_JOB_NAME];
	int64 *active;
	char *follower = NULL;
	uint64 nactive;

	dm_job_lock(job);
	dm_args_int8(&args, job->job_id);
	dm_catalog_begin(&scope);
	if (dm_catalog_run(
			"SELECT j.name FROM datamill.dependency_catalog d JOIN datamill.job_catalog j USING (job_id) "
			"WHERE d.upstream_id = $1 ORDER BY 1 LIMIT 1",
			&args) > 0)
		follower = dm_catalog_text(0, 1);
	if (follower)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop job \"%s\", since job \"%s\" follows it", name, follower),
				 errhint("Drop that first, or change its after with datamill.alter_job().")));
	nactive = dm_catalog_run(
		"SELECT run_id FROM datamill.run_catalog WHERE job_id = $1 AND state IN ('starting', 'running')", &args);
	active = palloc((nactive + 1) * sizeof(int64));
	for (uint64 i = 0; i < nactive; i++)
		active[i] = dm_catalog_int8(i, 1);
	if (nactive > 0 && !force)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot drop job \"%s\" while run " INT64_FORMAT " of it goes on", name, active[0]),
				 errhint("Wait for it, or drop the job with force => true, which cancels the run.")));
	dm_catalog_run(
		"UPDATE datamill.run_catalog SET state = 'cancelled', reason = 'the job was dropped', settled = true, "
		"finished_at = clock_timestamp() WHERE job_id = $1 AND state IN ('queued', 'starting', 'running')",
		&args);
	dm_catalog_run("DELETE FROM datamill.job_catalog WHERE job_id = $1", &args);
	for (uint64 i = 0; dm_shared_is_there() && i < nactive; i++)
		dm_shared_stop_at_commit(active[i]);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
}

/* Keeps a job from being started by anything but run(). */
void
dm_job_pause(const char *name)
{
	DmJob job;

	dm_job_check_context();
	dm_job_find(name, &job);
	dm_job_lock(&job);
	set_state(job.job_id, DM_STATE_PAUSED, job.next_due);
}

/* Makes a job active. */
void
dm_job_resume(const char *name)
{
	DmJob job;
	TimestampTz now = GetCurrentTimestamp();

	dm_job_find(name, &job);
	dm_job_lock(&job);
	dm_job_check(&job);
	if (TIMESTAMP_IS_NOEND(job.next_due))
		job.next_due = dm_job_due(&job, now);
	set_state(job.job_id, DM_STATE_ACTIVE, job.next_due);
}

/* Makes the caller's jobs active that came here in a dump, a backup or a copied database. Returns their number. */
int64
dm_job_accept(void)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	uint64 n;

	dm_job_check_context();
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_args_oid(&args, GetUserId());
	dm_catalog_begin(&scope);
	n = dm_catalog_run(
		"UPDATE datamill.job_catalog SET system_identifier = $1, database_id = $2, "
		"state = CASE WHEN state_reason = '" DM_REASON_RESTORED "' THEN '" DM_STATE_ACTIVE "' ELSE state END, "
		"state_reason = CASE WHEN state_reason = '" DM_REASON_RESTORED "' THEN NULL ELSE state_reason END "
		"WHERE (system_identifier <> $1 OR database_id <> $2) AND pg_has_role($3, owner, 'MEMBER')",
		&args);
	dm_catalog_end(&scope);
	dm_notifier_accept(GetUserId());
	dm_shared_wake_at_commit();
	return (int64) n;
}

/* Reads the job of a name: the caller's own, else the only one of those whose owners the caller may become. Raises 42704, 42725. */
void
dm_job_find(const char *name, DmJob *job)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	Oid caller = GetUserId();
	MemoryContext caller_context = CurrentMemoryContext;
	DmJob *found;
	uint64 nfound;
	int candidates = 0;

	dm_args_text(&args, name);
	dm_catalog_begin(&scope);
	nfound = dm_catalog_run(READ_JOB "WHERE j.name = $1 ORDER BY j.job_id", &args);
	MemoryContextSwitchTo(caller_context);
	found = palloc((nfound + 1) * sizeof(DmJob));
	for (uint64 i = 0; i < nfound; i++)
		job_read(i, &found[i]);
	dm_catalog_end(&scope);
	for (uint64 i = 0; i < nfound; i++)
	{
		if (found[i].owner != caller && !dm_role_can_become(caller, found[i].owner))
			continue;
		*job = found[i];
		candidates++;
		if (found[i].owner == caller)
			return;
	}
	if (candidates == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name),
				 errhint("See datamill.jobs.")));
	if (candidates > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("several roles have a job \"%s\"", name),
				 errhint("SET ROLE to the one that is meant.")));
}

/* Reads a row of READ_JOB into the current memory context. */
static void
job_read(uint64 row, DmJob *job)
{
	bool is_null;

	job->job_id = dm_catalog_int8(row, 1);
	job->owner = DatumGetObjectId(dm_catalog_value(row, 2, &is_null));
	job->state = dm_catalog_text(row, 3);
	job->next_due = dm_catalog_time(row, 4);
	job->anchor = dm_catalog_time(row, 5);
	for (int i = 0; i < DM_JOB_FIELDS; i++)
		job->values[i] = dm_catalog_text(row, READ_FIELDS + i);
}

/* Locks the job's row and reads it again. Raises 42704 if it is gone. */
void
dm_job_lock(DmJob *job)
{
	job_fetch(job, READ_JOB "WHERE j.job_id = $1 FOR UPDATE OF j");
}

/* Reads the job again. Raises 42704 if it is gone. */
void
dm_job_reload(DmJob *job)
{
	job_fetch(job, READ_JOB "WHERE j.job_id = $1");
}

/* Reads the job by a statement. */
static void
job_fetch(DmJob *job, const char *sql)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	MemoryContext caller_context = CurrentMemoryContext;
	char *name = job->values[DM_JOB_NAME];

	dm_args_int8(&args, job->job_id);
	dm_catalog_begin(&scope);
	if (dm_catalog_run(sql, &args) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("job \"%s\" does not exist", name)));
	MemoryContextSwitchTo(caller_context);
	job_read(0, job);
	dm_catalog_end(&scope);
}

/* Executes the statement that stores the job, and stores what it follows. */
static void
job_store(DmJob *job, const char *sql, bool is_new)
{
	DmCatalogArgs args = {0};
	DmCatalogArgs pool = {0};
	DmCatalogScope scope;
	bool is_null;

	for (int i = 0; i < DM_JOB_FIELDS; i++)
	{
		if (i == DM_JOB_FOLLOWS)
			dm_args_int4(&args, 0);
		else
			dm_args_text(&args, job->values[i]);
	}
	dm_args_time(&args, job->next_due);
	dm_args_time(&args, job->anchor);
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	if (!is_new)
		dm_args_int8(&args, job->job_id);
	dm_args_text(&pool, job->values[DM_JOB_POOL]);
	dm_catalog_begin(&scope);
	if (dm_catalog_run("SELECT FROM datamill.pool_catalog WHERE name = $1", &pool) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pool \"%s\" does not exist", job->values[DM_JOB_POOL]),
				 errhint("A superuser makes one with datamill.set_pool().")));
	if (dm_catalog_run(sql, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("%s has a job \"%s\" already", job->values[DM_JOB_OWNER], job->values[DM_JOB_NAME]),
				 errhint("Change it with datamill.alter_job().")));
	job->job_id = dm_catalog_int8(0, 1);
	job->owner = DatumGetObjectId(dm_catalog_value(0, 2, &is_null));
	dm_graph_store(job);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
}

/* Puts the values of options into the job. Raises 22023 on an unknown key. */
void
dm_job_apply(DmJob *job, Datum options, bool *times_change)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	MemoryContext caller_context = CurrentMemoryContext;
	uint64 n;

	*times_change = false;
	dm_args_add(&args, JSONBOID, options, false);
	dm_catalog_begin(&scope);
	n = dm_catalog_run(
		"SELECT key, CASE WHEN key NOT IN ('after', 'expect') OR value = 'null' THEN value #>> '{}' "
		"WHEN jsonb_typeof(value) = 'array' "
		"THEN (SELECT coalesce(array_agg(e), '{}')::text FROM jsonb_array_elements_text(value) e) END, "
		"key IN ('after', 'expect') AND jsonb_typeof(value) NOT IN ('array', 'null') FROM jsonb_each($1)",
		&args);
	MemoryContextSwitchTo(caller_context);
	for (uint64 i = 0; i < n; i++)
	{
		char *key = dm_catalog_text(i, 1);
		int field = dm_job_field_find(key);

		if (field < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a job has no option \"%s\"", key),
					 errhint("The options are the parameters of datamill.create_job().")));
		if (strcmp(dm_catalog_text(i, 3), "t") == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s of a job must be an array", key)));
		job->values[field] = dm_catalog_text(i, 2);
		if (field == DM_JOB_SCHEDULE || field == DM_JOB_TIMEZONE)
			*times_change = true;
	}
	dm_catalog_end(&scope);
}

/* Stores the state of a job. */
static void
set_state(int64 job_id, const char *state, TimestampTz next_due)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	dm_args_int8(&args, job_id);
	dm_args_text(&args, state);
	dm_args_time(&args, next_due);
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_begin(&scope);
	dm_catalog_run(
		"UPDATE datamill.job_catalog SET state = $2, state_reason = NULL, next_due = $3, system_identifier = $4, "
		"database_id = $5, failures = CASE $2 WHEN '" DM_STATE_ACTIVE "' THEN 0 ELSE failures END, "
		"crashes = CASE $2 WHEN '" DM_STATE_ACTIVE "' THEN 0 ELSE crashes END, "
		"not_before = CASE $2 WHEN '" DM_STATE_ACTIVE "' THEN NULL ELSE not_before END WHERE job_id = $1",
		&args);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
}
