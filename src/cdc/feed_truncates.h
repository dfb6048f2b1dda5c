/*
 * feed_truncates.h: the truncates of a feed, which are stored with the dataset.
 */
#ifndef DM_FEED_TRUNCATES_H
#define DM_FEED_TRUNCATES_H

#include "postgres.h"

#include "cdc/feed_fold.h"

extern List *dm_truncates_read(const DmDataset *dataset);
extern void dm_truncates_store(const DmDataset *dataset, const DmFeedTruncate *truncate);
extern void dm_truncates_forget(const DmDataset *dataset, int64 merge_id);

#endif
