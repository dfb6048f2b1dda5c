/*
 * json_value.h: a JSON value to a Datum of a column, as json_populate_record() has it, but straight from its text.
 */
#ifndef DM_JSON_VALUE_H
#define DM_JSON_VALUE_H

#include "postgres.h"

#include "codec/json.h"
#include "rows/convert.h"
#include "rows/populate.h"

typedef enum DmJsonTake
{
	DM_JSON_TAKE_TEXT,	   /* the type's converter knows what to do */
	DM_JSON_TAKE_INTEGER,  /* ... but 1.0 and 1e3 are integers, too */
	DM_JSON_TAKE_JSON,	   /* json, jsonb: any value's JSON */
	DM_JSON_TAKE_CONTAINER /* an array or composite type */
} DmJsonTake;

typedef struct DmJsonColumn
{
	DmConverter *converter;
	DmJsonTake take;
	DmPopulator *populator; /* of DM_JSON_TAKE_CONTAINER */
} DmJsonColumn;

/* Prepares for a column, in the current memory context; the converter is one for it. */
extern void dm_json_column_init(DmJsonColumn *column, Form_pg_attribute attribute, DmConverter *converter);
/* The value of JSON that is not null. Raises what the type's input function raises. Lives as a converter's result. */
extern Datum dm_json_column_convert(DmJsonColumn *column, DmJsonSpan value, bool *isnull);

#endif
