/*
 * json_value.c: a JSON value to a Datum of a column.
 *
 * The type's converter gets a string's content, a number's digits or a container's JSON; json and jsonb get the JSON of
 * any value. Containers go to arrays and composite types through json_populate_record() itself.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "source/json_value.h"

/* Tells how a type takes JSON. */
static DmJsonTake
type_take(Oid type)
{
	Oid base = getBaseType(type);

	switch (base)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID: return DM_JSON_TAKE_INTEGER;
		case JSONOID:
		case JSONBOID: return DM_JSON_TAKE_JSON;
		default: break;
	}
	if (OidIsValid(get_element_type(base)) || get_typtype(base) == TYPTYPE_COMPOSITE || base == RECORDOID)
		return DM_JSON_TAKE_CONTAINER;
	return DM_JSON_TAKE_TEXT;
}

/* Prepares for a column. */
void
dm_json_column_init(DmJsonColumn *column, Form_pg_attribute attribute, DmConverter *converter)
{
	column->converter = converter;
	column->take = type_take(attribute->atttypid);
	column->populator = column->take == DM_JSON_TAKE_CONTAINER ? dm_populator_make(attribute) : NULL;
}

/* Replaces a number in another spelling of an integer (1.0, 1e3) by its digits; leaves all others. */
static void
plain_integer(DmJsonSpan *value)
{
	Numeric number;
	char *text;

	if (!memchr(value->data, '.', value->len) && !memchr(value->data, 'e', value->len) &&
		!memchr(value->data, 'E', value->len))
		return;
	text = pnstrdup(value->data, value->len);
	number = DatumGetNumeric(
		DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	text = DatumGetCString(
		DirectFunctionCall1(numeric_out, DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(number))));
	if (strchr(text, '.'))
		return;
	value->data = text;
	value->len = (int) strlen(text);
}

/* The value of JSON that is not null. */
Datum
dm_json_column_convert(DmJsonColumn *column, DmJsonSpan value, bool *isnull)
{
	DmConverter *converter = column->converter;

	*isnull = false;
	if (column->take == DM_JSON_TAKE_JSON)
	{
		int quote = value.kind == DM_JSON_STRING ? 1 : 0;

		return converter->convert(converter, value.data - quote, value.len + 2 * quote);
	}
	if (column->take == DM_JSON_TAKE_CONTAINER && (value.kind == DM_JSON_ARRAY || value.kind == DM_JSON_OBJECT))
		return dm_populate(column->populator, value.data, value.len, isnull);
	if (value.escaped)
		dm_json_unescape(&value);
	else if (column->take == DM_JSON_TAKE_INTEGER && value.kind == DM_JSON_NUMBER)
		plain_integer(&value);
	return converter->convert(converter, value.data, value.len);
}
