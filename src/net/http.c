/*
 * http.c: requests: their attempts, answers and errors. What curl sees of them is in transfer.c, how to wait in pump.c.
 *
 * 1. An easy handle and its header list belong to a DmHandle of the context that the request was made in:
 *    ERROR takes the transfer out of the multi handle before the buffers it writes to go away.
 * 2. Callbacks of curl note what is wrong and return short; the error is raised here, by whoever drives the request.
 * 3. Every buffer has a ceiling: headers, error bodies, bodies (body_max).
 * 4. Redirects are not followed, proxies of the environment are not used, and link-local addresses are refused.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/handle.h"
#include "net/http.h"
#include "net/pump.h"
#include "net/retry.h"
#include "net/transfer.h"

/* Where nobody answers, more attempts than this only keep the user waiting. */
#define DM_HTTP_MAX_CONNECT_ATTEMPTS 3

static void begin_attempt(DmHttpRequest *request);
static void note_ended(DmHttpRequest *request, CURLcode result);

/* Takes a request's transfer out and frees what curl holds for it. */
static void
release_held(void *resource)
{
	DmTransfer *held = resource;

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
	DmTransfer *held = palloc0(sizeof(DmTransfer));

	dm_pump_init(note_ended);
	held->handle = dm_handle_make(CurrentMemoryContext, held, release_held);
	held->easy = curl_easy_init();
	if (!held->easy)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	request->held = held;
	request->config = config;
	request->method = "GET";
	dm_transfer_setup(request);
	return request;
}

/* Ends a request for good; its memory goes with its context. */
void
dm_http_free(DmHttpRequest *request)
{
	DmTransfer *held = request->held;

	request->held = NULL;
	if (held)
		dm_handle_free(held->handle);
}

/* Replaces all headers by none; curl's own Expect is never wanted. */
void
dm_http_headers_clear(DmHttpRequest *request)
{
	DmTransfer *held = request->held;

	curl_slist_free_all(held->headers);
	held->headers = NULL;
	dm_http_header_add(request, "Expect:");
}

/* Adds the header "Name: value". Raises on a line break inside, which would smuggle in another one. */
void
dm_http_header_add(DmHttpRequest *request, const char *line)
{
	DmTransfer *held = request->held;
	struct curl_slist *headers;

	if (strpbrk(line, "\r\n"))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("HTTP header with a line break")));
	headers = curl_slist_append(held->headers, line);
	if (!headers)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	held->headers = headers;
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
	DmTransfer *held = request->held;

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
	else
		curl_easy_setopt(held->easy, CURLOPT_NOBODY, strcmp(request->method, "HEAD") == 0 ? 1L : 0L);
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
	DmTransfer *held = request->held;
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
	const DmTransfer *held = request->held;

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
		case CURLE_WEIRD_SERVER_REPLY: return true;
		default: return false;
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
	DmTransfer *held = request->held;

	if (request->state == DM_HTTP_ENDED)
	{
		bool answered = held->result == CURLE_OK;
		DmHttpVerdict verdict = DM_HTTP_ACCEPT;

		if (answered && request->judge)
			verdict = request->judge(request);
		else if (answered ? dm_retry_is_transient(request->status) : is_transient_fault(request))
			verdict = DM_HTTP_RETRY;
		if (verdict == DM_HTTP_AGAIN)
			begin_attempt(request);
		else if (verdict == DM_HTTP_ACCEPT || !schedule_retry(request))
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
	DmTransfer *held = request->held;

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
	dm_pump_hurry();
}

/* Runs a request to its end and returns with interrupts held; see http.h. */
void
dm_http_perform_held(DmHttpRequest *request, int grace_ms)
{
	int64 answer_at_ms = -1; /* when a pending interrupt is answered */

	/* An attempt is prepared with interrupts on: that may wait for keys, and nothing of it has been sent yet. */
	dm_http_start(request);
	while (!dm_http_advance(request))
	{
		long wait_ms = dm_http_wait_ms(request);

		HOLD_INTERRUPTS();
		if (InterruptPending && answer_at_ms < 0)
			answer_at_ms = dm_clock_ms() + grace_ms;
		if (answer_at_ms >= 0)
			wait_ms = wait_ms < 0 ? grace_ms : Min(wait_ms, grace_ms);
		dm_http_pump(wait_ms);
		if (answer_at_ms >= 0 && dm_clock_ms() >= answer_at_ms)
		{
			RESUME_INTERRUPTS();
			CHECK_FOR_INTERRUPTS();
			HOLD_INTERRUPTS();
			answer_at_ms = -1;
		}
		RESUME_INTERRUPTS();
	}
	HOLD_INTERRUPTS();
}

/* The origin of a URL; see http.h. */
char *
dm_http_origin(const char *url)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	return pnstrdup(url, host - url + strcspn(host, "/?#"));
}

/* What the user can do about a fault, or NULL. */
static const char *
fault_hint(const DmHttpRequest *request)
{
	const DmTransfer *held = request->held;

	switch (held->result)
	{
		case CURLE_PEER_FAILED_VERIFICATION:
			return "Set option ca_file of the server to the certificate of the authority that signed it.";
		case CURLE_SSL_CACERT_BADFILE:
			return "Option ca_file of the server must name a PEM file that the server process can read.";
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT: return "Check the endpoint of the server.";
		default: return NULL;
	}
}

/* Why a failed request has no answer; see http.h. */
char *
dm_http_fault(const DmHttpRequest *request)
{
	const DmTransfer *held = request->held;

	if (request->blocked[0])
		return psprintf("address %s may not be reached", request->blocked);
	if (request->too_long)
		return psprintf("the answer is longer than %zu bytes", request->body_max);
	return pstrdup(held->error[0] ? held->error : curl_easy_strerror(held->result));
}

/* Raises the network error of a failed request. */
void
dm_http_raise(const DmHttpRequest *request, const char *what)
{
	const DmTransfer *held = request->held;
	const char *hint = fault_hint(request);
	bool connecting = held->result == CURLE_COULDNT_CONNECT || held->result == CURLE_COULDNT_RESOLVE_HOST ||
					  held->result == CURLE_SSL_CONNECT_ERROR || held->result == CURLE_PEER_FAILED_VERIFICATION ||
					  held->result == CURLE_SSL_CACERT_BADFILE;

	if (request->blocked[0])
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s: %s", what, dm_http_fault(request)),
			 request->not_allowed
				 ? errdetail("\"%s\" is none of the hosts of setting datamill.allowed_hosts, which servers that no "
							 "superuser owns are limited to.",
							 dm_http_origin(request->url))
				 : errdetail("\"%s\" is at a link-local or metadata address.", dm_http_origin(request->url))));
	if (request->too_long)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("%s: %s", what, dm_http_fault(request)),
				 errdetail("The server is \"%s\".", dm_http_origin(request->url))));
	ereport(ERROR,
			(errcode(connecting ? ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION : ERRCODE_CONNECTION_FAILURE),
			 errmsg("%s: %s", what, dm_http_fault(request)),
			 errdetail("The server is \"%s\"; attempts: %d.", dm_http_origin(request->url), request->attempts),
			 hint ? errhint("%s", hint) : 0));
}
