/*
 * load_sql.c: datamill.load() as SQL calls it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/names.h"
#include "load/load.h"

PG_FUNCTION_INFO_V1(dm_load_sql);

/*
 * load(source text, target regclass, mode text, keys text[], options jsonb) returns one row of counts and the receipt's
 * id.
 */
PGDLLEXPORT Datum
dm_load_sql(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"source", "target", "mode", "keys", "options"};
	DmLoadSpec spec = {0};
	DmLoadResult result;
	TupleDesc desc;
	Datum values[6];
	bool nulls[6] = {false};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i) && i != 3)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %s of load must not be NULL", names[i])));
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "load must return a row");
	spec.source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	spec.target = PG_GETARG_OID(1);
	spec.mode = dm_load_mode_parse(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	spec.keys = PG_ARGISNULL(3) ? NIL : dm_names_from_argument(PG_GETARG_DATUM(3), "keys");
	spec.options = PG_GETARG_JSONB_P(4);
	dm_load(&spec, &result);
	values[0] = Int64GetDatum(result.files);
	values[1] = Int64GetDatum(result.files_skipped);
	values[2] = Int64GetDatum(result.rows);
	values[3] = Int64GetDatum(result.rejected);
	values[4] = Int64GetDatum(result.bytes);
	values[5] = CStringGetTextDatum(result.receipt);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
