/*
 * s3_multipart.c: the calls around the parts of a multipart upload: create, complete, and finding out what became of a write
 * whose answer was lost.
 *
 * 1. The answer of CreateMultipartUpload is waited for, a moment, even if an interrupt comes: without it the upload has no name to be aborted by.
 * 2. CompleteMultipartUpload says 200 before it knows the end: an <Error> in its body is the answer then, and is tried again like one
 *    with that status.
 * 3. A write that is tried again, by us or by curl on a connection that was found closed, may find that its first try was done: the object is then ours if its etag is the one that our bytes
 *    have (MD5 of the content; for parts MD5 of their MD5s, a hyphen and their number).
 */
#include "postgres.h"

#include "common/md5.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "net/retry.h"
#include "store/s3.h"

/* How long an interrupt waits for the answer of a create. */
#define DM_S3_CREATE_GRACE_MS 100
#define DM_S3_ANSWER_MAX_BYTES (64 * 1024)

/* What the answer to a create or complete says. */
typedef struct Answer
{
	char root[64];
	char *upload_id;
	char *etag;
	char code[64];
} Answer;

static void raise_answer(const DmUpload *upload) pg_attribute_noreturn();

/* Takes one element of an answer; the root comes last. */
static bool
note_answer(void *arg, const char *parent, const char *name, const char *text)
{
	Answer *answer = arg;

	if (parent[0] == '\0')
		strlcpy(answer->root, name, sizeof(answer->root));
	else if (strcmp(name, "UploadId") == 0)
		answer->upload_id = pstrdup(text);
	else if (strcmp(name, "ETag") == 0)
		answer->etag = dm_s3_etag_strip(text);
	else if (strcmp(name, "Code") == 0)
		strlcpy(answer->code, text, sizeof(answer->code));
	return true;
}

/* Reads the body of a 2xx answer. Blanks may come before the document, to keep the connection alive. */
static bool
read_answer(const DmHttpRequest *http, Answer *answer)
{
	const char *body = http->body;
	Size len = http->body_len;

	memset(answer, 0, sizeof(*answer));
	while (len > 0 && strchr(" \t\r\n", *body))
	{
		body++;
		len--;
	}
	return dm_xml_read(body, len, note_answer, answer);
}

/* Gives curl the bytes of a body (inside curl: raises nothing). */
static ssize_t
read_payload(DmHttpRequest *request, int64 offset, char *buf, Size len)
{
	const DmS3Call *call = request->arg;

	len = Min(len, (Size) (request->upload_bytes - offset));
	memcpy(buf, call->payload + offset, len);
	return len;
}

/* Gives a call its payload, which must outlive it, and the payload's digest. Raises if the digest fails. */
void
dm_s3_call_payload(DmS3Call *call, const char *data, Size len)
{
	call->payload = data;
	if (!dm_s3_sha256(data, len, call->payload_digest))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute SHA-256 of an upload")));
	call->payload_sha256 = call->payload_digest;
	call->http->upload_read = read_payload;
	call->http->upload_bytes = len;
}

/* The etag of an answer, without quotes, palloc'd; "" if it has none. */
static char *
answer_etag(const DmHttpRequest *http)
{
	char *etag = dm_http_header(http, "ETag");

	return etag ? dm_s3_etag_strip(etag) : pstrdup("");
}

/*
 * Makes a call for the object of an upload, in a memory context of its own below the current one: an unload of many files makes a lot of
 * them. dm_s3_upload_call_free() ends it.
 */
DmS3Call *
dm_s3_upload_call(const DmUpload *upload, const char *method, int64 *counter)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill s3 upload call", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DmS3Call *call = dm_s3_call_make((DmS3Store *) upload->store, method, counter);

	MemoryContextSwitchTo(old);
	call->bucket = upload->bucket;
	call->key = upload->key;
	call->http->body_max = DM_S3_ANSWER_MAX_BYTES;
	return call;
}

/* Ends a call of dm_s3_upload_call() and frees all of it. */
void
dm_s3_upload_call_free(DmS3Call *call)
{
	MemoryContextDelete(GetMemoryChunkContext(call));
}

