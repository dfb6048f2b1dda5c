/*
 * s3.c: the S3 store: endpoint, one call and its signature, and what its error answers mean.
 *
 * A call is signed anew for every attempt, since the signature holds the time, and keys may have been renewed. Path style puts the bucket into the path,
 * virtual style into the host name.
 */
#include "postgres.h"

#include <time.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/errors.h"
#include "net/retry.h"
#include "store/s3.h"
#include "store/s3_sign.h"

/* No retry of a request starts later than this after its first attempt. */
#define DM_S3_BUDGET_MS (120 * 1000)
/* Life of a presigned URL: the longest there is. */
#define DM_S3_PRESIGN_SECONDS (7 * 24 * 3600)

static void prepare_call(DmHttpRequest *request);
static void parse_endpoint(DmS3Store *s3);
static void raise_sign(const DmStoreSettings *settings) pg_attribute_noreturn();

static const DmStoreOps s3_ops = {
	dm_s3_list,
	dm_s3_list_as_of,
	dm_s3_list_folders,
	dm_s3_fetch_open,
	dm_s3_fetch_next,
	dm_s3_fetch_wait,
	dm_s3_fetch_start,
	dm_s3_fetch_ready,
	dm_s3_fetch_wait_fd,
	dm_s3_fetch_close,
	dm_s3_upload_open,
	dm_s3_upload_write,
	dm_s3_upload_seal,
	dm_s3_upload_publish,
	dm_s3_upload_abort,
	dm_s3_delete,
	dm_s3_uploads_list,
	dm_s3_uploads_abort,
};

/* Opens an S3 store in the current memory context. Raises HV024 for an endpoint that is no http(s) URL. */
DmStore *
dm_s3_open(const DmStoreSettings *settings)
{
	DmS3Store *s3 = palloc0(sizeof(DmS3Store));

	s3->store.ops = &s3_ops;
	s3->store.settings = settings;
	s3->store.context = CurrentMemoryContext;
	s3->http.ca_file = settings->ca_file;
	s3->http.verify_tls = settings->verify_tls;
	s3->http.allowed_hosts = settings->allowed_hosts;
	s3->http.connect_timeout_ms = settings->connect_timeout_ms;
	s3->http.timeout_ms = settings->timeout_ms;
	s3->http.max_retries = settings->max_retries;
	s3->http.budget_ms = DM_S3_BUDGET_MS;
	parse_endpoint(s3);
	s3->credentials = dm_credentials_open(settings);
	return &s3->store;
}

/* Splits the endpoint into scheme, host and base path. */
static void
parse_endpoint(DmS3Store *s3)
{
	const char *endpoint = s3->store.settings->endpoint;
	const char *host = NULL;
	Size len;

	s3->tls = pg_strncasecmp(endpoint, "https://", 8) == 0;
	if (s3->tls)
		host = endpoint + 8;
	else if (pg_strncasecmp(endpoint, "http://", 7) == 0)
		host = endpoint + 7;
	if (!host || *host == '\0' || *host == '/' || strpbrk(host, "@?# "))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid endpoint \"%s\" of server \"%s\"", endpoint, s3->store.settings->server_name),
				 errhint("Write https://host[:port], http://host[:port] or file:///directory.")));
	len = strcspn(host, "/");
	s3->base = pstrdup(host + len);
	s3->host = dm_s3_host_header(dm_http_origin(endpoint));
}

/* The Host header of an origin, palloc'd: host and port, without the scheme's own port. */
char *
dm_s3_host_header(const char *origin)
{
	bool tls = pg_strncasecmp(origin, "https://", 8) == 0;
	char *host = pstrdup(strstr(origin, "://") + 3);
	char *port = strrchr(host, ':');

	if (port && strcmp(port, tls ? ":443" : ":80") == 0)
		*port = '\0';
	return host;
}

