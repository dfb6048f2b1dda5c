/*
 * pump.h: the backend's one set of transfers. Inside net/ only.
 */
#ifndef DM_PUMP_H
#define DM_PUMP_H

#include "postgres.h"

#include <curl/curl.h>

#include "net/http.h"

/* Called for a transfer that is over, outside curl. */
typedef void (*DmPumpEnded)(DmHttpRequest *request, CURLcode result);

extern void dm_pump_init(DmPumpEnded ended);
extern void dm_pump_add(CURL *easy);
extern void dm_pump_remove(CURL *easy);

#endif
