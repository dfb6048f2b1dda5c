/*
 * pump.c: waits on curl's sockets, curl's timer and the backend's latch in one wait.
 *
 * curl reports the sockets it cares about and when it wants to be called (its multi-socket interface); both go into
 * one WaitEventSet with the latch and postmaster death. So a cancel, a terminate or a timeout wakes the wait at once,
 * whatever the peer does. There is one multi handle a backend, which keeps connections for the next statement.
 *
 * The set cannot forget a socket, so it is made anew when curl's sockets have changed; that is when connections are
 * opened or become idle, not for every piece of data.
 *
 * curl may start a thread to resolve a name. A signal handler of the server must never run in it: all signals are
 * blocked while curl runs, and a thread inherits that.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "net/pump.h"

typedef struct PumpSocket
{
	curl_socket_t fd;
	int what; /* CURL_POLL_* */
} PumpSocket;

#define DM_PUMP_MAX_SOCKETS 1024
#define DM_PUMP_MAX_EVENTS 64
/* Idle connections kept for later requests. */
#define DM_PUMP_IDLE_CONNECTIONS 16L

static CURLM *multi = NULL;
static DmPumpEnded on_ended = NULL;
static PumpSocket sockets[DM_PUMP_MAX_SOCKETS];
static int nsockets = 0;
static bool sockets_changed = true;
static int64 timer_at_ms = -1; /* when curl wants to be called, by dm_clock_ms; -1: not at all */
static WaitEventSet *wait_set = NULL;
static bool hurry = false; /* the next pump does not sleep */

static void report_ended(void);

/*
 * Asks the kernel to acknowledge what comes in at once. Servers that send headers and body apart and leave Nagle's
 * algorithm on would otherwise wait 40 ms for our delayed acknowledgement, on every small answer.
 */
static void
acknowledge_at_once(curl_socket_t fd)
{
#ifdef TCP_QUICKACK
	int on = 1;

	(void) setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
#endif
}

/*
 * curl's socket callback: notes which sockets to wait for. Raises nothing; -1 (more sockets than there is room for)
 * ends the transfers.
 */
static int
note_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	int i = 0;

	while (i < nsockets && sockets[i].fd != fd)
		i++;
	if (what == CURL_POLL_REMOVE)
	{
		if (i == nsockets)
			return 0;
		sockets[i] = sockets[--nsockets];
	}
	else if (i == DM_PUMP_MAX_SOCKETS)
		return -1;
	else
	{
		if (i == nsockets)
			nsockets++;
		sockets[i] = (PumpSocket){fd, what};
		if (what == CURL_POLL_IN)
			acknowledge_at_once(fd); /* the request is sent: its answer comes next */
	}
	sockets_changed = true;
	dm_pump_fd_note(fd, what);
	return 0;
}

/* Notes all sockets, for a set that was just made. */
void
dm_pump_fd_fill(void)
{
	for (int i = 0; i < nsockets; i++)
		dm_pump_fd_note(sockets[i].fd, sockets[i].what);
}

/* curl's timer callback: notes when to call it next. */
static int
note_timer(CURLM *m, long timeout_ms, void *arg)
{
	timer_at_ms = timeout_ms < 0 ? -1 : dm_clock_ms() + timeout_ms;
	return 0;
}

/* Makes the backend's multi handle, once. */
void
dm_pump_init(DmPumpEnded ended)
{
	if (multi)
		return;
	on_ended = ended;
	if (curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK)
		multi = curl_multi_init();
	if (!multi)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not initialize the HTTP client")));
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, note_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, note_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, DM_PUMP_IDLE_CONNECTIONS);
}

/* Runs curl for one socket (or CURL_SOCKET_TIMEOUT) with all signals blocked. */
static void
run_curl(curl_socket_t fd, int flags)
{
	sigset_t all;
	sigset_t old;
	int running;
	CURLMcode code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = curl_multi_socket_action(multi, fd, flags, &running);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR), errmsg("the HTTP client failed: %s", curl_multi_strerror(code))));
}

/* Adds a transfer; it starts with the next pump. */
void
dm_pump_add(CURL *easy)
{
	CURLMcode code = curl_multi_add_handle(multi, easy);

	if (code != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR), errmsg("the HTTP client failed: %s", curl_multi_strerror(code))));
}

/* Takes a transfer out, at any point of it. Raises nothing. */
void
dm_pump_remove(CURL *easy)
{
	sigset_t all;
	sigset_t old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	curl_multi_remove_handle(multi, easy);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Lets the next pump not sleep; see pump.h. */
void
dm_pump_hurry(void)
{
	hurry = true;
}

/* Makes the wait set from curl's sockets, the latch and postmaster death. */
static void
build_wait_set(void)
{
	if (wait_set)
	{
		WaitEventSet *old = wait_set;

		wait_set = NULL;
		FreeWaitEventSet(old);
	}
	wait_set = dm_wait_event_set_make(nsockets + 2);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < nsockets; i++)
	{
		uint32 events = (sockets[i].what & CURL_POLL_IN ? WL_SOCKET_READABLE : 0) |
						(sockets[i].what & CURL_POLL_OUT ? WL_SOCKET_WRITEABLE : 0);

		if (events)
			AddWaitEventToSet(wait_set, events, sockets[i].fd, NULL, NULL);
	}
	sockets_changed = false;
}

/* How long to sleep: until curl's timer, at most max_ms; -1 for no limit. */
long
dm_pump_sleep_ms(long max_ms)
{
	long timer_ms;

	if (hurry)
		max_ms = 0;
	hurry = false;
	if (timer_at_ms < 0)
		return max_ms;
	timer_ms = Max(timer_at_ms - dm_clock_ms(), 0);
	return max_ms < 0 ? timer_ms : Min(timer_ms, max_ms);
}

/* Waits for sockets, timer and latch, and lets curl do what there is to do; see http.h. */
void
dm_http_pump(long max_ms)
{
	static uint32 wait_event = 0;
	WaitEvent events[DM_PUMP_MAX_EVENTS];
	int nevents;

	CHECK_FOR_INTERRUPTS();
	if (!multi)
		return;
	dm_pump_fd_disarm();
	if (wait_event == 0)
		wait_event = dm_wait_event_make("DatamillHttp");
	if (sockets_changed)
		build_wait_set();
	nevents = WaitEventSetWait(wait_set, dm_pump_sleep_ms(max_ms), events, DM_PUMP_MAX_EVENTS, wait_event);
	for (int i = 0; i < nevents; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if (events[i].events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
			run_curl(events[i].fd,
					 (events[i].events & WL_SOCKET_READABLE ? CURL_CSELECT_IN : 0) |
						 (events[i].events & WL_SOCKET_WRITEABLE ? CURL_CSELECT_OUT : 0));
	}
	if (timer_at_ms >= 0 && dm_clock_ms() >= timer_at_ms)
	{
		timer_at_ms = -1;
		run_curl(CURL_SOCKET_TIMEOUT, 0);
	}
	report_ended();
}

/* Tells the requests whose transfers are over, and takes those out of the multi handle. */
static void
report_ended(void)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURL *easy = message->easy_handle;
		CURLcode result = message->data.result;
		char *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
		dm_pump_remove(easy); /* message is gone after this */
		on_ended((DmHttpRequest *) request, result);
	}
}
