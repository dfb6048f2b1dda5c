/*
 * hive.c: columns that stand in the keys of objects.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "source/hive.h"
#include "store/store.h"

/* What Hive calls the folder of NULL. */
#define DM_HIVE_NULL "__HIVE_DEFAULT_PARTITION__"

/* A text of a key as it was before it was escaped; keys are UTF-8, and so are the bytes that %XX stand for. */
static char *
decode(const char *text, Size len)
{
	char *plain;
	char *utf8;

	if (!memchr(text, '%', len))
		return pnstrdup(text, len);
	plain = pnstrdup(text, len);
	utf8 = pg_server_to_any(plain, len, PG_UTF8);
	utf8 = dm_percent_decode(utf8, strlen(utf8), false);
	return pg_any_to_server(utf8, strlen(utf8), PG_UTF8);
}

/* Names of the columns of a pattern. */
List *
dm_hive_pattern_names(const char *pattern)
{
	List *names = NIL;
	const char *slash;

	for (const char *step = pattern; (slash = strchr(step, '/')) != NULL; step = slash + 1)
	{
		Size len = strcspn(step, "=*?[{/");

		if (len > 0 && step[len] == '=' && strcspn(step, "*?[{") < (Size) (slash - step))
			names = lappend(names, decode(step, len));
	}
	return names;
}

/* Names of the columns of a URL. */
List *
dm_hive_names(const char *url)
{
	char *bucket;
	char *pattern;
	List *names;

	dm_url_split(url, &bucket, &pattern);
	names = dm_hive_pattern_names(pattern);
	for (int i = 0; i < list_length(names); i++)
	{
		const char *name = list_nth(names, i);

		if (strlen(name) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("partition \"%s\" of \"%s\" is too long for a column's name", name, url),
					 errdetail("It has %zu bytes; the limit is %d.", strlen(name), NAMEDATALEN - 1),
					 errhint("Set the option hive to false.")));
		for (int j = 0; j < i; j++)
		{
			if (strcmp(list_nth(names, j), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("partition \"%s\" comes twice in \"%s\"", name, url)));
		}
	}
	return names;
}

/* True if a folder step, up to its equals sign, is of that name. */
static bool
has_name(const char *step, Size len, const char *name)
{
	if (memchr(step, '%', len))
		return strcmp(decode(step, len), name) == 0;
	return strlen(name) == len && memcmp(step, name, len) == 0;
}

/* The value of a column in the folders of a key. */
char *
dm_hive_value(const char *key, const char *name, bool *found)
{
	const char *slash;

	for (const char *step = key; (slash = strchr(step, '/')) != NULL; step = slash + 1)
	{
		const char *equals = memchr(step, '=', slash - step);
		Size len;

		if (!equals || !has_name(step, equals - step, name))
			continue;
		*found = true;
		len = slash - equals - 1;
		if (len == strlen(DM_HIVE_NULL) && strncmp(equals + 1, DM_HIVE_NULL, len) == 0)
			return NULL;
		return decode(equals + 1, len);
	}
	*found = false;
	return NULL;
}

/* Appends text as Hive escapes it in folder names: control characters and what has a meaning there are %XX. */
static void
append_escaped(StringInfo out, const char *text)
{
	for (; *text; text++)
	{
		unsigned char byte = (unsigned char) *text;

		if (byte < ' ' || byte == 0x7f || strchr("\"#%'*/:=?\\{[]^", byte))
			appendStringInfo(out, "%%%02X", byte);
		else
			appendStringInfoChar(out, *text);
	}
}

/* The folder step for a value. */
char *
dm_hive_step(const char *column, const char *value)
{
	StringInfoData out;

	initStringInfo(&out);
	append_escaped(&out, column);
	appendStringInfoChar(&out, '=');
	if (!value)
		appendStringInfoString(&out, DM_HIVE_NULL);
	else if (strcmp(value, DM_HIVE_NULL) == 0) /* told apart, and the same unescaped */
		appendStringInfo(&out, "%%%02X%s", DM_HIVE_NULL[0], DM_HIVE_NULL + 1);
	else
		append_escaped(&out, value);
	appendStringInfoChar(&out, '/');
	return out.data;
}
