/*
 * cron.c: cron expressions.
 *
 * What cron takes is taken: names, ranges, steps, lists, macros, Sunday as 0 or 7, and $ or L for the last day of the month.
 * Where both days and weekdays are limited, either makes a day match.
 *
 * When the clock is changed, a time that is jumped over comes at the moment of the change, and one that comes twice counts the
 * first time. Expressions whose minutes or hours begin with * follow elapsed time instead: nothing in the gap, both
 * passes of the overlap.
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "job/cron.h"

/* Days until the same weekday meets the same date of a leap year at the latest: 29 February over 1900 or 2100, with slack. */
#define MAX_DAYS (366 * 41)
#define DAY_SECONDS 86400
/* The first stretch of time that is looked at backwards, how often it is doubled (to 63 years), and where calendars end. */
#define STRETCH 120
#define STRETCH_DOUBLED 24
#define FIRST_MOMENT INT64CONST(-60000000000)

typedef struct Field
{
	const char *name;
	int low;
	int high;
	const char *const *names; /* three letters each, of low on; or NULL */
} Field;

static const char *const month_names[] = {
	"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const Field fields[] = {
	{"minute", 0, 59, NULL},
	{"hour", 0, 23, NULL},
	{"day of month", 1, 31, NULL},
	{"month", 1, 12, month_names},
	{"day of week", 0, 7, weekday_names},
};

#define NFIELDS ((int) lengthof(fields))
#define FIELD_MINUTE 0
#define FIELD_HOUR 1
#define FIELD_DAY 2
#define FIELD_MONTH 3
#define FIELD_WEEKDAY 4

static const char *const macros[][2] = {
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
	{"@monthly", "0 0 1 * *"},
	{"@weekly", "0 0 * * 0"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@hourly", "0 * * * *"},
};

/* What is being read, for messages. */
typedef struct Parser
{
	const char *text; /* the whole expression */
	const char *at;	  /* next character */
	const Field *field;
} Parser;

static void parse_error(const Parser *parser, const char *what) pg_attribute_noreturn();

/* Raises for the current field. */
static void
parse_error(const Parser *parser, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid schedule \"%s\"", parser->text),
			 errdetail("%s: %s.", parser->field->name, what),
			 errhint("Cron expressions have five fields: minute (0-59), hour (0-23), day of month (1-31, $ for the "
					 "last), month (1-12 or "
					 "jan-dec), day of week (0-7 or sun-sat); with lists 1,2, ranges 1-5 and steps */15.")));
}

/* Is the next character the end of the field? */
static bool
at_end(const Parser *parser)
{
	return *parser->at == '\0' || *parser->at == ' ' || *parser->at == '\t';
}

/* Reads a number within bounds. */
static int
parse_number(Parser *parser, int low, int high)
{
	const char *start = parser->at;
	int number = 0;

	while (*parser->at >= '0' && *parser->at <= '9' && parser->at - start < 4)
		number = number * 10 + *parser->at++ - '0';
	if (parser->at == start)
		parse_error(parser, at_end(parser) ? "a number is missing" : psprintf("unexpected \"%c\"", *parser->at));
	if (number < low || number > high)
		parse_error(parser, psprintf("%d is not between %d and %d", number, low, high));
	return number;
}

/* Reads a number or a name. */
static int
parse_value(Parser *parser)
{
	const Field *field = parser->field;

	for (int i = 0; field->names && field->names[i]; i++)
	{
		if (pg_strncasecmp(parser->at, field->names[i], 3) != 0)
			continue;
		parser->at += 3;
		return field->low + i;
	}
	return parse_number(parser, field->low, field->high);
}

