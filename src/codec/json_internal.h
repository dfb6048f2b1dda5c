/*
 * json_internal.h: what the files of JSON share; for this folder only.
 */
#ifndef DM_JSON_INTERNAL_H
#define DM_JSON_INTERNAL_H

#include "postgres.h"

#include "port/pg_bitutils.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "codec/json.h"

/* Returns the first byte of at..end that a string does not just contain: a quote, a backslash, a control character; or end. */
static inline const char *
json_string_stop(const char *at, const char *end)
{
#ifdef __SSE2__
	for (; end - at >= 16; at += 16)
	{
		__m128i bytes = _mm_loadu_si128((const __m128i *) at);
		__m128i stop =
			_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
		int mask;

		stop = _mm_or_si128(stop, _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes));
		mask = _mm_movemask_epi8(stop);
		if (mask != 0)
			return at + pg_rightmost_one_pos32((uint32) mask);
	}
#endif
	while (at < end && *at != '"' && *at != '\\' && (unsigned char) *at >= 0x20)
		at++;
	return at;
}

/* Is c one of JSON's blanks? */
static inline bool
json_is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

#endif
