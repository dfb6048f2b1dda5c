/*
 * names.h: lists of names (char*), and names as a statement quotes them.
 */
#ifndef DM_NAMES_H
#define DM_NAMES_H

#include "postgres.h"
#include "nodes/pg_list.h"

extern bool dm_names_has(List *names, const char *name);
extern bool dm_names_same(List *a, List *b);
extern List *dm_names_from_array(Datum array);
extern List *dm_names_from_argument(Datum array, const char *argument);
extern Datum dm_names_to_array(List *names);
extern char *dm_names_quoted(List *names);
extern char *dm_names_join(List *names);
extern char *dm_operator_quoted(Oid operator);

#endif
