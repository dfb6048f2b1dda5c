/*
 * generate_sql.c: datamill.generate_cdc() as SQL calls it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "cdc/generate.h"

PG_FUNCTION_INFO_V1(dm_generate_cdc_sql);

/*
 * generate_cdc(initial, incremental, keys, nonkeys, deleted, updated, unchanged, initial_url, incremental_url, seed,
 * server) returns setof (url text, records bigint): one row an object written.
 */
PGDLLEXPORT Datum
dm_generate_cdc_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DmGenerateSpec spec;
	DmGenerated written[2];

	for (int i = 0; i < 10; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of generate_cdc other than server must not be NULL")));
	}
	spec.initial = PG_GETARG_INT64(0);
	spec.incremental = PG_GETARG_INT64(1);
	spec.keys = PG_GETARG_INT32(2);
	spec.nonkeys = PG_GETARG_INT32(3);
	spec.deleted = PG_GETARG_FLOAT8(4);
	spec.updated = PG_GETARG_FLOAT8(5);
	spec.unchanged = PG_GETARG_FLOAT8(6);
	spec.initial_url = text_to_cstring(PG_GETARG_TEXT_PP(7));
	spec.incremental_url = text_to_cstring(PG_GETARG_TEXT_PP(8));
	spec.seed = PG_GETARG_INT64(9);
	spec.server = PG_ARGISNULL(10) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(10));
	InitMaterializedSRF(fcinfo, 0);
	dm_generate_cdc(&spec, written);
	for (int i = 0; i < lengthof(written); i++)
	{
		Datum values[2] = {CStringGetTextDatum(written[i].url), Int64GetDatum(written[i].records)};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
