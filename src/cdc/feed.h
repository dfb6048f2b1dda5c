/*
 * feed.h: merges events that carry their operation and their order.
 */
#ifndef DM_FEED_H
#define DM_FEED_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"

#include "cdc/apply.h"
#include "cdc/cdc.h"

/* A column of a feed's points: names of the columns that an upsert does not tell. */
#define DM_COL_UNAVAILABLE "unavailable_columns"

typedef struct DmFeed DmFeed;

/* What a merge (or its undo) changed. */
typedef struct DmFeedChanges
{
	int64 live_rows; /* of current, afterwards */
	int64 gone_rows; /* keys that were live before, and are not any more */
	int64 removed;	 /* versions that are not there any more */
	int64 restored;	 /* versions that were not there, or otherwise */
	int64 points;	 /* points that came or went */
} DmFeedChanges;

typedef struct DmFeedSpec
{
	const DmDataset *dataset;
	const DmShape *shape;
	Relation current;
	Relation history;
	Relation points;
	int64 merge_id; /* to make, or to take back */
	bool is_undo;	/* no event comes; those of the merge go */
	bool is_empty;	/* the tables were created in this transaction and hold nothing */
	bool dry_run;
	int64 live_rows;		   /* of current, -1 if not known: then they are counted */
	double max_delete_percent; /* of them; 100 for none */
	/* a dry run without events: called for each key of which other things are stored than its events give; or NULL */
	void (*differs)(const Datum *key, void *arg);
	void *differs_arg;
	DmMergeCounts *counts;
	DmFeedChanges *changes;
} DmFeedSpec;

extern DmFeed *dm_feed_begin(const DmFeedSpec *spec);
extern void dm_feed_upsert(DmFeed *feed, Datum sequence, const Datum *values, const bool *nulls,
						   const Bitmapset *unavailable);
extern void dm_feed_delete(DmFeed *feed, Datum sequence, const Datum *values, const bool *nulls);
extern void dm_feed_truncate(DmFeed *feed, Datum sequence);
extern void dm_feed_finish(DmFeed *feed);
extern void dm_feed_check(const DmDataset *dataset, ReturnSetInfo *result);
extern List **dm_feed_samples(DmFeed *feed);

#endif
