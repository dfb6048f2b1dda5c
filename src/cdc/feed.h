/*
 * feed.h: merges events that carry their operation and their order.
 */
#ifndef DM_FEED_H
#define DM_FEED_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/cdc.h"

typedef struct DmFeed DmFeed;

typedef struct DmFeedSpec
{
	const DmDataset *dataset;
	const DmShape *shape;
	Relation current;
	Relation history;
	Relation points;
	int64 merge_id;
	DmMergeCounts *counts;
} DmFeedSpec;

extern TupleDesc dm_feed_wanted(const DmDataset *dataset, const DmShape *shape);
extern DmFeed *dm_feed_begin(const DmFeedSpec *spec, TupleDesc wanted);
extern void dm_feed_row(TupleTableSlot *slot, void *feed);
extern void dm_feed_finish(DmFeed *feed);

#endif
