/*
 * populate.h: JSON to a Datum of any type, arrays and composite types included, as json_populate_record() has it.
 */
#ifndef DM_POPULATE_H
#define DM_POPULATE_H

#include "postgres.h"
#include "access/tupdesc.h"

typedef struct DmPopulator DmPopulator;

/* Prepares for a column's type, in the current memory context. */
extern DmPopulator *dm_populator_make(Form_pg_attribute attribute);
/* The value of the JSON text data[0..len), in the current memory context. Raises what json_populate_record() raises. */
extern Datum dm_populate(DmPopulator *populator, const char *data, int len, bool *isnull);

#endif
