/*
 * merge_sql.c: cdc_merge(), cdc_plan(), cdc_undo() and cdc_restate() as SQL calls them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "cdc/apply.h"
#include "cdc/cdc.h"

PG_FUNCTION_INFO_V1(dm_cdc_merge_sql);
PG_FUNCTION_INFO_V1(dm_cdc_plan_sql);
PG_FUNCTION_INFO_V1(dm_cdc_undo_sql);
PG_FUNCTION_INFO_V1(dm_cdc_restate_sql);

static const char *const merge_arguments[] = {"target", "source", "keys", "effective", "mode", "options"};
static const char *const restate_arguments[] = {"target", "source", "effective", "mode", "options"};

/* Raises 22004 if an argument other than keys is NULL. */
static void
arguments_check(FunctionCallInfo fcinfo, const char *function, const char *const *names)
{
	for (int i = 0; i < PG_NARGS(); i++)
	{
		if (PG_ARGISNULL(i) && strcmp(names[i], "keys") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %s of %s must not be NULL", names[i], function)));
	}
}

/* Reads (target, source, keys, effective, mode, options). */
static void
spec_read(FunctionCallInfo fcinfo, DmMergeSpec *spec)
{
	spec->target = text_to_cstring(PG_GETARG_TEXT_PP(0));
	spec->source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	spec->keys = PG_ARGISNULL(2) ? NIL : dm_names_from_argument(PG_GETARG_DATUM(2), "keys");
	spec->effective = PG_GETARG_TIMESTAMPTZ(3);
	spec->mode = text_to_cstring(PG_GETARG_TEXT_PP(4));
	spec->options = PG_GETARG_JSONB_P(5);
}

/* Makes a result row of the function's declared type. */
static Datum
row_return(FunctionCallInfo fcinfo, Datum *values)
{
	TupleDesc desc;
	bool nulls[8] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "function must return a row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Makes the result row of a merge. */
static Datum
merge_return(FunctionCallInfo fcinfo, const DmMergeCounts *counts, const char *receipt)
{
	Datum values[] = {Int64GetDatum(counts->inserted),
					  Int64GetDatum(counts->updated),
					  Int64GetDatum(counts->deleted),
					  Int64GetDatum(counts->unchanged),
					  Int64GetDatum(counts->missing),
					  Int64GetDatum(counts->rejected),
					  CStringGetTextDatum(receipt)};

	return row_return(fcinfo, values);
}

/*
 * cdc_merge(target text, source text, keys text[], effective timestamptz, mode text, options jsonb) returns one row of
 * counts and the receipt's id.
 */
PGDLLEXPORT Datum
dm_cdc_merge_sql(PG_FUNCTION_ARGS)
{
	DmMergeSpec spec;
	DmMergeCounts counts;
	char *receipt;

	arguments_check(fcinfo, "cdc_merge", merge_arguments);
	spec_read(fcinfo, &spec);
	receipt = dm_cdc_merge(&spec, &counts);
	PG_RETURN_DATUM(merge_return(fcinfo, &counts, receipt));
}

/* Returns a list of JSON objects as a jsonb array. */
static Datum
samples_jsonb(List *samples)
{
	StringInfoData json;
	ListCell *cell;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	foreach (cell, samples)
		appendStringInfo(&json, "%s%s", cell == list_head(samples) ? "" : ", ", (char *) lfirst(cell));
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * cdc_plan(target, source, keys, effective, mode, options) returns setof (operation text, rows bigint, sample jsonb):
 * one row for each of I, U, D, N and X.
 */
PGDLLEXPORT Datum
dm_cdc_plan_sql(PG_FUNCTION_ARGS)
{
	static const char *const operations[DM_FATES] = {"I", "U", "D", "N", "X"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DmMergeSpec spec;
	DmMergeCounts counts;
	List **samples;
	int64 rows[DM_FATES];

	arguments_check(fcinfo, "cdc_plan", merge_arguments);
	spec_read(fcinfo, &spec);
	InitMaterializedSRF(fcinfo, 0);
	samples = dm_cdc_plan(&spec, &counts);
	rows[DM_FATE_INSERT] = counts.inserted;
	rows[DM_FATE_UPDATE] = counts.updated;
	rows[DM_FATE_DELETE] = counts.deleted;
	rows[DM_FATE_UNCHANGED] = counts.unchanged;
	rows[DM_FATE_MISSING] = counts.missing;
	for (int i = 0; i < DM_FATES; i++)
	{
		Datum values[] = {CStringGetTextDatum(operations[i]), Int64GetDatum(rows[i]), samples_jsonb(samples[i])};
		bool nulls[] = {false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* cdc_undo(target text) returns one row (merge_id bigint, removed bigint, restored bigint, receipt text). */
PGDLLEXPORT Datum
dm_cdc_undo_sql(PG_FUNCTION_ARGS)
{
	DmUndoCounts counts;
	char *receipt;
	Datum values[4];

	arguments_check(fcinfo, "cdc_undo", merge_arguments);
	receipt = dm_cdc_undo(text_to_cstring(PG_GETARG_TEXT_PP(0)), &counts);
	values[0] = Int64GetDatum(counts.merge_id);
	values[1] = Int64GetDatum(counts.removed);
	values[2] = Int64GetDatum(counts.restored);
	values[3] = CStringGetTextDatum(receipt);
	PG_RETURN_DATUM(row_return(fcinfo, values));
}

/* cdc_restate(target text, source text, effective timestamptz, mode text, options jsonb) returns as cdc_merge(). */
PGDLLEXPORT Datum
dm_cdc_restate_sql(PG_FUNCTION_ARGS)
{
	DmMergeSpec spec = {0};
	DmMergeCounts counts;
	char *receipt;

	arguments_check(fcinfo, "cdc_restate", restate_arguments);
	spec.target = text_to_cstring(PG_GETARG_TEXT_PP(0));
	spec.source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	spec.effective = PG_GETARG_TIMESTAMPTZ(2);
	spec.mode = text_to_cstring(PG_GETARG_TEXT_PP(3));
	spec.options = PG_GETARG_JSONB_P(4);
	receipt = dm_cdc_restate(&spec, &counts);
	PG_RETURN_DATUM(merge_return(fcinfo, &counts, receipt));
}
