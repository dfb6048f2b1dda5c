/*
 * unload_sql.c: datamill.unload() as SQL calls it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "load/unload.h"

PG_FUNCTION_INFO_V1(dm_unload_sql);

/* unload(source text, url text, options jsonb) returns one row of counts and the receipt's id. */
PGDLLEXPORT Datum
dm_unload_sql(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"source", "url", "options"};
	DmUnloadResult result;
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %s of unload must not be NULL", names[i])));
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unload must return a row");
	dm_unload(text_to_cstring(PG_GETARG_TEXT_PP(0)),
			  text_to_cstring(PG_GETARG_TEXT_PP(1)),
			  PG_GETARG_JSONB_P(2),
			  &result);
	values[0] = Int64GetDatum(result.files);
	values[1] = Int64GetDatum(result.rows);
	values[2] = Int64GetDatum(result.bytes);
	nulls[3] = result.receipt == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(result.receipt);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
