/*
 * feed_fold.h: all events of one key to its versions and points.
 */
#ifndef DM_FEED_FOLD_H
#define DM_FEED_FOLD_H

#include "postgres.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

#include "cdc/apply.h"
#include "cdc/cdc.h"

/* What a point stands for: an event that no version shows, or not all of it. */
#define DM_POINT_DELETE 'D'	   /* a delete where nothing was */
#define DM_POINT_UNCHANGED 'N' /* an upsert with the very values of the version that covers it */
#define DM_POINT_UPSERT 'U'	   /* an upsert whose values are kept with the point */

/* An event: an upsert with the values of the wanted columns, or a delete. */
typedef struct DmFeedEvent
{
	Datum sequence;
	bool is_delete;
	bool is_new;	/* of this merge's source, not of what is stored */
	int64 merge_id; /* of the merge that brought it first */
	Datum *values;
	bool *nulls;
	Bitmapset *unavailable; /* wanted columns that an upsert does not tell: they keep their value before */
} DmFeedEvent;

/* A version, stored or to be stored. */
typedef struct DmFeedVersion
{
	Datum start;
	Datum end; /* meaningless while open */
	bool is_open;
	char operation;
	char ended_by; /* U, D or T */
	int64 merge_id;
	int64 ended_merge_id;
	Datum *values;
	bool *nulls;
	ItemPointerData tid;	  /* of the stored row */
	const DmFeedEvent *event; /* that started it, as long as the version alone stands for it; else NULL */
	bool is_pointed;		  /* a stored version whose start is a point, too */
} DmFeedVersion;

/* A stored event. */
typedef struct DmFeedPoint
{
	Datum sequence;
	char operation;
	int64 merge_id;
	Datum *values; /* of U only, as the next two */
	bool *nulls;
	Bitmapset *unavailable;
	ItemPointerData tid;
} DmFeedPoint;

typedef struct DmFeedState
{
	List *versions; /* of DmFeedVersion*, by start */
	List *points;	/* of DmFeedPoint*, by sequence */
} DmFeedState;

/* The order of sequences. */
typedef struct DmFeedOrder
{
	FmgrInfo compare; /* btree comparison of the sequence's type */
	Oid collation;
	Oid output; /* its output function, for messages */
} DmFeedOrder;

/* An event that ends the versions of all keys. */
typedef struct DmFeedTruncate
{
	Datum sequence;
	int64 merge_id;
	bool is_new;
} DmFeedTruncate;

/* What became of events. */
typedef struct DmFeedTally
{
	DmMergeCounts *counts;
	bool is_sampling;
	MemoryContext context;	 /* of the samples */
	List *samples[DM_FATES]; /* of char*: JSON objects of key columns */
} DmFeedTally;

typedef struct DmFeedFold
{
	DmFeedOrder *order;
	const DmShape *shape;
	const DmFeedTruncate *truncates; /* by sequence, one each */
	int ntruncates;
	DmFeedTally *tally;
	bool values_move; /* set by a fold whose versions' values depend on more than their first event */
	/* the fold's state between two sequences */
	DmFeedState *state;
	DmFeedVersion *open; /* NULL where nothing is */
	Datum last;			 /* the last sequence folded; meaningless at first */
} DmFeedFold;

extern int dm_feed_compare(DmFeedOrder *order, Datum a, Datum b);
extern int dm_feed_truncate_after(const DmFeedFold *fold, Datum sequence, bool or_at);
extern bool dm_feed_values_identical(const DmShape *shape, const Datum *a, const bool *a_nulls, const Datum *b,
									 const bool *b_nulls);
extern List *dm_feed_events(DmFeedOrder *order, const DmFeedState *stored);
extern DmFeedState *dm_feed_fold(DmFeedFold *fold, List *events);

#endif
