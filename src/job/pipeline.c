/*
 * pipeline.c: makes the jobs of a pipeline what a configuration says.
 *
 * 1. A pipeline belongs to the role that set it. Jobs that are not in it are never changed, whatever their names.
 * 2. What would change is found by changing it, in a subtransaction that is taken back: what is compared is what is stored, however it was written.
 * 3. A job of which nothing changes is not touched, and one that is altered only in what differs: its next time stays.
 * 4. Who follows whom is taken away where it changes, and made again in an order in which all that is followed is there. So only a true circle is one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/resowner.h"

#include "base/columns.h"
#include "job/pipeline.h"

PG_FUNCTION_INFO_V1(dm_set_pipeline_sql);

/* What is to be done with a job. */
typedef struct Change
{
	char *name;
	DmWanted *wanted; /* NULL: dropped */
	DmJob *before;	  /* NULL: created */
	DmJob after;
	bool differs[DM_JOB_FIELDS];
	bool is_changed;
} Change;

/* A subtransaction that is taken back. */
typedef struct Trial
{
	MemoryContext context;
	ResourceOwner owner;
} Trial;

static void set_pipeline(const DmPipeline *pipeline, bool prune, ReturnSetInfo *result);
static void lock_graph(void);
static void set_pools(const DmPipeline *pipeline, ReturnSetInfo *result);
static void call_set_pool(const DmWantedPool *pool);
static List *find_changes(const DmPipeline *pipeline, List *jobs, bool prune);
static void try_change(Change *change);
static void make(const DmPipeline *pipeline, Change *change);
static void name_job(void *arg);
static void loosen(List *changes);
static void create(const DmPipeline *pipeline, Change *change);
static void alter(Change *change);
static bool same(const char *a, const char *b);
static void print_change(const Change *change, ReturnSetInfo *result);
static void print(ReturnSetInfo *result, const char *action, const char *job, const char *field, const char *before,
				  const char *after);
static void trial_begin(Trial *trial);
static void trial_end(const Trial *trial);
static void trial_raise(const Trial *trial) pg_attribute_noreturn();

/* set_pipeline(config, dry_run, prune) returns the differences. */
PGDLLEXPORT Datum
dm_set_pipeline_sql(PG_FUNCTION_ARGS)
{
	bool dry_run = PG_GETARG_BOOL(1);
	DmPipeline pipeline;
	Trial trial;

	dm_job_check_context();
	InitMaterializedSRF(fcinfo, 0);
	dm_pipeline_read(PG_GETARG_DATUM(0), &pipeline);
	if (!dry_run)
	{
		set_pipeline(&pipeline, PG_GETARG_BOOL(2), (ReturnSetInfo *) fcinfo->resultinfo);
		return (Datum) 0;
	}
	trial_begin(&trial);
	PG_TRY();
	{
		set_pipeline(&pipeline, PG_GETARG_BOOL(2), (ReturnSetInfo *) fcinfo->resultinfo);
	}
	PG_CATCH();
	{
		trial_raise(&trial);
	}
	PG_END_TRY();
	trial_end(&trial);
	return (Datum) 0;
}

/* Makes all jobs what they are to be, and tells how they differed. */
static void
set_pipeline(const DmPipeline *pipeline, bool prune, ReturnSetInfo *result)
{
	List *changes;
	ListCell *cell;

	lock_graph();
	set_pools(pipeline, result);
	changes = find_changes(pipeline, dm_pipeline_jobs(pipeline->name, true), prune);
	loosen(changes);
	foreach (cell, changes)
	{
		Change *change = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		make(pipeline, change);
		print_change(change, result);
	}
}

/* Keeps others from changing who follows whom, and from setting pipelines. */
static void
lock_graph(void)
{
	DmCatalogScope scope;

	dm_catalog_begin(&scope);
	dm_catalog_run("LOCK TABLE datamill.dependency_catalog IN SHARE ROW EXCLUSIVE MODE", NULL);
	dm_catalog_end(&scope);
}

