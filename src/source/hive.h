/*
 * hive.h: columns that stand in the keys of objects, as Hive and Spark partition them: .../year=2026/month=01/part.csv.
 *
 * Each folder step "name=..." of a URL that has a wildcard after the equals sign makes a column of that name. Names and values
 * have what is special in a path as %XX.
 */
#ifndef DM_HIVE_H
#define DM_HIVE_H

#include "postgres.h"
#include "nodes/pg_list.h"

/* Names of the columns, a list of char* in the order of the URL, in the current memory context. Raises 22023 for a name twice. */
extern List *dm_hive_names(const char *url);
/* The same for a pattern of keys, or its end from a step on; nothing is checked. */
extern List *dm_hive_pattern_names(const char *pattern);
/*
 * The value of a column in the folders of a key, in the current memory context; NULL for Hive's null
 * (__HIVE_DEFAULT_PARTITION__), and where no folder of the key has the name: *found tells which.
 */
extern char *dm_hive_value(const char *key, const char *name, bool *found);
/* The folder step "column=value/" for a value, NULL for SQL's NULL; palloc'd. */
extern char *dm_hive_step(const char *column, const char *value);

#endif
