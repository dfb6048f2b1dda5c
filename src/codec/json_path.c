/*
 * json_path.c: paths to a value within a record: a subset of JSONPath (RFC 9535).
 *
 * $ is the record. Then come steps: .name (letters, digits, _, - and bytes above ASCII), ['any name'], ["any name"], [0]. In a
 * quoted name a backslash makes the next character plain. The first step is a name, since records are objects. There
 * are no wildcards, slices, filters or negative indexes: a path leads to one value or to none.
 */
#include "postgres.h"

#include "codec/json.h"

#define DM_JSON_MAX_STEPS 100
#define DM_JSON_INDEX_DIGITS 9

/* Raises HV024 for a path, with where it cannot be understood. */
static void
path_error(const char *text, const char *at)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid path \"%s\"", text),
			 errdetail("It is not understood from character %d on.", (int) (at - text) + 1),
			 errhint("Write a path like $.a.b[0] or $['a b'], which begins with a name.")));
}

/* Can c stand in a name behind a point? */
static bool
is_name_byte(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '-' || IS_HIGHBIT_SET(c);
}

/* Parses .name into step. Returns what is behind it; NULL if it is none. */
static const char *
parse_point(const char *at, DmJsonStep *step)
{
	const char *start = ++at;

	while (is_name_byte(*at))
		at++;
	step->len = (int) (at - start);
	step->name = pnstrdup(start, step->len);
	return step->len > 0 ? at : NULL;
}

/* Parses ['name'] or [0] into step. Returns what is behind it; NULL if it is none. */
static const char *
parse_bracket(const char *at, DmJsonStep *step)
{
	char quote = *++at;
	char *name;

	if (quote != '\'' && quote != '"')
	{
		const char *start = at;

		step->name = NULL;
		step->index = 0;
		for (; *at >= '0' && *at <= '9' && at - start < DM_JSON_INDEX_DIGITS; at++)
			step->index = step->index * 10 + (*at - '0');
		return at > start && *at == ']' ? at + 1 : NULL;
	}
	step->name = name = palloc(strlen(at) + 1);
	for (at++; *at && *at != quote; at++)
	{
		if (*at == '\\' && at[1])
			at++;
		*name++ = *at;
	}
	*name = '\0';
	step->len = (int) (name - step->name);
	return *at == quote && at[1] == ']' ? at + 2 : NULL;
}

/* Parses the step at `at` and adds it. Returns what is behind it; NULL if it is none, or none that may stand there. */
static const char *
parse_step(DmJsonPath *path, const char *at)
{
	DmJsonStep *step = &path->steps[path->nsteps];
	const char *next = NULL;

	if (path->nsteps == DM_JSON_MAX_STEPS)
		return NULL;
	if (*at == '.')
		next = parse_point(at, step);
	else if (*at == '[')
		next = parse_bracket(at, step);
	if (path->nsteps == 0 && !step->name)
		return NULL;
	path->nsteps++;
	return next;
}

/* Parses a path, in the current memory context. Raises HV024 for one that is not understood. */
DmJsonPath *
dm_json_path_parse(const char *text)
{
	DmJsonPath *path = palloc0(sizeof(DmJsonPath));
	const char *at = text;

	if (*at != '$')
		path_error(text, at);
	path->steps = palloc0(DM_JSON_MAX_STEPS * sizeof(DmJsonStep));
	at++;
	do
	{
		const char *next = parse_step(path, at);

		if (!next)
			path_error(text, at);
		at = next;
	} while (*at);
	return path;
}

/* Replaces *value, an object, by its last member of a name. Returns false if there is none. */
static bool
find_member(DmJsonSpan *value, const DmJsonStep *step)
{
	DmJsonScan scan;
	DmJsonSpan name;
	DmJsonSpan member;
	bool found = false;

	if (!dm_json_object_begin(&scan, value->data, value->len))
		return false;
	while (dm_json_next_member(&scan, &name, &member))
	{
		if (name.escaped)
			dm_json_unescape(&name);
		if (name.len != step->len || memcmp(name.data, step->name, name.len) != 0)
			continue;
		*value = member;
		found = true;
	}
	return found;
}

/* Replaces *value, an array, by an element. Returns false if it is not so long. */
static bool
find_element(DmJsonSpan *value, int index)
{
	DmJsonScan scan;
	DmJsonSpan element;

	if (!dm_json_array_begin(&scan, value->data, value->len))
		return false;
	for (int i = 0; dm_json_next_element(&scan, &element); i++)
	{
		if (i != index)
			continue;
		*value = element;
		return true;
	}
	return false;
}

/* Follows the steps behind the first one from *value, which it replaces. Returns false where there is nothing. */
bool
dm_json_path_follow(const DmJsonPath *path, DmJsonSpan *value)
{
	for (int i = 1; i < path->nsteps; i++)
	{
		const DmJsonStep *step = &path->steps[i];
		bool found;

		if (step->name)
			found = value->kind == DM_JSON_OBJECT && find_member(value, step);
		else
			found = value->kind == DM_JSON_ARRAY && find_element(value, step->index);
		if (!found)
			return false;
	}
	return true;
}
