/*
 * json_option.h: values of options in a jsonb object.
 */
#ifndef DM_JSON_OPTION_H
#define DM_JSON_OPTION_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

extern char *dm_json_word(const char *name, JsonbValue *value);
extern bool dm_json_flag(const char *name, JsonbValue *value);
extern List *dm_json_names(const char *name, JsonbValue *value);

#endif
