/*
 * credentials_keys.c: sets of keys: copied, wiped, read from the environment, and what the sources share: faults, small files, one
 * kind of request.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "net/retry.h"
#include "store/credentials.h"

#define DM_KEYS_ANSWER_MAX_BYTES (64 * 1024)

/* Notes a fault; see credentials.h. */
bool
dm_keys_fault(DmKeysFetch *fetch, int sqlstate, char *reason, char *detail, char *hint)
{
	if (!fetch->reason)
	{
		fetch->sqlstate = sqlstate;
		fetch->reason = reason;
		fetch->detail = detail;
		fetch->hint = hint;
	}
	return false;
}

/* A variable of the process's environment; NULL if it is not set or empty. */
const char *
dm_keys_env(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] != '\0' ? value : NULL;
}

/* Overwrites a string that holds a secret. */
void
dm_keys_wipe_text(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
}

/* Overwrites keys and frees them. */
void
dm_keys_wipe(DmKeys *keys)
{
	char *texts[] = {keys->access_key_id, keys->secret_access_key, keys->session_token};

	for (int i = 0; i < lengthof(texts); i++)
	{
		dm_keys_wipe_text(texts[i]);
		if (texts[i])
			pfree(texts[i]);
	}
	memset(keys, 0, sizeof(*keys));
}

/* Copies keys into the current memory context. */
void
dm_keys_copy(DmKeys *to, const DmKeys *from)
{
	to->access_key_id = pstrdup(from->access_key_id);
	to->secret_access_key = pstrdup(from->secret_access_key);
	to->session_token = from->session_token ? pstrdup(from->session_token) : NULL;
	to->expires = from->expires;
}

/* Gets the keys of the server process's environment. */
bool
dm_keys_from_env(DmKeysFetch *fetch, DmKeys *keys)
{
	const char *id = dm_keys_env("AWS_ACCESS_KEY_ID");
	const char *secret = dm_keys_env("AWS_SECRET_ACCESS_KEY");
	DmKeys found = {unconstify(char *, id),
					unconstify(char *, secret),
					unconstify(char *, dm_keys_env("AWS_SESSION_TOKEN")),
					DT_NOEND};

	if (!id || !secret)
		return dm_keys_fault(
			fetch,
			ERRCODE_UNDEFINED_OBJECT,
			"in the environment",
			psprintf("%s is not set in the environment of the database server's process.",
					 id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"),
			"Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where the database server is started, "
			"and restart it.");
	dm_keys_copy(keys, &found);
	return true;
}

/* Reads a small file whole; see credentials.h. Only a regular file, or what stands for one, is waited for. */
char *
dm_keys_read_file(const char *path, Size max)
{
	int fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat st;
	char *text;
	Size len = 0;
	int fault = 0;

	if (fd < 0)
		return NULL;
	text = palloc(max + 1);
	if (fstat(fd, &st) != 0)
		fault = errno;
	else if (!S_ISREG(st.st_mode))
		fault = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	while (fault == 0)
	{
		ssize_t got = read(fd, text + len, max + 1 - len);

		if (got < 0)
			fault = errno;
		len += Max(got, 0);
		if (len > max)
			fault = EFBIG;
		if (got <= 0)
			break;
	}
	CloseTransientFile(fd);
	if (fault == 0)
	{
		text[len] = '\0';
		return text;
	}
	explicit_bzero(text, len);
	pfree(text);
	errno = fault;
	return NULL;
}

/* Sets URL and headers of a request for keys. */
static void
prepare_call(DmHttpRequest *request)
{
	const DmKeysCall *call = request->arg;

	request->url = call->url;
	request->body_len = 0;
	for (int i = 0; i < call->nheaders; i++)
		dm_http_header_add(request, call->headers[i]);
}

/* Judges an answer: a token service says with a 400, too, that it is asked too often. */
static DmHttpVerdict
judge_call(DmHttpRequest *request)
{
	if (dm_retry_is_transient(request->status) ||
		(request->status == 400 && strstr(request->error_body, "<Code>Throttling")))
		return DM_HTTP_RETRY;
	return DM_HTTP_ACCEPT;
}

/* Gives curl bytes of the body (inside curl: raises nothing). */
static ssize_t
read_body(DmHttpRequest *request, int64 offset, char *buf, Size len)
{
	const DmKeysCall *call = request->arg;

	len = Min((int64) len, request->upload_bytes - offset);
	memcpy(buf, call->body + offset, len);
	return len;
}

/* Does a request for keys; see credentials.h. */
DmHttpRequest *
dm_keys_call(DmKeysFetch *fetch, DmKeysCall *call)
{
	DmHttpRequest *request = dm_http_make(&call->http);

	request->arg = call;
	request->prepare = prepare_call;
	request->judge = judge_call;
	request->method = call->method;
	request->body_max = DM_KEYS_ANSWER_MAX_BYTES;
	if (call->body)
	{
		request->upload_read = read_body;
		request->upload_bytes = strlen(call->body);
	}
	dm_http_perform(request);
	for (int i = 0; i < call->nheaders; i++)
		dm_keys_wipe_text(call->headers[i]);
	dm_keys_wipe_text(call->body);
	if (request->state == DM_HTTP_DONE)
		return request;
	dm_keys_fault(fetch,
				  request->blocked[0] ? ERRCODE_INSUFFICIENT_PRIVILEGE
									  : ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
				  psprintf("%s: %s", call->what, dm_http_fault(request)),
				  psprintf("Asked \"%s\"; attempts: %d.%s",
						   dm_http_origin(call->url),
						   request->attempts,
						   request->blocked[0] && request->not_allowed
							   ? " It is none of the hosts of setting datamill.allowed_hosts."
							   : ""),
				  call->hint ? pstrdup(call->hint) : NULL);
	return NULL;
}

/* Takes keys over from an answer; see credentials.h. */
bool
dm_keys_take(DmKeysFetch *fetch, const char *what, DmKeysAnswer *answer, DmKeys *keys)
{
	bool whole = !answer->too_long && answer->access_key_id[0] && answer->secret_access_key[0];

	keys->expires = DT_NOEND;
	if (whole && answer->expiration[0])
		whole = dm_iso_time_read(answer->expiration, &keys->expires);
	if (whole)
	{
		keys->access_key_id = pstrdup(answer->access_key_id);
		keys->secret_access_key = pstrdup(answer->secret_access_key);
		keys->session_token = answer->session_token[0] ? pstrdup(answer->session_token) : NULL;
	}
	explicit_bzero(answer, sizeof(*answer));
	return whole ||
		   dm_keys_fault(fetch,
						 ERRCODE_PROTOCOL_VIOLATION,
						 psprintf("%s: the answer holds no keys", what),
						 "AccessKeyId and SecretAccessKey are needed, and Expiration must be an ISO 8601 time.",
						 NULL);
}
