/*
 * columns.c: many rows as parameters of one statement. Elements are allocated in the current memory context.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/columns.h"

/* Adds an element. */
void
dm_column_add(DmColumn *column, Datum value, bool is_null)
{
	if (column->n == column->room)
	{
		column->room = column->room ? 2 * column->room : 16;
		column->values = column->values ? repalloc_huge(column->values, column->room * sizeof(Datum))
										: palloc(column->room * sizeof(Datum));
		column->nulls = column->nulls ? repalloc_huge(column->nulls, column->room * sizeof(bool))
									  : palloc(column->room * sizeof(bool));
	}
	column->values[column->n] = value;
	column->nulls[column->n++] = is_null;
}

/* Adds a bigint. */
void
dm_column_add_int8(DmColumn *column, int64 value)
{
	column->type = INT8OID;
	dm_column_add(column, Int64GetDatum(value), false);
}

/* Adds a text; NULL for NULL. */
void
dm_column_add_text(DmColumn *column, const char *value)
{
	dm_column_add(column, value ? CStringGetTextDatum(value) : (Datum) 0, !value);
}

/* Adds a timestamptz; NULL for DT_NOEND. */
void
dm_column_add_time(DmColumn *column, TimestampTz value)
{
	column->type = TIMESTAMPTZOID;
	dm_column_add(column, TimestampTzGetDatum(value), TIMESTAMP_IS_NOEND(value));
}

/* Adds the column as one parameter. */
void
dm_args_column(DmCatalogArgs *args, const DmColumn *column)
{
	Oid type = OidIsValid(column->type) ? column->type : TEXTOID;
	int dims[] = {column->n};
	int bounds[] = {1};
	int16 length;
	bool by_value;
	char align;
	ArrayType *array;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	array = column->n == 0
				? construct_empty_array(type)
				: construct_md_array(column->values, column->nulls, 1, dims, bounds, type, length, by_value, align);
	dm_args_add(args, get_array_type(type), PointerGetDatum(array), false);
}