/* Makes the pools what they are to be. Raises 42501 if they differ and the caller may not set pools. */
static void
set_pools(const DmPipeline *pipeline, ReturnSetInfo *result)
{
	MemoryContext context = CurrentMemoryContext;
	ListCell *cell;

	foreach (cell, pipeline->pools)
	{
		const DmWantedPool *pool = lfirst(cell);
		DmCatalogArgs args = {0};
		DmCatalogScope scope;
		char *slots = NULL;

		dm_args_text(&args, pool->name);
		dm_catalog_begin(&scope);
		if (dm_catalog_run("SELECT slots FROM datamill.pool_catalog WHERE name = $1", &args) > 0)
		{
			MemoryContextSwitchTo(context);
			slots = dm_catalog_text(0, 1);
		}
		dm_catalog_end(&scope);
		MemoryContextSwitchTo(context);
		if (same(slots, psprintf("%d", pool->slots)))
			continue;
		call_set_pool(pool);
		print(result,
			  slots ? "alter" : "create",
			  NULL,
			  psprintf("pool %s", pool->name),
			  slots,
			  psprintf("%d", pool->slots));
	}
}

/* Calls set_pool() as the caller. */
static void
call_set_pool(const DmWantedPool *pool)
{
	Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(pool->name), Int32GetDatum(pool->slots)};

	SPI_connect();
	if (SPI_execute_with_args("SELECT datamill.set_pool($1, $2)", 2, types, values, NULL, false, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "set_pool() was not called");
	SPI_finish();
}

/* Returns what is to be done (Change*): jobs that are wanted in their order, then those to be dropped. */
static List *
find_changes(const DmPipeline *pipeline, List *jobs, bool prune)
{
	List *changes = NIL;
	ListCell *cell;
	ListCell *stored;

	foreach (cell, pipeline->jobs)
	{
		Change *change = palloc0(sizeof(Change));

		change->wanted = lfirst(cell);
		change->name = change->wanted->name;
		foreach (stored, jobs)
		{
			if (strcmp(((DmJob *) lfirst(stored))->values[DM_JOB_NAME], change->wanted->name) != 0)
				continue;
			change->before = lfirst(stored);
			jobs = foreach_delete_current(jobs, stored);
			try_change(change);
			break;
		}
		changes = lappend(changes, change);
	}
	foreach (stored, prune ? jobs : NIL)
	{
		Change *change = palloc0(sizeof(Change));

		change->before = lfirst(stored);
		change->name = change->before->values[DM_JOB_NAME];
		changes = lappend(changes, change);
	}
	return changes;
}

/* Does what is to be done with a job. */
static void
make(const DmPipeline *pipeline, Change *change)
{
	ErrorContextCallback callback = {.callback = name_job, .previous = error_context_stack};

	callback.arg = change->name;
	error_context_stack = &callback;
	if (!change->wanted)
		dm_job_remove(change->before, false);
	else if (!change->before)
		create(pipeline, change);
	else if (change->is_changed)
		alter(change);
	error_context_stack = callback.previous;
}

/* Error context callback: names the job. */
static void
name_job(void *arg)
{
	errcontext("job \"%s\" of the pipeline", (char *) arg);
}

/* Finds the fields in which a stored job would differ. What it follows is compared by name. */
static void
try_change(Change *change)
{
	ErrorContextCallback callback = {.callback = name_job, .previous = error_context_stack};
	Trial trial;

	callback.arg = change->name;
	error_context_stack = &callback;
	trial_begin(&trial);
	PG_TRY();
	{
		change->after = *change->before;
		dm_job_change(&change->after,
					  DirectFunctionCall2(jsonb_delete,
										  change->wanted->options,
										  CStringGetTextDatum(dm_job_field_name(DM_JOB_FOLLOWS))));
		dm_job_reload(&change->after);
	}
	PG_CATCH();
	{
		trial_raise(&trial);
	}
	PG_END_TRY();
	trial_end(&trial);
	error_context_stack = callback.previous;
	change->after.values[DM_JOB_FOLLOWS] = change->wanted->follows;
	for (DmJobField field = 0; field < DM_JOB_FIELDS; field++)
	{
		change->differs[field] = !same(change->before->values[field], change->after.values[field]);
		change->is_changed |= change->differs[field];
	}
}

