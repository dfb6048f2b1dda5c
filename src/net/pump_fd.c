/*
 * pump_fd.c: one file descriptor that is readable when the transfers want to go on, for waits that are not ours.
 *
 * An executor node that waits for several scans (Append) takes one socket of each. So all sockets of curl and a timer stand in
 * one epoll set, which is such a descriptor. It is made when it is first asked for. On systems without epoll there is none.
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#endif

#include "miscadmin.h"
#include "storage/fd.h"

#include "net/pump.h"

#ifdef __linux__

static int set_fd = -1;
static int timer_fd = -1;
static int64 armed_at_ms = -1; /* when the timer ends, by dm_clock_ms; -1: not at all */

/* Puts a socket into the set, changes what it is there for, or takes it out. Raises nothing: it runs inside curl. */
void
dm_pump_fd_note(curl_socket_t fd, int what)
{
	struct epoll_event event = {.data.fd = fd};

	if (set_fd < 0)
		return;
	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(set_fd, EPOLL_CTL_DEL, fd, &event);
		return;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(set_fd, EPOLL_CTL_MOD, fd, &event) != 0)
		(void) epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, &event);
}

/* Sets the timer; -1 stops it. */
static void
set_timer(int64 at_ms)
{
	struct itimerspec time = {{0}};
	int64 left = at_ms - dm_clock_ms();

	armed_at_ms = at_ms;
	if (at_ms >= 0)
	{
		time.it_value.tv_sec = Max(left, 0) / 1000;
		time.it_value.tv_nsec = left > 0 ? left % 1000 * 1000000 : 1;
	}
	(void) timerfd_settime(timer_fd, 0, &time, NULL);
}

/* Makes the set, once. Raises if there are no descriptors left. */
static void
make_set(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int timer;
	int set;

	if (!AcquireExternalFD() || !AcquireExternalFD())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("out of file descriptors: %m")));
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	set = epoll_create1(EPOLL_CLOEXEC);
	event.data.fd = timer;
	if (timer < 0 || set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, timer, &event) != 0)
	{
		int save_errno = errno;

		if (timer >= 0)
			close(timer);
		if (set >= 0)
			close(set);
		ReleaseExternalFD();
		ReleaseExternalFD();
		errno = save_errno;
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not make a set of sockets: %m")));
	}
	timer_fd = timer;
	set_fd = set;
}

/* Stops the timer: whoever pumps looks at everything. */
void
dm_pump_fd_disarm(void)
{
	if (armed_at_ms >= 0)
		set_timer(-1);
}

/* Returns the descriptor, which gets readable after max_ms at the latest; see http.h. */
int
dm_http_wait_fd(long max_ms)
{
	int64 at_ms = dm_clock_ms() + dm_pump_sleep_ms(max_ms);

	if (set_fd < 0)
	{
		make_set();
		dm_pump_fd_fill();
	}
	if (armed_at_ms < 0 || at_ms < armed_at_ms)
		set_timer(at_ms);
	return set_fd;
}

/* Whether there is such a descriptor. */
bool
dm_http_has_wait_fd(void)
{
	return true;
}

#else

/* There is no set. */
void
dm_pump_fd_note(curl_socket_t fd, int what)
{
}

/* There is no timer. */
void
dm_pump_fd_disarm(void)
{
}

/* There is none. */
int
dm_http_wait_fd(long max_ms)
{
	return -1;
}

/* There is none. */
bool
dm_http_has_wait_fd(void)
{
	return false;
}

#endif
