/*
 * http.c: requests: their curl options, attempts, answers and errors.
 *
 * 1. An easy handle and its header list belong to a DmHandle of the context that the request was made in:
 *    ERROR takes the transfer out of the multi handle before the buffers it writes to go away.
 * 2. Callbacks of curl never raise and never allocate so that it could raise: they note what is wrong, return short,
 *    and the error is raised by whoever drives the request.
 * 3. Every buffer has a ceiling: headers, error bodies, bodies (body_max).
 * 4. Redirects are not followed, proxies of the environment are not used, and link-local addresses are refused.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/errors.h"
#include "base/handle.h"
#include "net/addr.h"
#include "net/http.h"
#include "net/pump.h"
#include "net/retry.h"

/* Slower than this for a whole timeout counts as no progress. */
#define DM_HTTP_MIN_BYTES_PER_S 16L
/* Where nobody answers, more attempts than this only keep the user waiting. */
#define DM_HTTP_MAX_CONNECT_ATTEMPTS 3
#define DM_HTTP_FIRST_BODY_BYTES (64 * 1024)

/* What curl holds for a request. Its release runs before the memory of its context goes. */
typedef struct HttpHeld
{
	CURL *easy;
	struct curl_slist *headers;
	bool running; /* in the multi handle */
	CURLcode result;
	char error[CURL_ERROR_SIZE];
	bool accepted; /* accept was called for this answer */
	Size header_len;
	char answer_headers[DM_HTTP_HEADER_BYTES + 1];
	DmHandle *handle;
} HttpHeld;

static void set_options(DmHttpRequest *request);
static void begin_attempt(DmHttpRequest *request);
static void note_ended(DmHttpRequest *request, CURLcode result);

/* Takes a request's transfer out and frees what curl holds for it. */
static void
release_held(void *resource)
{
	HttpHeld *held = resource;

	if (held->running)
		dm_pump_remove(held->easy);
	if (held->easy)
		curl_easy_cleanup(held->easy);
	curl_slist_free_all(held->headers);
	held->headers = NULL;
}

/* Makes a request in the current memory context, which owns it. config must outlive it. */
DmHttpRequest *
dm_http_make(const DmHttpConfig *config)
{
	DmHttpRequest *request = palloc0(sizeof(DmHttpRequest));
	HttpHeld *held = palloc0(sizeof(HttpHeld));

	dm_pump_init(note_ended);
	held->handle = dm_handle_make(CurrentMemoryContext, held, release_held);
	held->easy = curl_easy_init();
	if (!held->easy)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	request->held = held;
	request->config = config;
	request->method = "GET";
	set_options(request);
	return request;
}

/* Ends a request for good; its memory goes with its context. */
void
dm_http_free(DmHttpRequest *request)
{
	HttpHeld *held = request->held;

	request->held = NULL;
	if (held)
		dm_handle_free(held->handle);
}

/* Replaces all headers by none; curl's own Expect is never wanted. */
void
dm_http_headers_clear(DmHttpRequest *request)
{
	HttpHeld *held = request->held;

	curl_slist_free_all(held->headers);
	held->headers = NULL;
	dm_http_header_add(request, "Expect:");
}

/* Adds the header "Name: value". Raises on a line break inside, which would smuggle in another one. */
void
dm_http_header_add(DmHttpRequest *request, const char *line)
{
	HttpHeld *held = request->held;
	struct curl_slist *headers;

	if (strpbrk(line, "\r\n"))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("HTTP header with a line break")));
	headers = curl_slist_append(held->headers, line);
	if (!headers)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	held->headers = headers;
}

/* curl's header callback: keeps the headers of the last answer (not of a 100 Continue), as many as fit. */
static size_t
note_header(char *data, size_t size, size_t n, void *arg)
{
	DmHttpRequest *request = arg;
	HttpHeld *held = request->held;
	Size len = size * n;

	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		held->header_len = 0;
		held->accepted = false;
		request->error_len = 0;
	}
	if (held->header_len + len <= DM_HTTP_HEADER_BYTES)
	{
		memcpy(held->answer_headers + held->header_len, data, len);
		held->header_len += len;
	}
	held->answer_headers[held->header_len] = '\0';
	return len;
}

