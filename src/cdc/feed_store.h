/*
 * feed_store.h: what is stored of a feed: reads all of one key, writes the difference, finds keys.
 */
#ifndef DM_FEED_STORE_H
#define DM_FEED_STORE_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/feed.h"
#include "cdc/feed_fold.h"

typedef struct DmFeedStore DmFeedStore;

/* Says whether a stored row's key is wanted. start: of the version or point; end: NULL while open, and of points. */
typedef bool (*DmFeedWanted)(void *arg, Datum start, const Datum *end, const int64 merge_ids[2]);
typedef void (*DmFeedKey)(void *arg, const Datum *values);

extern DmFeedStore *dm_feed_store_open(const DmFeedSpec *spec, DmFeedOrder *order);
extern DmFeedState *dm_feed_store_read(DmFeedStore *store, const Datum *key);
extern void dm_feed_store_write(DmFeedStore *store, const Datum *key, const DmFeedState *stored,
								const DmFeedState *folded, bool values_move);
extern void dm_feed_store_keys(DmFeedStore *store, DmFeedWanted wanted, DmFeedKey found, void *arg);
extern int64 dm_feed_store_live_rows(DmFeedStore *store);
extern void dm_feed_store_close(DmFeedStore *store);

#endif
