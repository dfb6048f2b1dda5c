/*
 * pump.h: the backend's one set of transfers. Inside net/ only.
 */
#ifndef DM_PUMP_H
#define DM_PUMP_H

#include "postgres.h"

#include <curl/curl.h>

#include "portability/instr_time.h"

#include "net/http.h"

/* Called for a transfer that is over, outside curl. */
typedef void (*DmPumpEnded)(DmHttpRequest *request, CURLcode result);

/* Milliseconds of a clock that nobody can set. */
static inline int64
dm_clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

extern void dm_pump_init(DmPumpEnded ended);
extern void dm_pump_add(CURL *easy);
extern void dm_pump_remove(CURL *easy);
/*
 * The next pump does not sleep: what it would wait for may have come already, while a request was performed inside
 * another's prepare.
 */
extern void dm_pump_hurry(void);
/* Milliseconds until curl wants to be called, at most max_ms (-1: no limit, which needs a transfer). */
extern long dm_pump_sleep_ms(long max_ms);

/* pump_fd.c: notes a socket as curl reports it; stops the timer. */
extern void dm_pump_fd_note(curl_socket_t fd, int what);
extern void dm_pump_fd_disarm(void);
/* pump.c: notes all sockets there are. */
extern void dm_pump_fd_fill(void);

#endif
