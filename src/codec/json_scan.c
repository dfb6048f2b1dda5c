/*
 * json_scan.c: checks a JSON value and takes it apart.
 *
 * Invariants:
 * 1. Every byte of a record is checked against the grammar of RFC 8259, whether somebody wants its member or not. Which
 *    characters the escapes of a string mean is checked only where the string is unescaped.
 * 2. No byte outside of start..end is read, and nothing recurses: containers within containers are a stack of
 *    DM_JSON_MAX_DEPTH bits at most.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "codec/json_internal.h"

/* Containers within containers: jsonb itself stops at the depth of the stack, some thousands. */
#define DM_JSON_MAX_DEPTH 1000

/* Notes what is wrong and returns false. */
static bool
scan_fail(DmJsonScan *scan, const char *at, const char *error)
{
	scan->at = at;
	scan->error = error;
	return false;
}

/* Moves to the next byte that is no blank; returns that byte, or NUL at the end. */
static inline char
scan_peek(DmJsonScan *scan)
{
	while (scan->at < scan->end && json_is_blank(*scan->at))
		scan->at++;
	return scan->at < scan->end ? *scan->at : '\0';
}

/* Moves over count hex digits. */
static bool
scan_hex(DmJsonScan *scan, const char *at, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (at + i >= scan->end || !isxdigit((unsigned char) at[i]))
			return scan_fail(scan, at, "\\u must be followed by four hex digits");
	}
	return true;
}

/* Takes the string whose opening quote is at `at`. */
static inline bool
scan_string(DmJsonScan *scan, DmJsonSpan *span)
{
	const char *at = scan->at + 1;

	span->kind = DM_JSON_STRING;
	span->data = at;
	span->escaped = false;
	for (;;)
	{
		at = json_string_stop(at, scan->end);
		if (at == scan->end)
			return scan_fail(scan, at, "a string is not closed");
		if (*at == '"')
			break;
		if (*at != '\\')
			return scan_fail(scan, at, "a control character in a string must be escaped");
		span->escaped = true;
		if (at + 1 == scan->end || at[1] == '\0' || !strchr("\"\\/bfnrtu", at[1]))
			return scan_fail(scan, at, "unknown escape in a string");
		if (at[1] == 'u' && !scan_hex(scan, at + 2, 4))
			return false;
		at += 2;
	}
	span->len = (int) (at - span->data);
	scan->at = at + 1;
	return true;
}

/* Moves over digits; returns false if there is none. */
static inline bool
scan_digits(const char **at, const char *end)
{
	const char *start = *at;

	while (*at < end && (unsigned char) (**at - '0') <= 9)
		(*at)++;
	return *at > start;
}

/* Takes the number at `at`: RFC 8259, section 6. */
static bool
scan_number(DmJsonScan *scan, DmJsonSpan *span)
{
	const char *at = scan->at;
	const char *end = scan->end;
	bool valid;

	if (*at == '-')
		at++;
	if (at < end && *at == '0')
	{
		at++;
		valid = true;
	}
	else
		valid = scan_digits(&at, end);
	if (valid && at < end && *at == '.')
	{
		at++;
		valid = scan_digits(&at, end);
	}
	if (valid && at < end && (*at == 'e' || *at == 'E'))
	{
		at++;
		if (at < end && (*at == '+' || *at == '-'))
			at++;
		valid = scan_digits(&at, end);
	}
	if (!valid || (at < end && (isalnum((unsigned char) *at) || *at == '.')))
		return scan_fail(scan, scan->at, "not a number");
	span->kind = DM_JSON_NUMBER;
	span->escaped = false;
	span->data = scan->at;
	span->len = (int) (at - scan->at);
	scan->at = at;
	return true;
}

/* Takes the word at `at`: null, true or false. */
static bool
scan_word(DmJsonScan *scan, DmJsonSpan *span, const char *word, DmJsonKind kind)
{
	int len = (int) strlen(word);

	if (scan->end - scan->at < len || memcmp(scan->at, word, len) != 0)
		return scan_fail(scan, scan->at, "not a value");
	span->kind = kind;
	span->escaped = false;
	span->data = scan->at;
	span->len = len;
	scan->at += len;
	return true;
}

