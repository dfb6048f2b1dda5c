/*
 * csv_split.c: sums up parts of a CSV file and finds the first record's end in one: the reader's rules of quotes, alone.
 *
 * A quote opens anywhere outside quotes. Inside, it closes unless an odd number of escape characters stands before it; where
 * the escape character is the quote itself that comes to the same as opening and closing at every quote. Records end at the
 * byte that ends lines, outside quotes: LF (of a CRLF, too) or CR, as the file's first line says.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "codec/csv_split.h"

#define EFFECT(outside, inside, escaped) ((DmCsvEffect) ((outside) | (inside) << 2 | (escaped) << 4))

/* Whether an odd number of the bytes is c. */
static bool
is_odd(const char *data, Size len, char c)
{
	const uint64 low = UINT64CONST(0x7f7f7f7f7f7f7f7f);
	const uint64 pattern = UINT64CONST(0x0101010101010101) * (unsigned char) c;
	uint64 bits = 0;

	for (; len >= 8; data += 8, len -= 8)
	{
		uint64 word;

		memcpy(&word, data, 8);
		word ^= pattern;
		bits ^= ~(((word & low) + low) | word | low); /* the top bit of each byte that is zero */
	}
	for (; len > 0; data++, len--)
		bits ^= *data == c;
	return pg_popcount64(bits) % 2 == 1;
}

/* The phase behind one byte. */
static inline DmCsvPhase
next_phase(const DmCsvOptions *options, DmCsvPhase phase, char c)
{
	switch (phase)
	{
		case DM_CSV_OUTSIDE: return c == options->quote ? DM_CSV_INSIDE : DM_CSV_OUTSIDE;
		case DM_CSV_INSIDE:
			if (c == options->quote)
				return DM_CSV_OUTSIDE;
			return c == options->escape ? DM_CSV_ESCAPED : DM_CSV_INSIDE;
		case DM_CSV_ESCAPED: break;
	}
	return DM_CSV_INSIDE;
}

/* Returns the effect of some bytes. */
DmCsvEffect
dm_csv_effect(const DmCsvOptions *options, const char *data, Size len)
{
	DmCsvPhase phases[] = {DM_CSV_OUTSIDE, DM_CSV_INSIDE, DM_CSV_ESCAPED};

	if (options->escape == options->quote)
		return is_odd(data, len, options->quote) ? EFFECT(DM_CSV_INSIDE, DM_CSV_OUTSIDE, DM_CSV_INSIDE)
												 : EFFECT(DM_CSV_OUTSIDE, DM_CSV_INSIDE, DM_CSV_INSIDE);
	for (Size i = 0; i < len; i++)
	{
		for (int j = 0; j < lengthof(phases); j++)
			phases[j] = next_phase(options, phases[j], data[i]);
	}
	return EFFECT(phases[0], phases[1], phases[2]);
}

/* Returns the phase behind bytes of an effect, where this is the one before them. */
DmCsvPhase
dm_csv_effect_apply(DmCsvEffect effect, DmCsvPhase before)
{
	return (DmCsvPhase) (effect >> (2 * before) & 3);
}

/* Finds the first byte that ends a record. */
int64
dm_csv_find_end(const DmCsvOptions *options, char newline, DmCsvPhase before, const char *data, Size len)
{
	DmCsvPhase phase = before;

	for (Size i = 0; i < len; i++)
	{
		if (phase == DM_CSV_OUTSIDE && data[i] == newline)
			return (int64) i;
		/* Escapes count where they differ from the quote; else every quote opens or closes. */
		if (options->escape != options->quote || data[i] == options->quote)
			phase = next_phase(options, phase, data[i]);
	}
	return -1;
}

/* Counts the records that have so many fields, less the others; one without a line's end counts for neither. */
int
dm_csv_count_fitting(const DmCsvOptions *options, char newline, int nfields, const char *data, Size len)
{
	DmCsvPhase phase = DM_CSV_OUTSIDE;
	int fields = 1;
	int count = 0;

	for (Size i = 0; i < len; i++)
	{
		if (phase == DM_CSV_OUTSIDE && data[i] == newline)
		{
			count += fields == nfields ? 1 : -1;
			fields = 1;
			continue;
		}
		fields += phase == DM_CSV_OUTSIDE && data[i] == options->delimiter;
		if (options->escape != options->quote || data[i] == options->quote)
			phase = next_phase(options, phase, data[i]);
	}
	return count;
}
