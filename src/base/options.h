/*
 * options.h: typed tables of options, and the checks that every place which takes options shares.
 *
 * A table says which options exist, where they may stand and what their values look like. The checks raise with the
 * names that are known there, so that a misspelt option is never ignored. Messages never hold the value of a secret.
 */
#ifndef DM_OPTIONS_H
#define DM_OPTIONS_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* Places where an option may stand; a bit mask. */
#define DM_OPTION_SERVER 0x01
#define DM_OPTION_MAPPING 0x02
#define DM_OPTION_TABLE 0x04
#define DM_OPTION_COLUMN 0x08
#define DM_OPTION_FUNCTION 0x10

typedef enum DmOptionType
{
	DM_OPTION_STRING,	/* any text but the empty one */
	DM_OPTION_TEXT,		/* any text */
	DM_OPTION_BOOL,		/* as Postgres spells booleans */
	DM_OPTION_INT,		/* min..max */
	DM_OPTION_SIZE,		/* bytes, or with kB, MB, GB; min..max in bytes */
	DM_OPTION_DURATION, /* seconds, or a time with its unit (500ms, 2min); min..max in ms */
	DM_OPTION_CHAR,		/* one single-byte character */
	DM_OPTION_ENUM,		/* one word of values */
	DM_OPTION_OBJECT,	/* a JSON object; in functions only */
	DM_OPTION_NAMES		/* an array of names, or one name; in functions only */
} DmOptionType;

typedef struct DmOption
{
	const char *name;
	DmOptionType type;
	int where;			/* mask of places */
	const char *values; /* DM_OPTION_ENUM: words separated by ", " */
	const char *later;	/* DM_OPTION_ENUM: words that a later version will know, refused as not supported yet */
	int64 min;
	int64 max;
	bool secret;	  /* its value appears in no message */
	bool unsupported; /* known, but refused as not supported yet */
	const char *help; /* one line */
} DmOption;

/* A set is a table, and the tables that it extends. */
typedef struct DmOptionSet
{
	const DmOption *options;
	int noptions;
	const struct DmOptionSet *next;
} DmOptionSet;

extern const DmOption *dm_option_find(const DmOptionSet *set, const char *name, int where);
extern char *dm_option_names(const DmOptionSet *set, int where);
extern void dm_options_check(const DmOptionSet *set, int where, List *defelems);
extern void dm_options_check_json(const DmOptionSet *set, Jsonb *options);

/* The text of an option in a list of DefElem, or NULL where it is not given. */
extern const char *dm_option_get(List *defelems, const char *name);
/* Values of checked options as C; each raises HV024 on text that the check would have refused. */
extern bool dm_option_bool(const char *name, const char *value);
extern int64 dm_option_size(const char *name, const char *value);
extern int dm_option_duration_ms(const char *name, const char *value);

#endif