/* Takes the value at `at`, which is no container. */
static inline bool
scan_scalar(DmJsonScan *scan, DmJsonSpan *span)
{
	switch (scan_peek(scan))
	{
		case '"': return scan_string(scan, span);
		case 't': return scan_word(scan, span, "true", DM_JSON_BOOL);
		case 'f': return scan_word(scan, span, "false", DM_JSON_BOOL);
		case 'n': return scan_word(scan, span, "null", DM_JSON_NULL);
		case '-':
		case '0':
		case '1':
		case '2':
		case '3':
		case '4':
		case '5':
		case '6':
		case '7':
		case '8':
		case '9': return scan_number(scan, span);
		default: return scan_fail(scan, scan->at, scan->at == scan->end ? "it ends too early" : "not a value");
	}
}

/* Takes a member's name and the colon behind it. */
static inline bool
scan_name(DmJsonScan *scan, DmJsonSpan *name)
{
	if (scan_peek(scan) != '"')
		return scan_fail(scan, scan->at, "a member's name in quotes is missing");
	if (!scan_string(scan, name))
		return false;
	if (scan_peek(scan) != ':')
		return scan_fail(scan, scan->at, "a colon behind a member's name is missing");
	scan->at++;
	return true;
}

/* Moves over the container at `at` and all that it holds. */
static bool
skip_container(DmJsonScan *scan)
{
	char closers[DM_JSON_MAX_DEPTH];
	int depth = 0;
	bool opened = true; /* the innermost container has no value yet */
	DmJsonSpan span;

	closers[depth++] = *scan->at++ == '{' ? '}' : ']';
	while (depth > 0)
	{
		char next = scan_peek(scan);

		if (next == closers[depth - 1])
		{
			scan->at++;
			depth--;
			opened = false;
			continue;
		}
		if (!opened)
		{
			if (next != ',')
				return scan_fail(scan, scan->at, "a comma or a closing bracket is missing");
			scan->at++;
		}
		if (closers[depth - 1] == '}' && !scan_name(scan, &span))
			return false;
		next = scan_peek(scan);
		opened = next == '{' || next == '[';
		if (!opened)
		{
			if (!scan_scalar(scan, &span))
				return false;
			continue;
		}
		if (depth == DM_JSON_MAX_DEPTH)
			return scan_fail(scan, scan->at, "it is nested too deeply");
		closers[depth++] = next == '{' ? '}' : ']';
		scan->at++;
	}
	return true;
}

/* Takes the value at `at`. */
static inline bool
scan_value(DmJsonScan *scan, DmJsonSpan *span)
{
	char first = scan_peek(scan);
	const char *start = scan->at;

	if (likely(first != '{' && first != '['))
		return scan_scalar(scan, span);
	if (!skip_container(scan))
		return false;
	span->kind = first == '{' ? DM_JSON_OBJECT : DM_JSON_ARRAY;
	span->escaped = false;
	span->data = start;
	span->len = (int) (scan->at - start);
	return true;
}

/* Begins a scan of data[0..len), which must begin with an opening bracket. */
static bool
scan_begin(DmJsonScan *scan, const char *data, int len, char bracket, const char *error)
{
	scan->start = scan->at = data;
	scan->end = data + len;
	scan->error = NULL;
	scan->first = true;
	if (scan_peek(scan) != bracket)
		return scan_fail(scan, scan->at, error);
	scan->at++;
	return true;
}

/* Begins a scan of an object's members. */
bool
dm_json_object_begin(DmJsonScan *scan, const char *data, int len)
{
	return scan_begin(scan, data, len, '{', "it is not an object");
}

/* Begins a scan of an array's elements. */
bool
dm_json_array_begin(DmJsonScan *scan, const char *data, int len)
{
	return scan_begin(scan, data, len, '[', "it is not an array");
}

