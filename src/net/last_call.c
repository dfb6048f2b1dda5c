/*
 * last_call.c: requests while a transaction or process ends; see last_call.h.
 *
 * A multi handle of their own, so that what the backend has under way stays as it is. The calls block: while curl runs, all
 * signals are blocked (a thread that resolves a name must not get them); while it waits they are not.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hosts.h"
#include "net/addr.h"
#include "net/last_call.h"
#include "net/pump.h"
#include "net/retry.h"

#define DM_LAST_CALL_CONNECTIONS 16
/* No call is begun later than this after the first one. */
#define DM_LAST_CALL_MAX_MS (12 * 1000)

/* curl's write callback: drops the body. */
static size_t
drop_body(char *data, size_t size, size_t n, void *arg)
{
	return size * n;
}

/* curl's socket factory: refuses addresses that may not be reached. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	const DmLastCall *call = arg;
	Size len;
	const char *host = dm_url_host(call->url, &len);

	if (dm_addr_is_link_local(&address->addr) ||
		(call->allowed_hosts && !dm_hosts_match(call->allowed_hosts, host, len, &address->addr)))
		return CURL_SOCKET_BAD;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Makes curl's handle of a call; NULL if there is no memory for it. */
static CURL *
make_easy(DmLastCall *call, long max_ms)
{
	CURL *easy = curl_easy_init();

	if (!easy)
		return NULL;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_URL, call->url);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "datamill/1.0");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, Max(max_ms / 2, 1L));
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, Max(max_ms, 1L));
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, call->verify_tls ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, call->verify_tls ? 2L : 0L);
	if (call->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, call->ca_file);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop_body);
	return easy;
}

/* Notes what came of the calls that are over, and frees their handles. Returns how many those are, and if any has an answer. */
static int
note_ended(CURLM *multi, bool *answered)
{
	CURLMsg *message;
	int left;
	int ended = 0;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURL *easy = message->easy_handle;
		CURLcode result = message->data.result;
		char *private = NULL;
		DmLastCall *call;
		long status = 0;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		call = (DmLastCall *) private;
		call->status = result == CURLE_OK ? (int) status : 0;
		strlcpy(call->error, result == CURLE_OK ? "" : curl_easy_strerror(result), sizeof(call->error));
		if (call->status != 0)
			*answered = true;
		curl_multi_remove_handle(multi, easy);
		curl_easy_cleanup(easy);
		ended++;
	}
	return ended;
}

/* True if a call has no answer yet, or one that may be another next time. */
static bool
is_wanted(const DmLastCall *call)
{
	return call->status == 0 || dm_retry_is_transient(call->status);
}

/* Adds calls that want an answer until as many as allowed are under way. Returns the next one to add. */
static DmLastCall *
add_calls(CURLM *multi, DmLastCall *next, int max_ms, int *open)
{
	for (; next && *open < DM_LAST_CALL_CONNECTIONS; next = next->next)
	{
		CURL *easy = is_wanted(next) ? make_easy(next, max_ms) : NULL;

		if (easy && curl_multi_add_handle(multi, easy) == CURLM_OK)
			(*open)++;
		else if (easy)
			curl_easy_cleanup(easy);
	}
	return next;
}

/*
 * Makes the calls that want an answer. No call takes longer than max_ms (its handle's own timeout), and none is begun after end_ms
 * or when max_ms have passed without any answer.
 */
static void
make_round(CURLM *multi, DmLastCall *first, int max_ms, int64 end_ms)
{
	DmLastCall *next = first;
	int64 last_answer_ms = dm_clock_ms();
	int open = 0;
	int running;

	for (;;)
	{
		sigset_t all;
		sigset_t old;
		CURLMcode code;
		int ended;
		bool answered = false;
		int64 now_ms = dm_clock_ms();

		if (now_ms < end_ms && now_ms < last_answer_ms + max_ms)
			next = add_calls(multi, next, max_ms, &open);
		/* The margin is for the last timeouts; a handle that is left then is lost, with a little memory. */
		if (open == 0 || now_ms > Max(end_ms, last_answer_ms) + max_ms + 500)
			break;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		code = curl_multi_perform(multi, &running);
		ended = note_ended(multi, &answered);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (code != CURLM_OK)
			break;
		open -= ended;
		if (answered)
			last_answer_ms = dm_clock_ms();
		if (ended == 0)
			(void) curl_multi_poll(multi, NULL, 0, 100, NULL);
	}
}

/* Makes all calls; see last_call.h. */
void
dm_last_calls_make(DmLastCall *first, int max_ms)
{
	CURLM *multi = curl_multi_init();
	int64 end_ms = dm_clock_ms() + DM_LAST_CALL_MAX_MS;

	for (DmLastCall *call = first; call; call = call->next)
	{
		call->status = 0;
		strlcpy(call->error, "no answer in time", sizeof(call->error));
	}
	if (!multi)
		return;
	for (int try = 0; try < 2; try++)
		make_round(multi, first, max_ms, end_ms);
	curl_multi_cleanup(multi);
}
