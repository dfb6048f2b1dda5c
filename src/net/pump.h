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

#endif