/* Makes a call of the store in the current memory context; the caller fills in what and where. */
DmS3Call *
dm_s3_call_make(DmS3Store *store, const char *method, int64 *counter)
{
	DmS3Call *call = palloc0(sizeof(DmS3Call));

	call->store = store;
	call->http = dm_http_make(&store->http);
	call->http->arg = call;
	call->http->prepare = prepare_call;
	call->http->judge = dm_s3_call_judge;
	call->http->method = method;
	call->scratch = AllocSetContextCreate(CurrentMemoryContext, "datamill s3 call", ALLOCSET_SMALL_SIZES);
	call->method = method;
	call->query = "";
	call->payload_sha256 = DM_S3_EMPTY_SHA256;
	call->range_start = -1;
	call->counter = counter;
	return call;
}

/* Percent-encodes a key, palloc'd. */
char *
dm_s3_key_encode(const char *key, bool keep_slash)
{
	char *utf8 = pg_server_to_any(key, strlen(key), PG_UTF8);
	char *encoded = palloc(strlen(utf8) * 3 + 1);

	dm_s3_encode(utf8, keep_slash, encoded);
	return encoded;
}

/* A key as a listing gives it, in the database's encoding, palloc'd. Raises on bytes that are no UTF-8. */
char *
dm_s3_key_decode(const char *text, bool percent)
{
	/* a plus is a blank there, and comes as %2B itself */
	char *utf8 = percent ? dm_percent_decode(text, strlen(text), true) : pstrdup(text);

	return pg_any_to_server(utf8, strlen(utf8), PG_UTF8);
}

/* Adds a header "name: value" to the attempt. */
static void
add_header(DmHttpRequest *request, const char *name, const char *value)
{
	dm_http_header_add(request, psprintf("%s: %s", name, value));
}

/* Raises for keys that cannot sign. */
static void
raise_sign(const DmStoreSettings *settings)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("could not sign a request for server \"%s\"", settings->server_name),
			 errhint("Check the length of the access key, its secret and option region.")));
}

/* Signs the attempt, getting keys first if need be, and adds the headers of the signature. */
static void
sign_call(DmS3Call *call, const char *host, const char *path)
{
	const DmStoreSettings *settings = call->store->store.settings;
	const DmKeys *keys = dm_credentials_keys(call->store->credentials, &call->keys_serial);
	char date[20];
	char authorization[DM_S3_AUTHORIZATION_BYTES];
	DmS3Sign sign = {call->method, path, call->query};
	time_t now = time(NULL);
	struct tm tm;

	if (!keys)
		return;
	strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	sign.headers[sign.nheaders++] = (DmS3Header){"host", host};
	sign.headers[sign.nheaders++] = (DmS3Header){"x-amz-content-sha256", call->payload_sha256};
	sign.headers[sign.nheaders++] = (DmS3Header){"x-amz-date", date};
	if (settings->requester_pays)
		sign.headers[sign.nheaders++] = (DmS3Header){"x-amz-request-payer", "requester"};
	if (keys->session_token)
		sign.headers[sign.nheaders++] = (DmS3Header){"x-amz-security-token", keys->session_token};
	sign.payload_sha256 = call->payload_sha256;
	sign.amz_date = date;
	sign.region = settings->region;
	sign.service = "s3";
	sign.access_key_id = keys->access_key_id;
	sign.secret_access_key = keys->secret_access_key;
	if (!dm_s3_sign(&sign, authorization))
		raise_sign(settings);
	for (int i = 1; i < sign.nheaders; i++)
		add_header(call->http, sign.headers[i].name, sign.headers[i].value);
	add_header(call->http, "Authorization", authorization);
	explicit_bzero(authorization, sizeof(authorization));
}

/* Host of a call, palloc'd or the store's. */
static char *
call_host(const DmS3Call *call)
{
	DmS3Store *s3 = call->store;

	return s3->store.settings->virtual_host ? psprintf("%s.%s", call->bucket, s3->host) : s3->host;
}