/* Adds the headers of a new object to the call that makes it. */
void
dm_s3_call_describe(DmS3Call *call, const DmUploadOptions *options)
{
	if (options->content_type)
		call->headers[call->nheaders++] = (DmS3Header){"Content-Type", options->content_type};
	if (options->content_encoding)
		call->headers[call->nheaders++] = (DmS3Header){"Content-Encoding", options->content_encoding};
}

/*
 * Performs the call that makes the object of an upload, on the condition that there is none if options ask for it. A store that
 * does not know the condition (501) is asked without it: the caller has looked.
 */
void
dm_s3_call_perform_new(DmS3Call *call, const DmUploadOptions *options)
{
	if (options->create_only)
		call->headers[call->nheaders++] = (DmS3Header){"If-None-Match", "*"};
	dm_http_perform(call->http);
	if (options->create_only && call->http->state == DM_HTTP_DONE && call->http->status == 501)
	{
		call->nheaders--;
		dm_http_perform(call->http);
	}
}

/* Raises unless the call succeeded; what is like "could not write". */
void
dm_s3_call_check(const DmS3Call *call, const char *what)
{
	if (!dm_s3_call_succeeded(call))
		dm_s3_call_raise(call, psprintf("%s object \"s3://%s/%s\"", what, call->bucket, call->key));
}

/* Raises: the answer to a write is not S3's. */
static void
raise_answer(const DmUpload *upload)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_PROTOCOL_VIOLATION),
		 errmsg("could not write object \"s3://%s/%s\": the answer makes no sense", upload->bucket, upload->key),
		 errhint("Check that the endpoint of server \"%s\" is an S3 service.",
				 upload->store->settings->server_name)));
}

/* Looks for the object of an upload. False if there is none. */
bool
dm_s3_object_head(const DmUpload *upload, DmObject *object)
{
	DmS3Call *call = dm_s3_upload_call(upload, "HEAD", &upload->store->stats.list_requests);
	char *length;
	bool found;

	dm_http_perform(call->http);
	found = dm_s3_call_succeeded(call);
	if (!found && (call->http->state != DM_HTTP_DONE || call->http->status != 404))
		dm_s3_call_check(call, "could not look for");
	memset(object, 0, sizeof(*object));
	length = dm_http_header(call->http, "Content-Length");
	object->size = found && length ? strtoll(length, NULL, 10) : -1;
	object->etag = found ? answer_etag(call->http) : NULL;
	dm_s3_upload_call_free(call);
	return found;
}

/* True if the object of an upload is there and has this etag and size: then it is what we wrote. */
bool
dm_s3_object_is_ours(const DmUpload *upload, const char *etag, int64 size)
{
	DmObject object = {0};

	return etag && dm_s3_object_head(upload, &object) && object.size == size && strcmp(object.etag, etag) == 0;
}

/* Judges the answer to a PUT: one without an etag was cut off. */
static DmHttpVerdict
judge_put(DmHttpRequest *request)
{
	if (request->status >= 200 && request->status <= 299 && answer_etag(request)[0] == '\0')
		return DM_HTTP_RETRY;
	return dm_s3_call_judge(request);
}

/* Makes a PUT of an object, or of a part, in the current memory context. */
DmS3Call *
dm_s3_put_call(const DmUpload *upload)
{
	DmS3Call *call = dm_s3_upload_call(upload, "PUT", &upload->store->stats.put_requests);

	call->http->judge = judge_put;
	return call;
}

/* The etag that a PUT was answered with, palloc'd. Raises if there is none; what is like "could not write object ...". */
char *
dm_s3_put_etag(const DmS3Call *call, const char *what)
{
	char *etag = answer_etag(call->http);

	if (etag[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("%s: the answer has no ETag", what)));
	return etag;
}

/* Starts a multipart upload. Returns its entry among the open ones; *upload_id is palloc'd. */
DmS3Open *
dm_s3_multipart_create(const DmUpload *upload, SubTransactionId subtransaction, char **upload_id)
{
	DmS3Call *call = dm_s3_upload_call(upload, "POST", &upload->store->stats.put_requests);
	DmS3Open *open;
	Answer answer;

	call->query = "uploads=";
	dm_s3_call_payload(call, "", 0);
	dm_s3_call_describe(call, &upload->options);
	dm_http_perform_held(call->http, DM_S3_CREATE_GRACE_MS);
	dm_s3_call_check(call, "could not write");
	if (!read_answer(call->http, &answer) || !answer.upload_id || !answer.upload_id[0])
		raise_answer(upload);
	open = dm_s3_open_add(upload, answer.upload_id, subtransaction);
	RESUME_INTERRUPTS();
	dm_s3_upload_call_free(call);
	*upload_id = answer.upload_id;
	return open;
}

