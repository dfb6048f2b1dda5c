/*
 * inspect_sql.c: check_dataset(), cdc_diff() and drop_dataset() as SQL calls them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "cdc/inspect.h"

PG_FUNCTION_INFO_V1(dm_check_dataset_sql);
PG_FUNCTION_INFO_V1(dm_cdc_diff_sql);
PG_FUNCTION_INFO_V1(dm_drop_dataset_sql);

/* check_dataset(target text) returns setof (problem text, key jsonb, detail text). */
PGDLLEXPORT Datum
dm_check_dataset_sql(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	dm_dataset_check(text_to_cstring(PG_GETARG_TEXT_PP(0)), (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* cdc_diff(target text, from_effective timestamptz, to_effective timestamptz) returns setof (operation, key, before, after). */
PGDLLEXPORT Datum
dm_cdc_diff_sql(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	dm_dataset_diff(text_to_cstring(PG_GETARG_TEXT_PP(0)),
					PG_GETARG_TIMESTAMPTZ(1),
					PG_GETARG_TIMESTAMPTZ(2),
					(ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* drop_dataset(target text, keep_tables boolean) returns void. */
PGDLLEXPORT Datum
dm_drop_dataset_sql(PG_FUNCTION_ARGS)
{
	dm_dataset_drop(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}
