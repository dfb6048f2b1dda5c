/*
 * pipeline_config.c: configurations of pipelines: read and checked, and made from what is stored.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "base/columns.h"
#include "base/compat.h"
#include "job/pipeline.h"

PG_FUNCTION_INFO_V1(dm_pipeline_config_sql);

#define MAX_NAME_BYTES 200

static void config_error(const char *what) pg_attribute_noreturn();
static void check_keys(const DmCatalogArgs *config);
static void read_pools(const DmCatalogArgs *config, DmPipeline *pipeline, MemoryContext context);
static List *read_jobs(const DmCatalogArgs *config, const char *defaults, MemoryContext context);
static void link_jobs(List *jobs);
static char *defaults_json(void);
static List *names_of(Datum array);
static List *in_order(List *jobs);
static DmWanted *find(List *jobs, const char *name);
static bool is_ready(const DmWanted *job);
static void circle_error(List *jobs) pg_attribute_noreturn();
static void print_job(StringInfo out, const DmJob *job);
static char *array_json(const char *array);
static char *pools_json(List *jobs);

/* Reads a configuration. */
void
dm_pipeline_read(Datum config, DmPipeline *pipeline)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	char *defaults = defaults_json();
	List *jobs;

	memset(pipeline, 0, sizeof(*pipeline));
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(config)))
		config_error("it is no object");
	dm_args_add(&args, JSONBOID, config, false);
	dm_catalog_begin(&scope);
	check_keys(&args);
	dm_catalog_run("SELECT $1 ->> 'pipeline'", &args);
	MemoryContextSwitchTo(context);
	pipeline->name = dm_catalog_text(0, 1);
	if (pipeline->name[0] == '\0' || strlen(pipeline->name) > MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a pipeline must have 1 to %d bytes", MAX_NAME_BYTES)));
	read_pools(&args, pipeline, context);
	jobs = read_jobs(&args, defaults, context);
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(context);
	link_jobs(jobs);
	pipeline->jobs = in_order(jobs);
}

/* Raises for a configuration that is none. */
static void
config_error(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid configuration of a pipeline: %s", what),
			 errhint("It must be like {\"pipeline\": \"nightly\", \"jobs\": {\"load\": {\"body\": \"SELECT 1\"}}, "
					 "\"pools\": {\"warehouse\": 4}}, with the parameters of datamill.create_job().")));
}

/* Raises unless the keys are known, and of the types that they should have. */
static void
check_keys(const DmCatalogArgs *config)
{
	if (dm_catalog_run("SELECT key FROM jsonb_each($1) WHERE key NOT IN ('pipeline', 'jobs', 'pools') ORDER BY 1",
					   config) > 0)
		config_error(psprintf("\"%s\" is not known", dm_catalog_text(0, 1)));
	if (dm_catalog_run("SELECT WHERE jsonb_typeof($1 -> 'pipeline') = 'string'", config) == 0)
		config_error("pipeline must be the name of it");
	if (dm_catalog_run("SELECT WHERE jsonb_typeof($1 -> 'jobs') = 'object'", config) == 0)
		config_error("jobs must be an object");
	if (dm_catalog_run("SELECT WHERE jsonb_typeof($1 -> 'pools') <> 'object'", config) > 0)
		config_error("pools must be an object");
	if (dm_catalog_run("SELECT key FROM jsonb_each($1 -> 'jobs') WHERE jsonb_typeof(value) <> 'object' ORDER BY 1",
					   config) > 0)
		config_error(psprintf("job \"%s\" must be an object", dm_catalog_text(0, 1)));
	if (dm_catalog_run("SELECT key FROM jsonb_each($1 -> 'jobs') WHERE value ? 'name' ORDER BY 1", config) > 0)
		config_error(psprintf("job \"%s\" has the name of its key, and no other", dm_catalog_text(0, 1)));
	if (dm_catalog_run(
			"SELECT key FROM jsonb_each($1 -> 'jobs') WHERE jsonb_typeof(value -> 'after') NOT IN ('array', "
			"'null') ORDER BY 1",
			config) > 0)
		config_error(psprintf("after of job \"%s\" must be an array of names", dm_catalog_text(0, 1)));
	if (dm_catalog_run("SELECT key FROM jsonb_each($1 -> 'pools') WHERE value::text !~ '^[0-9]{1,9}$' ORDER BY 1",
					   config) > 0)
		config_error(psprintf("pool \"%s\" must have a number of slots", dm_catalog_text(0, 1)));
}

/* Reads the pools. */
static void
read_pools(const DmCatalogArgs *config, DmPipeline *pipeline, MemoryContext context)
{
	uint64 n = dm_catalog_run("SELECT key, value::bigint FROM jsonb_each($1 -> 'pools') ORDER BY key", config);

	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < n; i++)
	{
		DmWantedPool *pool = palloc(sizeof(DmWantedPool));

		pool->name = dm_catalog_text(i, 1);
		pool->slots = (int32) dm_catalog_int8(i, 2);
		pipeline->pools = lappend(pipeline->pools, pool);
	}
}

