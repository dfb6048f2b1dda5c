/*
 * s3_list.c: ListObjectsV2, a page of up to 1000 keys at a time.
 *
 * Keys are asked for percent-encoded (encoding-type=url), since XML cannot hold every byte that a key may have. A page
 * is read whole, with a ceiling, before any key of it is passed on, so that a page that was cut off can be fetched again.
 * Empty objects whose key ends in a slash are the folder marks of some tools, not data: they are left out, as folders of
 * a local directory are.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "store/s3.h"

#define DM_S3_LIST_MAX_BYTES (16 * 1024 * 1024)

typedef struct ListPage
{
	const char *bucket;
	List *keys;	   /* DmObject with key still as sent */
	List *folders; /* of char*, still as sent: prefixes of keys up to a slash */
	DmObject next; /* the one being read */
	bool seen_result;
	bool truncated;
	bool encoded; /* keys are percent-encoded */
	char *token;
} ListPage;

/* What a page is passed on to: one of the two. */
typedef struct ListTarget
{
	DmStoreEach each;
	DmStoreEachFolder each_folder; /* keys are cut at the first slash after the prefix */
	void *arg;
} ListTarget;

static void list_pages(DmStore *store, const char *bucket, const char *prefix, const ListTarget *target);
static bool note_element(void *arg, const char *parent, const char *name, const char *text);
static bool pass_page(const ListPage *page, MemoryContext caller, const ListTarget *target);

/* The query of a page, parameters in the order that the signature wants. */
static char *
make_query(const char *prefix, const char *token, bool folders)
{
	return psprintf("%s%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s",
					token ? "continuation-token=" : "",
					token ? dm_s3_key_encode(token, false) : "",
					token ? "&" : "",
					folders ? "delimiter=%2F&" : "",
					dm_s3_key_encode(prefix, false));
}

/* Fetches and parses one page in the current memory context. */
static void
fetch_page(DmS3Call *call, const char *what, ListPage *page)
{
	DmHttpRequest *http = call->http;

	http->body_max = DM_S3_LIST_MAX_BYTES;
	dm_http_perform(http);
	if (!dm_s3_call_succeeded(call))
		dm_s3_call_raise(call, what);
	if (!dm_xml_read(http->body, http->body_len, note_element, page) || !page->seen_result ||
		(page->truncated && !page->token))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("%s: the answer is no list of objects", what),
				 errhint("Check that the endpoint of server \"%s\" is an S3 service.",
						 call->store->store.settings->server_name)));
	call->store->store.stats.bytes_in += http->body_len;
}

/* Lists the keys of a bucket under a prefix; see store.h. */
void
dm_s3_list(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg)
{
	list_pages(store, bucket, prefix, &(ListTarget){.each = each, .arg = arg});
}

/* Lists the folders directly below a prefix; see store.h. */
void
dm_s3_list_folders(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each, void *arg)
{
	list_pages(store, bucket, prefix, &(ListTarget){.each_folder = each, .arg = arg});
}

/* Lists page by page and passes on what is found. */
static void
list_pages(DmStore *store, const char *bucket, const char *prefix, const ListTarget *target)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "datamill s3 list", ALLOCSET_DEFAULT_SIZES);
	MemoryContext page_context = AllocSetContextCreate(context, "datamill s3 list page", ALLOCSET_DEFAULT_SIZES);
	DmS3Call *call;
	char *token = NULL;
	char *what;
	bool more = true;

	MemoryContextSwitchTo(context);
	call = dm_s3_call_make((DmS3Store *) store, "GET", &store->stats.list_requests);
	call->bucket = bucket;
	what = psprintf("could not list bucket \"%s\"", bucket);
	while (more)
	{
		ListPage page = {bucket};
		char *last = token;

		MemoryContextSwitchTo(page_context);
		call->query = make_query(prefix, token, target->each_folder != NULL);
		fetch_page(call, what, &page);
		more = pass_page(&page, caller, target) && page.truncated;
		if (more)
			token = MemoryContextStrdup(context, page.token);
		if (more && last && strcmp(last, token) == 0)
			ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("%s: the same page came twice", what)));
		if (last)
			pfree(last);
		MemoryContextReset(page_context);
	}
	dm_http_free(call->http);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* An etag without its double quotes, palloc'd. */
