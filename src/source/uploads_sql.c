/*
 * uploads_sql.c: datamill.abort_uploads(): removes what a server process that was killed has left of its uploads.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "source/source.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(dm_abort_uploads_sql);

typedef struct AbortState
{
	DmStore *store;
	TimestampTz before; /* only uploads that began before are aborted */
	bool dry_run;
	ReturnSetInfo *result;
} AbortState;

/* Aborts one upload, if it is old enough, and returns it as a row. */
static void
abort_upload(const DmOpenUpload *upload, void *arg)
{
	AbortState *state = arg;
	Datum values[4];
	bool nulls[4] = {false};

	CHECK_FOR_INTERRUPTS();
	if (upload->initiated >= state->before)
		return;
	if (!state->dry_run)
		dm_store_abort_upload(state->store, upload);
	values[0] = CStringGetTextDatum(upload->bucket);
	values[1] = CStringGetTextDatum(upload->key);
	values[2] = CStringGetTextDatum(upload->upload_id);
	values[3] = TimestampTzGetDatum(upload->initiated);
	tuplestore_putvalues(state->result->setResult, state->result->setDesc, values, nulls);
}

/* abort_uploads(url text, older_than interval, server text, dry_run boolean) returns setof (bucket, key, upload_id, initiated). */
PGDLLEXPORT Datum
dm_abort_uploads_sql(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"url", "older_than", NULL, "dry_run"};
	AbortState state = {0};
	char *bucket;
	char *prefix;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (names[i] && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %s of abort_uploads must not be NULL", names[i])));
	}
	InitMaterializedSRF(fcinfo, 0);
	dm_url_split(text_to_cstring(PG_GETARG_TEXT_PP(0)), &bucket, &prefix);
	state.before = DatumGetTimestampTz(DirectFunctionCall2(
		timestamptz_mi_interval, TimestampTzGetDatum(GetCurrentTimestamp()), PG_GETARG_DATUM(1)));
	state.dry_run = PG_GETARG_BOOL(3);
	state.result = (ReturnSetInfo *) fcinfo->resultinfo;
	state.store = dm_store_open(dm_source_server(PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2))),
								GetUserId());
	dm_store_list_uploads(state.store, bucket, prefix, abort_upload, &state);
	return (Datum) 0;
}
