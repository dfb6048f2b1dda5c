/*
 * credentials_host.c: keys from the services that a cloud gives its machines and containers.
 *
 * These are the only requests that may go to link-local addresses, and they go there only because the server's credentials say so.
 * Nothing of an answer but its keys is passed on.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/errors.h"
#include "net/retry.h"
#include "store/credentials.h"

#define DM_IMDS_IPV4 "http://169.254.169.254"
#define DM_IMDS_IPV6 "http://[fd00:ec2::254]"
#define DM_IMDS_ROLES "/latest/meta-data/iam/security-credentials/"
#define DM_ECS_ORIGIN "http://169.254.170.2"
#define DM_TOKEN_FILE_MAX_BYTES (64 * 1024)

/* These services are near: who does not answer in a second is not there. */
static const DmHttpConfig near_service = {.verify_tls = true,
										  .allow_link_local = true,
										  .connect_timeout_ms = 1000,
										  .timeout_ms = 1000,
										  .max_retries = 2,
										  .budget_ms = 3000};

static const char imds_what[] = "from the instance metadata service";
static const char imds_hint[] =
	"Credentials 'imds' need an EC2 instance with a role. AWS_EC2_METADATA_SERVICE_ENDPOINT names another place.";
static const char ecs_what[] = "from the container's metadata service";
static const char ecs_hint[] =
	"Credentials 'ecs' need a container with a role: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or "
	"AWS_CONTAINER_CREDENTIALS_FULL_URI, set where the database server is started.";

/* Notes a status other than 200. False always. */
static bool
fault_status(DmKeysFetch *fetch, const DmKeysCall *call, int status, const char *meaning)
{
	return dm_keys_fault(fetch,
						 dm_retry_is_transient(status) ? DM_ERRCODE_REMOTE_UNAVAILABLE : ERRCODE_UNDEFINED_OBJECT,
						 psprintf("%s: HTTP status %d%s", call->what, status, meaning),
						 psprintf("Asked \"%s\".", dm_http_origin(call->url)),
						 call->hint ? pstrdup(call->hint) : NULL);
}

/* Returns an answer's body as a string, palloc'd; the body itself is wiped. */
static char *
take_body(DmHttpRequest *request)
{
	char *text = pnstrdup(request->body ? request->body : "", request->body_len);

	if (request->body)
		explicit_bzero(request->body, request->body_len);
	return text;
}

/* Asks for one text of the instance metadata service; session is NULL for the token itself. NULL with a fault. */
static char *
ask_imds(DmKeysFetch *fetch, const char *endpoint, const char *path, const char *session, const char *meaning)
{
	DmKeysCall call = {.what = imds_what,
					   .method = session ? "GET" : "PUT",
					   .url = psprintf("%s%s", endpoint, path),
					   .hint = imds_hint,
					   .http = near_service};
	DmHttpRequest *request;

	call.headers[call.nheaders++] = session ? psprintf("X-aws-ec2-metadata-token: %s", session)
											: pstrdup("X-aws-ec2-metadata-token-ttl-seconds: 300");
	if (!session)
		call.body = pstrdup("");
	request = dm_keys_call(fetch, &call);
	if (request && request->status != 200)
		(void) fault_status(fetch, &call, request->status, meaning);
	return request && request->status == 200 ? take_body(request) : NULL;
}

/* Cuts text off after its first line, in place. False if that is empty or has other characters than role names and tokens have. */
static bool
cut_line(char *text)
{
	Size len = strcspn(text, "\r\n");

	text[len] = '\0';
	return len > 0 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-/") == len;
}

/* Reads the keys in a metadata service's answer, which is wiped. */
static bool
take_json(DmKeysFetch *fetch, const char *what, char *json, DmKeys *keys)
{
	DmKeysAnswer *answer = palloc0(sizeof(DmKeysAnswer));
	bool is_json = dm_keys_answer_read(answer, json, strlen(json));

	dm_keys_wipe_text(json);
	if (!is_json)
		return dm_keys_fault(
			fetch, ERRCODE_PROTOCOL_VIOLATION, psprintf("%s: the answer is no JSON object", what), NULL, NULL);
	return dm_keys_take(fetch, what, answer, keys);
}

/* The endpoint of the instance metadata service, palloc'd; NULL with a fault. */
static char *
imds_endpoint(DmKeysFetch *fetch)
{
	const char *disabled = dm_keys_env("AWS_EC2_METADATA_DISABLED");
	const char *endpoint = dm_keys_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode = dm_keys_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	Size len;

	if (disabled && pg_strcasecmp(disabled, "true") == 0)
	{
		dm_keys_fault(fetch,
					  ERRCODE_UNDEFINED_OBJECT,
					  psprintf("%s: it is switched off", imds_what),
					  "AWS_EC2_METADATA_DISABLED is true in the environment of the database server's process.",
					  NULL);
		return NULL;
	}
	if (!endpoint)
		return pstrdup(mode && pg_strcasecmp(mode, "IPv6") == 0 ? DM_IMDS_IPV6 : DM_IMDS_IPV4);
	len = strlen(endpoint);
	if ((pg_strncasecmp(endpoint, "http://", 7) != 0 && pg_strncasecmp(endpoint, "https://", 8) != 0) ||
		strpbrk(endpoint, "@?# "))
	{
		dm_keys_fault(fetch,
					  ERRCODE_CONFIG_FILE_ERROR,
					  psprintf("%s: AWS_EC2_METADATA_SERVICE_ENDPOINT is no http(s) URL", imds_what),
					  NULL,
					  NULL);
		return NULL;
	}
	while (endpoint[len - 1] == '/')
		len--;
	return pnstrdup(endpoint, len);
}

