/*
 * match.h: matches source rows with the current table and writes what changed.
 */
#ifndef DM_MATCH_ROWS_H
#define DM_MATCH_ROWS_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/cdc.h"

typedef struct DmMatcher DmMatcher;

typedef struct DmMatcherSpec
{
	const DmDataset *dataset;
	const DmShape *shape;
	Relation current;
	Relation history;
	Datum effective; /* of the dataset's effective type */
	int64 merge_id;
	bool new_dataset;	/* current was created in this transaction and is empty: every row is new */
	bool close_deletes; /* keys missing from the source end their versions */
	DmMergeCounts *counts;
} DmMatcherSpec;

extern DmMatcher *dm_matcher_begin(const DmMatcherSpec *spec);
extern void dm_matcher_row(TupleTableSlot *slot, void *matcher);
extern void dm_matcher_finish(DmMatcher *matcher);

#endif
