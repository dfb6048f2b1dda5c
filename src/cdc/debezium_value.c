/*
 * debezium_value.c: values of Debezium events to Datums.
 *
 * What a value is encoded as, its schema tells; without one, the column's type and the options do. A number in a column
 * of dates is days in every mode of Debezium, but one in a column of times may be milli-, micro- or nanoseconds: without a
 * schema or option debezium_time that is an error, not a guess.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/int.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "cdc/debezium_value.h"

#define MICROS_PER_SECOND INT64CONST(1000000)
/* More digits than numeric holds in front of its point and behind it. */
#define MAX_DECIMAL_BYTES 62000
#define EPOCH_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

static DmDebeziumField field_guess(const DmFeedOptions *options, const DmDebeziumColumn *column, DmJsonSpan value);
static bool is_moment(Oid type);
static int64 number_read(const DmDebeziumColumn *column, DmJsonSpan value);
static Datum text_convert(DmDebeziumColumn *column, const char *text);
static uint8 *base64_read(const DmDebeziumColumn *column, DmJsonSpan value, int *len);
static char *decimal_text(const uint8 *bytes, int len, int scale);
static Datum variable_decimal(DmDebeziumColumn *column, DmJsonSpan value);

/* Prepares for a column, in the current memory context; column does not move after that. */
void
dm_debezium_column_init(DmDebeziumColumn *column, Form_pg_attribute attribute)
{
	column->attribute = attribute;
	column->base_type = getBaseType(attribute->atttypid);
	dm_converter_init(&column->converter, attribute);
	dm_json_column_init(&column->json, attribute, &column->converter);
}

/* True if a value is the placeholder for one that Debezium does not have: as text, as base64 or as an array's element. */
bool
dm_debezium_is_unavailable(const DmFeedOptions *options, const DmDebeziumColumn *column, DmJsonSpan value)
{
	int len = strlen(options->unavailable);

	if (value.kind == DM_JSON_ARRAY)
	{
		DmJsonScan scan;
		DmJsonSpan element;

		return dm_json_array_begin(&scan, value.data, value.len) && dm_json_next_element(&scan, &element) &&
			   dm_json_is(element, options->unavailable) && !dm_json_next_element(&scan, &element);
	}
	if (value.kind != DM_JSON_STRING)
		return false;
	if (dm_json_is(value, options->unavailable))
		return true;
	if (column->base_type == BYTEAOID && value.len == pg_b64_enc_len(len))
	{
		char *encoded = palloc(pg_b64_enc_len(len) + 1);
		int encoded_len = pg_b64_encode((const void *) options->unavailable, len, encoded, pg_b64_enc_len(len));

		return encoded_len == value.len && memcmp(encoded, value.data, value.len) == 0;
	}
	return false;
}

/* Converts a value that is not null. field: what its schema says, NULL without one. Raises what the type's input does. */
Datum
dm_debezium_convert(const DmFeedOptions *options, DmDebeziumColumn *column, const DmDebeziumField *field,
					DmJsonSpan value, bool *isnull)
{
	DmDebeziumField guess;

	*isnull = false;
	if (!field)
	{
		guess = field_guess(options, column, value);
		field = &guess;
	}
	if (value.kind == DM_JSON_NUMBER && (field->code == DM_CODE_DATE || field->code == DM_CODE_TIME ||
										 field->code == DM_CODE_TIMESTAMP || field->code == DM_CODE_DURATION))
		return dm_debezium_convert_units(column, field->code, field->units, value);
	if (value.kind == DM_JSON_STRING && field->code == DM_CODE_DECIMAL)
	{
		int len;
		uint8 *bytes = base64_read(column, value, &len);

		return text_convert(column, decimal_text(bytes, len, field->scale));
	}
	if (value.kind == DM_JSON_STRING && field->code == DM_CODE_BYTES && column->base_type == BYTEAOID)
	{
		int len;
		uint8 *bytes = base64_read(column, value, &len);
		bytea *result = palloc(VARHDRSZ + len);

		SET_VARSIZE(result, VARHDRSZ + len);
		memcpy(VARDATA(result), bytes, len);
		return PointerGetDatum(result);
	}
	if (value.kind == DM_JSON_OBJECT && column->base_type == NUMERICOID)
		return variable_decimal(column, value);
	/* JSON comes as a string that holds it */
	if (value.kind == DM_JSON_STRING && column->json.take == DM_JSON_TAKE_JSON)
	{
		if (value.escaped)
			dm_json_unescape(&value);
		return text_convert(column, pnstrdup(value.data, value.len));
	}
	return dm_json_column_convert(&column->json, value, isnull);
}

