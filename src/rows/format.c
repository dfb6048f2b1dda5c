/*
 * format.c: a Datum to text.
 *
 * Invariants of the formatters:
 * 1. Each gives the bytes that its type's output function gives, whatever the settings (DateStyle, TimeZone,
 *    extra_float_digits): where a setting asks for something else than the one plain spelling, that function is called.
 * 2. Nothing is copied that lies in the value already: text is handed out where it is.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "rows/format.h"

/* See format.h. */
bool
dm_format_is_plain(unsigned char byte)
{
	return (byte < 0x80 && isalnum(byte)) || byte == ' ' || byte == '+' || byte == '-' || byte == '.' ||
		   byte == ':';
}

/* Calls the type's output function. */
static const char *
format_by_output(DmFormatter *formatter, Datum value, int *len)
{
	const char *text = OutputFunctionCall(&formatter->output, value);

	*len = (int) strlen(text);
	return text;
}

/* Formats a bool. */
static const char *
format_bool(DmFormatter *formatter, Datum value, int *len)
{
	*len = 1;
	return DatumGetBool(value) ? "t" : "f";
}

/* Formats a smallint. */
static const char *
format_int2(DmFormatter *formatter, Datum value, int *len)
{
	*len = pg_itoa(DatumGetInt16(value), formatter->buffer);
	return formatter->buffer;
}

/* Formats an integer. */
static const char *
format_int4(DmFormatter *formatter, Datum value, int *len)
{
	*len = pg_ltoa(DatumGetInt32(value), formatter->buffer);
	return formatter->buffer;
}

/* Formats a bigint. */
static const char *
format_int8(DmFormatter *formatter, Datum value, int *len)
{
	*len = pg_lltoa(DatumGetInt64(value), formatter->buffer);
	return formatter->buffer;
}

/* Formats a double precision in its shortest form, unless that is not what the session wants. */
static const char *
format_float8(DmFormatter *formatter, Datum value, int *len)
{
	if (extra_float_digits <= 0)
		return format_by_output(formatter, value, len);
	*len = double_to_shortest_decimal_buf(DatumGetFloat8(value), formatter->buffer);
	return formatter->buffer;
}

/* Formats a real likewise. */
static const char *
format_float4(DmFormatter *formatter, Datum value, int *len)
{
	if (extra_float_digits <= 0)
		return format_by_output(formatter, value, len);
	*len = float_to_shortest_decimal_buf(DatumGetFloat4(value), formatter->buffer);
	return formatter->buffer;
}

/* Hands out text, varchar, char(n) or json where it lies. */
static const char *
format_text(DmFormatter *formatter, Datum value, int *len)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

	*len = (int) VARSIZE_ANY_EXHDR(text);
	return VARDATA_ANY(text);
}

/* Hands out a name where it lies. */
static const char *
format_name(DmFormatter *formatter, Datum value, int *len)
{
	const char *name = NameStr(*DatumGetName(value));

	*len = (int) strnlen(name, NAMEDATALEN);
	return name;
}

/* Formats a uuid: 8-4-4-4-12 hex digits. */
static const char *
format_uuid(DmFormatter *formatter, Datum value, int *len)
{
	static const char digits[] = "0123456789abcdef";
	const pg_uuid_t *uuid = DatumGetUUIDP(value);
	char *to = formatter->buffer;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[uuid->data[i] >> 4];
		*to++ = digits[uuid->data[i] & 0xf];
	}
	*len = (int) (to - formatter->buffer);
	return formatter->buffer;
}

/* Writes a number below 100 in two digits. */
static inline char *
two_digits(char *to, int number)
{
	to[0] = (char) ('0' + number / 10);
	to[1] = (char) ('0' + number % 10);
	return to + 2;
}

/* Writes year (1 to 9999), month and day as ISO 8601 has them. */
static inline char *
iso_date(char *to, int year, int month, int day)
{
	to = two_digits(to, year / 100);
	to = two_digits(to, year % 100);
	*to++ = '-';
	to = two_digits(to, month);
	*to++ = '-';
	return two_digits(to, day);
}

/* Is it one that has four digits? */
static inline bool
is_plain_year(int year)
{
	return year >= 1 && year <= 9999;
}

/* Formats what none of the plain spellings of dates and times is. */
static const char *
format_other_time(DmFormatter *formatter, Datum value, Oid type, int *len)
{
	if (!formatter->iso)
		return format_by_output(formatter, value, len);
	JsonEncodeDateTime(formatter->buffer, value, type, NULL);
	*len = (int) strlen(formatter->buffer);
	return formatter->buffer;
}

