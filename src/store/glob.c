/*
 * glob.c: matches keys with wildcards.
 *
 *     *       any characters within a path step        ?       one character, not the slash
 *     **      any characters, slashes too              [a-z]   one of a set; [!a-z] or [^a-z] one not of it
 *     **      and a slash: no step, or whole steps     {a,b}   either; may be nested and empty
 *
 * There is no escape character: [*] is a literal star. Braces without a comma and an unclosed
 * bracket stand for themselves. Time is bounded by pattern length times the square of the key's, whatever the stars.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "store/store.h"

/* Braces expand to at most so many patterns. */
#define DM_GLOB_MAX_ALTERNATIVES 1024

/* Where to try again when the pattern does not fit: pattern from here, key one character (or step) further. */
typedef struct GlobRetry
{
	const char *pattern; /* NULL: none */
	const char *key;
} GlobRetry;

static bool match_braces(const char *pattern, const char *key, int *budget);
static bool match_plain(const char *pattern, const char *key);

/* The literal part of a pattern before its first wildcard, palloc'd. */
char *
dm_glob_prefix(const char *pattern)
{
	return pnstrdup(pattern, strcspn(pattern, "*?[{"));
}

/* True if the pattern matches all of key. */
bool
dm_glob_match(const char *pattern, const char *key)
{
	int budget = DM_GLOB_MAX_ALTERNATIVES;

	return match_braces(pattern, key, &budget);
}

/* Length in bytes of the character at s, which is not at its end. */
static int
char_len(const char *s)
{
	return IS_HIGHBIT_SET(*s) ? strnlen(s, pg_mblen(s)) : 1;
}

/*
 * Finds the first brace group that has a comma: *open its '{' and *close its '}'. False if there is none. A brace
 * inside [] is not special.
 */
static bool
find_braces(const char *pattern, const char **open, const char **close)
{
	for (const char *p = pattern; (p = strchr(p, '{')) != NULL; p++)
	{
		int depth = 0;
		bool comma = false;

		if (p > pattern && p[-1] == '[' && p[1] == ']')
			continue;
		for (const char *q = p; *q; q++)
		{
			if (*q == '{')
				depth++;
			else if (*q == ',' && depth == 1)
				comma = true;
			else if (*q == '}' && --depth == 0)
			{
				*open = p;
				*close = q;
				if (comma)
					return true;
				break;
			}
		}
	}
	return false;
}

/* Matches with each alternative of the first brace group in turn, the rest of the pattern after it. */
static bool
match_braces(const char *pattern, const char *key, int *budget)
{
	const char *open;
	const char *close;
	const char *start;
	int depth = 0;

	check_stack_depth();
	if (!find_braces(pattern, &open, &close))
	{
		if (--*budget < 0)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("pattern has more than %d alternatives in braces", DM_GLOB_MAX_ALTERNATIVES)));
		return match_plain(pattern, key);
	}
	/* What stands before the braces must fit the start of the key, if it is literal: a cheap way to say no. */
	if (strcspn(pattern, "*?[") >= (Size) (open - pattern) && strncmp(pattern, key, open - pattern) != 0)
		return false;
	start = open + 1;
	for (const char *p = start; p <= close; p++)
	{
		if (*p == '{')
			depth++;
		else if (*p == '}' && p < close)
			depth--;
		else if ((*p == ',' && depth == 0) || p == close)
		{
			char *one =
				psprintf("%.*s%.*s%s", (int) (open - pattern), pattern, (int) (p - start), start, close + 1);
			bool matched = match_braces(one, key, budget);

			pfree(one);
			if (matched)
				return true;
			start = p + 1;
		}
	}
	return false;
}

/*
 * Matches the set that starts at *pattern (a '[') with the character at key, and moves *pattern behind it. An
 * unclosed '[' is a literal one.
 */
static bool
match_set(const char **pattern, const char *key)
{
	const char *p = *pattern + 1;
	bool negated = *p == '!' || *p == '^';
	bool found = false;
	const char *end;
	int len = char_len(key);

	if (negated)
		p++;
	end = *p ? strchr(p + 1, ']') : NULL; /* a ']' in first place is a member */
	if (!end)
	{
		*pattern += 1;
		return *key == '[';
	}
	*pattern = end + 1;
	while (p < end)
	{
		int low_len = char_len(p);
		const char *high = p;
		int high_len = low_len;

		if (p[low_len] == '-' && p + low_len + 1 < end)
		{
			high = p + low_len + 1;
			high_len = char_len(high);
		}
		/* Byte order of equally long characters is code point order in UTF-8; a longer one is later. */
		if ((len > low_len || (len == low_len && memcmp(key, p, len) >= 0)) &&
			(len < high_len || (len == high_len && memcmp(key, high, len) <= 0)))
			found = true;
		p = high + high_len;
	}
	return found != negated && *key != '/';
}

/* Matches one item of the pattern that is no star with the start of *key; moves both behind it if they fit. */
static bool
match_one(const char **pattern, const char **key)
{
	int len;

	if (**pattern == '\0' || **key == '\0')
		return false;
	len = char_len(*key);
	if (**pattern == '[')
	{
		if (!match_set(pattern, *key))
			return false;
	}
	else if (**pattern == '?' && **key != '/')
		*pattern += 1;
	else if (strncmp(*pattern, *key, len) == 0)
		*pattern += len;
	else
		return false;
	*key += len;
	return true;
}

/* Goes back to where a star could have taken more of the key. False if no star can. */
static bool
retry_star(GlobRetry *star, GlobRetry *deep, bool deep_steps, const char **pattern, const char **key)
{
	if (star->pattern && *star->key != '\0' && *star->key != '/')
	{
		star->key += char_len(star->key);
		*pattern = star->pattern;
		*key = star->key;
		return true;
	}
	star->pattern = NULL;
	if (!deep->pattern || *deep->key == '\0')
		return false;
	if (deep_steps)
	{
		deep->key = strchr(deep->key, '/');
		if (!deep->key)
		{
			deep->pattern = NULL;
			return false;
		}
		deep->key++;
	}
	else
		deep->key += char_len(deep->key);
	*pattern = deep->pattern;
	*key = deep->key;
	return true;
}

/*
 * Matches a pattern without braces. Only the last * and the last ** can be worth trying again: whatever an earlier one
 * could give up or take, a later one of the same reach covers.
 */
static bool
match_plain(const char *pattern, const char *key)
{
	const char *start = pattern;
	GlobRetry star = {NULL, NULL};
	GlobRetry deep = {NULL, NULL};
	bool deep_steps = false;

	for (;;)
	{
		if (pattern[0] == '*' && pattern[1] == '*')
		{
			deep_steps = pattern[2] == '/' && (pattern == start || pattern[-1] == '/');
			pattern += deep_steps ? 3 : 2;
			deep = (GlobRetry){pattern, key};
			star.pattern = NULL;
		}
		else if (pattern[0] == '*')
		{
			pattern++;
			star = (GlobRetry){pattern, key};
		}
		else if (*pattern == '\0' && *key == '\0')
			return true;
		else if (!match_one(&pattern, &key) && !retry_star(&star, &deep, deep_steps, &pattern, &key))
			return false;
	}
}