/* Path of a call, percent-encoded, palloc'd. */
static char *
call_path(const DmS3Call *call)
{
	bool in_host = call->store->store.settings->virtual_host;

	return psprintf("%s%s%s%s%s",
					call->store->base,
					in_host ? "" : "/",
					in_host ? "" : call->bucket,
					call->key || in_host ? "/" : "",
					call->key ? dm_s3_key_encode(call->key, true) : "");
}

/*
 * Returns a URL, palloc'd, that does what the call does for as long as its keys live (at most seven days), without any
 * header: it is a secret, as good as the keys for this one call. The query of the call must hold only names that sort after
 * "X-Amz-". ("Authenticating Requests: Using Query Parameters" of the S3 API reference)
 */
char *
dm_s3_call_presign(DmS3Call *call)
{
	const DmStoreSettings *settings = call->store->store.settings;
	const DmKeys *keys = dm_credentials_keys(call->store->credentials, &call->keys_serial);
	const char *scheme = call->store->tls ? "https" : "http";
	char *host = call_host(call);
	char *path = call_path(call);
	DmS3Sign sign = {call->method, path};
	char date[20];
	char authorization[DM_S3_AUTHORIZATION_BYTES];
	char *query;
	char *signature;
	time_t now = time(NULL);
	struct tm tm;

	if (!keys)
		return psprintf("%s://%s%s?%s", scheme, host, path, call->query);
	strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	query = psprintf(
		"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F%.8s%%2F%s%%2Fs3%%2Faws4_request&X-Amz-Date=%s"
		"&X-Amz-Expires=%d%s%s&X-Amz-SignedHeaders=host&%s",
		dm_s3_key_encode(keys->access_key_id, false),
		date,
		settings->region,
		date,
		DM_S3_PRESIGN_SECONDS,
		keys->session_token ? "&X-Amz-Security-Token=" : "",
		keys->session_token ? dm_s3_key_encode(keys->session_token, false) : "",
		call->query);
	sign.query = query;
	sign.headers[sign.nheaders++] = (DmS3Header){"host", host};
	sign.payload_sha256 = "UNSIGNED-PAYLOAD";
	sign.amz_date = date;
	sign.region = settings->region;
	sign.service = "s3";
	sign.access_key_id = keys->access_key_id;
	sign.secret_access_key = keys->secret_access_key;
	signature = dm_s3_sign(&sign, authorization) ? strstr(authorization, "Signature=") : NULL;
	if (!signature)
		raise_sign(settings);
	return psprintf("%s://%s%s?%s&X-Amz-%s", scheme, host, path, query, signature);
}

/*
 * Sets URL and headers of an attempt. A ranged GET goes on after the bytes that an earlier attempt got: the etag in
 * If-Match makes sure that they belong together.
 */
static void
prepare_call(DmHttpRequest *request)
{
	DmS3Call *call = request->arg;
	DmS3Store *s3 = call->store;
	MemoryContext old;
	char *host;
	char *path;

	MemoryContextReset(call->scratch);
	old = MemoryContextSwitchTo(call->scratch);
	host = call_host(call);
	path = call_path(call);
	request->url =
		psprintf("%s://%s%s%s%s", s3->tls ? "https" : "http", host, path, *call->query ? "?" : "", call->query);
	add_header(request, "Host", host);
	sign_call(call, host, path);
	for (int i = 0; i < call->nheaders; i++)
		add_header(request, call->headers[i].name, call->headers[i].value);
	if (call->if_match)
		add_header(request, "If-Match", psprintf("\"%s\"", call->if_match));
	if (call->range_start >= 0)
		add_header(request,
				   "Range",
				   psprintf("bytes=" INT64_FORMAT "-" INT64_FORMAT,
							call->range_start + (int64) request->body_len,
							call->range_end));
	else
		request->body_len = 0;
	(*call->counter)++;
	if (request->attempts > 1)
		s3->store.stats.retries++;
	MemoryContextSwitchTo(old);
}

