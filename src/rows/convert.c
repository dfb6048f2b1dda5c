/*
 * convert.c: text of a field to a Datum.
 *
 * Invariants of the converters:
 * 1. Each accepts the one plain spelling of its type that data files are full of, and hands everything else (blanks,
 *    signs, other spellings, values out of range, garbage) to the type's input function. So results and errors are
 *    those of the input function, whatever the settings, and only the speed differs.
 * 2. No byte outside data[0..len) is read.
 * Dates and times are in convert_time.c, jsonb in convert_jsonb.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "rows/convert.h"
#include "rows/convert_internal.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Digits that a uint64 holds for sure. */
#define DM_UINT64_DIGITS 19
/* Integers up to 2^53 and powers of ten up to 10^22 are exact in a double. */
#define DM_DOUBLE_EXACT_INTEGER (UINT64CONST(1) << 53)
#define DM_DOUBLE_EXACT_POWER 22

/* Returns at least size bytes that live as long as the converter. Their content is lost at the next call. */
static char *
converter_scratch(DmConverter *converter, Size size)
{
	if (unlikely(size > converter->scratch_size))
	{
		Size wanted = Min(Max(size * 2, 256), MaxAllocSize);

		if (converter->scratch)
			pfree(converter->scratch);
		converter->scratch = NULL;
		converter->scratch_size = 0;
		converter->scratch = MemoryContextAlloc(converter->context, Max(size, wanted));
		converter->scratch_size = Max(size, wanted);
	}
	return converter->scratch;
}

/* Calls the type's input function. */
Datum
dm_convert_by_input(DmConverter *converter, const char *data, int len)
{
	char *text = converter_scratch(converter, (Size) len + 1);

	memcpy(text, data, len);
	text[len] = '\0';
	return InputFunctionCall(&converter->input, text, converter->typioparam, converter->typmod);
}

/*
 * Parses data[0..len), one to 19 decimal digits and nothing else, into *value. Returns false for anything else.
 */
static pg_attribute_always_inline bool
parse_digits(const char *data, int len, uint64 *value)
{
	uint64 result = 0;

	if (len < 1 || len > DM_UINT64_DIGITS)
		return false;
#ifndef WORDS_BIGENDIAN
	for (; len >= 8; data += 8, len -= 8)
	{
		uint64 word;

		/* Eight digits at once: each byte is 0x30..0x39; then pairs, fours and eights are summed in the lanes. */
		memcpy(&word, data, 8);
		if (((word & UINT64CONST(0xF0F0F0F0F0F0F0F0)) |
			 ((word + UINT64CONST(0x0606060606060606)) & UINT64CONST(0xF0F0F0F0F0F0F0F0)) >> 4) !=
			UINT64CONST(0x3333333333333333))
			return false;
		word -= UINT64CONST(0x3030303030303030);
		word = word * 10 + (word >> 8);
		word = ((word & UINT64CONST(0x000000FF000000FF)) * UINT64CONST(0x000F424000000064) +
				((word >> 16) & UINT64CONST(0x000000FF000000FF)) * UINT64CONST(0x0000271000000001)) >>
			   32;
		result = result * 100000000 + word;
	}
#endif
	for (; len > 0; data++, len--)
	{
		unsigned int digit = (unsigned char) *data - '0';

		if (digit > 9)
			return false;
		result = result * 10 + digit;
	}
	*value = result;
	return true;
}

/* Parses an optional minus and digits whose value is within [-max - 1, max]. Returns false for anything else. */
static pg_attribute_always_inline bool
parse_integer(const char *data, int len, uint64 max, int64 *value)
{
	uint64 magnitude;
	bool negative = len > 0 && *data == '-';

	if (!parse_digits(data + negative, len - negative, &magnitude) || magnitude > max)
		return false;
	*value = negative ? -(int64) magnitude : (int64) magnitude;
	return true;
}

/* smallint: int2in(). */
static Datum
convert_int2(DmConverter *converter, const char *data, int len)
{
	int64 value;

	if (unlikely(!parse_integer(data, len, PG_INT16_MAX, &value)))
		return dm_convert_by_input(converter, data, len);
	return Int16GetDatum((int16) value);
}

/* integer: int4in(). */
static Datum
convert_int4(DmConverter *converter, const char *data, int len)
{
	int64 value;

	if (unlikely(!parse_integer(data, len, PG_INT32_MAX, &value)))
		return dm_convert_by_input(converter, data, len);
	return Int32GetDatum((int32) value);
}

