/*
 * http.h: one HTTP client for a backend.
 *
 * A request is made once and may be started again and again (its handle is reused, and connections are shared by all
 * requests of the backend). The owner drives it:
 *
 *     request = dm_http_make(&config);  request->prepare = ...;  request->arg = ...;
 *     dm_http_start(request);
 *     while (!dm_http_advance(request)) dm_http_pump(dm_http_wait_ms(request));
 *
 * or just dm_http_perform(request). Afterwards state is DM_HTTP_DONE (status, headers and body are there, the status may
 * be any) or DM_HTTP_FAILED (no whole answer after all retries: dm_http_raise says why).
 *
 * prepare and judge run outside curl and may raise; accept and upload_read run inside it and must not. prepare may perform
 * another request, while which all other transfers of the backend go on.
 */
#ifndef DM_HTTP_H
#define DM_HTTP_H

#include "postgres.h"

#include "base/compat.h"

#define DM_HTTP_ERROR_BODY_BYTES 8192
#define DM_HTTP_HEADER_BYTES 16384

typedef enum DmHttpState
{
	DM_HTTP_IDLE,	 /* not started */
	DM_HTTP_WAITING, /* for retry_at_ms */
	DM_HTTP_RUNNING,
	DM_HTTP_ENDED, /* the attempt is over and not judged yet */
	DM_HTTP_DONE,
	DM_HTTP_FAILED
} DmHttpState;

typedef enum DmHttpVerdict
{
	DM_HTTP_ACCEPT, /* done, whatever the status */
	DM_HTTP_RETRY,	/* as long as retries and time are left */
	DM_HTTP_AGAIN	/* at once, whatever is left: the owner knows that it ends (prepare will send something else) */
} DmHttpVerdict;

typedef struct DmHttpConfig
{
	const char *ca_file; /* NULL: the system's authorities */
	bool verify_tls;
	bool allow_link_local;	   /* metadata services and the like may be reached */
	const char *allowed_hosts; /* list (hosts.h) of the only ones that may be reached; NULL: any */
	int connect_timeout_ms;
	int timeout_ms; /* a request without progress for so long ends */
	int max_retries;
	int budget_ms; /* no retry starts later than so long after the last progress */
} DmHttpConfig;

typedef struct DmHttpRequest DmHttpRequest;
struct DmHttpRequest
{
	const DmHttpConfig *config;
	void *arg; /* the owner's */

	/* Sets url and headers; called before every attempt (a signature holds a date). */
	void (*prepare)(DmHttpRequest *request);
	/* Called once status and headers are known, before the first body byte of a 2xx; false ends the request. May be NULL. */
	bool (*accept)(DmHttpRequest *request);
	/* Judges a whole answer; NULL: dm_retry_is_transient(status). */
	DmHttpVerdict (*judge)(DmHttpRequest *request);
	/* Gives bytes of the upload from offset; returns how many, -1 on a fault. NULL: no upload. */
	ssize_t (*upload_read)(DmHttpRequest *request, int64 offset, char *buf, Size len);
	int64 upload_bytes;
	int64 upload_offset;

	const char *method;
	const char *url;

	/* Body of a 2xx answer. The owner may set a buffer of its own (capacity == max). It grows up to body_max. */
	char *body;
	Size body_len; /* prepare resets it, or keeps it to go on where an attempt was cut */
	Size body_capacity;
	Size body_max;
	Size body_skip; /* bytes to drop before the next one is kept */

	DmHttpState state;
	int status;
	int attempts;
	int64 failing_since_ms; /* end of the first attempt that got no further; -1: none */
	Size failing_at;		/* body_len then */
	int64 retry_at_ms;
	bool too_long;								   /* the body was cut off at body_max */
	bool refused;								   /* accept said no */
	char blocked[64];							   /* the address that the guard refused, or "" */
	bool not_allowed;							   /* ... since allowed_hosts does not name it */
	char error_body[DM_HTTP_ERROR_BODY_BYTES + 1]; /* start of the body of any other answer */
	Size error_len;
	void *held; /* private */
};

extern DmHttpRequest *dm_http_make(const DmHttpConfig *config);
/* For prepare: replaces all headers; then adds one, "Name: value". */
extern void dm_http_headers_clear(DmHttpRequest *request);
extern void dm_http_header_add(DmHttpRequest *request, const char *line);
extern void dm_http_start(DmHttpRequest *request);
/* Judges an ended attempt, starts a due retry. True once the request is done or failed. */
extern bool dm_http_advance(DmHttpRequest *request);
/* Stops the request if it runs; it can be started again. */
extern void dm_http_stop(DmHttpRequest *request);
extern void dm_http_free(DmHttpRequest *request);
extern void dm_http_perform(DmHttpRequest *request);
/*
 * The same for a request whose answer must not be lost: an interrupt is answered only when it has waited for grace_ms, or
 * after the end. Returns with interrupts held: the caller keeps what the answer says and then calls RESUME_INTERRUPTS().
 */
extern void dm_http_perform_held(DmHttpRequest *request, int grace_ms);
/* Value of an answer's header, palloc'd, or NULL. */
extern char *dm_http_header(const DmHttpRequest *request, const char *name);
/* Copies it instead; false if it is not there or too long. For accept: raises nothing. */
extern bool dm_http_header_copy(const DmHttpRequest *request, const char *name, char *out, Size size);
/* Why a failed request has no answer, palloc'd, one line: the address that was refused, or what curl says. */
extern char *dm_http_fault(const DmHttpRequest *request);
/* The origin (scheme, host, port) of a URL, palloc'd: what a message may show of it. */
extern char *dm_http_origin(const char *url);
/* Raises the network error of a failed request; `what` is what could not be done, like "could not list bucket \"b\"". */
extern void dm_http_raise(const DmHttpRequest *request, const char *what) pg_attribute_noreturn();

/*
 * Lets all requests of the backend go on until one ends or has got data, at most max_ms (-1: no limit). Answers interrupts;
 * wakes for them at once.
 */
extern void dm_http_pump(long max_ms);
/*
 * A descriptor to wait for elsewhere: readable when dm_http_pump(0) has something to do, and after max_ms at the latest. To be
 * asked for before every wait; it stays the same, and is not to be closed. Only where there is one.
 */
extern int dm_http_wait_fd(long max_ms);
extern bool dm_http_has_wait_fd(void);
/* How long a pump may sleep before this request needs dm_http_advance: -1 as long as it likes. */
extern long dm_http_wait_ms(const DmHttpRequest *request);

#endif