/* True for an error code that says that keys are not, or no longer, known. */
static bool
is_about_lost_keys(const char *code)
{
	return strcmp(code, "ExpiredToken") == 0 || strcmp(code, "ExpiredTokenException") == 0 ||
		   strcmp(code, "TokenRefreshRequired") == 0 || strcmp(code, "InvalidToken") == 0 ||
		   strcmp(code, "InvalidAccessKeyId") == 0;
}

/* True for an answer that a store gives only to whom it knows: done, or about the object. */
static bool
has_taken_keys(int status)
{
	return (status >= 200 && status <= 299) || status == 404 || status == 409 || status == 412 || status == 416;
}

/* Judges an answer: what may pass is tried again, and so is what other keys may cure, with those; see s3.h. */
DmHttpVerdict
dm_s3_call_judge(DmHttpRequest *request)
{
	DmS3Call *call = request->arg;
	DmCredentials *credentials = call->store->credentials;
	DmS3Error error;

	if (dm_retry_is_transient(request->status))
		return DM_HTTP_RETRY;
	if (has_taken_keys(request->status))
		dm_credentials_accept(credentials, call->keys_serial);
	if (request->status != 400 && request->status != 401 && request->status != 403)
		return DM_HTTP_ACCEPT;
	dm_s3_call_error(call, &error);
	if (strcmp(error.code, "RequestTimeout") == 0 || strcmp(error.code, "SlowDown") == 0)
		return DM_HTTP_RETRY;
	/* The answer to a HEAD has no body to say so: a 400 is all that S3 makes of keys that have expired. */
	if ((is_about_lost_keys(error.code) || (strcmp(call->method, "HEAD") == 0 && request->status == 400)) &&
		dm_credentials_reject(credentials, call->keys_serial))
		return DM_HTTP_AGAIN;
	return DM_HTTP_ACCEPT;
}

/* True if the call has a whole answer with a 2xx status. */
bool
dm_s3_call_succeeded(const DmS3Call *call)
{
	return call->http->state == DM_HTTP_DONE && call->http->status >= 200 && call->http->status <= 299;
}

/* Takes one element of an error answer. */
static bool
note_error_element(void *arg, const char *parent, const char *name, const char *text)
{
	DmS3Error *error = arg;

	if (strcmp(parent, "Error") != 0)
		return true;
	if (strcmp(name, "Code") == 0)
		strlcpy(error->code, text, sizeof(error->code));
	else if (strcmp(name, "Message") == 0)
		strlcpy(error->message, text, sizeof(error->message));
	else if (strcmp(name, "RequestId") == 0)
		strlcpy(error->request_id, text, sizeof(error->request_id));
	else if (strcmp(name, "Region") == 0)
		strlcpy(error->region, text, sizeof(error->region));
	return true;
}

/* Reads the error answer of a call, with its secrets blanked out. */
void
dm_s3_call_error(const DmS3Call *call, DmS3Error *error)
{
	const DmHttpRequest *http = call->http;
	char *region = dm_http_header(http, "x-amz-bucket-region");
	char *request_id = dm_http_header(http, "x-amz-request-id");
	char *retry_after = dm_http_header(http, "Retry-After");
	char *texts[] = {error->code, error->message, error->request_id, error->region, error->retry_after};

	memset(error, 0, sizeof(*error));
	(void) dm_xml_read(http->error_body, http->error_len, note_error_element, error);
	if (region)
		strlcpy(error->region, region, sizeof(error->region));
	if (retry_after)
		strlcpy(error->retry_after, retry_after, sizeof(error->retry_after));
	if (request_id)
		strlcpy(error->request_id, request_id, sizeof(error->request_id));
	for (int i = 0; i < lengthof(texts); i++)
	{
		dm_text_clean(texts[i]);
		dm_credentials_redact(call->store->credentials, texts[i]);
	}
}

