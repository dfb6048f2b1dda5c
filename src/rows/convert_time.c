/*
 * convert_time.c: ISO 8601 dates and times to Datums.
 *
 * YYYY-MM-DD and YYYY-MM-DD HH:MM:SS[.ffffff], with a T or a blank between, mean the same under every DateStyle. A
 * timestamptz must have its offset: without one, the session's time zone rules. All else goes to the input function.
 */
#include "postgres.h"

#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "rows/convert_internal.h"

#define DM_DATE_LEN 10 /* YYYY-MM-DD */
#define DM_TIME_LEN 8  /* HH:MM:SS */

/* Parses count digits into *value. Returns false if one is none. */
static inline bool
parse_number(const char *data, int count, int *value)
{
	int result = 0;

	for (int i = 0; i < count; i++)
	{
		unsigned int digit = (unsigned char) data[i] - '0';

		if (digit > 9)
			return false;
		result = result * 10 + (int) digit;
	}
	*value = result;
	return true;
}

/* Parses the ten characters of YYYY-MM-DD into days since 2000-01-01. Returns false for anything else. */
static bool
parse_date(const char *data, int *days)
{
	int year;
	int month;
	int day;

	if (data[4] != '-' || data[7] != '-' || !parse_number(data, 4, &year) || !parse_number(data + 5, 2, &month) ||
		!parse_number(data + 8, 2, &day))
		return false;
	if (year < 1 || month < 1 || month > MONTHS_PER_YEAR || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	*days = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return true;
}

/* Parses up to six digits after a point as microseconds. Returns how many digits there were, 0 if not one to six. */
static int
parse_fraction(const char *data, int len, int *micros)
{
	int digits = 0;
	int value = 0;

	while (digits < len && (unsigned char) data[digits] - '0' <= 9u)
	{
		if (digits == MAX_TIMESTAMP_PRECISION)
			return 0;
		value = value * 10 + (data[digits++] - '0');
	}
	for (int i = digits; i < MAX_TIMESTAMP_PRECISION; i++)
		value *= 10;
	*micros = value;
	return digits;
}

/*
 * Parses date and time into microseconds since 2000-01-01 and returns how many characters that took, or 0 for any other
 * spelling, and for a fraction when the column has a precision to round to.
 */
static int
parse_timestamp(const DmConverter *converter, const char *data, int len, Timestamp *result)
{
	const char *time = data + DM_DATE_LEN + 1;
	int used = DM_DATE_LEN + 1 + DM_TIME_LEN;
	int days;
	int hours;
	int minutes;
	int seconds;
	int micros = 0;

	if (len < used || (time[-1] != ' ' && time[-1] != 'T') || time[2] != ':' || time[5] != ':' ||
		!parse_date(data, &days) || !parse_number(time, 2, &hours) || !parse_number(time + 3, 2, &minutes) ||
		!parse_number(time + 6, 2, &seconds))
		return 0;
	if (hours >= HOURS_PER_DAY || minutes >= MINS_PER_HOUR || seconds >= SECS_PER_MINUTE)
		return 0;
	if (len > used && data[used] == '.')
	{
		int digits = parse_fraction(data + used + 1, len - used - 1, &micros);

		if (digits == 0 || converter->typmod >= 0)
			return 0;
		used += 1 + digits;
	}
	*result = days * USECS_PER_DAY +
			  ((hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE + seconds) * USECS_PER_SEC + micros;
	return used;
}

/* Parses Z, +HH, +HHMM or +HH:MM (or with a minus) as seconds east of UTC. Returns false for anything else. */
static bool
parse_offset(const char *data, int len, int *seconds)
{
	int hours;
	int minutes = 0;

	if (len == 1 && *data == 'Z')
	{
		*seconds = 0;
		return true;
	}
	if ((len != 3 && len != 5 && len != 6) || (*data != '+' && *data != '-') || !parse_number(data + 1, 2, &hours))
		return false;
	if (len == 6 && data[3] != ':')
		return false;
	if (len > 3 && !parse_number(data + len - 2, 2, &minutes))
		return false;
	if (hours >= MAX_TZDISP_HOUR || minutes >= MINS_PER_HOUR)
		return false;
	*seconds = (hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE;
	if (*data == '-')
		*seconds = -*seconds;
	return true;
}

/* timestamp: timestamp_in(). */
Datum
dm_convert_timestamp(DmConverter *converter, const char *data, int len)
{
	Timestamp result;
	int used = parse_timestamp(converter, data, len, &result);

	if (used == 0 || used != len)
		return dm_convert_by_input(converter, data, len);
	return TimestampGetDatum(result);
}

/* timestamptz: timestamptz_in(). */
Datum
dm_convert_timestamptz(DmConverter *converter, const char *data, int len)
{
	Timestamp result;
	int used = parse_timestamp(converter, data, len, &result);
	int seconds;

	if (used == 0 || !parse_offset(data + used, len - used, &seconds))
		return dm_convert_by_input(converter, data, len);
	return TimestampTzGetDatum(result - seconds * USECS_PER_SEC);
}

/* date: date_in(). */
Datum
dm_convert_date(DmConverter *converter, const char *data, int len)
{
	int days;

	if (len != DM_DATE_LEN || !parse_date(data, &days))
		return dm_convert_by_input(converter, data, len);
	return DateADTGetDatum(days);
}
