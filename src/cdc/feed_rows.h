/*
 * feed_rows.h: rows with columns for operation and sequence, to events.
 */
#ifndef DM_FEED_ROWS_H
#define DM_FEED_ROWS_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/feed.h"
#include "cdc/feed_options.h"
#include "source/source.h"

typedef struct DmFeedRows DmFeedRows;

extern TupleDesc dm_feed_rows_columns(const DmFeedOptions *options, TupleDesc offered, Oid *sequence_type);
extern TupleDesc dm_feed_rows_wanted(const DmFeedOptions *options, const DmShape *shape, Oid sequence_type);
extern DmFeedRows *dm_feed_rows_begin(DmFeed *feed, const DmFeedOptions *options, const DmShape *shape,
									  DmSource *source);
extern void dm_feed_rows_row(TupleTableSlot *slot, void *rows);
extern Oid dm_sequence_type(const char *name, Oid type);

#endif
