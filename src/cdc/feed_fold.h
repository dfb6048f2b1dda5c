/*
 * feed_fold.h: all events of one key to its versions and points.
 */
#ifndef DM_FEED_FOLD_H
#define DM_FEED_FOLD_H

#include "postgres.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

#include "cdc/cdc.h"

/* An event: an upsert with the values of the wanted columns, or a delete. */
typedef struct DmFeedEvent
{
	Datum sequence;
	bool is_delete;
	bool is_new; /* of this merge's source, not of what is stored */
	Datum *values;
	bool *nulls;
	int64 merge_id; /* of the merge that brought it */
} DmFeedEvent;

/* A version, stored or to be stored. */
typedef struct DmFeedVersion
{
	Datum start;
	Datum end; /* meaningless while open */
	bool is_open;
	char operation;
	char ended_by;
	int64 merge_id;
	int64 ended_merge_id;
	Datum *values;
	bool *nulls;
	ItemPointerData tid; /* of the stored row */
	bool is_kept;		 /* a stored version that has a counterpart among the new ones */
} DmFeedVersion;

/* An event that no version shows. */
typedef struct DmFeedPoint
{
	Datum sequence;
	char operation; /* D or N */
	ItemPointerData tid;
	bool is_kept;
} DmFeedPoint;

typedef struct DmFeedState
{
	List *versions; /* of DmFeedVersion*, by start */
	List *points;	/* of DmFeedPoint*, by sequence */
} DmFeedState;

typedef struct DmFeedOrder
{
	FmgrInfo compare; /* btree comparison of the sequence's type */
	Oid output;		  /* its output function, for messages */
} DmFeedOrder;

extern int dm_feed_compare(DmFeedOrder *order, Datum a, Datum b);
extern List *dm_feed_events(DmFeedOrder *order, const DmFeedState *stored);
extern DmFeedState *dm_feed_fold(DmFeedOrder *order, const DmShape *shape, List *events, int64 merge_id,
								 DmMergeCounts *counts);

#endif
