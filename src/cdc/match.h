/*
 * match.h: matches source rows with the current table and has what changed applied.
 */
#ifndef DM_MATCH_ROWS_H
#define DM_MATCH_ROWS_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"

#include "cdc/apply.h"
#include "cdc/cdc.h"
#include "rows/row_buffer.h"

typedef struct DmMatcher DmMatcher;

typedef enum DmMergeMode
{
	DM_MODE_FULL,  /* the source holds every live key (of the scope) */
	DM_MODE_DELTA, /* the source holds keys that are new or may have changed */
	DM_MODE_FEED   /* the source holds events that carry their operation and their order */
} DmMergeMode;

typedef struct DmMatcherSpec
{
	DmApplySpec apply;
	DmMergeMode mode;
	bool close_deletes;			/* full: keys missing from the source end their versions */
	ExprState *scope;			/* full: only rows of current for which it is true may end; NULL for all */
	ExprContext *scope_context; /* to evaluate it in */
	double max_delete_percent;	/* full: of the rows of current, as a guard; 100 for none */
	bool null_keys;				/* NULL is a key like any other */
	bool stamp;					/* every row of current is looked at, to write what was found of it */
	int64 live_rows;			/* rows of current as the log knows them, -1 if it does not */
} DmMatcherSpec;

extern DmMatcher *dm_matcher_begin(const DmMatcherSpec *spec);
extern void dm_matcher_row(TupleTableSlot *slot, void *matcher);
extern void dm_matcher_keep_missing(DmMatcher *matcher);
extern int64 dm_matcher_finish(DmMatcher *matcher);
extern void dm_duplicates_check(const DmShape *shape, DmRowBuffer *batch);
extern void dm_deletes_check(const DmMatcherSpec *spec, int64 current_rows);
extern void dm_keys_check_null(const DmShape *shape, const bool *nulls, int64 row);
extern List **dm_matcher_samples(const DmMatcher *matcher);

#endif
