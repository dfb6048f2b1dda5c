/*
 * retry.h: when to try again and how long to wait first.
 */
#ifndef DM_RETRY_H
#define DM_RETRY_H

#include "postgres.h"

/* True for answers that may be different next time: 429 and 500, 502, 503, 504. */
extern bool dm_retry_is_transient(int status);
/* Milliseconds to wait before attempt number `attempt` (1 is the first retry): full jitter under an exponential ceiling. */
extern long dm_retry_delay_ms(int attempt);
/* Milliseconds that a Retry-After header asks for (seconds, decimals or a date), or -1 if it makes no sense. */
extern long dm_retry_after_ms(const char *value, int64 now_s);

#endif