/* Lets jobs follow none whose after changes, and those that are to be dropped. */
static void
loosen(List *changes)
{
	DmColumn ids = {.type = INT8OID};
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	ListCell *cell;

	foreach (cell, changes)
	{
		const Change *change = lfirst(cell);

		if (change->before && (!change->wanted || change->differs[DM_JOB_FOLLOWS]))
			dm_column_add_int8(&ids, change->before->job_id);
	}
	dm_args_column(&args, &ids);
	dm_catalog_begin(&scope);
	dm_catalog_run("DELETE FROM datamill.dependency_catalog WHERE job_id = ANY ($1)", &args);
	dm_catalog_end(&scope);
}

/* Makes a job of the pipeline. */
static void
create(const DmPipeline *pipeline, Change *change)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	bool times_change;
	DmJob *job = &change->after;

	dm_job_init(job);
	job->values[DM_JOB_NAME] = change->wanted->name;
	dm_job_apply(job, change->wanted->options, &times_change);
	dm_job_create(job);
	dm_args_int8(&args, job->job_id);
	dm_args_text(&args, pipeline->name);
	dm_args_oid(&args, GetUserId());
	dm_catalog_begin(&scope);
	dm_catalog_run("UPDATE datamill.job_catalog SET pipeline = $2, pipeline_owner = $3::regrole WHERE job_id = $1",
				   &args);
	dm_catalog_end(&scope);
	dm_job_reload(job);
}

/* Alters a job in what differs. */
static void
alter(Change *change)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmColumn fields = {0};
	Datum options;
	bool is_null;

	for (DmJobField field = 0; field < DM_JOB_FIELDS; field++)
	{
		if (change->differs[field])
			dm_column_add_text(&fields, dm_job_field_name(field));
	}
	dm_args_add(&args, JSONBOID, change->wanted->options, false);
	dm_args_column(&args, &fields);
	dm_catalog_begin(&scope);
	dm_catalog_run("SELECT jsonb_object_agg(key, value) FROM jsonb_each($1) WHERE key = ANY ($2)", &args);
	MemoryContextSwitchTo(context);
	options = PointerGetDatum(PG_DETOAST_DATUM_COPY(dm_catalog_value(0, 1, &is_null)));
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(context);
	dm_job_change(&change->after, options);
	dm_job_reload(&change->after);
}

/* Are both NULL, or equal? */
static bool
same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Tells what was done with a job: a row a field. */
static void
print_change(const Change *change, ReturnSetInfo *result)
{
	if (!change->wanted || (change->before && !change->is_changed))
	{
		print(result, change->wanted ? "unchanged" : "drop", change->name, NULL, NULL, NULL);
		return;
	}
	for (DmJobField field = 0; field < DM_JOB_FIELDS; field++)
	{
		const char *label = dm_job_field_name(field);

		if (change->before && change->differs[field])
			print(result, "alter", change->name, label, change->before->values[field], change->after.values[field]);
		else if (!change->before && field != DM_JOB_NAME && !dm_job_is_default(&change->after, field, GetUserId()))
			print(result, "create", change->name, label, NULL, change->after.values[field]);
	}
}

/* Adds a row to the result. */
static void
print(ReturnSetInfo *result, const char *action, const char *job, const char *field, const char *before,
	  const char *after)
{
	const char *texts[] = {action, job, field, before, after};
	Datum values[lengthof(texts)];
	bool nulls[lengthof(texts)];

	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[i] = !texts[i];
		values[i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Begins a subtransaction; memory is the caller's. */
static void
trial_begin(Trial *trial)
{
	trial->context = CurrentMemoryContext;
	trial->owner = CurrentResourceOwner;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(trial->context);
}

/* Takes it back. */
static void
trial_end(const Trial *trial)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(trial->context);
	CurrentResourceOwner = trial->owner;
}

/* In PG_CATCH: takes it back and raises the error again. */
static void
trial_raise(const Trial *trial)
{
	ErrorData *error;

	MemoryContextSwitchTo(trial->context);
	error = CopyErrorData();
	FlushErrorState();
	trial_end(trial);
	ReThrowError(error);
}