/* Moves to where the next member or element begins. Returns false behind the last one, of which it is the end, too. */
static inline bool
scan_next(DmJsonScan *scan, char closer)
{
	char next = scan_peek(scan);

	if (next == closer)
	{
		scan->at++;
		if (scan_peek(scan) != '\0' || scan->at < scan->end)
			return scan_fail(scan, scan->at, "something follows its end");
		return false;
	}
	if (scan->first)
	{
		scan->first = false;
		return true;
	}
	if (next != ',')
		return scan_fail(scan,
						 scan->at,
						 scan->at == scan->end ? "it ends too early" : "a comma or a closing bracket is missing");
	scan->at++;
	return true;
}

/* Takes the next member. */
bool
dm_json_next_member(DmJsonScan *scan, DmJsonSpan *name, DmJsonSpan *value)
{
	return scan_next(scan, '}') && scan_name(scan, name) && scan_value(scan, value);
}

/* Takes the next element. */
bool
dm_json_next_element(DmJsonScan *scan, DmJsonSpan *value)
{
	return scan_next(scan, ']') && scan_value(scan, value);
}

/* Returns the value of the four hex digits at `at`. */
static pg_wchar
hex_code(const char *at)
{
	char digits[5] = {at[0], at[1], at[2], at[3], '\0'};

	return (pg_wchar) strtoul(digits, NULL, 16);
}

/* Raises for an escape that means no character. */
static void
bad_escape(const char *at, int sqlstate, const char *detail)
{
	ereport(ERROR,
			(errcode(sqlstate), errmsg("invalid JSON: escape %.6s is no character", at), errdetail("%s", detail)));
}

/* Appends the character of the \u escape at `at`, surrogate pairs included, to *out. Returns where the text goes on. */
static const char *
unescape_unicode(const char *at, const char *end, char **out)
{
	unsigned char bytes[MAX_UNICODE_EQUIVALENT_STRING + 1];
	pg_wchar code = hex_code(at + 2);
	const char *next = at + 6;

	if (code == 0)
		bad_escape(at, ERRCODE_UNTRANSLATABLE_CHARACTER, "\\u0000 cannot be converted to text.");
	if (is_utf16_surrogate_second(code))
		bad_escape(at, ERRCODE_INVALID_TEXT_REPRESENTATION, "A low surrogate must follow a high one.");
	if (is_utf16_surrogate_first(code))
	{
		if (end - next < 6 || next[0] != '\\' || next[1] != 'u' || !is_utf16_surrogate_second(hex_code(next + 2)))
			bad_escape(at, ERRCODE_INVALID_TEXT_REPRESENTATION, "A high surrogate must be followed by a low one.");
		code = surrogate_pair_to_codepoint(code, hex_code(next + 2));
		next += 6;
	}
	pg_unicode_to_server(code, bytes);
	memcpy(*out, bytes, strlen((char *) bytes));
	*out += strlen((char *) bytes);
	return next;
}

/* Replaces an escaped string by what it means. Raises 22P02 or 22P05 for escapes that are no character. */
void
dm_json_unescape(DmJsonSpan *string)
{
	const char *at = string->data;
	const char *end = at + string->len;
	/* six bytes of an escape become no more than four in UTF-8; other encodings may need more */
	char *text =
		palloc((Size) string->len * (MAX_UNICODE_EQUIVALENT_STRING / 6 + 1) + MAX_UNICODE_EQUIVALENT_STRING);
	char *out = text;

	while (at < end)
	{
		if (*at != '\\')
		{
			*out++ = *at++;
			continue;
		}
		switch (at[1])
		{
			case 'u': at = unescape_unicode(at, end, &out); continue;
			case 'b': *out++ = '\b'; break;
			case 'f': *out++ = '\f'; break;
			case 'n': *out++ = '\n'; break;
			case 'r': *out++ = '\r'; break;
			case 't': *out++ = '\t'; break;
			default: *out++ = at[1]; break;
		}
		at += 2;
	}
	string->data = text;
	string->len = (int) (out - text);
	string->escaped = false;
}