/* Reads one element of a list: *, a value or a range, with or without a step. Returns its bits. */
static uint64
parse_element(Parser *parser)
{
	const Field *field = parser->field;
	int low = field->low;
	int high = field->high;
	bool is_range = true;
	int step = 1;
	uint64 bits = 0;

	if (*parser->at == '*')
	{
		parser->at++;
		if (field == &fields[FIELD_WEEKDAY])
			high = 6; /* Sunday once */
	}
	else
	{
		low = high = parse_value(parser);
		is_range = *parser->at == '-';
		if (is_range)
		{
			parser->at++;
			high = parse_value(parser);
			if (high == 0 && low > 0 && field == &fields[FIELD_WEEKDAY])
				high = 7; /* fri-sun */
		}
		if (high < low)
			parse_error(parser, psprintf("the range %d-%d runs backwards", low, high));
	}
	if (*parser->at == '/')
	{
		parser->at++;
		if (!is_range)
			parse_error(parser, psprintf("a step needs a range: write %d-%d/...", low, field->high));
		step = parse_number(parser, 1, 999);
	}
	Assert(low >= 0 && high < 64);
	for (int i = Max(low, 0); i <= high; i += step)
		bits |= UINT64CONST(1) << i;
	return bits;
}

/* Reads a field up to the blank after it. Returns its bits. */
static uint64
parse_field(Parser *parser, bool *last_day)
{
	uint64 bits = 0;

	for (;;)
	{
		bool is_last = parser->field == &fields[FIELD_DAY] && *parser->at != '\0' && strchr("$lL", *parser->at);

		if (is_last)
		{
			*last_day = true;
			parser->at++;
		}
		else
			bits |= parse_element(parser);
		if (at_end(parser))
			break;
		if (*parser->at != ',')
			parse_error(parser, psprintf("unexpected \"%c\"", *parser->at));
		parser->at++;
	}
	while (*parser->at == ' ' || *parser->at == '\t')
		parser->at++;
	return bits;
}

/* Days of a month; February with its leap day if it may have one. */
static int
days_of(int month, int year)
{
	return day_tab[isleap(year)][month - 1];
}

/* Is there a day that matches, in some year? */
static bool
has_day(const DmCron *cron)
{
	if (cron->last_day || !cron->any_weekday)
		return true;
	for (int month = 1; month <= 12; month++)
	{
		if ((cron->months >> month & 1) && (cron->days & ((UINT64CONST(1) << (days_of(month, 2000) + 1)) - 2)))
			return true;
	}
	return false;
}

/* Reads an expression. */
void
dm_cron_parse(const char *text, DmCron *cron)
{
	Parser parser = {text, text, &fields[0]};
	uint64 bits[NFIELDS] = {0};
	bool any[NFIELDS] = {false};

	for (int i = 0; i < lengthof(macros); i++)
	{
		if (pg_strcasecmp(text, macros[i][0]) == 0)
			parser.at = macros[i][1];
	}
	memset(cron, 0, sizeof(*cron));
	while (*parser.at == ' ' || *parser.at == '\t')
		parser.at++;
	for (int i = 0; i < NFIELDS; i++)
	{
		parser.field = &fields[i];
		any[i] = *parser.at == '*';
		bits[i] = parse_field(&parser, &cron->last_day);
	}
	if (*parser.at != '\0')
		parse_error(&parser, "there is something after it");
	cron->minutes = bits[FIELD_MINUTE];
	cron->hours = (uint32) bits[FIELD_HOUR];
	cron->days = (uint32) bits[FIELD_DAY];
	cron->months = (uint16) bits[FIELD_MONTH];
	cron->weekdays = (uint8) ((bits[FIELD_WEEKDAY] | bits[FIELD_WEEKDAY] >> 7) & 0x7f);
	cron->any_day = any[FIELD_DAY];
	cron->any_weekday = any[FIELD_WEEKDAY];
	cron->elapsed = any[FIELD_MINUTE] || any[FIELD_HOUR];
	parser.field = &fields[FIELD_DAY];
	if (!has_day(cron))
		parse_error(&parser, "no month that is named has such a day");
}