/* Returns how a value without a schema is encoded. Raises 22007 if that cannot be told. */
static DmDebeziumField
field_guess(const DmFeedOptions *options, const DmDebeziumColumn *column, DmJsonSpan value)
{
	static const int64 units[] = {0, 1000, 1000000, 1000000000};
	DmDebeziumField field = {.code = DM_CODE_PLAIN, .units = units[options->time]};
	Oid type = column->base_type;

	if (type == BYTEAOID)
		field.code = DM_CODE_BYTES;
	if (value.kind != DM_JSON_NUMBER)
		return field;
	if (type == DATEOID)
		field.code = DM_CODE_DATE;
	else if (type == INTERVALOID)
	{
		field.code = DM_CODE_DURATION;
		field.units = MICROS_PER_SECOND;
	}
	else if (is_moment(type) && options->time == DM_DEBEZIUM_ISO)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("a number for column \"%s\" of type %s, and nothing that tells its unit",
						NameStr(column->attribute->attname),
						format_type_be(column->attribute->atttypid)),
				 errhint("Send events with their schema, or set option debezium_time to connect (milliseconds), "
						 "micro or nano.")));
	else if (type == TIMEOID || type == TIMETZOID)
		field.code = DM_CODE_TIME;
	else if (type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		field.code = DM_CODE_TIMESTAMP;
	return field;
}

/* True for the types of moments and times of day. */
static bool
is_moment(Oid type)
{
	return type == TIMEOID || type == TIMETZOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;
}

/* Converts a number of days or of units of a second. Raises 22008 for one that is out of range. */
Datum
dm_debezium_convert_units(DmDebeziumColumn *column, DmDebeziumCode code, int64 units, DmJsonSpan value)
{
	int64 number = number_read(column, value);
	char text[MAXDATELEN + 1];
	int64 micros = number;
	const int utc = 0;
	Timestamp moment;

	if (code == DM_CODE_DATE)
	{
		int64 days;

		/* the ends of an int32 are infinities */
		if (pg_sub_s64_overflow(number, EPOCH_DAYS, &days) || !IS_VALID_DATE(days))
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("date out of range")));
		JsonEncodeDateTime(text, DateADTGetDatum((DateADT) days), DATEOID, NULL);
		return text_convert(column, text);
	}
	if (units < MICROS_PER_SECOND && pg_mul_s64_overflow(number, MICROS_PER_SECOND / units, &micros))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	if (units > MICROS_PER_SECOND)
	{
		int64 nanos_per_micro = units / MICROS_PER_SECOND;

		/* downwards, before 1970, too */
		micros = number / nanos_per_micro - (number % nanos_per_micro < 0);
	}
	if (code == DM_CODE_DURATION)
		return text_convert(column, psprintf(INT64_FORMAT " microseconds", micros));
	if (code == DM_CODE_TIME)
	{
		if (micros < 0 || micros > USECS_PER_DAY)
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("time out of range")));
		JsonEncodeDateTime(text, TimeADTGetDatum(micros), TIMEOID, NULL);
	}
	else
	{
		if (pg_sub_s64_overflow(micros, EPOCH_DAYS * USECS_PER_DAY, &moment) || !IS_VALID_TIMESTAMP(moment))
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
		if (column->base_type == TIMESTAMPTZOID)
			JsonEncodeDateTime(text, TimestampTzGetDatum(moment), TIMESTAMPTZOID, &utc);
		else
			JsonEncodeDateTime(text, TimestampGetDatum(moment), TIMESTAMPOID, NULL);
	}
	/* such numbers count in UTC */
	if (column->base_type == TIMETZOID)
		return text_convert(column, psprintf("%sZ", text));
	return text_convert(column, text);
}

