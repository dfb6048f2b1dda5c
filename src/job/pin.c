/*
 * pin.c: keeps a job that watches objects to some of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/catalog.h"
#include "job/shared.h"
#include "job/watch.h"
#include "source/exact.h"

PG_FUNCTION_INFO_V1(dm_pin_sql);
PG_FUNCTION_INFO_V1(dm_unpin_sql);

/* Stores the objects that a job is kept to, a JSON text; NULL for none. */
static void
set_pinned(const char *name, const char *objects)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmWatch watch = {.kind = DM_WATCH_EVENT};
	DmJob job;

	dm_job_check_context();
	dm_job_find(name, &job);
	if (job.values[DM_JOB_WATCH])
		dm_watch_parse(job.values[DM_JOB_WATCH], &watch);
	if (objects && watch.kind != DM_WATCH_OBJECTS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" watches no objects, and cannot be pinned to any", name)));
	if (objects && dm_exact_list(objects, NULL) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" cannot be pinned to no object", name),
				 errhint("To let it look for new ones: datamill.unpin().")));
	dm_args_int8(&args, job.job_id);
	dm_args_text(&args, objects);
	dm_catalog_begin(&scope);
	dm_catalog_run("UPDATE datamill.job_catalog SET pinned = CASE WHEN jsonb_typeof($2::jsonb) = 'object' THEN "
				   "jsonb_build_array($2::jsonb) ELSE $2::jsonb END WHERE job_id = $1",
				   &args);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
}

/* pin(name, version jsonb). */
PGDLLEXPORT Datum
dm_pin_sql(PG_FUNCTION_ARGS)
{
	Jsonb *objects = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the name of a job must not be NULL")));
	set_pinned(text_to_cstring(PG_GETARG_TEXT_PP(0)),
			   objects ? JsonbToCString(NULL, &objects->root, VARSIZE(objects)) : NULL);
	PG_RETURN_VOID();
}

/* unpin(name). */
PGDLLEXPORT Datum
dm_unpin_sql(PG_FUNCTION_ARGS)
{
	set_pinned(text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL);
	PG_RETURN_VOID();
}