/* Does a day match, by its Julian number? */
static bool
day_matches(const DmCron *cron, int julian)
{
	int year;
	int month;
	int day;
	bool by_day;
	bool by_weekday;

	j2date(julian, &year, &month, &day);
	if (!(cron->months >> month & 1))
		return false;
	by_day = (cron->days >> day & 1) || (cron->last_day && day == days_of(month, year));
	by_weekday = cron->weekdays >> j2day(julian) & 1;
	return cron->any_day || cron->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* Returns the first bit from `from` on that is set, or -1. */
static int
next_bit(uint64 bits, int from)
{
	return from < 64 && bits >> from ? from + __builtin_ctzll(bits >> from) : -1;
}

/*
 * Returns the first local minute from `local` on that matches, both in seconds since 1970 as if they were UTC; a far future if
 * there is none in sight.
 */
static int64
next_local(const DmCron *cron, int64 local)
{
	int64 day = local / DAY_SECONDS - (local % DAY_SECONDS < 0);
	int minute = (int) ((local - day * DAY_SECONDS + 59) / 60);

	for (int64 last = day + MAX_DAYS; day <= last; day++, minute = 0)
	{
		if (minute >= 24 * 60 || !day_matches(cron, (int) (day + UNIX_EPOCH_JDATE)))
			continue;
		for (int hour = next_bit(cron->hours, minute / 60); hour >= 0; hour = next_bit(cron->hours, hour + 1))
		{
			int found = next_bit(cron->minutes, hour == minute / 60 ? minute % 60 : 0);

			if (found >= 0)
				return day * DAY_SECONDS + hour * 3600 + found * 60;
		}
	}
	return PG_INT64_MAX / 2;
}

/* Returns how far the zone's clocks are ahead of UTC, and whether they are set within a day before or after. */
static int64
offset_at(pg_tz *zone, pg_time_t moment, bool *is_set)
{
	const struct pg_tm *tm = pg_localtime(&moment, zone);
	int64 offset = tm ? tm->tm_gmtoff : 0;
	pg_time_t from = moment - DAY_SECONDS;
	pg_time_t change;
	long before;
	long after;
	int is_dst;

	*is_set = pg_next_dst_boundary(&from, &before, &is_dst, &change, &after, &is_dst, zone) > 0 &&
			  change <= moment + DAY_SECONDS;
	return offset;
}

/* The first moment after `after` at which it is due. */
pg_time_t
dm_cron_next(const DmCron *cron, pg_tz *zone, pg_time_t after)
{
	bool is_set;
	int64 local = after + offset_at(zone, after, &is_set);
	pg_time_t best = PG_INT64_MAX / 2;

	/* Where the clock is set, earlier local times may come again, or come late. */
	if (is_set)
		local -= DAY_SECONDS;
	for (local = next_local(cron, local); local < PG_INT64_MAX / 2; local = next_local(cron, local + 60))
	{
		pg_time_t first;
		pg_time_t last;
		int moments = dm_zone_moments(zone, local, &first, &last);

		/* A later local time comes no earlier for the first time, but may come before an earlier one does again. */
		if (first >= best)
			break;
		if (moments == 0 && cron->elapsed)
			continue;
		if (first > after)
			best = first;
		else if (last > after && cron->elapsed)
			best = Min(best, last);
	}
	return best;
}

/*
 * The last moment before `before`: of what dm_cron_next() gives, so that both tell of the same moments. Looks into ever longer stretches
 * until one has a moment, which the half that was looked at last has not; the last in the other half is found by bisection.
 */
pg_time_t
dm_cron_previous(const DmCron *cron, pg_tz *zone, pg_time_t before)
{
	pg_time_t found = before;
	pg_time_t none_after = before;
	int64 stretch = STRETCH;

	for (int i = 0; found >= before; i++, stretch *= 2)
	{
		if (i > STRETCH_DOUBLED || before - stretch < FIRST_MOMENT)
			return PG_INT64_MIN;
		none_after = i == 0 ? before : before - stretch / 2;
		found = dm_cron_next(cron, zone, before - stretch);
	}
	while (found < none_after)
	{
		pg_time_t middle = found + (none_after - found) / 2;
		pg_time_t next = dm_cron_next(cron, zone, middle);

		if (next < before)
			found = next;
		else
			none_after = middle;
	}
	return found;
}
