/*
 * s3_versions.c: objects as they were at a time: ListObjectVersions, a page of up to 1000 versions at a time.
 *
 * Versions of a key come one after another, the newest first, and so do pages. The first one that is not younger than the time was the
 * latest then; where it marks a deletion there was no object.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "store/s3.h"

#define DM_S3_VERSIONS_MAX_BYTES (16 * 1024 * 1024)

typedef struct Version
{
	DmObject object; /* key still as sent */
	bool deleted;
} Version;

typedef struct VersionPage
{
	const char *bucket;
	List *versions; /* of Version* */
	Version next;	/* the one being read */
	bool seen_result;
	bool truncated;
	bool encoded; /* keys are percent-encoded */
	char *key_marker;
	char *version_marker;
} VersionPage;

/* Takes the end of a version or of a deletion's mark. */
static bool
note_version(VersionPage *page, bool deleted)
{
	Version *version;

	if (!page->next.object.key || !page->next.object.version || (!deleted && !page->next.object.etag))
		return false;
	version = palloc(sizeof(Version));
	*version = page->next;
	version->object.bucket = (char *) page->bucket;
	version->deleted = deleted;
	page->versions = lappend(page->versions, version);
	page->next = (Version){0};
	return true;
}

/* Takes one element of the answer. */
static bool
note_element(void *arg, const char *parent, const char *name, const char *text)
{
	VersionPage *page = arg;

	if (strcmp(parent, "Version") == 0 || strcmp(parent, "DeleteMarker") == 0)
	{
		if (strcmp(name, "VersionId") == 0)
			page->next.object.version = pstrdup(text);
		return dm_s3_note_object(&page->next.object, name, text);
	}
	if (parent[0] == '\0' && strcmp(name, "ListVersionsResult") == 0)
		page->seen_result = true;
	if (strcmp(parent, "ListVersionsResult") != 0)
		return true;
	if (strcmp(name, "Version") == 0 || strcmp(name, "DeleteMarker") == 0)
		return note_version(page, name[0] == 'D');
	if (strcmp(name, "IsTruncated") == 0)
		page->truncated = strcmp(text, "true") == 0;
	else if (strcmp(name, "EncodingType") == 0)
		page->encoded = strcmp(text, "url") == 0;
	else if (strcmp(name, "NextKeyMarker") == 0)
		page->key_marker = pstrdup(text);
	else if (strcmp(name, "NextVersionIdMarker") == 0)
		page->version_marker = pstrdup(text);
	return true;
}

/* The query of a page, parameters in the order that the signature wants. Markers are as the last page gave them, decoded. */
static char *
make_query(const char *prefix, const char *key_marker, const char *version_marker)
{
	return psprintf("encoding-type=url%s%s&max-keys=1000&prefix=%s%s%s&versions=",
					key_marker ? "&key-marker=" : "",
					key_marker ? dm_s3_key_encode(key_marker, false) : "",
					dm_s3_key_encode(prefix, false),
					version_marker ? "&version-id-marker=" : "",
					version_marker ? dm_s3_key_encode(version_marker, false) : "");
}

/* Fetches and parses one page in the current memory context. */
static void
fetch_page(DmS3Call *call, const char *what, VersionPage *page)
{
	DmHttpRequest *http = call->http;

	http->body_max = DM_S3_VERSIONS_MAX_BYTES;
	dm_http_perform(http);
	if (!dm_s3_call_succeeded(call))
		dm_s3_call_raise(call, what);
	if (!dm_xml_read(http->body, http->body_len, note_element, page) || !page->seen_result ||
		(page->truncated && !page->key_marker))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("%s: the answer is no list of versions", what),
				 errhint("Check that the endpoint of server \"%s\" is an S3 service.",
						 call->store->store.settings->server_name)));
	call->store->store.stats.bytes_in += http->body_len;
}

/* What goes on from page to page. */
typedef struct Pass
{
	MemoryContext caller;
	MemoryContext context; /* of what outlives a page */
	TimestampTz as_of;
	DmStoreEach each;
	void *arg;
	char *settled; /* the key, as sent, whose version was found */
} Pass;

/* Passes the objects of a page on. False if the caller's function asked to stop. */
static bool
pass_page(const VersionPage *page, Pass *pass)
{
	ListCell *cell;

	foreach (cell, page->versions)
	{
		Version *version = lfirst(cell);
		MemoryContext own;
		Size len;
		bool more;

		if (version->object.modified > pass->as_of ||
			(pass->settled && strcmp(pass->settled, version->object.key) == 0))
			continue;
		if (pass->settled)
			pfree(pass->settled);
		pass->settled = MemoryContextStrdup(pass->context, version->object.key);
		version->object.key = dm_s3_key_decode(version->object.key, page->encoded);
		len = strlen(version->object.key);
		/* empty objects whose key ends in a slash are folder marks, as in other listings */
		if (version->deleted || (version->object.size == 0 && len > 0 && version->object.key[len - 1] == '/'))
			continue;
		own = MemoryContextSwitchTo(pass->caller);
		more = pass->each(&version->object, pass->arg);
		MemoryContextSwitchTo(own);
		if (!more)
			return false;
	}
	return true;
}

/* Lists the keys of a bucket under a prefix as they were at a time; see store.h. */
void
dm_s3_list_as_of(DmStore *store, const char *bucket, const char *prefix, TimestampTz as_of, DmStoreEach each,
				 void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "datamill s3 versions", ALLOCSET_DEFAULT_SIZES);
	MemoryContext page_context =
		AllocSetContextCreate(context, "datamill s3 versions page", ALLOCSET_DEFAULT_SIZES);
	Pass pass = {caller, context, as_of, each, arg, NULL};
	DmS3Call *call;
	char *what;
	char *query;
	bool more = true;

	MemoryContextSwitchTo(context);
	call = dm_s3_call_make((DmS3Store *) store, "GET", &store->stats.list_requests);
	call->bucket = bucket;
	what = psprintf("could not list the versions in bucket \"%s\"", bucket);
	query = make_query(prefix, NULL, NULL);
	while (more)
	{
		VersionPage page = {bucket};

		MemoryContextSwitchTo(page_context);
		call->query = query;
		fetch_page(call, what, &page);
		more = pass_page(&page, &pass) && page.truncated;
		MemoryContextSwitchTo(context);
		if (more)
		{
			char *next = make_query(prefix, dm_s3_key_decode(page.key_marker, page.encoded), page.version_marker);

			if (strcmp(next, query) == 0)
				ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("%s: the same page came twice", what)));
			query = next;
		}
		MemoryContextReset(page_context);
	}
	dm_http_free(call->http);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
