/*
 * convert_internal.h: what the files of the converters share; for this folder only.
 */
#ifndef DM_CONVERT_INTERNAL_H
#define DM_CONVERT_INTERNAL_H

#include "rows/convert.h"

/* Converts by the type's input function: what every converter does with a spelling it does not know. */
extern Datum dm_convert_by_input(DmConverter *converter, const char *data, int len);

/* Makes a numeric of an optional minus and digits with at most one point; false for anything else. */
extern bool dm_numeric_make(const char *data, int len, Datum *value);

extern Datum dm_convert_date(DmConverter *converter, const char *data, int len);
extern Datum dm_convert_timestamp(DmConverter *converter, const char *data, int len);
extern Datum dm_convert_timestamptz(DmConverter *converter, const char *data, int len);
extern Datum dm_convert_jsonb(DmConverter *converter, const char *data, int len);

#endif