/* Makes room for len more body bytes, up to body_max. False if that is too much. Raises nothing. */
static bool
reserve_body(DmHttpRequest *request, Size len)
{
	Size want = request->body_len + len;
	Size capacity = Max(request->body_capacity, DM_HTTP_FIRST_BODY_BYTES);
	char *body;

	if (want <= request->body_capacity)
		return true;
	if (want > request->body_max)
		return false;
	while (capacity < want)
		capacity *= 2;
	capacity = Min(capacity, request->body_max);
	body = MemoryContextAllocExtended(GetMemoryChunkContext(request), capacity, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (!body)
		return false;
	if (request->body)
	{
		memcpy(body, request->body, request->body_len);
		pfree(request->body);
	}
	request->body = body;
	request->body_capacity = capacity;
	return true;
}

/* curl's write callback: the body of a 2xx goes to the owner's buffer, the start of any other to error_body. */
static size_t
note_body(char *data, size_t size, size_t n, void *arg)
{
	DmHttpRequest *request = arg;
	HttpHeld *held = request->held;
	Size len = size * n;
	Size skip;
	long status = 0;

	curl_easy_getinfo(held->easy, CURLINFO_RESPONSE_CODE, &status);
	request->status = (int) status;
	if (status < 200 || status > 299)
	{
		Size keep = Min(len, DM_HTTP_ERROR_BODY_BYTES - request->error_len);

		memcpy(request->error_body + request->error_len, data, keep);
		request->error_len += keep;
		return len;
	}
	if (!held->accepted && request->accept && !request->accept(request))
	{
		request->refused = true;
		return 0;
	}
	held->accepted = true;
	skip = Min(len, request->body_skip);
	request->body_skip -= skip;
	if (!reserve_body(request, len - skip))
	{
		request->too_long = true;
		return 0;
	}
	memcpy(request->body + request->body_len, data + skip, len - skip);
	request->body_len += len - skip;
	return len;
}

/* curl's read callback: bytes to upload. */
static size_t
give_upload(char *buf, size_t size, size_t n, void *arg)
{
	DmHttpRequest *request = arg;
	Size want = Min((int64) (size * n), request->upload_bytes - request->upload_offset);
	ssize_t got = want > 0 ? request->upload_read(request, request->upload_offset, buf, want) : 0;

	if (got < 0 || (got == 0 && want > 0))
		return CURL_READFUNC_ABORT;
	request->upload_offset += got;
	return got;
}

/* curl's seek callback: it sends an upload again when a kept connection turns out to be closed. */
static int
seek_upload(void *arg, curl_off_t offset, int origin)
{
	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	((DmHttpRequest *) arg)->upload_offset = offset;
	return CURL_SEEKFUNC_OK;
}

/* curl's socket factory: refuses addresses that may not be reached. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	DmHttpRequest *request = arg;
	curl_socket_t fd;

	if (!request->config->allow_link_local && dm_addr_is_link_local(&address->addr))
	{
		dm_addr_print(&address->addr, request->blocked, sizeof(request->blocked));
		return CURL_SOCKET_BAD;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd >= 0)
		ReserveExternalFD(); /* fd.c gives up files it could open again, so that there is room */
	return fd;
}

/* curl's counterpart: called when a connection is closed, which may be long after its request is gone. */
static int
close_socket(void *arg, curl_socket_t fd)
{
	ReleaseExternalFD();
	return close(fd);
}

/* Sets the options that stay the same over all attempts. */
static void
set_options(DmHttpRequest *request)
{
	const DmHttpConfig *config = request->config;
	HttpHeld *held = request->held;
	CURL *easy = held->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, held->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name server on cancel */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "datamill/1.0");
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024L);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) config->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, DM_HTTP_MIN_BYTES_PER_S);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) (config->timeout_ms + 999) / 1000);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->verify_tls ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->verify_tls ? 2L : 0L);
	if (config->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, note_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, note_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_upload);
	curl_easy_setopt(easy, CURLOPT_READDATA, request);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_upload);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, request);
}

/* Starts the first attempt; the answer of an earlier start is forgotten. */
void
dm_http_start(DmHttpRequest *request)
{
	dm_http_stop(request);
	request->attempts = 0;
	request->body_len = 0;
	request->failing_since_ms = -1;
	begin_attempt(request);
}

