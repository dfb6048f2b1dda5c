/*
 * feed_check.c: is what is stored of a feed what its events give?
 *
 * Every event can be read back from what is stored, so folding them once more must give the same versions and points. A
 * key of which it does not was edited by hand, or something is wrong.
 */
#include "postgres.h"

#include "access/table.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "cdc/feed.h"

typedef struct Check
{
	const DmShape *shape;
	ReturnSetInfo *result;
} Check;

/* Puts a row for a key of which other things are stored than its events give. */
static void
key_differs(const Datum *key, void *arg)
{
	Check *check = arg;
	Datum row[] = {CStringGetTextDatum("not what its events give"),
				   DirectFunctionCall1(jsonb_in, CStringGetDatum(dm_shape_key_json(check->shape, key, NULL))),
				   CStringGetTextDatum("versions or points were edited; the next event of the key mends them")};
	bool nulls[] = {false, false, false};

	tuplestore_putvalues(check->result->setResult, check->result->setDesc, row, nulls);
}

/* Puts one row (problem, key, detail) for each such key into the result. The caller has checked rights. */
void
dm_feed_check(const DmDataset *dataset, ReturnSetInfo *result)
{
	DmMergeCounts counts = {0};
	DmFeedChanges changes = {0};
	Check check = {.result = result};
	DmFeedSpec spec = {.dataset = dataset,
					   .dry_run = true,
					   .max_delete_percent = 100,
					   .differs = key_differs,
					   .differs_arg = &check,
					   .counts = &counts,
					   .changes = &changes};

	spec.current = table_open(dataset->current, AccessShareLock);
	spec.history = table_open(dataset->history, AccessShareLock);
	spec.points = table_open(dataset->feed, AccessShareLock);
	spec.shape = check.shape = dm_shape_make(dataset, spec.current, spec.history);
	dm_feed_finish(dm_feed_begin(&spec));
	table_close(spec.points, NoLock);
	table_close(spec.history, NoLock);
	table_close(spec.current, NoLock);
}
