/*
 * s3_uploads.c: the multipart uploads that a bucket has open, whoever began them: ListMultipartUploads, a page of up to 1000 at a
 * time, and AbortMultipartUpload.
 *
 * Keys are not asked for percent-encoded: Ceph RGW encodes them then, but neither says so nor does it with the marker of the next
 * page. (A key with a control character that XML cannot hold makes the page unreadable.)
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "store/credentials_parse.h"
#include "store/s3.h"

#define DM_S3_UPLOADS_MAX_BYTES (16 * 1024 * 1024)

typedef struct UploadPage
{
	const char *bucket;
	List *uploads;	   /* DmOpenUpload, keys still as sent */
	DmOpenUpload next; /* the one being read */
	bool seen_result;
	bool truncated;
	char *key_marker;
	char *upload_marker;
} UploadPage;

/* Takes one element of an upload. False if its value makes no sense. */
static bool
note_upload_element(DmOpenUpload *upload, const char *name, const char *text)
{
	if (strcmp(name, "Key") == 0)
		upload->key = pstrdup(text);
	else if (strcmp(name, "UploadId") == 0)
		upload->upload_id = pstrdup(text);
	else if (strcmp(name, "Initiated") == 0)
		return dm_iso_time_read(text, &upload->initiated);
	return true;
}

/* Takes one element of the answer. */
static bool
note_element(void *arg, const char *parent, const char *name, const char *text)
{
	UploadPage *page = arg;

	if (strcmp(parent, "Upload") == 0)
		return note_upload_element(&page->next, name, text);
	if (parent[0] == '\0' && strcmp(name, "ListMultipartUploadsResult") == 0)
		page->seen_result = true;
	if (strcmp(parent, "ListMultipartUploadsResult") != 0)
		return true;
	if (strcmp(name, "Upload") == 0)
	{
		DmOpenUpload *upload;

		if (!page->next.key || !page->next.upload_id)
			return false;
		upload = palloc(sizeof(DmOpenUpload));
		*upload = page->next;
		upload->bucket = (char *) page->bucket;
		page->uploads = lappend(page->uploads, upload);
		page->next = (DmOpenUpload){0};
	}
	else if (strcmp(name, "IsTruncated") == 0)
		page->truncated = strcmp(text, "true") == 0;
	else if (strcmp(name, "NextKeyMarker") == 0)
		page->key_marker = pstrdup(text);
	else if (strcmp(name, "NextUploadIdMarker") == 0)
		page->upload_marker = pstrdup(text);
	return true;
}

/* The query of a page, parameters in the order that the signature wants. */
static char *
make_query(const char *prefix, const char *key_marker, const char *upload_marker)
{
	return psprintf("%s%s%smax-uploads=1000&prefix=%s%s%s&uploads=",
					key_marker ? "key-marker=" : "",
					key_marker ? dm_s3_key_encode(key_marker, false) : "",
					key_marker ? "&" : "",
					dm_s3_key_encode(prefix, false),
					upload_marker ? "&upload-id-marker=" : "",
					upload_marker ? dm_s3_key_encode(upload_marker, false) : "");
}

/* Fetches and parses one page in the current memory context. */
static void
fetch_page(DmS3Call *call, const char *what, UploadPage *page)
{
	call->http->body_max = DM_S3_UPLOADS_MAX_BYTES;
	dm_http_perform(call->http);
	if (!dm_s3_call_succeeded(call))
		dm_s3_call_raise(call, what);
	if (!dm_xml_read(call->http->body, call->http->body_len, note_element, page) || !page->seen_result ||
		(page->truncated && !page->key_marker))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("%s: the answer is no list of uploads", what),
				 errhint("Check that the endpoint of server \"%s\" is an S3 service.",
						 call->store->store.settings->server_name)));
}

/* Lists the open uploads of a bucket under a prefix; see store.h. */
void
dm_s3_uploads_list(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "datamill s3 uploads", ALLOCSET_DEFAULT_SIZES);
	MemoryContext page_context = AllocSetContextCreate(context, "datamill s3 uploads page", ALLOCSET_DEFAULT_SIZES);
	DmS3Call *call;
	char *what;
	char *query;
	bool more = true;

	MemoryContextSwitchTo(context);
	call = dm_s3_call_make((DmS3Store *) store, "GET", &store->stats.list_requests);
	call->bucket = bucket;
	what = psprintf("could not list the uploads of bucket \"%s\"", bucket);
	query = make_query(prefix, NULL, NULL);
	while (more)
	{
		UploadPage page = {bucket};
		ListCell *lc;

		MemoryContextSwitchTo(page_context);
		call->query = query;
		fetch_page(call, what, &page);
		foreach (lc, page.uploads)
		{
			DmOpenUpload *upload = lfirst(lc);

			upload->key = dm_s3_key_decode(upload->key, false);
			MemoryContextSwitchTo(caller);
			each(upload, arg);
			MemoryContextSwitchTo(page_context);
		}
		more = page.truncated;
		if (more)
		{
			char *last = query;

			MemoryContextSwitchTo(context);
			query = make_query(prefix, dm_s3_key_decode(page.key_marker, false), page.upload_marker);
			if (strcmp(last, query) == 0)
				ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("%s: the same page came twice", what)));
		}
		MemoryContextReset(page_context);
	}
	dm_http_free(call->http);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* Aborts an upload; one that is not there is no error. */
void
dm_s3_uploads_abort(DmStore *store, const DmOpenUpload *upload)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill s3 abort", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DmS3Call *call = dm_s3_call_make((DmS3Store *) store, "DELETE", &store->stats.put_requests);

	call->bucket = upload->bucket;
	call->key = upload->key;
	call->query = psprintf("uploadId=%s", dm_s3_key_encode(upload->upload_id, false));
	call->http->body_max = DM_HTTP_ERROR_BODY_BYTES;
	dm_http_perform(call->http);
	if (call->http->state != DM_HTTP_DONE || call->http->status != 404)
		dm_s3_call_check(call, "could not abort an upload of");
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
