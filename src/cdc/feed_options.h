/*
 * feed_options.h: the options of mode feed, given with a merge and stored with the dataset.
 */
#ifndef DM_FEED_OPTIONS_H
#define DM_FEED_OPTIONS_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "cdc/cdc.h"

/* What a number means in a date or time column of a Debezium event without a schema. */
typedef enum DmDebeziumTime
{
	DM_DEBEZIUM_ISO,	 /* nothing: such values are strings */
	DM_DEBEZIUM_CONNECT, /* milliseconds */
	DM_DEBEZIUM_MICRO,
	DM_DEBEZIUM_NANO
} DmDebeziumTime;

typedef struct DmFeedOptions
{
	bool is_debezium;
	const char *sequence_column;  /* a column; of Debezium events a path from the event's top, too */
	Oid sequence_type;			  /* InvalidOid if not given */
	const char *operation_column; /* NULL: every row is an upsert */
	List *delete_values;		  /* of char* */
	List *truncate_values;
	const char *value_column; /* of Debezium events in rows: NULL if not given, as the next */
	const char *key_column;
	bool tombstones_delete; /* or are ignored */
	const char *unavailable;
	DmDebeziumTime time;
	bool ignore_unknown; /* members of events that are no columns */
	Jsonb *columns;		 /* types of a new dataset's columns, or NULL */
} DmFeedOptions;

extern bool dm_feed_is_option(const char *name);
extern const char *dm_feed_option_names(void);
extern void dm_feed_options_refuse(Jsonb *given, const char *mode, bool last_wins);
extern DmFeedOptions *dm_feed_options_make(const DmDataset *dataset, Jsonb *given, Jsonb **source_options,
										   bool is_objects);
extern void dm_feed_options_store(const DmDataset *dataset, Jsonb *given);

#endif