/* bigint: int8in(). */
static Datum
convert_int8(DmConverter *converter, const char *data, int len)
{
	int64 value;

	if (unlikely(!parse_integer(data, len, PG_INT64_MAX, &value)))
		return dm_convert_by_input(converter, data, len);
	return Int64GetDatum(value);
}

/* A number in digits: mantissa / 10^scale. */
typedef struct Decimal
{
	bool negative;
	uint64 mantissa;
	int digits; /* of the mantissa as written, leading zeros included */
	int scale;	/* digits behind the point */
} Decimal;

/* Parses an optional minus and up to 19 digits with at most one point. Returns false for anything else. */
static pg_attribute_always_inline bool
parse_decimal(const char *data, int len, Decimal *decimal)
{
	int point = -1;

	decimal->negative = len > 0 && *data == '-';
	decimal->mantissa = 0;
	decimal->digits = 0;
	for (int i = decimal->negative; i < len; i++)
	{
		unsigned int digit = (unsigned char) data[i] - '0';

		if (data[i] == '.' && point < 0)
			point = i;
		else if (digit > 9 || ++decimal->digits > DM_UINT64_DIGITS)
			return false;
		else
			decimal->mantissa = decimal->mantissa * 10 + digit;
	}
	decimal->scale = point < 0 ? 0 : len - 1 - point;
	return decimal->digits > 0;
}

/*
 * double precision: float8in(). When mantissa and power of ten are both exact as doubles, their quotient is the
 * correctly rounded value.
 */
static Datum
convert_float8(DmConverter *converter, const char *data, int len)
{
	static const double powers[DM_DOUBLE_EXACT_POWER + 1] = {1e0,  1e1,	 1e2,  1e3,	 1e4,  1e5,	 1e6,  1e7,
															 1e8,  1e9,	 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
															 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	Decimal decimal;
	double value;

	if (!parse_decimal(data, len, &decimal) || decimal.mantissa > DM_DOUBLE_EXACT_INTEGER)
		return dm_convert_by_input(converter, data, len);
	value = (double) decimal.mantissa / powers[decimal.scale];
	return Float8GetDatum(decimal.negative ? -value : value);
}

/*
 * How numeric.c stores a number of up to DM_NUMERIC_TEXT characters: digits in base 10,000 behind two bytes for sign, scale and
 * weight (the exponent of the first digit). Files of all versions hold it so.
 */
#define DM_NUMERIC_TEXT 120
#define DM_NUMERIC_SHORT 0x8000
#define DM_NUMERIC_NEGATIVE 0x2000
#define DM_NUMERIC_SCALE_SHIFT 7
#define DM_NUMERIC_SCALE_MAX 0x3F
#define DM_NUMERIC_WEIGHT_BITS 0x7F
/* What a number of so many characters takes at most, whatever stands before and behind its point. */
#define DM_NUMERIC_BYTES(len) (VARHDRSZ + sizeof(uint16) + sizeof(int16) * ((Size) (len) / 4 + 2))

typedef struct NumericText
{
	bool negative;
	const char *integer;  /* digits before the point, without leading zeros */
	const char *fraction; /* digits behind it */
	int nintegers;
	int nfractions;
} NumericText;

/* Returns where the digits from `at` on end. */
static pg_attribute_always_inline const char *
skip_digits(const char *at, const char *end)
{
	while (at < end && (unsigned char) (*at - '0') <= 9)
		at++;
	return at;
}

/* Takes an optional minus and digits with at most one point apart. Returns false for anything else. */
static pg_attribute_always_inline bool
parse_numeric(const char *data, int len, NumericText *text)
{
	const char *end = data + len;
	const char *point;

	text->negative = len > 0 && *data == '-';
	text->integer = data + text->negative;
	point = skip_digits(text->integer, end);
	text->fraction = point < end ? point + 1 : end;
	text->nfractions = (int) (end - text->fraction);
	if (len > DM_NUMERIC_TEXT || (point < end && *point != '.') || skip_digits(text->fraction, end) != end ||
		(point == text->integer && text->nfractions == 0))
		return false;
	while (text->integer < point && *text->integer == '0')
		text->integer++;
	text->nintegers = (int) (point - text->integer);
	return true;
}

/* Writes the digits in base 10,000, without zeros before and after; *weight: in, the first one's. Returns how many. */
static pg_attribute_always_inline int
pack_numeric(const NumericText *text, int16 *digits, int *weight)
{
	static const int16 fill[] = {0, 1000, 100, 10};
	int16 digit = 0;
	int count = 0;

	for (int i = 0; i < text->nintegers + text->nfractions; i++)
	{
		int behind = i - text->nintegers; /* the place behind the point */
		char c = behind < 0 ? text->integer[i] : text->fraction[behind];

		digit = digit * 10 + (c - '0');
		if (behind == text->nfractions - 1 && behind >= 0 && behind % 4 != 3)
			digit *= fill[behind % 4 + 1];
		else if ((behind < 0 ? -behind % 4 != 1 : behind % 4 != 3))
			continue;
		if (count > 0 || digit != 0)
			digits[count++] = digit;
		else
			(*weight)--;
		digit = 0;
	}
	while (count > 0 && digits[count - 1] == 0)
		count--;
	return count;
}

/* Writes a number with so many digits behind the point (at most DM_NUMERIC_SCALE_MAX) to `result`. */
static Datum
numeric_write(const NumericText *text, int scale, char *result)
{
	uint16 *header = (uint16 *) VARDATA(result);
	int weight = (text->nintegers + 3) / 4 - 1;
	int count = pack_numeric(text, (int16 *) (header + 1), &weight);

	if (count == 0)
		weight = 0;
	*header = DM_NUMERIC_SHORT | (text->negative && count > 0 ? DM_NUMERIC_NEGATIVE : 0) |
			  scale << DM_NUMERIC_SCALE_SHIFT | (weight & DM_NUMERIC_WEIGHT_BITS);
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16) + sizeof(int16) * count);
	return PointerGetDatum(result);
}

