/*
 * s3_fdw_sql.c: what SQL calls of datamill_s3: its handler and its validator.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"

#include "fdw/s3_fdw.h"
#include "fdw/s3_options.h"

PG_FUNCTION_INFO_V1(dm_s3_fdw_handler);
PG_FUNCTION_INFO_V1(dm_s3_fdw_validator);

/* SQL: s3_fdw_handler() returns fdw_handler. */
Datum
dm_s3_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	dm_s3_plan_routine(routine);
	dm_s3_scan_routine(routine);
	dm_s3_parallel_routine(routine);
	dm_s3_async_routine(routine);
	dm_s3_analyze_routine(routine);
	dm_s3_explain_routine(routine);
	dm_s3_import_routine(routine);
	PG_RETURN_POINTER(routine);
}

/* SQL: s3_fdw_validator(options text[], catalog oid) returns void. */
Datum
dm_s3_fdw_validator(PG_FUNCTION_ARGS)
{
	dm_s3_options_check(untransformRelOptions(PG_GETARG_DATUM(0)), PG_GETARG_OID(1));
	PG_RETURN_VOID();
}