/* Formats a date. */
static const char *
format_date(DmFormatter *formatter, Datum value, int *len)
{
	DateADT date = DatumGetDateADT(value);
	int year;
	int month;
	int day;

	if ((DateStyle != USE_ISO_DATES && !formatter->iso) || DATE_NOT_FINITE(date))
		return format_other_time(formatter, value, DATEOID, len);
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (!is_plain_year(year))
		return format_other_time(formatter, value, DATEOID, len);
	*len = (int) (iso_date(formatter->buffer, year, month, day) - formatter->buffer);
	return formatter->buffer;
}

/* Writes date and time; seconds have as many digits of a fraction as they need, as Postgres writes them. */
static char *
iso_timestamp(char *to, const struct pg_tm *tm, fsec_t fraction)
{
	to = iso_date(to, tm->tm_year, tm->tm_mon, tm->tm_mday);
	*to++ = ' ';
	to = two_digits(to, tm->tm_hour);
	*to++ = ':';
	to = two_digits(to, tm->tm_min);
	*to++ = ':';
	to = two_digits(to, tm->tm_sec);
	if (fraction != 0)
	{
		*to++ = '.';
		to = two_digits(to, fraction / 10000);
		to = two_digits(to, fraction / 100 % 100);
		to = two_digits(to, fraction % 100);
		while (to[-1] == '0')
			to--;
	}
	return to;
}

/* Formats a timestamp. */
static const char *
format_timestamp(DmFormatter *formatter, Datum value, int *len)
{
	Timestamp timestamp = DatumGetTimestamp(value);
	struct pg_tm tm;
	fsec_t fraction;

	if ((DateStyle != USE_ISO_DATES && !formatter->iso) || TIMESTAMP_NOT_FINITE(timestamp) ||
		timestamp2tm(timestamp, NULL, &tm, &fraction, NULL, NULL) != 0 || !is_plain_year(tm.tm_year))
		return format_other_time(formatter, value, TIMESTAMPOID, len);
	*len = (int) (iso_timestamp(formatter->buffer, &tm, fraction) - formatter->buffer);
	return formatter->buffer;
}

/* Writes a zone's seconds west of Greenwich as Postgres does: +01, +05:30, -00:44:30. */
static char *
iso_zone(char *to, int zone)
{
	int seconds = abs(zone);

	*to++ = zone <= 0 ? '+' : '-';
	to = two_digits(to, seconds / SECS_PER_HOUR);
	if (seconds % SECS_PER_HOUR == 0)
		return to;
	*to++ = ':';
	to = two_digits(to, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	if (seconds % SECS_PER_MINUTE == 0)
		return to;
	*to++ = ':';
	return two_digits(to, seconds % SECS_PER_MINUTE);
}

/* Formats a timestamp with time zone. */
static const char *
format_timestamptz(DmFormatter *formatter, Datum value, int *len)
{
	TimestampTz timestamp = DatumGetTimestampTz(value);
	struct pg_tm tm;
	fsec_t fraction;
	int zone;
	const char *zone_name;
	char *to;

	if ((DateStyle != USE_ISO_DATES && !formatter->iso) || TIMESTAMP_NOT_FINITE(timestamp) ||
		timestamp2tm(timestamp, &zone, &tm, &fraction, &zone_name, NULL) != 0 || !is_plain_year(tm.tm_year))
		return format_other_time(formatter, value, TIMESTAMPTZOID, len);
	to = iso_timestamp(formatter->buffer, &tm, fraction);
	*len = (int) (iso_zone(to, zone) - formatter->buffer);
	return formatter->buffer;
}

/* See format.h. A domain's text is that of its base type. */
void
dm_formatter_init(DmFormatter *formatter, Oid type)
{
	static const struct
	{
		Oid type;
		const char *(*format)(DmFormatter *formatter, Datum value, int *len);
		bool plain;
	} fast[] = {{BOOLOID, format_bool, true},
				{INT2OID, format_int2, true},
				{INT4OID, format_int4, true},
				{INT8OID, format_int8, true},
				{FLOAT4OID, format_float4, true},
				{FLOAT8OID, format_float8, true},
				{NUMERICOID, format_by_output, true},
				{TEXTOID, format_text, false},
				{VARCHAROID, format_text, false},
				{BPCHAROID, format_text, false},
				{JSONOID, format_text, false},
				{NAMEOID, format_name, false},
				{UUIDOID, format_uuid, true},
				{DATEOID, format_date, false},
				{TIMESTAMPOID, format_timestamp, false},
				{TIMESTAMPTZOID, format_timestamptz, false}};
	Oid output;
	bool is_varlena;

	type = getBaseType(type);
	getTypeOutputInfo(type, &output, &is_varlena);
	fmgr_info(output, &formatter->output);
	formatter->format = format_by_output;
	formatter->plain = false;
	formatter->iso = false;
	for (int i = 0; i < lengthof(fast); i++)
	{
		if (fast[i].type != type)
			continue;
		formatter->format = fast[i].format;
		formatter->plain = fast[i].plain;
	}
}