/* Makes a numeric of plain digits, in the current memory context. Returns false for anything else. */
bool
dm_numeric_make(const char *data, int len, Datum *value)
{
	NumericText text;

	if (!parse_numeric(data, len, &text) || text.nfractions > DM_NUMERIC_SCALE_MAX)
		return false;
	*value = numeric_write(&text, text.nfractions, palloc(DM_NUMERIC_BYTES(len)));
	return true;
}

/* numeric and numeric(p,s): numeric_in(). Only what needs no rounding and surely fits the precision. */
static Datum
convert_numeric(DmConverter *converter, const char *data, int len)
{
	NumericText text;
	int scale;

	if (!parse_numeric(data, len, &text))
		return dm_convert_by_input(converter, data, len);
	scale = text.nfractions;
	if (converter->typmod >= (int32) VARHDRSZ)
	{
		/* As numeric.c packs them: precision above, scale (11 bits with sign) below. */
		int precision = ((converter->typmod - VARHDRSZ) >> 16) & 0xFFFF;

		scale = (((converter->typmod - VARHDRSZ) & 0x7FF) ^ 1024) - 1024;
		if (scale < text.nfractions || text.nintegers > precision - scale)
			return dm_convert_by_input(converter, data, len);
	}
	if (scale > DM_NUMERIC_SCALE_MAX)
		return dm_convert_by_input(converter, data, len);
	return numeric_write(&text, scale, converter_scratch(converter, DM_NUMERIC_BYTES(len)));
}

/* boolean: boolin(). The spellings of COPY and of most writers. */
static Datum
convert_bool(DmConverter *converter, const char *data, int len)
{
	if (len == 1 && (*data == 't' || *data == '1'))
		return BoolGetDatum(true);
	if (len == 1 && (*data == 'f' || *data == '0'))
		return BoolGetDatum(false);
	if (len == 4 && memcmp(data, "true", 4) == 0)
		return BoolGetDatum(true);
	if (len == 5 && memcmp(data, "false", 5) == 0)
		return BoolGetDatum(false);
	return dm_convert_by_input(converter, data, len);
}

/* text, and varchar without a length: textin(). */
static Datum
convert_text(DmConverter *converter, const char *data, int len)
{
	char *text = converter_scratch(converter, (Size) len + VARHDRSZ);

	SET_VARSIZE(text, len + VARHDRSZ);
	memcpy(VARDATA(text), data, len);
	return PointerGetDatum(text);
}

/* varchar(n): varcharin(). No more bytes than n cannot be more characters than n. */
static Datum
convert_varchar(DmConverter *converter, const char *data, int len)
{
	if (len > converter->typmod - VARHDRSZ)
		return dm_convert_by_input(converter, data, len);
	return convert_text(converter, data, len);
}

#ifdef __SSE2__

/* Turns 16 hex digits into their values; sets the bytes of *bad that were none to other than 0xFF. */
static pg_attribute_always_inline __m128i
hex_values(__m128i text, __m128i *valid)
{
	__m128i digit = _mm_sub_epi8(text, _mm_set1_epi8('0'));
	__m128i letter = _mm_sub_epi8(_mm_or_si128(text, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
	__m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);
	__m128i is_letter = _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(5)), letter);

	*valid = _mm_and_si128(*valid, _mm_or_si128(is_digit, is_letter));
	return _mm_or_si128(_mm_and_si128(digit, is_digit),
						_mm_and_si128(_mm_add_epi8(letter, _mm_set1_epi8(10)), is_letter));
}