/* SQLSTATE and hint of an S3 error code; NULL code: any other. */
typedef struct ErrorKind
{
	const char *code;
	int sqlstate;
	const char *hint;
} ErrorKind;

static const ErrorKind error_kinds[] = {
	{"AccessDenied",
	 ERRCODE_INSUFFICIENT_PRIVILEGE,
	 "The credentials of the user mapping are valid but lack a permission."},
	{"NoSuchBucket", ERRCODE_UNDEFINED_OBJECT, "Check the name of the bucket and the endpoint of the server."},
	{"InvalidAccessKeyId", ERRCODE_INSUFFICIENT_PRIVILEGE, "Check access_key_id of the user mapping."},
	{"SignatureDoesNotMatch", ERRCODE_INSUFFICIENT_PRIVILEGE, "Check secret_access_key of the user mapping."},
	{"ExpiredToken",
	 ERRCODE_INSUFFICIENT_PRIVILEGE,
	 "Put new temporary credentials into the user mapping (ALTER USER MAPPING)."},
	{"InvalidToken", ERRCODE_INSUFFICIENT_PRIVILEGE, "Check session_token of the user mapping."},
	{"PermanentRedirect",
	 ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
	 "Set region and endpoint of the server to those of the bucket."},
	{"AuthorizationHeaderMalformed",
	 ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
	 "Set region of the server to that of the bucket."},
	{"RequestTimeTooSkewed", ERRCODE_INSUFFICIENT_PRIVILEGE, "Set the clock of the database machine."},
};

/* Finds SQLSTATE and hint of an error code. */
static ErrorKind
find_error_kind(const char *code, int status)
{
	for (int i = 0; i < lengthof(error_kinds); i++)
	{
		if (strcmp(error_kinds[i].code, code) == 0)
			return error_kinds[i];
	}
	if (dm_retry_is_transient(status))
		return (ErrorKind){
			code, DM_ERRCODE_REMOTE_UNAVAILABLE, "The server is overloaded or not available. Try again later."};
	if (status == 301 || status == 307)
		return (ErrorKind){code,
						   ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
						   "Set region and endpoint of the server to those of the bucket."};
	if (status == 401 || status == 403)
		return (ErrorKind){code, ERRCODE_INSUFFICIENT_PRIVILEGE, NULL};
	return (ErrorKind){code, ERRCODE_FDW_ERROR, NULL};
}

/* Raises for a call that did not succeed. */
void
dm_s3_call_raise(const DmS3Call *call, const char *what)
{
	DmS3Error error;
	ErrorKind kind;
	StringInfoData detail;

	if (call->http->state == DM_HTTP_FAILED)
		dm_http_raise(call->http, what);
	dm_s3_call_error(call, &error);
	kind = find_error_kind(error.code, call->http->status);
	kind.hint = dm_credentials_hint(call->store->credentials, error.code, kind.hint);
	initStringInfo(&detail);
	if (error.message[0])
		appendStringInfo(
			&detail, "%s%s ", error.message, error.message[strlen(error.message) - 1] == '.' ? "" : ".");
	appendStringInfo(&detail, "HTTP status %d, attempts %d", call->http->status, call->http->attempts);
	if (error.request_id[0])
		appendStringInfo(&detail, ", request id %s", error.request_id);
	if (error.region[0])
		appendStringInfo(&detail, ", region %s", error.region);
	if (error.retry_after[0])
		appendStringInfo(&detail, ", Retry-After %s", error.retry_after);
	ereport(ERROR,
			(errcode(kind.sqlstate),
			 errmsg("%s: %s", what, error.code[0] ? error.code : psprintf("HTTP status %d", call->http->status)),
			 errdetail("%s.", detail.data),
			 kind.hint ? errhint("%s", kind.hint) : 0));
}
