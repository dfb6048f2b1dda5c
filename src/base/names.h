/*
 * names.h: lists of names (char*).
 */
#ifndef DM_NAMES_H
#define DM_NAMES_H

#include "postgres.h"
#include "nodes/pg_list.h"

extern bool dm_names_has(List *names, const char *name);
extern bool dm_names_same(List *a, List *b);
extern List *dm_names_from_array(Datum array);
extern Datum dm_names_to_array(List *names);
extern char *dm_names_quoted(List *names);
extern char *dm_names_join(List *names);

#endif
