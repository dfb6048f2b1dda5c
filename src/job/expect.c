/*
 * expect.c: queries of a job that must return true: when_sql before a run, expect in its last transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "job/expect.h"

/* Splits an array. */
List *
dm_expect_list(const char *array)
{
	FmgrInfo input;
	Datum *elements;
	bool *nulls;
	int n;
	List *queries = NIL;

	if (!array)
		return NIL;
	fmgr_info(F_ARRAY_IN, &input);
	deconstruct_array(DatumGetArrayTypeP(InputFunctionCall(&input, unconstify(char *, array), TEXTOID, -1)),
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &elements,
					  &nulls,
					  &n);
	for (int i = 0; i < n; i++)
		queries = lappend(queries, nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]));
	return queries;
}

/* Executes a query of one boolean. */
bool
dm_expect_is_true(const char *query, const char *what, const char *job)
{
	bool has_snapshot = !ActiveSnapshotSet();
	bool is_null = true;
	bool is_true = false;

	if (has_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, query);
	SPI_connect();
	if (SPI_execute(query, false, 0) != SPI_OK_SELECT || SPI_tuptable->tupdesc->natts != 1 ||
		SPI_gettypeid(SPI_tuptable->tupdesc, 1) != BOOLOID || SPI_processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s of job \"%s\" must return one boolean", what, job),
				 errdetail("The query is: %s", query)));
	if (SPI_processed == 1)
		is_true =
			DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null)) && !is_null;
	SPI_finish();
	if (has_snapshot)
		PopActiveSnapshot();
	return is_true;
}

/* Raises unless all return true. */
void
dm_expect_check(List *queries, const char *job)
{
	ListCell *cell;

	foreach (cell, queries)
	{
		if (!dm_expect_is_true(lfirst(cell), "expect", job))
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("job \"%s\" did not bring about what it expects", job),
					 errdetail("This is not true: %s", (char *) lfirst(cell)),
					 errhint("The last transaction of the run is taken back.")));
	}
}