/* Reads a whole number. Raises 22P02 for any other. */
static int64
number_read(const DmDebeziumColumn *column, DmJsonSpan value)
{
	char *text = pnstrdup(value.data, value.len);
	char *end;
	int64 number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("number %s for column \"%s\" of type %s is not a whole one",
						text,
						NameStr(column->attribute->attname),
						format_type_be(column->attribute->atttypid))));
	return number;
}

/* Converts text as the column's type reads it. */
static Datum
text_convert(DmDebeziumColumn *column, const char *text)
{
	return column->converter.convert(&column->converter, text, strlen(text));
}

/* Decodes base64, palloc'd. Raises 22P02 for anything else. */
static uint8 *
base64_read(const DmDebeziumColumn *column, DmJsonSpan value, int *len)
{
	uint8 *bytes;

	if (value.escaped)
		dm_json_unescape(&value);
	bytes = palloc(pg_b64_dec_len(value.len) + 1);
	*len = pg_b64_decode(value.data, value.len, (void *) bytes, pg_b64_dec_len(value.len));
	if (*len < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("value for column \"%s\" is not base64", NameStr(column->attribute->attname)),
				 errhint("Debezium writes bytes as base64 (binary.handling.mode bytes or base64).")));
	return bytes;
}

/* Returns a big-endian two's complement number with its point moved by scale, as text. */
static char *
decimal_text(const uint8 *bytes, int len, int scale)
{
	bool negative = len > 0 && bytes[0] & 0x80;
	uint8 *magnitude = palloc(len + 1);
	char *digits = palloc(len * 3 + 3); /* a byte is less than three digits */
	int count = 0;
	int carry = negative;
	StringInfoData out;

	if (len > MAX_DECIMAL_BYTES)
		ereport(
			ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("a decimal of %d bytes is out of range", len)));
	for (int i = len - 1; i >= 0; i--)
	{
		int byte = negative ? (uint8) ~bytes[i] + carry : bytes[i];

		magnitude[i] = (uint8) byte;
		carry = byte >> 8;
	}
	for (int first = 0; first < len;)
	{
		int rest = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = first; i < len; i++)
		{
			int number = rest << 8 | magnitude[i];

			magnitude[i] = number / 10;
			rest = number % 10;
		}
		digits[count++] = '0' + rest;
		while (first < len && magnitude[first] == 0)
			first++;
	}
	if (count == 0)
		digits[count++] = '0';
	initStringInfo(&out);
	if (negative)
		appendStringInfoChar(&out, '-');
	while (count > 0)
		appendStringInfoChar(&out, digits[--count]);
	appendStringInfo(&out, "e%d", -scale);
	return out.data;
}

/* Converts {"scale": n, "value": "base64"}. */
static Datum
variable_decimal(DmDebeziumColumn *column, DmJsonSpan value)
{
	DmJsonSpan scale;
	DmJsonSpan unscaled;
	uint8 *bytes;
	int len;

	if (!dm_json_member(value, "scale", &scale) || !dm_json_member(value, "value", &unscaled) ||
		unscaled.kind != DM_JSON_STRING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("an object for column \"%s\" of type numeric that has no scale and value",
						NameStr(column->attribute->attname))));
	bytes = base64_read(column, unscaled, &len);
	return text_convert(column, decimal_text(bytes, len, dm_json_int(scale)));
}
