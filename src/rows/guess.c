/*
 * guess.c: which types the texts of a column could be.
 *
 * Whoever adds a type: a text that fits must be accepted by the type's input function whatever the session's settings
 * are (DateStyle, TimeZone), and mean the same under all of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/datetime.h"

#include "rows/guess.h"

#define GUESS_BOOL 0x01
#define GUESS_INT8 0x02
#define GUESS_NUMERIC 0x04
#define GUESS_UUID 0x08
#define GUESS_DATE 0x10
#define GUESS_TIMESTAMP 0x20
#define GUESS_TIMESTAMPTZ 0x40
#define GUESS_ALL 0x7f

/* The types in the order in which they are preferred. */
static const struct
{
	int bit;
	Oid type;
	const char *plural;
} types[] = {{GUESS_BOOL, BOOLOID, "booleans"},
			 {GUESS_INT8, INT8OID, "whole numbers"},
			 {GUESS_NUMERIC, NUMERICOID, "numbers"},
			 {GUESS_UUID, UUIDOID, "uuids"},
			 {GUESS_DATE, DATEOID, "dates"},
			 {GUESS_TIMESTAMP, TIMESTAMPOID, "timestamps"},
			 {GUESS_TIMESTAMPTZ, TIMESTAMPTZOID, "timestamps with a time zone"}};

StaticAssertDecl(lengthof(types) == DM_GUESS_TYPES, "one count a type");

#define LETTER_T 0x01
#define LETTER_F 0x02

/* Digits and exponent up to which a text is taken for a number rather than for a name made of digits. */
#define DM_GUESS_MAX_DIGITS 500
#define DM_GUESS_MAX_EXPONENT_DIGITS 3

/* A text that is read from its front; at never passes end. */
typedef struct Cursor
{
	const char *at;
	const char *end;
} Cursor;

/* Takes one character if it is the one given. */
static bool
take(Cursor *cursor, char c)
{
	if (cursor->at == cursor->end || *cursor->at != c)
		return false;
	cursor->at++;
	return true;
}

/* Takes all digits that come next and returns how many. */
static int
take_digits(Cursor *cursor)
{
	const char *start = cursor->at;

	while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9')
		cursor->at++;
	return cursor->at - start;
}

/* Takes exactly count digits, as a number; -1 if they are not there. */
static int
take_number(Cursor *cursor, int count)
{
	int number = 0;

	if (cursor->end - cursor->at < count)
		return -1;
	for (int i = 0; i < count; i++, cursor->at++)
	{
		if (*cursor->at < '0' || *cursor->at > '9')
			return -1;
		number = number * 10 + (*cursor->at - '0');
	}
	return number;
}

/* Does an integer of digits without leading zeros fit int8? */
static bool
fits_int8(const char *digits, int len, bool negative)
{
	const char *limit = negative ? "9223372036854775808" : "9223372036854775807";

	return len < 19 || (len == 19 && memcmp(digits, limit, 19) <= 0);
}

/* The types of a number: -?(0|[1-9][0-9]*)?(.[0-9]+)?([eE][+-]?[0-9]+)?, with a digit before the exponent. */
static int
guess_number(const char *data, int len)
{
	Cursor cursor = {data, data + len};
	bool negative = take(&cursor, '-');
	const char *digits = cursor.at;
	int whole = take_digits(&cursor);
	bool is_whole = true;

	if ((whole > 1 && *digits == '0') || len > DM_GUESS_MAX_DIGITS)
		return 0;
	if (take(&cursor, '.'))
	{
		is_whole = false;
		if (take_digits(&cursor) == 0)
			return 0;
	}
	else if (whole == 0)
		return 0;
	if (take(&cursor, 'e') || take(&cursor, 'E'))
	{
		int exponent;

		is_whole = false;
		if (!take(&cursor, '-'))
			(void) take(&cursor, '+');
		exponent = take_digits(&cursor);
		if (exponent == 0 || exponent > DM_GUESS_MAX_EXPONENT_DIGITS)
			return 0;
	}
	if (cursor.at != cursor.end)
		return 0;
	return is_whole && fits_int8(digits, whole, negative) ? GUESS_INT8 | GUESS_NUMERIC : GUESS_NUMERIC;
}