/* Judges the answer to a complete: an error in the body of a 200 becomes the answer. */
static DmHttpVerdict
judge_complete(DmHttpRequest *request)
{
	Answer answer;

	if (request->status == 409) /* another write of the key is under way */
		return DM_HTTP_RETRY;
	if (request->status < 200 || request->status > 299)
		return dm_s3_call_judge(request);
	if (!read_answer(request, &answer)) /* cut off */
		return DM_HTTP_RETRY;
	if (strcmp(answer.root, "Error") != 0)
		return dm_s3_call_judge(request);
	request->error_len = Min(request->body_len, DM_HTTP_ERROR_BODY_BYTES);
	memcpy(request->error_body, request->body, request->error_len);
	request->error_body[request->error_len] = '\0';
	request->status = 400;
	if (strcmp(answer.code, "InternalError") == 0)
		request->status = 500;
	else if (strcmp(answer.code, "SlowDown") == 0 || strcmp(answer.code, "ServiceUnavailable") == 0)
		request->status = 503;
	return dm_s3_call_judge(request);
}

/* Appends text to XML. */
static void
append_xml(StringInfo xml, const char *text)
{
	for (; *text; text++)
	{
		if (*text == '<' || *text == '&' || *text == '>')
			appendStringInfo(xml, "&#%d;", *text);
		else
			appendStringInfoCharMacro(xml, *text);
	}
}

/* The list of parts that completes an upload. */
static char *
make_list(List *etags)
{
	StringInfoData xml;
	ListCell *lc;

	initStringInfo(&xml);
	appendStringInfoString(&xml, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	foreach (lc, etags)
	{
		appendStringInfo(&xml, "<Part><PartNumber>%d</PartNumber><ETag>\"", foreach_current_index(lc) + 1);
		append_xml(&xml, lfirst(lc));
		appendStringInfoString(&xml, "\"</ETag></Part>");
	}
	appendStringInfoString(&xml, "</CompleteMultipartUpload>");
	return xml.data;
}

/* The etag that an object of such parts has, palloc'd; NULL if the parts' own are no MD5 or there is none to be had. */
static char *
expected_etag(List *etags)
{
	char *all = palloc(list_length(etags) * (Size) 16);
	char hex[MD5_PASSWD_LEN];
	const char *error = NULL;
	ListCell *lc;

	foreach (lc, etags)
	{
		const char *etag = lfirst(lc);

		if (strlen(etag) != 32 || strspn(etag, "0123456789abcdefABCDEF") != 32)
			return NULL;
		(void) hex_decode(etag, 32, all + foreach_current_index(lc) * (Size) 16);
	}
	if (!pg_md5_hash(all, list_length(etags) * (Size) 16, hex, &error))
		return NULL;
	return psprintf("%s-%d", hex, list_length(etags));
}

/* Makes an object of the parts. Returns its etag, palloc'd. */
char *
dm_s3_multipart_complete(const DmUpload *upload, const char *upload_id, List *etags, int64 size)
{
	DmS3Call *call = dm_s3_upload_call(upload, "POST", &upload->store->stats.put_requests);
	char *list = make_list(etags);
	char *ours = NULL;
	Answer answer;

	call->query = psprintf("uploadId=%s", dm_s3_key_encode(upload_id, false));
	dm_s3_call_payload(call, list, strlen(list));
	call->http->judge = judge_complete;
	dm_s3_call_perform_new(call, &upload->options);
	if (call->http->status == 404 || call->http->status == 412)
	{
		ours = expected_etag(etags);
		if (dm_s3_object_is_ours(upload, ours, size))
		{
			dm_s3_upload_call_free(call);
			return ours;
		}
	}
	if (call->http->status == 412)
		dm_upload_raise_exists(upload->bucket, upload->key);
	dm_s3_call_check(call, "could not write");
	if (!read_answer(call->http, &answer) || strcmp(answer.root, "CompleteMultipartUploadResult") != 0)
		raise_answer(upload);
	dm_s3_upload_call_free(call);
	pfree(list);
	return answer.etag ? answer.etag : pstrdup("");
}
