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
