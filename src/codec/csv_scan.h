/*
 * csv_scan.h: finds the bytes that structure CSV, 64 at a time.
 *
 * Included by csv.c alone: everything is inline because it stands in the innermost loop.
 */
#ifndef DM_CSV_SCAN_H
#define DM_CSV_SCAN_H

#include "postgres.h"

#include "port/pg_bitutils.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define DM_CSV_BLOCK 64

/* What to look for, as it is kept. No vectors here: palloc does not align enough for them. */
typedef struct DmCsvPattern
{
#ifdef __SSE2__
	char delimiter;
	char quote;
#else
	uint8 class[256]; /* bit 0: delimiter, quote, CR or LF; bit 1: NUL or not ASCII */
#endif
} DmCsvPattern;

/* What to look for, as the scan needs it; lives in registers. */
typedef struct DmCsvNeedles
{
#ifdef __SSE2__
	__m128i delimiter;
	__m128i quote;
#else
	const uint8 *class;
#endif
} DmCsvNeedles;

#ifdef __SSE2__

/* Prepares the search for delimiter, quote, CR and LF. */
static inline void
dm_csv_pattern_init(DmCsvPattern *pattern, char delimiter, char quote)
{
	pattern->delimiter = delimiter;
	pattern->quote = quote;
}

/* Loads what to look for. */
static pg_attribute_always_inline DmCsvNeedles
dm_csv_needles(const DmCsvPattern *pattern)
{
	DmCsvNeedles needles = {_mm_set1_epi8(pattern->delimiter), _mm_set1_epi8(pattern->quote)};

	return needles;
}

/* Returns a bit for each of the 16 bytes that is sought; adds to *high, in each byte's top bit, NUL or not ASCII. */
static pg_attribute_always_inline uint64
csv_scan_vector(const DmCsvNeedles *needles, const char *data, __m128i *high)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *) data);
	__m128i newline =
		_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')));
	__m128i other = _mm_or_si128(_mm_cmpeq_epi8(bytes, needles->delimiter), _mm_cmpeq_epi8(bytes, needles->quote));

	*high = _mm_or_si128(*high, _mm_or_si128(bytes, _mm_cmpeq_epi8(bytes, _mm_setzero_si128())));
	return (uint64) (uint32) _mm_movemask_epi8(_mm_or_si128(newline, other));
}

/* Returns a bit, lowest first, for each of the 64 bytes that is sought. *high: whether any is NUL or not ASCII. */
static pg_attribute_always_inline uint64
dm_csv_scan_block(const DmCsvNeedles *needles, const char *data, bool *high)
{
	__m128i seen = _mm_setzero_si128();
	uint64 mask = csv_scan_vector(needles, data, &seen);

	mask |= csv_scan_vector(needles, data + 16, &seen) << 16;
	mask |= csv_scan_vector(needles, data + 32, &seen) << 32;
	mask |= csv_scan_vector(needles, data + 48, &seen) << 48;
	*high = _mm_movemask_epi8(seen) != 0;
	return mask;
}

#else

/* Prepares the search for delimiter, quote, CR and LF. */
static inline void
dm_csv_pattern_init(DmCsvPattern *pattern, char delimiter, char quote)
{
	memset(pattern->class, 0, 128);
	memset(pattern->class + 128, 2, 128);
	pattern->class[0] = 2;
	pattern->class['\r'] = pattern->class['\n'] = 1;
	pattern->class[(unsigned char) delimiter] |= 1;
	pattern->class[(unsigned char) quote] |= 1;
}

/* Loads what to look for. */
static inline DmCsvNeedles
dm_csv_needles(const DmCsvPattern *pattern)
{
	DmCsvNeedles needles = {pattern->class};

	return needles;
}

/* Returns a bit, lowest first, for each of the 64 bytes that is sought. *high: whether any is NUL or not ASCII. */
static inline uint64
dm_csv_scan_block(const DmCsvNeedles *needles, const char *data, bool *high)
{
	uint64 mask = 0;
	uint8 seen = 0;

	for (int i = 0; i < DM_CSV_BLOCK; i++)
	{
		uint8 class = needles->class[(unsigned char) data[i]];

		seen |= class;
		mask |= (uint64) (class & 1) << i;
	}
	*high = (seen & 2) != 0;
	return mask;
}

#endif

#endif
