/*
 * transfer.c: what curl calls back for a request, and its options.
 *
 * Nothing here raises, or allocates so that it could: what is wrong is noted in the request, the callback returns short,
 * and whoever drives the request raises the error. Every buffer has a ceiling.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/hosts.h"
#include "net/addr.h"
#include "net/transfer.h"

/* Slower than this for a whole timeout counts as no progress. */
#define DM_HTTP_MIN_BYTES_PER_S 16L
#define DM_HTTP_FIRST_BODY_BYTES (64 * 1024)

/* curl's header callback: keeps the headers of the last answer (not of a 100 Continue), as many as fit. */
static size_t
note_header(char *data, size_t size, size_t n, void *arg)
{
	DmHttpRequest *request = arg;
	DmTransfer *held = request->held;
	Size len = size * n;

	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		held->header_len = 0;
		held->accepted = false;
		request->error_len = 0;
	}
	if (held->header_len + len <= DM_HTTP_HEADER_BYTES)
	{
		memcpy(held->answer_headers + held->header_len, data, len);
		held->header_len += len;
	}
	held->answer_headers[held->header_len] = '\0';
	return len;
}

/* Makes room for len more body bytes, up to body_max. False if that is too much. Raises nothing. */
static bool
reserve_body(DmHttpRequest *request, Size len)
{
	Size want = request->body_len + len;
	Size capacity = Max(request->body_capacity, DM_HTTP_FIRST_BODY_BYTES);
	char *body;

	if (want <= request->body_capacity)
		return true;
	if (want > request->body_max)
		return false;
	while (capacity < want)
		capacity *= 2;
	capacity = Min(capacity, request->body_max);
	body =
		MemoryContextAllocExtended(GetMemoryChunkContext(request), capacity, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (!body)
		return false;
	if (request->body)
	{
		memcpy(body, request->body, request->body_len);
		pfree(request->body);
	}
	request->body = body;
	request->body_capacity = capacity;
	return true;
}

/* curl's write callback: the body of a 2xx goes to the owner's buffer, the start of any other to error_body. */
static size_t
note_body(char *data, size_t size, size_t n, void *arg)
{
	DmHttpRequest *request = arg;
	DmTransfer *held = request->held;
	Size len = size * n;
	Size skip;
	long status = 0;

	curl_easy_getinfo(held->easy, CURLINFO_RESPONSE_CODE, &status);
	request->status = (int) status;
	if (status < 200 || status > 299)
	{
		Size keep = Min(len, DM_HTTP_ERROR_BODY_BYTES - request->error_len);

		memcpy(request->error_body + request->error_len, data, keep);
		request->error_len += keep;
		return len;
	}
	if (!held->accepted && request->accept && !request->accept(request))
	{
		request->refused = true;
		return 0;
	}
	held->accepted = true;
	skip = Min(len, request->body_skip);
	request->body_skip -= skip;
	if (!reserve_body(request, len - skip))
	{
		request->too_long = true;
		return 0;
	}
	memcpy(request->body + request->body_len, data + skip, len - skip);
	request->body_len += len - skip;
	return len;
}

/* curl's read callback: bytes to upload. */
static size_t
give_upload(char *buf, size_t size, size_t n, void *arg)
{
	DmHttpRequest *request = arg;
	Size want = Min((int64) (size * n), request->upload_bytes - request->upload_offset);
	ssize_t got = want > 0 ? request->upload_read(request, request->upload_offset, buf, want) : 0;

	if (got < 0 || (got == 0 && want > 0))
		return CURL_READFUNC_ABORT;
	request->upload_offset += got;
	return got;
}

/* curl's seek callback: it sends an upload again when a kept connection turns out to be closed. */
static int
seek_upload(void *arg, curl_off_t offset, int origin)
{
	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	((DmHttpRequest *) arg)->upload_offset = offset;
	return CURL_SEEKFUNC_OK;
}

/* May the address be reached? Notes in the request why not. */
static bool
check_address(DmHttpRequest *request, const struct sockaddr *address)
{
	const DmHttpConfig *config = request->config;
	Size len;
	const char *host = dm_url_host(request->url, &len);

	request->not_allowed = config->allowed_hosts && !dm_hosts_match(config->allowed_hosts, host, len, address);
	if (!request->not_allowed && (config->allow_link_local || !dm_addr_is_link_local(address)))
		return true;
	dm_addr_print(address, request->blocked, sizeof(request->blocked));
	return false;
}

/* curl's socket factory: refuses addresses that may not be reached. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	DmHttpRequest *request = arg;
	curl_socket_t fd;

	if (!check_address(request, &address->addr))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd >= 0)
		ReserveExternalFD(); /* fd.c gives up files it could open again, so that there is room */
	return fd;
}

/*
 * curl's last call before a request is sent, on a new or a kept connection: refuses a kept one that another request, which
 * may reach more, has opened.
 */
static int
check_connection(void *arg, char *address, char *own_address, int port, int own_port)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer = {.any.sa_family = AF_UNSPEC};
	DmHttpRequest *request = arg;

	if (inet_pton(AF_INET, address, &peer.v4.sin_addr) == 1)
		peer.any.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, address, &peer.v6.sin6_addr) == 1)
		peer.any.sa_family = AF_INET6;
	if (!check_address(request, &peer.any))
		return CURL_PREREQFUNC_ABORT;
	request->blocked[0] = '\0'; /* of the host's addresses one may be reached */
	return CURL_PREREQFUNC_OK;
}

/* curl's counterpart: called when a connection is closed, which may be long after its request is gone. */
static int
close_socket(void *arg, curl_socket_t fd)
{
	ReleaseExternalFD();
	return close(fd);
}

/* Sets the options that stay the same over all attempts. */
void
dm_transfer_setup(DmHttpRequest *request)
{
	const DmHttpConfig *config = request->config;
	DmTransfer *held = request->held;
	CURL *easy = held->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, held->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name server on cancel */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "datamill/1.0");
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024L);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) config->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, DM_HTTP_MIN_BYTES_PER_S);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) (config->timeout_ms + 999) / 1000);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->verify_tls ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->verify_tls ? 2L : 0L);
	if (config->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, check_connection);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, note_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, note_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_upload);
	curl_easy_setopt(easy, CURLOPT_READDATA, request);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_upload);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, request);
}

/* Finds an answer's header: its value without blanks around it, not terminated, and its length; NULL if it is not there. */
static const char *
find_header(const DmHttpRequest *request, const char *name, Size *value_len)
{
	const DmTransfer *held = request->held;
	Size name_len = strlen(name);

	for (const char *line = held->answer_headers; *line;)
	{
		Size len = strcspn(line, "\r\n");

		if (len > name_len && line[name_len] == ':' && pg_strncasecmp(line, name, name_len) == 0)
		{
			const char *value = line + name_len + 1;
			const char *end = line + len;

			while (value < end && (*value == ' ' || *value == '\t'))
				value++;
			while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
				end--;
			*value_len = end - value;
			return value;
		}
		line += len;
		line += strspn(line, "\r\n");
	}
	return NULL;
}

/* Value of an answer's header, palloc'd, or NULL. */
char *
dm_http_header(const DmHttpRequest *request, const char *name)
{
	Size len;
	const char *value = find_header(request, name, &len);

	return value ? pnstrdup(value, len) : NULL;
}

/* Copies the value of an answer's header; false if it is not there or too long. Raises nothing. */
bool
dm_http_header_copy(const DmHttpRequest *request, const char *name, char *out, Size size)
{
	Size len;
	const char *value = find_header(request, name, &len);

	if (!value || len >= size)
		return false;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}
