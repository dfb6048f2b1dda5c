/*
 * url.c: URLs of objects, s3://bucket/key. The key is taken as written: no percent-decoding, no query.
 */
#include "postgres.h"

#include "store/store.h"

#define DM_URL_SCHEME "s3://"

/* True if text is the URL of objects rather than a relation name or a query. */
bool
dm_url_is_object(const char *text)
{
	return pg_strncasecmp(text, DM_URL_SCHEME, strlen(DM_URL_SCHEME)) == 0;
}

/* Splits s3://bucket/key into its parts, both palloc'd; key is "" when there is none. Raises 22023 on anything else. */
void
dm_url_split(const char *url, char **bucket, char **key)
{
	const char *start = url + strlen(DM_URL_SCHEME);
	const char *slash;

	if (!dm_url_is_object(url) || *start == '\0' || *start == '/')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid object URL \"%s\"", url),
				 errhint("Write it as s3://bucket/key; the key may have the wildcards * ** ? [] and {}.")));
	slash = strchr(start, '/');
	*bucket = slash ? pnstrdup(start, slash - start) : pstrdup(start);
	*key = pstrdup(slash ? slash + 1 : "");
}

/* Value of a hex digit, or -1. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = pg_ascii_tolower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Replaces %XX by the byte it stands for, and a plus by a blank if told to; palloc'd. What is no %XX stays as it is, and so does %00,
 * which no text can hold.
 */
char *
dm_percent_decode(const char *text, Size len, bool plus)
{
	char *decoded = palloc(len + 1);
	char *out = decoded;

	for (const char *p = text; p < text + len; p++)
	{
		int high = *p == '%' && text + len - p > 2 ? hex_value(p[1]) : -1;
		int low = high >= 0 ? hex_value(p[2]) : -1;

		if (low >= 0 && high + low > 0)
		{
			*out++ = (char) (high * 16 + low);
			p += 2;
		}
		else
			*out++ = plus && *p == '+' ? ' ' : *p;
	}
	*out = '\0';
	return decoded;
}