/* Reads the jobs, by name. */
static List *
read_jobs(const DmCatalogArgs *config, const char *defaults, MemoryContext context)
{
	DmCatalogArgs args = *config;
	List *jobs = NIL;
	uint64 n;

	dm_args_text(&args, defaults);
	n = dm_catalog_run("SELECT j.key, $2::jsonb || j.value, a.names::text, a.names FROM jsonb_each($1 -> 'jobs') j "
					   "CROSS JOIN LATERAL (SELECT array_agg(DISTINCT e ORDER BY e) AS names FROM "
					   "jsonb_array_elements_text(CASE WHEN jsonb_typeof(j.value -> 'after') = 'array' "
					   "THEN j.value -> 'after' ELSE '[]' END) e) a ORDER BY j.key",
					   &args);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < n; i++)
	{
		DmWanted *job = palloc0(sizeof(DmWanted));
		bool is_null;
		Datum names;

		job->name = dm_catalog_text(i, 1);
		job->options = PointerGetDatum(PG_DETOAST_DATUM_COPY(dm_catalog_value(i, 2, &is_null)));
		job->follows = dm_catalog_text(i, 3);
		names = dm_catalog_value(i, 4, &is_null);
		job->after = is_null ? NIL : names_of(names);
		jobs = lappend(jobs, job);
	}
	return jobs;
}

/* Returns the defaults of all options but name and body, as a JSON object. The owner is the current user. */
static char *
defaults_json(void)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"owner\": ");
	escape_json(&out, quote_identifier(GetUserNameFromId(GetUserId(), false)));
	for (DmJobField field = 0; field < DM_JOB_FIELDS; field++)
	{
		const char *value = dm_job_default(field);

		if (field == DM_JOB_OWNER || field == DM_JOB_NAME || field == DM_JOB_BODY)
			continue;
		appendStringInfo(&out, ", \"%s\": ", dm_job_field_name(field));
		if (value)
			escape_json(&out, value);
		else
			appendStringInfoString(&out, "null");
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* Returns the elements of a text[] that are not NULL, a list of char* in the current memory context. */
static List *
names_of(Datum array)
{
	List *names = NIL;
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			names = lappend(names, TextDatumGetCString(values[i]));
	}
	return names;
}

/* Finds the jobs that each of them follows. */
static void
link_jobs(List *jobs)
{
	ListCell *cell;
	ListCell *name;

	foreach (cell, jobs)
	{
		DmWanted *job = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		foreach (name, job->after)
		{
			DmWanted *upstream = find(jobs, lfirst(name));

			if (upstream)
				job->upstream = lappend(job->upstream, upstream);
		}
	}
}

/* Returns the jobs, each after those that it follows. Raises 42P17 if there is no such order. */
static List *
in_order(List *jobs)
{
	List *ordered = NIL;

	while (list_length(ordered) < list_length(jobs))
	{
		int before = list_length(ordered);
		ListCell *cell;

		CHECK_FOR_INTERRUPTS();
		foreach (cell, jobs)
		{
			DmWanted *job = lfirst(cell);

			if (job->is_placed || !is_ready(job))
				continue;
			job->is_placed = true;
			ordered = lappend(ordered, job);
		}
		if (list_length(ordered) == before)
			circle_error(jobs);
	}
	return ordered;
}

