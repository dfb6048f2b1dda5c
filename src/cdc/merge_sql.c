/*
 * merge_sql.c: datamill.cdc_merge() as SQL calls it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "cdc/cdc.h"

PG_FUNCTION_INFO_V1(dm_cdc_merge_sql);

/*
 * cdc_merge(target text, source text, keys text[], effective timestamptz, mode text, options jsonb) returns one row of
 * counts and the receipt's id.
 */
PGDLLEXPORT Datum
dm_cdc_merge_sql(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"target", "source", "keys", "effective", "mode", "options"};
	DmMergeSpec spec = {0};
	DmMergeCounts counts;
	TupleDesc desc;
	Datum values[7];
	bool nulls[7] = {false};
	char *receipt;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i) && i != 2)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument %s of cdc_merge must not be NULL", names[i])));
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "cdc_merge must return a row");
	spec.target = text_to_cstring(PG_GETARG_TEXT_PP(0));
	spec.source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	spec.keys = PG_ARGISNULL(2) ? NIL : dm_names_from_array(PG_GETARG_DATUM(2));
	spec.effective = PG_GETARG_TIMESTAMPTZ(3);
	spec.mode = text_to_cstring(PG_GETARG_TEXT_PP(4));
	spec.options = PG_GETARG_JSONB_P(5);
	receipt = dm_cdc_merge(&spec, &counts);
	values[0] = Int64GetDatum(counts.inserted);
	values[1] = Int64GetDatum(counts.updated);
	values[2] = Int64GetDatum(counts.deleted);
	values[3] = Int64GetDatum(counts.unchanged);
	values[4] = Int64GetDatum(counts.missing);
	values[5] = Int64GetDatum(counts.rejected);
	values[6] = CStringGetTextDatum(receipt);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