/*
 * Gets the keys of the machine's role from the EC2 instance metadata service, version 2 only: a session token first (a PUT,
 * which a request forwarded from outside cannot be), then the role's name, then its keys.
 */
bool
dm_keys_from_imds(DmKeysFetch *fetch, DmKeys *keys)
{
	char *endpoint = imds_endpoint(fetch);
	char *session;
	char *role;
	char *json = NULL;

	if (!endpoint)
		return false;
	session = ask_imds(fetch, endpoint, "/latest/api/token", NULL, " to the PUT that asks for a session (IMDSv2)");
	if (!session)
		return false;
	if (!cut_line(session))
		return dm_keys_fault(
			fetch, ERRCODE_PROTOCOL_VIOLATION, psprintf("%s: its session token is none", imds_what), NULL, NULL);
	role = ask_imds(fetch, endpoint, DM_IMDS_ROLES, session, ": the machine has no role");
	if (role && !cut_line(role))
		return dm_keys_fault(fetch,
							 ERRCODE_UNDEFINED_OBJECT,
							 psprintf("%s: it names no role of the machine", imds_what),
							 NULL,
							 pstrdup(imds_hint));
	if (role)
		json =
			ask_imds(fetch, endpoint, psprintf("%s%s", DM_IMDS_ROLES, role), session, " for the keys of its role");
	dm_keys_wipe_text(session);
	return json && take_json(fetch, imds_what, json, keys);
}

/* True for the addresses of ECS's and EKS's own services. */
static bool
is_container_service(const char *host)
{
	return strcmp(host, "169.254.170.2") == 0 || strcmp(host, "169.254.170.23") == 0 ||
		   pg_strcasecmp(host, "fd00:ec2::23") == 0;
}

/* True for a host that is this machine, by its address or as localhost. */
static bool
is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return pg_strcasecmp(host, "localhost") == 0;
}

/* The host of a URL after its scheme, palloc'd, without port and brackets; NULL if there is none, or a user before it. */
static char *
url_host(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	Size len = strcspn(host, "/?#");

	if (memchr(host, '@', len))
		return NULL;
	if (host[0] == '[')
	{
		const char *end = memchr(host, ']', len);

		return end ? pnstrdup(host + 1, end - host - 1) : NULL;
	}
	return pnstrdup(host, Min(len, strcspn(host, ":")));
}

/*
 * The URL that a container's variables name, palloc'd; NULL with a fault. What goes over plain HTTP must be loopback or one
 * of the services' own addresses, so that the authorization token is sent to nobody else.
 */
static char *
ecs_url(DmKeysFetch *fetch, bool *link_local)
{
	const char *relative = dm_keys_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = dm_keys_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	bool tls = full && pg_strncasecmp(full, "https://", 8) == 0;
	char *host;

	*link_local = true;
	if (relative && relative[0] == '/')
		return psprintf("%s%s", DM_ECS_ORIGIN, relative);
	if (relative || !full)
	{
		dm_keys_fault(fetch,
					  ERRCODE_UNDEFINED_OBJECT,
					  pstrdup(ecs_what),
					  relative ? "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with a slash."
							   : "Neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor "
								 "AWS_CONTAINER_CREDENTIALS_FULL_URI is set in the "
								 "environment of the database server's process.",
					  pstrdup(ecs_hint));
		return NULL;
	}
	host = tls || pg_strncasecmp(full, "http://", 7) == 0 ? url_host(full) : NULL;
	*link_local = host && is_container_service(host);
	if (host && (tls || *link_local || is_loopback(host)))
		return pstrdup(full);
	dm_keys_fault(
		fetch,
		ERRCODE_INSUFFICIENT_PRIVILEGE,
		psprintf("%s: AWS_CONTAINER_CREDENTIALS_FULL_URI may not be asked", ecs_what),
		"It must be https, or http to a loopback address, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23].",
		NULL);
	return NULL;
}

/* The header with the container's authorization token, palloc'd; NULL in *header if there is none. False with a fault. */
static bool
ecs_authorization(DmKeysFetch *fetch, char **header)
{
	const char *path = dm_keys_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *token = dm_keys_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	char *text = path ? dm_keys_read_file(path, DM_TOKEN_FILE_MAX_BYTES) : NULL;

	*header = NULL;
	if (path && !text)
		return dm_keys_fault(
			fetch,
			ERRCODE_UNDEFINED_OBJECT,
			psprintf("%s: could not read file \"%s\": %m", ecs_what, path),
			"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names it in the environment of the database server's process.",
			NULL);
	if (!text && !token)
		return true;
	if (!text)
		text = pstrdup(token);
	for (Size len = strlen(text); len > 0 && strchr("\r\n ", text[len - 1]); len--)
		text[len - 1] = '\0';
	if (strpbrk(text, "\r\n"))
		return dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("%s: the authorization token has a line break", ecs_what),
							 NULL,
							 NULL);
	*header = psprintf("Authorization: %s", text);
	dm_keys_wipe_text(text);
	return true;
}

/* Gets the keys of the container's role, as ECS tasks and EKS pods find them. */
bool
dm_keys_from_ecs(DmKeysFetch *fetch, DmKeys *keys)
{
	DmKeysCall call = {.what = ecs_what, .method = "GET", .hint = ecs_hint, .http = near_service};
	DmHttpRequest *request;
	char *header;

	call.url = ecs_url(fetch, &call.http.allow_link_local);
	if (!call.url || !ecs_authorization(fetch, &header))
		return false;
	if (header)
		call.headers[call.nheaders++] = header;
	request = dm_keys_call(fetch, &call);
	if (!request)
		return false;
	if (request->status != 200)
		return fault_status(fetch, &call, request->status, "");
	return take_json(fetch, ecs_what, take_body(request), keys);
}
