/*
 * convert_jsonb.c: text of a field to a jsonb, for small objects and arrays in plain spelling.
 *
 * jsonb_in() takes every value through a lexer, a parser with callbacks and a stack of states, which costs more than all other
 * columns of a wide row. Here the tree is made in one pass over the text, and numeric and jsonb functions of the server
 * make a jsonb of it. What is not plain (escapes, exponents, scalars alone, much depth, many members, errors of any kind) goes to jsonb_in().
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "rows/convert_internal.h"

/* Longer texts are not plain, nor deeper ones, nor objects and arrays with more members. */
#define MAX_BYTES 65536
#define MAX_DEPTH 8
#define MAX_MEMBERS 32

typedef struct JsonText
{
	const char *at;
	const char *end;
	int depth;
} JsonText;

static bool parse_value(JsonText *text, JsonbValue *value);

/* Goes to the next character that is no blank, and returns it; '\0' at the end. */
static inline char
next_char(JsonText *text)
{
	while (text->at < text->end &&
		   (*text->at == ' ' || *text->at == '\n' || *text->at == '\t' || *text->at == '\r'))
		text->at++;
	return text->at < text->end ? *text->at : '\0';
}

/* Takes a string without escapes, whose first quote is next. It stays where it is in the text. */
static bool
parse_string(JsonText *text, JsonbValue *value)
{
	const char *start = ++text->at;

	while (text->at < text->end && *text->at != '"')
	{
		if (*text->at == '\\' || (unsigned char) *text->at < 0x20)
			return false;
		text->at++;
	}
	if (text->at == text->end)
		return false;
	value->type = jbvString;
	value->val.string.val = unconstify(char *, start);
	value->val.string.len = (int) (text->at++ - start);
	return true;
}

/* Takes digits, at least one; false if there is none. */
static bool
parse_digits(JsonText *text)
{
	const char *start = text->at;

	while (text->at < text->end && (unsigned char) (*text->at - '0') <= 9)
		text->at++;
	return text->at > start;
}

/* Takes a number without exponent. */
static bool
parse_number(JsonText *text, JsonbValue *value)
{
	const char *start = text->at;
	const char *integer;
	Datum number;

	if (*text->at == '-')
		text->at++;
	integer = text->at;
	if (!parse_digits(text) || (*integer == '0' && text->at - integer > 1))
		return false;
	if (text->at < text->end && *text->at == '.')
	{
		text->at++;
		if (!parse_digits(text))
			return false;
	}
	if (!dm_numeric_make(start, (int) (text->at - start), &number))
		return false;
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(number);
	return true;
}

/* Takes one of the words. */
static bool
parse_word(JsonText *text, JsonbValue *value)
{
	Size rest = text->end - text->at;
	int len;

	if (rest >= 4 && memcmp(text->at, "null", 4) == 0)
	{
		value->type = jbvNull;
		len = 4;
	}
	else if (rest >= 4 && memcmp(text->at, "true", 4) == 0)
	{
		value->type = jbvBool;
		value->val.boolean = true;
		len = 4;
	}
	else if (rest >= 5 && memcmp(text->at, "false", 5) == 0)
	{
		value->type = jbvBool;
		value->val.boolean = false;
		len = 5;
	}
	else
		return false;
	text->at += len;
	/* a word that goes on is an error; whatever it is, the caller finds neither comma nor bracket */
	return true;
}

/* Orders keys as in a jsonb: shorter ones first. */
static inline int
key_compare(const JsonbValue *a, const JsonbValue *b)
{
	if (a->val.string.len != b->val.string.len)
		return a->val.string.len < b->val.string.len ? -1 : 1;
	return memcmp(a->val.string.val, b->val.string.val, a->val.string.len);
}

/* Puts a pair among those before, in order; of two with one key the later one stays. Returns how many there are then. */
static int
pair_add(JsonbPair *pairs, int count, const JsonbPair *pair)
{
	int place = count;

	while (place > 0)
	{
		int order = key_compare(&pairs[place - 1].key, &pair->key);

		if (order == 0)
		{
			pairs[place - 1].value = pair->value;
			return count;
		}
		if (order < 0)
			break;
		place--;
	}
	memmove(&pairs[place + 1], &pairs[place], sizeof(JsonbPair) * (count - place));
	pairs[place] = *pair;
	return count + 1;
}

/* Returns a copy of an array in the current memory context. */
static void *
members_copy(const void *members, Size size, int count)
{
	void *copy = palloc(size * Max(count, 1));

	memcpy(copy, members, size * count);
	return copy;
}

/* Takes an object, whose brace is next. */
static bool
parse_object(JsonText *text, JsonbValue *value)
{
	JsonbPair pairs[MAX_MEMBERS];
	JsonbPair pair = {0};
	int count = 0;

	text->at++;
	if (next_char(text) == '}')
		text->at++;
	else
	{
		char next;

		do
		{
			if (count == MAX_MEMBERS || next_char(text) != '"' || !parse_string(text, &pair.key) ||
				next_char(text) != ':')
				return false;
			text->at++;
			if (!parse_value(text, &pair.value))
				return false;
			count = pair_add(pairs, count, &pair);
			next = next_char(text);
			text->at++;
		} while (next == ',');
		if (next != '}')
			return false;
	}
	value->type = jbvObject;
	value->val.object.nPairs = count;
	value->val.object.pairs = members_copy(pairs, sizeof(JsonbPair), count);
	return true;
}

/* Takes an array, whose bracket is next. */
static bool
parse_array(JsonText *text, JsonbValue *value)
{
	JsonbValue elements[MAX_MEMBERS];
	int count = 0;

	text->at++;
	if (next_char(text) == ']')
		text->at++;
	else
	{
		char next;

		do
		{
			if (count == MAX_MEMBERS || !parse_value(text, &elements[count++]))
				return false;
			next = next_char(text);
			text->at++;
		} while (next == ',');
		if (next != ']')
			return false;
	}
	value->type = jbvArray;
	value->val.array.nElems = count;
	value->val.array.rawScalar = false;
	value->val.array.elems = members_copy(elements, sizeof(JsonbValue), count);
	return true;
}

/* Takes a value; false if it is not plain. */
static bool
parse_value(JsonText *text, JsonbValue *value)
{
	char first = next_char(text);
	bool is_plain;

	if (first == '"')
		return parse_string(text, value);
	if (first == '-' || (unsigned char) (first - '0') <= 9)
		return parse_number(text, value);
	if (first != '{' && first != '[')
		return parse_word(text, value);
	if (text->depth == MAX_DEPTH)
		return false;
	text->depth++;
	is_plain = first == '{' ? parse_object(text, value) : parse_array(text, value);
	text->depth--;
	return is_plain;
}

/* jsonb: jsonb_in(). */
Datum
dm_convert_jsonb(DmConverter *converter, const char *data, int len)
{
	JsonText text = {.at = data, .end = data + len};
	JsonbValue value;
	char first = next_char(&text);

	if (len > MAX_BYTES || (first != '{' && first != '[') || !parse_value(&text, &value) ||
		next_char(&text) != '\0' || text.at < text.end)
		return dm_convert_by_input(converter, data, len);
	return JsonbPGetDatum(JsonbValueToJsonb(&value));
}
