/*
 * retry.c: when to try again and how long to wait first.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <math.h>

#include "common/pg_prng.h"

#include "net/retry.h"

#define DM_RETRY_BASE_MS 100
#define DM_RETRY_CEILING_MS 20000
/* A Retry-After longer than a day is taken as a day; the time budget ends the request long before. */
#define DM_RETRY_AFTER_MAX_S 86400

/* True for answers that may be different next time. */
bool
dm_retry_is_transient(int status)
{
	return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

/*
 * Milliseconds before the attempt: uniform between 0 and base * 2^attempt, capped. Full jitter, so that many backends
 * that were throttled together do not come back together.
 */
long
dm_retry_delay_ms(int attempt)
{
	double ceiling = ldexp(DM_RETRY_BASE_MS, Min(attempt, 20));

	return (long) (pg_prng_double(&pg_global_prng_state) * Min(ceiling, DM_RETRY_CEILING_MS));
}

/* Milliseconds that a Retry-After header asks for, or -1 if it makes no sense (RFC 9110 10.2.3, and decimals). */
long
dm_retry_after_ms(const char *value, int64 now_s)
{
	char *end;
	double seconds = strtod(value, &end);

	while (*end == ' ')
		end++;
	if (end == value || *end != '\0')
	{
		time_t date = curl_getdate(value, NULL);

		if (date == (time_t) -1)
			return -1;
		seconds = (double) date - (double) now_s;
	}
	if (isnan(seconds) || seconds < 0)
		return 0;
	return (long) ceil(Min(seconds, DM_RETRY_AFTER_MAX_S) * 1000);
}