/* Returns the job of a name, NULL if there is none. */
static DmWanted *
find(List *jobs, const char *name)
{
	ListCell *cell;

	foreach (cell, jobs)
	{
		if (strcmp(((DmWanted *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	}
	return NULL;
}

/* Are all that the job follows in their places? */
static bool
is_ready(const DmWanted *job)
{
	ListCell *cell;

	foreach (cell, job->upstream)
	{
		if (!((DmWanted *) lfirst(cell))->is_placed)
			return false;
	}
	return true;
}

/* Raises with the names of a circle: each job that has no place follows one that has none. */
static void
circle_error(List *jobs)
{
	const DmWanted *job = linitial(jobs);
	List *walk = NIL;
	StringInfoData names;
	ListCell *cell;

	foreach (cell, jobs)
	{
		if (!((DmWanted *) lfirst(cell))->is_placed)
			job = lfirst(cell);
	}
	while (!list_member_ptr(walk, job))
	{
		const DmWanted *next = NULL;

		walk = lappend(walk, (void *) job);
		foreach (cell, job->upstream)
		{
			if (!((DmWanted *) lfirst(cell))->is_placed)
				next = lfirst(cell);
		}
		job = next ? next : job;
	}
	initStringInfo(&names);
	appendStringInfo(&names, "\"%s\"", job->name);
	for (int i = list_length(walk) - 1; i >= 0; i--)
	{
		const DmWanted *one = list_nth(walk, i);

		appendStringInfo(&names, ", before \"%s\"", one->name);
		if (one == job)
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("jobs of the pipeline follow each other in a circle"),
			 errdetail("%s", names.data)));
}

/* Returns the jobs of a pipeline of the current user. */
List *
dm_pipeline_jobs(const char *name, bool lock)
{
	MemoryContext context = CurrentMemoryContext;
	Oid caller = GetUserId();
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	List *jobs = NIL;
	ListCell *cell;
	uint64 n;

	dm_args_text(&args, name);
	dm_args_oid(&args, caller);
	dm_catalog_begin(&scope);
	n = dm_catalog_run("SELECT job_id, name, owner::oid FROM datamill.job_catalog WHERE pipeline = $1 AND "
					   "pipeline_owner = $2 ORDER BY name",
					   &args);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < n; i++)
	{
		DmJob *job = palloc0(sizeof(DmJob));
		bool is_null;

		job->job_id = dm_catalog_int8(i, 1);
		job->values[DM_JOB_NAME] = dm_catalog_text(i, 2);
		job->owner = DatumGetObjectId(dm_catalog_value(i, 3, &is_null));
		jobs = lappend(jobs, job);
	}
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(context);
	foreach (cell, jobs)
	{
		DmJob *job = lfirst(cell);

		if (!dm_role_can_become(caller, job->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("job \"%s\" of pipeline \"%s\" can be changed only by members of its owner",
							job->values[DM_JOB_NAME],
							name)));
		if (lock)
			dm_job_lock(job);
		else
			dm_job_reload(job);
	}
	return jobs;
}

/* pipeline_config(name) returns jsonb. */
PGDLLEXPORT Datum
dm_pipeline_config_sql(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List *jobs = dm_pipeline_jobs(name, false);
	StringInfoData out;
	ListCell *cell;

	if (jobs == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s has no pipeline \"%s\"", GetUserNameFromId(GetUserId(), false), name),
				 errhint("See datamill.jobs.")));
	initStringInfo(&out);
	appendStringInfoString(&out, "{\"pipeline\": ");
	escape_json(&out, name);
	appendStringInfoString(&out, ", \"jobs\": {");
	foreach (cell, jobs)
	{
		if (foreach_current_index(cell) > 0)
			appendStringInfoString(&out, ", ");
		print_job(&out, lfirst(cell));
	}
	appendStringInfo(&out, "}, \"pools\": %s}", pools_json(jobs));
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/* Appends a job: what is not the default. */
static void
print_job(StringInfo out, const DmJob *job)
{
	bool is_first = true;

	escape_json(out, job->values[DM_JOB_NAME]);
	appendStringInfoString(out, ": {");
	for (DmJobField field = 0; field < DM_JOB_FIELDS; field++)
	{
		const char *value = job->values[field];

		if (field == DM_JOB_NAME || dm_job_is_default(job, field, GetUserId()))
			continue;
		appendStringInfo(out, "%s\"%s\": ", is_first ? "" : ", ", dm_job_field_name(field));
		is_first = false;
		if (field == DM_JOB_FOLLOWS || field == DM_JOB_EXPECT)
			appendStringInfoString(out, array_json(value));
		else if (field == DM_JOB_ARGUMENTS || field == DM_JOB_RETRIES || field == DM_JOB_SUSPEND_AFTER)
			appendStringInfoString(out, value);
		else
			escape_json(out, value);
	}
	appendStringInfoChar(out, '}');
}

/* Returns the text of a text[] as JSON, in the current memory context. */
static char *
array_json(const char *array)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	char *json;

	dm_args_text(&args, array);
	dm_catalog_begin(&scope);
	dm_catalog_run("SELECT to_jsonb($1::text[])", &args);
	MemoryContextSwitchTo(context);
	json = dm_catalog_text(0, 1);
	dm_catalog_end(&scope);
	return json;
}

/* Returns the pools of the jobs as a JSON object, without the one that there always is. */
static char *
pools_json(List *jobs)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmColumn names = {0};
	ListCell *cell;
	char *json;

	foreach (cell, jobs)
		dm_column_add_text(&names, ((DmJob *) lfirst(cell))->values[DM_JOB_POOL]);
	dm_args_column(&args, &names);
	dm_args_text(&args, dm_job_default(DM_JOB_POOL));
	dm_catalog_begin(&scope);
	dm_catalog_run("SELECT coalesce(jsonb_object_agg(name, slots), '{}') FROM datamill.pool_catalog "
				   "WHERE name = ANY ($1) AND name <> $2",
				   &args);
	MemoryContextSwitchTo(context);
	json = dm_catalog_text(0, 1);
	dm_catalog_end(&scope);
	return json;
}