char *
dm_s3_etag_strip(const char *text)
{
	Size len = strlen(text);

	if (len >= 2 && text[0] == '"' && text[len - 1] == '"')
		return pnstrdup(text + 1, len - 2);
	return pstrdup(text);
}

/* Takes one element of an object. False if its value makes no sense. */
bool
dm_s3_note_object(DmObject *object, const char *name, const char *text)
{
	if (strcmp(name, "Key") == 0)
		object->key = pstrdup(text);
	else if (strcmp(name, "ETag") == 0)
		object->etag = dm_s3_etag_strip(text);
	else if (strcmp(name, "LastModified") == 0)
		return dm_iso_time_read(text, &object->modified);
	else if (strcmp(name, "Size") == 0)
	{
		char *end;

		errno = 0;
		object->size = strtoll(text, &end, 10);
		return errno == 0 && end != text && *end == '\0' && object->size >= 0;
	}
	return true;
}

/* Takes one element of the answer. */
static bool
note_element(void *arg, const char *parent, const char *name, const char *text)
{
	ListPage *page = arg;

	if (strcmp(parent, "Contents") == 0)
		return dm_s3_note_object(&page->next, name, text);
	if (parent[0] == '\0' && strcmp(name, "ListBucketResult") == 0)
		page->seen_result = true;
	if (strcmp(parent, "CommonPrefixes") == 0 && strcmp(name, "Prefix") == 0)
		page->folders = lappend(page->folders, pstrdup(text));
	if (strcmp(parent, "ListBucketResult") != 0)
		return true;
	if (strcmp(name, "Contents") == 0)
	{
		DmObject *object;

		if (!page->next.key || !page->next.etag)
			return false;
		object = palloc(sizeof(DmObject));
		*object = page->next;
		object->bucket = (char *) page->bucket;
		page->keys = lappend(page->keys, object);
		page->next = (DmObject){0};
	}
	else if (strcmp(name, "IsTruncated") == 0)
		page->truncated = strcmp(text, "true") == 0;
	else if (strcmp(name, "EncodingType") == 0)
		page->encoded = strcmp(text, "url") == 0;
	else if (strcmp(name, "NextContinuationToken") == 0)
		page->token = pstrdup(text);
	return true;
}

/* Passes the folders of a page on. False if the caller's function asked to stop. */
static bool
pass_folders(const ListPage *page, MemoryContext caller, const ListTarget *target)
{
	MemoryContext own = CurrentMemoryContext;
	ListCell *lc;

	foreach (lc, page->folders)
	{
		char *folder = dm_s3_key_decode(lfirst(lc), page->encoded);
		bool more;

		MemoryContextSwitchTo(caller);
		more = target->each_folder(folder, target->arg);
		MemoryContextSwitchTo(own);
		if (!more)
			return false;
	}
	return true;
}

/* Passes the objects of a page on, or its folders. False if the caller's function asked to stop. */
static bool
pass_page(const ListPage *page, MemoryContext caller, const ListTarget *target)
{
	MemoryContext own = CurrentMemoryContext;
	ListCell *lc;

	if (target->each_folder)
		return pass_folders(page, caller, target);

	foreach (lc, page->keys)
	{
		DmObject *object = lfirst(lc);
		Size len;
		bool more;

		object->key = dm_s3_key_decode(object->key, page->encoded);
		len = strlen(object->key);
		if (object->size == 0 && len > 0 && object->key[len - 1] == '/')
			continue;
		MemoryContextSwitchTo(caller);
		more = target->each(object, target->arg);
		MemoryContextSwitchTo(own);
		if (!more)
			return false;
	}
	return true;
}