/* Joins each two hex values, the first one the higher, into a byte in the low half of each 16 bits. */
static pg_attribute_always_inline __m128i
hex_join(__m128i values)
{
	return _mm_and_si128(_mm_or_si128(_mm_slli_epi16(values, 4), _mm_srli_epi16(values, 8)), _mm_set1_epi16(0xFF));
}

/* Parses the 32 hex digits at 0-7, 9-12, 14-17, 19-22 and 24-35. Returns false if one is none. */
static pg_attribute_always_inline bool
parse_uuid(const char *data, unsigned char *result)
{
	uint32 part[8];
	__m128i valid = _mm_set1_epi8(-1);
	__m128i first;
	__m128i second;

	memcpy(&part[0], data, 8);
	memcpy(&part[2], data + 9, 4);
	memcpy(&part[3], data + 14, 4);
	memcpy(&part[4], data + 19, 4);
	memcpy(&part[5], data + 24, 12);
	first = _mm_set_epi32((int) part[3], (int) part[2], (int) part[1], (int) part[0]);
	second = _mm_set_epi32((int) part[7], (int) part[6], (int) part[5], (int) part[4]);
	first = hex_join(hex_values(first, &valid));
	second = hex_join(hex_values(second, &valid));
	_mm_storeu_si128((__m128i *) result, _mm_packus_epi16(first, second));
	return _mm_movemask_epi8(valid) == 0xFFFF;
}

#else

/* Returns the value of a hex digit, or a value above 15. */
static inline unsigned int
hex_value(char c)
{
	unsigned int digit = (unsigned char) c - '0';
	unsigned int letter = ((unsigned char) c | 0x20) - 'a';

	return digit <= 9 ? digit : letter <= 5 ? letter + 10 : 0x100;
}

/* Parses the 32 hex digits at 0-7, 9-12, 14-17, 19-22 and 24-35. Returns false if one is none. */
static bool
parse_uuid(const char *data, unsigned char *result)
{
	unsigned int bad = 0;

	for (int i = 0; i < UUID_LEN; i++)
	{
		unsigned int high = hex_value(data[0]);
		unsigned int low = hex_value(data[1]);

		bad |= high | low;
		result[i] = (unsigned char) (high << 4 | low);
		data += i == 3 || i == 5 || i == 7 || i == 9 ? 3 : 2;
	}
	return bad <= 15;
}

#endif

/* uuid: uuid_in(). 8-4-4-4-12 hex digits. */
static Datum
convert_uuid(DmConverter *converter, const char *data, int len)
{
	if (unlikely(len != 36 || data[8] != '-' || data[13] != '-' || data[18] != '-' || data[23] != '-' ||
				 !parse_uuid(data, converter->uuid.data)))
		return dm_convert_by_input(converter, data, len);
	return UUIDPGetDatum(&converter->uuid);
}

/* Returns the converter function for a base type; domains have types of their own, so they go to domain_in(). */
static DmConvertFn
converter_function(Oid type, int32 typmod)
{
	switch (type)
	{
		case INT2OID: return convert_int2;
		case INT4OID: return convert_int4;
		case UUIDOID: return convert_uuid;
		case NUMERICOID: return convert_numeric;
		case BOOLOID: return convert_bool;
		case TEXTOID: return convert_text;
		case VARCHAROID: return typmod < VARHDRSZ ? convert_text : convert_varchar;
		case DATEOID: return dm_convert_date;
		case INT8OID: return convert_int8;
		case FLOAT8OID: return convert_float8;
		case JSONBOID: return dm_convert_jsonb;
		case TIMESTAMPOID: return dm_convert_timestamp;
		case TIMESTAMPTZOID: return dm_convert_timestamptz;
		default: return dm_convert_by_input;
	}
}

/* Prepares a converter for a column. What it needs is allocated in the current memory context. */
void
dm_converter_init(DmConverter *converter, Form_pg_attribute attribute)
{
	Oid input;

	memset(converter, 0, sizeof(*converter));
	converter->context = CurrentMemoryContext;
	converter->typmod = attribute->atttypmod;
	getTypeInputInfo(attribute->atttypid, &input, &converter->typioparam);
	fmgr_info(input, &converter->input);
	converter->convert = converter_function(attribute->atttypid, attribute->atttypmod);
}