/* The types of 8-4-4-4-12 hex digits. */
static int
guess_uuid(const char *data, int len)
{
	if (len != 36)
		return 0;
	for (int i = 0; i < len; i++)
	{
		bool is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (is_hyphen ? data[i] != '-' : !isxdigit((unsigned char) data[i]))
			return 0;
	}
	return GUESS_UUID;
}

/* Takes YYYY-MM-DD, a day that exists in the years 1 to 9999. */
static bool
take_date(Cursor *cursor)
{
	int year = take_number(cursor, 4);
	int month = take(cursor, '-') ? take_number(cursor, 2) : -1;
	int day = take(cursor, '-') ? take_number(cursor, 2) : -1;

	return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= day_tab[isleap(year)][month - 1];
}

/* Takes HH:MM, then optionally :SS and a fraction of no more than the six digits that Postgres keeps. */
static bool
take_time(Cursor *cursor)
{
	int hour = take_number(cursor, 2);
	int minute = take(cursor, ':') ? take_number(cursor, 2) : -1;
	int second = 0;
	int fraction = 1;

	if (take(cursor, ':'))
	{
		second = take_number(cursor, 2);
		if (take(cursor, '.'))
			fraction = take_digits(cursor);
	}
	return hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && second <= 59 && fraction >= 1 &&
		   fraction <= 6;
}

/* Takes an offset from UTC: Z, +HH, +HHMM or +HH:MM, or the same with a minus. */
static bool
take_offset(Cursor *cursor)
{
	int hour;
	int minute = 0;

	if (take(cursor, 'Z'))
		return true;
	if (!take(cursor, '+') && !take(cursor, '-'))
		return false;
	hour = take_number(cursor, 2);
	if (take(cursor, ':') || cursor->at != cursor->end)
		minute = take_number(cursor, 2);
	return hour >= 0 && hour <= 15 && minute >= 0 && minute <= 59;
}

/*
 * The types of an ISO 8601 date, or date and time. A date can be a timestamp, at midnight. It cannot be a timestamptz:
 * which instant it is would depend on the session's time zone.
 */
static int
guess_time(const char *data, int len)
{
	Cursor cursor = {data, data + len};

	if (!take_date(&cursor))
		return 0;
	if (cursor.at == cursor.end)
		return GUESS_DATE | GUESS_TIMESTAMP;
	if ((!take(&cursor, 'T') && !take(&cursor, ' ')) || !take_time(&cursor))
		return 0;
	if (cursor.at == cursor.end)
		return GUESS_TIMESTAMP;
	return take_offset(&cursor) && cursor.at == cursor.end ? GUESS_TIMESTAMPTZ : 0;
}

/* The types of true, false, t or f; notes which of the letters were seen. */
static int
guess_bool(DmGuess *guess, const char *data, int len)
{
	if ((len == 4 && pg_strncasecmp(data, "true", 4) == 0) || (len == 5 && pg_strncasecmp(data, "false", 5) == 0))
		return GUESS_BOOL;
	if (len != 1 || (data[0] != 't' && data[0] != 'f'))
		return 0;
	guess->letters |= data[0] == 't' ? LETTER_T : LETTER_F;
	return GUESS_BOOL;
}

/* Takes one to count digits, as a number; -1 if there are more or none. */
static int
take_up_to(Cursor *cursor, int count)
{
	Cursor ahead = *cursor;
	int digits = take_digits(&ahead);

	return digits >= 1 && digits <= count ? take_number(cursor, digits) : -1;
}