/* Starts an attempt: the owner prepares it, curl gets it. */
static void
begin_attempt(DmHttpRequest *request)
{
	HttpHeld *held = request->held;

	request->attempts++;
	request->status = 0;
	request->error_len = 0;
	request->body_skip = 0;
	request->upload_offset = 0;
	request->too_long = request->refused = false;
	request->blocked[0] = '\0';
	held->header_len = 0;
	held->answer_headers[0] = '\0';
	held->accepted = false;
	held->error[0] = '\0';
	dm_http_headers_clear(request);
	request->prepare(request);
	if (curl_easy_setopt(held->easy, CURLOPT_URL, request->url) != CURLE_OK)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (request->upload_read)
	{
		curl_easy_setopt(held->easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(held->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t) request->upload_bytes);
	}
	curl_easy_setopt(held->easy, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(held->easy, CURLOPT_HTTPHEADER, held->headers);
	dm_pump_add(held->easy);
	held->running = true;
	request->state = DM_HTTP_RUNNING;
}

/* Called by the pump when an attempt is over. */
static void
note_ended(DmHttpRequest *request, CURLcode result)
{
	HttpHeld *held = request->held;
	long status = 0;

	held->running = false;
	held->result = result;
	curl_easy_getinfo(held->easy, CURLINFO_RESPONSE_CODE, &status);
	request->status = (int) status;
	request->error_body[request->error_len] = '\0';
	request->state = DM_HTTP_ENDED;
}

/* True if no whole answer came and another attempt may get one. */
static bool
is_transient_fault(const DmHttpRequest *request)
{
	const HttpHeld *held = request->held;

	switch (held->result)
	{
		case CURLE_COULDNT_CONNECT:
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_SSL_CONNECT_ERROR:
			return request->blocked[0] == '\0' && request->attempts < DM_HTTP_MAX_CONNECT_ATTEMPTS;
		case CURLE_OPERATION_TIMEDOUT:
		case CURLE_RECV_ERROR:
		case CURLE_SEND_ERROR:
		case CURLE_SEND_FAIL_REWIND:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_WEIRD_SERVER_REPLY:
			return true;
		default:
			return false;
	}
}

/* Lets the request wait for its next attempt. False if no retry or not enough time is left. */
static bool
schedule_retry(DmHttpRequest *request)
{
	int64 now_ms = dm_clock_ms();
	char *retry_after = dm_http_header(request, "Retry-After");
	long delay_ms = dm_retry_delay_ms(request->attempts);

	if (request->attempts > request->config->max_retries)
		return false;
	/* A part of the jitter on top of what the server asks for keeps its clients from returning as one. */
	if (retry_after)
		delay_ms = Max(dm_retry_after_ms(retry_after, time(NULL)), 0) + delay_ms / 4;
	if (request->failing_since_ms < 0 || request->body_len > request->failing_at)
	{
		request->failing_since_ms = now_ms;
		request->failing_at = request->body_len;
	}
	request->retry_at_ms = now_ms + delay_ms;
	if (request->retry_at_ms > request->failing_since_ms + request->config->budget_ms)
		return false;
	request->state = DM_HTTP_WAITING;
	return true;
}

/* Judges an ended attempt, starts a due retry. True once the request is done or failed. */
bool
dm_http_advance(DmHttpRequest *request)
{
	HttpHeld *held = request->held;

	if (request->state == DM_HTTP_ENDED)
	{
		bool answered = held->result == CURLE_OK;
		bool retry;

		if (answered)
			retry = request->judge ? request->judge(request) == DM_HTTP_RETRY : dm_retry_is_transient(request->status);
		else
			retry = is_transient_fault(request);
		if (!retry || !schedule_retry(request))
			request->state = answered ? DM_HTTP_DONE : DM_HTTP_FAILED;
	}
	if (request->state == DM_HTTP_WAITING && request->retry_at_ms <= dm_clock_ms())
		begin_attempt(request);
	return request->state == DM_HTTP_DONE || request->state == DM_HTTP_FAILED;
}

/* Milliseconds until the request needs dm_http_advance, 0 for now, -1 when only the network can tell. */
long
dm_http_wait_ms(const DmHttpRequest *request)
{
	if (request->state == DM_HTTP_RUNNING)
		return -1;
	if (request->state == DM_HTTP_WAITING)
		return Max(request->retry_at_ms - dm_clock_ms(), 0);
	return 0;
}

/* Stops the request if it runs. */
void
dm_http_stop(DmHttpRequest *request)
{
	HttpHeld *held = request->held;

	if (held->running)
		dm_pump_remove(held->easy);
	held->running = false;
	request->state = DM_HTTP_IDLE;
}

/* Runs a request to its end. */
void
dm_http_perform(DmHttpRequest *request)
{
	dm_http_start(request);
	while (!dm_http_advance(request))
		dm_http_pump(dm_http_wait_ms(request));
}

/* Finds an answer's header: its value without blanks around it, not terminated, and its length; NULL if it is not there. */
static const char *
find_header(const DmHttpRequest *request, const char *name, Size *value_len)
{
	const HttpHeld *held = request->held;
	Size name_len = strlen(name);

	for (const char *line = held->answer_headers; *line;)
	{
		Size len = strcspn(line, "\r\n");

		if (len > name_len && line[name_len] == ':' && pg_strncasecmp(line, name, name_len) == 0)
		{
			const char *value = line + name_len + 1;
			const char *end = line + len;

			while (value < end && (*value == ' ' || *value == '\t'))
				value++;
			while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
				end--;
			*value_len = end - value;
			return value;
		}
		line += len;
		line += strspn(line, "\r\n");
	}
	return NULL;
}

/* Value of an answer's header, palloc'd, or NULL. */
char *
dm_http_header(const DmHttpRequest *request, const char *name)
{
	Size len;
	const char *value = find_header(request, name, &len);

	return value ? pnstrdup(value, len) : NULL;
}

/* Copies the value of an answer's header; false if it is not there or too long. Raises nothing. */
bool
dm_http_header_copy(const DmHttpRequest *request, const char *name, char *out, Size size)
{
	Size len;
	const char *value = find_header(request, name, &len);

	if (!value || len >= size)
		return false;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}

/* The origin (scheme, host, port) of a URL, palloc'd: what a message may show of it. */
static char *
url_origin(const char *url)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	return pnstrdup(url, host - url + strcspn(host, "/?#"));
}

