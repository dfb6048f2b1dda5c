/*
 * job.h: jobs and runs as stored in datamill.job_catalog and datamill.run_catalog.
 */
#ifndef DM_JOB_H
#define DM_JOB_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/catalog.h"

/* What a user sets of a job, as texts: the order of create_job's parameters. */
typedef enum DmJobField
{
	DM_JOB_NAME,
	DM_JOB_BODY,
	DM_JOB_SCHEDULE,
	DM_JOB_TIMEZONE,
	DM_JOB_FOLLOWS, /* an array of names */
	DM_JOB_WATCH,
	DM_JOB_WHEN_SQL,
	DM_JOB_OVERLAP,
	DM_JOB_MISSED,
	DM_JOB_CATCHUP,
	DM_JOB_TIMEOUT,
	DM_JOB_RETRIES,
	DM_JOB_BACKOFF,
	DM_JOB_SUSPEND_AFTER,
	DM_JOB_POOL,
	DM_JOB_OWNER, /* as regrole prints it */
	DM_JOB_ARGUMENTS,
	DM_JOB_EXPECT, /* an array of queries */
	DM_JOB_FIELDS
} DmJobField;

typedef struct DmJob
{
	int64 job_id;
	Oid owner;
	char *state;
	TimestampTz next_due;
	TimestampTz anchor;
	char *values[DM_JOB_FIELDS]; /* NULL only where dm_job_field_may_be_null() */
} DmJob;

/* job.c */
extern int64 dm_job_create(DmJob *job);
extern void dm_job_alter(const char *name, Datum options);
extern void dm_job_drop(const char *name, bool force);
extern void dm_job_pause(const char *name);
extern void dm_job_resume(const char *name);
extern int64 dm_job_accept(void);
extern void dm_job_find(const char *name, DmJob *job);
extern int64 dm_system_identifier(void);
/* Of a job whose id and name are set, by a caller that may become its owner: */
extern void dm_job_lock(DmJob *job);
extern void dm_job_reload(DmJob *job);
extern void dm_job_change(DmJob *job, Datum options);
extern void dm_job_remove(DmJob *job, bool force);
/* Puts options (jsonb) into a job without storing it; tells whether those that say when it runs are among them. */
extern void dm_job_apply(DmJob *job, Datum options, bool *times_change);

/* job_defaults.c */
extern void dm_job_init(DmJob *job);
extern const char *dm_job_default(DmJobField field);
/* Does a job have the default in a field? The owner's is the given one. */
extern bool dm_job_is_default(const DmJob *job, DmJobField field, Oid owner);

/* graph.c: which jobs follow which; inside a catalog scope. */
extern void dm_graph_store(const DmJob *job);

/* queue.c: runs that users ask for */
extern int64 dm_run_queue(const char *name, const char *trigger, Datum arguments);
extern int64 dm_run_retry(int64 run_id);
extern int64 dm_run_backfill(const char *name, Datum range, Datum step, bool has_step);
extern bool dm_run_cancel(int64 run_id);
extern void dm_run_check_visible(int64 run_id);
extern int64 dm_event_emit(const char *event, Datum payload);

/* explain.c */
extern char *dm_job_explain(const char *name);

/* job_check.c: raises on what cannot be stored. */
extern void dm_job_check(const DmJob *job);
extern TimestampTz dm_job_due(const DmJob *job, TimestampTz after);
extern const char *dm_job_field_name(DmJobField field);
extern int dm_job_field_find(const char *name);
extern bool dm_job_field_may_be_null(DmJobField field);
/* Raises 42501 in operations in which a user's code runs with the rights of another. */
extern void dm_job_check_context(void);

#endif
