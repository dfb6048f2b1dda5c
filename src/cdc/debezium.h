/*
 * debezium.h: Debezium change events to events of a feed.
 */
#ifndef DM_DEBEZIUM_H
#define DM_DEBEZIUM_H

#include "postgres.h"
#include "access/tupdesc.h"

#include "cdc/feed.h"
#include "cdc/feed_options.h"
#include "source/source.h"

typedef struct DmDebezium DmDebezium;

extern DmDebezium *dm_debezium_open(const DmFeedOptions *options, DmSource *source);
extern TupleDesc dm_debezium_columns(DmDebezium *debezium, Oid *sequence_type);
extern void dm_debezium_run(DmDebezium *debezium, DmFeed *feed, const DmDataset *dataset, const DmShape *shape);

#endif