/* What the user can do about a fault, or NULL. */
static const char *
fault_hint(const DmHttpRequest *request)
{
	const HttpHeld *held = request->held;

	switch (held->result)
	{
		case CURLE_PEER_FAILED_VERIFICATION:
			return "Set option ca_file of the server to the certificate of the authority that signed it.";
		case CURLE_SSL_CACERT_BADFILE:
			return "Option ca_file of the server must name a PEM file that the server process can read.";
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
			return "Check the endpoint of the server.";
		default:
			return NULL;
	}
}

/* Raises the network error of a failed request. */
void
dm_http_raise(const DmHttpRequest *request, const char *what)
{
	const HttpHeld *held = request->held;
	const char *hint = fault_hint(request);
	bool connecting = held->result == CURLE_COULDNT_CONNECT || held->result == CURLE_COULDNT_RESOLVE_HOST ||
		held->result == CURLE_SSL_CONNECT_ERROR || held->result == CURLE_PEER_FAILED_VERIFICATION ||
		held->result == CURLE_SSL_CACERT_BADFILE;
	const char *reason = held->error[0] ? held->error : curl_easy_strerror(held->result);

	if (request->blocked[0])
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s: address %s may not be reached", what, request->blocked),
				 errdetail("\"%s\" is at a link-local or metadata address.", url_origin(request->url))));
	if (request->too_long)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("%s: the answer is longer than %zu bytes", what, request->body_max),
				 errdetail("The server is \"%s\".", url_origin(request->url))));
	ereport(ERROR,
			(errcode(connecting ? ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION : ERRCODE_CONNECTION_FAILURE),
			 errmsg("%s: %s", what, reason),
			 errdetail("The server is \"%s\"; attempts: %d.", url_origin(request->url), request->attempts),
			 hint ? errhint("%s", hint) : 0));
}