/* Notes what a value looks like to a person, whether it fits a type or not. */
static void
note_shape(DmGuess *guess, const char *data, int len)
{
	Cursor cursor = {data, data + len};
	Cursor whole = cursor;
	char separator;
	int first;
	int second;

	if (len > 0 && take_digits(&whole) == len)
	{
		guess->padded += len > 1 && data[0] == '0';
		guess->long_numbers += data[0] != '0' && !fits_int8(data, len, false);
		guess->zero_or_one += len == 1 && (data[0] == '0' || data[0] == '1');
		return;
	}
	first = take_up_to(&cursor, 2);
	if (first < 1 || cursor.at == cursor.end || !strchr("/.-", *cursor.at))
		return;
	separator = *cursor.at++;
	second = take_up_to(&cursor, 2);
	if (second < 1 || first > 31 || second > 31 || !take(&cursor, separator) || take_up_to(&cursor, 4) < 0 ||
		cursor.at != cursor.end)
		return;
	guess->slashed++;
	guess->day_first += first > 12;
	guess->month_first += second > 12;
}

/* Takes one value that is not NULL into account. */
void
dm_guess_add(DmGuess *guess, const char *data, int len)
{
	int fits = 0;

	guess->values++;
	note_shape(guess, data, len);
	if (len > 0)
	{
		fits = guess_bool(guess, data, len);
		if (fits == 0)
			fits = guess_number(data, len);
		if (fits == 0)
			fits = guess_uuid(data, len);
		if (fits == 0)
			fits = guess_time(data, len);
	}
	guess->impossible |= GUESS_ALL & ~fits;
	for (int i = 0; i < lengthof(types); i++)
		guess->fits[i] += (fits & types[i].bit) != 0;
}

/*
 * Returns the narrowest type that all values fit; text for a column without values. A column of only t's or only f's is
 * text: it can be a code, such as a sex or a flag, of which the sample has one.
 */
Oid
dm_guess_type(const DmGuess *guess)
{
	if (guess->values == 0 || guess->letters == LETTER_T || guess->letters == LETTER_F)
		return TEXTOID;
	for (int i = 0; i < lengthof(types); i++)
	{
		if (!(guess->impossible & types[i].bit))
			return types[i].type;
	}
	return TEXTOID;
}

/* Why a column is text, if most values look like something else; palloc'd, or NULL. */
static char *
doubt_of_text(const DmGuess *guess)
{
	int best = 0;

	if (guess->slashed == guess->values && guess->day_first > 0 && guess->month_first == 0)
		return pstrdup("dates with the day first: convert them with to_date");
	if (guess->slashed == guess->values && guess->month_first > 0 && guess->day_first == 0)
		return pstrdup("dates with the month first: convert them with to_date");
	if (guess->slashed == guess->values)
		return pstrdup("dates of which day and month cannot be told apart");
	if (guess->padded > 0 && guess->padded + guess->fits[2] == guess->values)
		return pstrdup("digits with leading zeros, which a number would lose");
	for (int i = 1; i < lengthof(types); i++)
	{
		if (guess->fits[i] > guess->fits[best])
			best = i;
	}
	if (guess->fits[best] * 2 <= guess->values)
		return NULL;
	return psprintf(
		"%lld of %lld values are %s", (long long) guess->fits[best], (long long) guess->values, types[best].plural);
}

/* Why the type may not be what a person would choose. */
char *
dm_guess_doubt(const DmGuess *guess)
{
	Oid type = dm_guess_type(guess);

	if (guess->values == 0)
		return pstrdup("no value in the sample");
	if (guess->letters == LETTER_T || guess->letters == LETTER_F)
		return psprintf("no value but %s", guess->letters == LETTER_T ? "t" : "f");
	if (type == INT8OID && guess->zero_or_one == guess->values)
		return pstrdup("no value but 0 and 1: may be boolean");
	if (type == NUMERICOID && guess->long_numbers > 0)
		return pstrdup("whole numbers too long for bigint");
	return type == TEXTOID ? doubt_of_text(guess) : NULL;
}
