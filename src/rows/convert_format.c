/*
 * convert_format.c: dates and times in other forms than the types' own: seconds or milliseconds since 1970, or a template of
 * to_timestamp().
 *
 * A template must fit exactly: what to_timestamp() would pass over, a text with something behind it, is an error. Times without a
 * zone are in the session's for timestamptz, as everywhere; since 1970 counts in UTC.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/formatting.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "rows/convert.h"

#define DM_EPOCH_SECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

static void epoch_error(const DmConverter *converter, const char *data, int len) pg_attribute_noreturn();

/* Raises for a text that is no number of seconds. */
static void
epoch_error(const DmConverter *converter, const char *data, int len)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
			 errmsg("invalid number of %s since 1970: \"%.*s\"",
					converter->epoch_unit == USECS_PER_SEC ? "seconds" : "milliseconds",
					len,
					data)));
}

/* Reads seconds or milliseconds since 1970, with a fraction, as microseconds since 2000; what is finer is rounded. */
static Timestamp
read_epoch(const DmConverter *converter, const char *data, int len)
{
	const char *p = data;
	const char *end = data + len;
	bool negative = p < end && *p == '-';
	int64 unit = converter->epoch_unit;
	int64 value = 0;
	Timestamp result;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (p == end || *p < '0' || *p > '9')
		epoch_error(converter, data, len);
	for (; p < end && *p >= '0' && *p <= '9'; p++)
	{
		if (value > PG_INT64_MAX / unit / 10 - 1)
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
		value = value * 10 + (*p - '0');
	}
	value *= unit;
	if (p < end && *p == '.')
	{
		int64 digit = unit;

		for (p++; p < end && *p >= '0' && *p <= '9'; p++)
		{
			if (digit == 1)
				value += *p >= '5'; /* the first digit that is too fine */
			digit /= 10;
			value += (*p - '0') * digit;
		}
	}
	if (p != end)
		epoch_error(converter, data, len);
	if (pg_sub_s64_overflow(negative ? -value : value, DM_EPOCH_SECONDS * USECS_PER_SEC, &result) ||
		!IS_VALID_TIMESTAMP(result))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	return result;
}

/* Seconds or milliseconds since 1970. */
static Datum
convert_epoch(DmConverter *converter, const char *data, int len)
{
	Datum value = TimestampGetDatum(read_epoch(converter, data, len));

	if (converter->format_type == DATEOID)
		return DirectFunctionCall1(timestamp_date, value);
	return DirectFunctionCall2(timestamp_scale, value, Int32GetDatum(converter->typmod));
}

/* Converts what a template gave to a column's type. Returns false where there is no way. */
static bool
cast_value(Oid from, Oid to, Datum *value)
{
	static const struct
	{
		Oid from;
		Oid to;
		PGFunction function;
	} casts[] = {{DATEOID, TIMESTAMPOID, date_timestamp},
				 {DATEOID, TIMESTAMPTZOID, date_timestamptz},
				 {TIMESTAMPOID, DATEOID, timestamp_date},
				 {TIMESTAMPOID, TIMESTAMPTZOID, timestamp_timestamptz},
				 {TIMESTAMPTZOID, DATEOID, timestamptz_date},
				 {TIMESTAMPTZOID, TIMESTAMPOID, timestamptz_timestamp}};

	if (from == to)
		return true;
	for (int i = 0; i < lengthof(casts); i++)
	{
		if (casts[i].from != from || casts[i].to != to)
			continue;
		*value = DirectFunctionCall1(casts[i].function, *value);
		return true;
	}
	return false;
}

/* By a template. */
static Datum
convert_template(DmConverter *converter, const char *data, int len)
{
	Oid type;
	int32 typmod;
	int zone = 0;
	Datum value = dm_parse_datetime(
		cstring_to_text_with_len(data, len), converter->format, DEFAULT_COLLATION_OID, &type, &typmod, &zone);

	if (!cast_value(type, converter->format_type, &value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("format \"%s\" gives a time without a date", text_to_cstring(converter->format))));
	if (converter->format_type == DATEOID)
		return value;
	return DirectFunctionCall2(timestamp_scale, value, Int32GetDatum(converter->typmod));
}

/* Has a converter of a date or timestamp read it in a format; see convert.h. */
void
dm_converter_set_format(DmConverter *converter, Form_pg_attribute attribute, const char *format)
{
	if (pg_strcasecmp(format, "auto") == 0)
		return;
	converter->format_type = attribute->atttypid;
	if (pg_strcasecmp(format, "epochsecs") == 0 || pg_strcasecmp(format, "epochmillisecs") == 0)
	{
		converter->epoch_unit = pg_strcasecmp(format, "epochsecs") == 0 ? USECS_PER_SEC : 1000;
		converter->convert = convert_epoch;
		return;
	}
	converter->format = cstring_to_text(format);
	converter->convert = convert_template;
}
