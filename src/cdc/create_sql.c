/*
 * create_sql.c: create_dataset(), alter_dataset() and prune_history() as SQL calls them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "cdc/create.h"
#include "cdc/history.h"

PG_FUNCTION_INFO_V1(dm_create_dataset_sql);
PG_FUNCTION_INFO_V1(dm_alter_dataset_sql);
PG_FUNCTION_INFO_V1(dm_prune_history_sql);

/* create_dataset(target text, keys text[], columns text, source text, effective timestamptz, options jsonb) returns regclass. */
PGDLLEXPORT Datum
dm_create_dataset_sql(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"target", "keys", "columns", "source", "effective", "options"};
	DmCreateSpec spec;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i) && i != 2 && i != 3)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %s of create_dataset must not be NULL", names[i])));
	}
	spec.target = text_to_cstring(PG_GETARG_TEXT_PP(0));
	spec.keys = dm_names_from_argument(PG_GETARG_DATUM(1), "keys");
	spec.columns = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	spec.source = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	spec.effective = PG_GETARG_TIMESTAMPTZ(4);
	spec.options = PG_GETARG_JSONB_P(5);
	PG_RETURN_OID(dm_dataset_create_empty(&spec));
}

/* alter_dataset(target text, options jsonb) returns void. */
PGDLLEXPORT Datum
dm_alter_dataset_sql(PG_FUNCTION_ARGS)
{
	dm_dataset_alter(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_JSONB_P(1));
	PG_RETURN_VOID();
}

/* prune_history(target text, older_than timestamptz) returns one row (removed bigint, partitions text[]). */
PGDLLEXPORT Datum
dm_prune_history_sql(PG_FUNCTION_ARGS)
{
	DmPruned pruned;
	TupleDesc desc;
	Datum values[2];
	bool nulls[2] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "function must return a row");
	dm_history_prune(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_TIMESTAMPTZ(1), &pruned);
	values[0] = Int64GetDatum(pruned.rows);
	values[1] = dm_names_to_array(pruned.partitions);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
