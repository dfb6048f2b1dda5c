/*
 * settings.h: the settings of a dataset beyond keys, untracked columns, deletes and the type of its dates.
 *
 * They are stored as the jsonb object of the options that gave them, and read from it, so that a setting has one
 * spelling everywhere.
 */
#ifndef DM_SETTINGS_H
#define DM_SETTINGS_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* Columns that a dataset adds, to its tables and views. */
typedef enum DmName
{
	DM_NAME_OPERATION,
	DM_NAME_START,
	DM_NAME_END,
	DM_NAME_ENDED_BY,
	DM_NAME_MERGE,		 /* the merge that made the version; in current and history */
	DM_NAME_ENDED_MERGE, /* the merge that ended it; in history */
	DM_NAME_KEY_HASH,
	DM_NAME_ROW_HASH,
	DM_NAME_VALID,	   /* in the versions view */
	DM_NAME_EFFECTIVE, /* in the changes view */
	DM_NAME_MADE_BY,   /* in current, with stamp_operation */
	DM_NAMES
} DmName;

typedef enum DmColumnRule
{
	DM_COLUMN_ERROR,
	DM_COLUMN_ADD,
	DM_COLUMN_IGNORE
} DmColumnRule;

typedef enum DmPeriod
{
	DM_PERIOD_NONE,
	DM_PERIOD_MONTH,
	DM_PERIOD_YEAR
} DmPeriod;

typedef struct DmSettings
{
	const char *names[DM_NAMES]; /* not quoted */
	bool last_wins;				 /* of rows with one key the last by order_column, instead of an error */
	const char *order_column;	 /* or NULL */
	bool null_keys;				 /* NULL is a key like any other */
	DmColumnRule on_new;
	DmColumnRule on_missing; /* error or ignore */
	bool widen;				 /* columns get the wider type of a source */
	bool stamp;				 /* N and X are written to current, too */
	List *sensitive;		 /* of char* */
	List *overwritten;		 /* of char*: kind 1, as untracked */
	List *keep_first;		 /* of char*: kind 0 */
	List *previous;			 /* of char*: kind 3 */
	DmPeriod partition;		 /* of history, by the end of versions */
	bool index_keys;		 /* of history */
	bool index_time;
} DmSettings;

extern void dm_settings_parse(Jsonb *options, DmSettings *settings);
extern bool dm_settings_is_option(const char *name);
extern const char *dm_settings_options(void);
extern const char *dm_settings_differing(Jsonb *given, Jsonb *stored);
extern bool dm_settings_is_of_batch(const char *name);
extern void dm_settings_check_feed(const DmSettings *settings);
extern const char *dm_settings_default_name(DmName name);
extern char *dm_settings_previous_name(const char *column);

#endif
