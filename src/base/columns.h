/*
 * columns.h: many rows as parameters of one statement: an array a column, for unnest().
 */
#ifndef DM_COLUMNS_H
#define DM_COLUMNS_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/catalog.h"

typedef struct DmColumn
{
	Oid type; /* of an element; text if not set */
	int n;
	int room;
	Datum *values;
	bool *nulls;
} DmColumn;

extern void dm_column_add(DmColumn *column, Datum value, bool is_null);
extern void dm_column_add_int8(DmColumn *column, int64 value);
extern void dm_column_add_text(DmColumn *column, const char *value);
extern void dm_column_add_time(DmColumn *column, TimestampTz value);
/* Adds the column as one parameter. */
extern void dm_args_column(DmCatalogArgs *args, const DmColumn *column);

#endif
