/*
 * credentials_sts.c: temporary keys of a role, from the AWS Security Token Service or one that speaks as it does: AssumeRole with other
 * keys, AssumeRoleWithWebIdentity with a token from a file.
 *
 * The service is option sts_endpoint, else AWS's in the server's region; a server with an endpoint outside AWS is its own token
 * service, as those are which speak both, so that its keys go nowhere else.
 */
#include "postgres.h"

#include <time.h>

#include "base/errors.h"
#include "net/retry.h"
#include "store/credentials.h"
#include "store/s3.h"
#include "store/s3_sign.h"

#define DM_WEB_TOKEN_MAX_BYTES (64 * 1024)
#define DM_ROLE_SESSION_NAME "datamill"

/* True if the URL's host is one of AWS's. */
static bool
is_aws(const char *url)
{
	char *host = dm_s3_host_header(dm_http_origin(url));
	Size len = strlen(host);

	return (len > 14 && pg_strcasecmp(host + len - 14, ".amazonaws.com") == 0) ||
		   (len > 17 && pg_strcasecmp(host + len - 17, ".amazonaws.com.cn") == 0);
}

/* The origin of the token service, palloc'd. */
static char *
sts_origin(const DmStoreSettings *settings)
{
	if (settings->sts_endpoint)
		return dm_http_origin(settings->sts_endpoint);
	if (!is_aws(settings->endpoint))
		return dm_http_origin(settings->endpoint);
	return psprintf(
		"https://sts.%s.amazonaws.com%s", settings->region, strncmp(settings->region, "cn-", 3) == 0 ? ".cn" : "");
}

/* Appends a parameter to a form; NULL is left out. */
static void
add_parameter(StringInfo form, const char *name, const char *value)
{
	char *encoded;

	if (!value)
		return;
	encoded = palloc(strlen(value) * 3 + 1);
	dm_s3_encode(value, false, encoded);
	appendStringInfo(form, "%s%s=%s", form->len > 0 ? "&" : "", name, encoded);
	dm_keys_wipe_text(encoded);
	pfree(encoded);
}

/* The form that asks for a role's keys. The caller adds what else it takes, up to extra bytes that must not be copied around. */
static void
init_form(StringInfo form, const char *action, const DmRole *role, Size extra)
{
	initStringInfo(form);
	enlargeStringInfo(form, extra);
	add_parameter(form, "Action", action);
	add_parameter(form, "Version", "2011-06-15");
	add_parameter(form, "RoleArn", role->arn);
	add_parameter(form, "RoleSessionName", role->session_name ? role->session_name : DM_ROLE_SESSION_NAME);
	add_parameter(form, "ExternalId", role->external_id);
	if (role->duration_s > 0)
		add_parameter(form, "DurationSeconds", psprintf("%d", role->duration_s));
}

/* Signs a call with keys. False with a fault. */
static bool
sign_call(DmKeysFetch *fetch, DmKeysCall *call, const char *host, const DmKeys *keys)
{
	char date[20];
	char payload[DM_S3_SHA256_BYTES];
	char authorization[DM_S3_AUTHORIZATION_BYTES];
	DmS3Sign sign = {.method = call->method, .path = "/", .query = "", .service = "sts"};
	time_t now = time(NULL);
	struct tm tm;

	strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	sign.headers[sign.nheaders++] = (DmS3Header){"host", host};
	sign.headers[sign.nheaders++] = (DmS3Header){"x-amz-date", date};
	if (keys->session_token)
		sign.headers[sign.nheaders++] = (DmS3Header){"x-amz-security-token", keys->session_token};
	sign.payload_sha256 = payload;
	sign.amz_date = date;
	sign.region = fetch->settings->region;
	sign.access_key_id = keys->access_key_id;
	sign.secret_access_key = keys->secret_access_key;
	if (!dm_s3_sha256(call->body, strlen(call->body), payload) || !dm_s3_sign(&sign, authorization))
		return dm_keys_fault(fetch,
							 ERRCODE_FDW_ERROR,
							 psprintf("%s: could not sign the request", call->what),
							 NULL,
							 "Check the length of the keys and of option region.");
	for (int i = 1; i < sign.nheaders; i++)
		call->headers[call->nheaders++] = psprintf("%s: %s", sign.headers[i].name, sign.headers[i].value);
	call->headers[call->nheaders++] = psprintf("Authorization: %s", authorization);
	explicit_bzero(authorization, sizeof(authorization));
	return true;
}

/* Takes one element of the service's answer: keys, or an error. */
static bool
note_element(void *arg, const char *parent, const char *name, const char *text)
{
	if (strcmp(parent, "Credentials") == 0 || strcmp(parent, "Error") == 0)
		dm_keys_answer_set(arg, name, text);
	return true;
}

/* Notes what the service says against a request; secrets were sent with it and appear in no message. */
static bool
fault_answer(DmKeysFetch *fetch, const DmKeysCall *call, int status, DmKeysAnswer *answer,
			 const char *const *secrets)
{
	char *texts[] = {answer->code, answer->message};

	for (int i = 0; i < lengthof(texts); i++)
	{
		dm_redact(texts[i], secrets, 4);
		dm_text_clean(texts[i]);
	}
	return dm_keys_fault(
		fetch,
		dm_retry_is_transient(status) ? DM_ERRCODE_REMOTE_UNAVAILABLE : ERRCODE_INSUFFICIENT_PRIVILEGE,
		psprintf("%s: %s", call->what, answer->code[0] ? answer->code : psprintf("HTTP status %d", status)),
		psprintf("%s%sAsked \"%s\", HTTP status %d.",
				 answer->message,
				 answer->message[0] ? " " : "",
				 dm_http_origin(call->url),
				 status),
		pstrdup(call->hint));
}

/* Sends a form to the token service, signed with base unless that is NULL; token is what else must appear in no message. */
static bool
ask_sts(DmKeysFetch *fetch, char *form, const DmKeys *base, const char *token, DmKeysCall *call, DmKeys *keys)
{
	const DmStoreSettings *settings = fetch->settings;
	char *origin = sts_origin(settings);
	char *host = dm_s3_host_header(origin);
	const char *secrets[] = {base ? base->secret_access_key : token,
							 base ? base->session_token : NULL,
							 base ? base->access_key_id : NULL,
							 token};
	DmKeysAnswer *answer = palloc0(sizeof(DmKeysAnswer));
	DmHttpRequest *request;
	bool is_xml;

	call->method = "POST";
	call->url = psprintf("%s/", origin);
	call->body = form;
	call->http = (DmHttpConfig){.ca_file = is_aws(origin) ? NULL : settings->ca_file,
								.verify_tls = settings->verify_tls || is_aws(origin),
								.allowed_hosts = settings->allowed_hosts,
								.connect_timeout_ms = Min(settings->connect_timeout_ms, 5000),
								.timeout_ms = Min(settings->timeout_ms, 10000),
								.max_retries = Min(settings->max_retries, 3),
								.budget_ms = 15000};
	call->headers[call->nheaders++] = psprintf("Host: %s", host);
	call->headers[call->nheaders++] = pstrdup("Content-Type: application/x-www-form-urlencoded");
	if (base && !sign_call(fetch, call, host, base))
		return false;
	request = dm_keys_call(fetch, call);
	if (!request)
		return false;
	if (request->status != 200)
	{
		(void) dm_xml_read(request->error_body, request->error_len, note_element, answer);
		return fault_answer(fetch, call, request->status, answer, secrets);
	}
	is_xml = dm_xml_read(request->body, request->body_len, note_element, answer);
	explicit_bzero(request->body, request->body_len);
	if (!is_xml)
		answer->access_key_id[0] = '\0';
	return dm_keys_take(fetch, call->what, answer, keys);
}

/* Gets the keys of a role with other keys. */
bool
dm_keys_assume_role(DmKeysFetch *fetch, const DmKeys *base, const DmRole *role, DmKeys *keys)
{
	DmKeysCall call = {.what = psprintf("by assuming role \"%s\"", role->arn),
					   .hint =
						   "The role must trust whom the keys belong to, external_id must be what it asks for, and "
						   "sts_endpoint the token service that knows it."};
	StringInfoData form;

	init_form(&form, "AssumeRole", role, 0);
	return ask_sts(fetch, form.data, base, NULL, &call, keys);
}

/* Reads a web identity token, palloc'd; NULL with a fault. */
static char *
read_token(DmKeysFetch *fetch, const char *file)
{
	char *token = dm_keys_read_file(file, DM_WEB_TOKEN_MAX_BYTES);

	if (!token)
		dm_keys_fault(fetch,
					  ERRCODE_UNDEFINED_OBJECT,
					  psprintf("by web identity: could not read file \"%s\": %m", file),
					  NULL,
					  "Option web_identity_token_file of the server names it, else AWS_WEB_IDENTITY_TOKEN_FILE.");
	for (Size len = token ? strlen(token) : 0; len > 0 && strchr("\r\n ", token[len - 1]); len--)
		token[len - 1] = '\0';
	return token;
}

/* Gets the keys of a role with a token that says who the host is; the file is read anew each time. */
bool
dm_keys_from_web_identity(DmKeysFetch *fetch, const char *file, DmRole *role, DmKeys *keys)
{
	DmKeysCall call = {.hint = "The role must trust the token's issuer, and the token must not have expired."};
	StringInfoData form;
	char *token;
	bool done;

	file = file ? file : dm_keys_env("AWS_WEB_IDENTITY_TOKEN_FILE");
	role->arn = role->arn ? role->arn : dm_keys_env("AWS_ROLE_ARN");
	role->session_name = role->session_name ? role->session_name : dm_keys_env("AWS_ROLE_SESSION_NAME");
	if (!file || !role->arn)
		return dm_keys_fault(
			fetch,
			ERRCODE_UNDEFINED_OBJECT,
			"by web identity",
			psprintf("%s is not set in the environment of the database server's process.",
					 file ? "AWS_ROLE_ARN" : "AWS_WEB_IDENTITY_TOKEN_FILE"),
			"Set AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN where the database server is started, or "
			"options web_identity_token_file and role_arn of the server.");
	token = read_token(fetch, file);
	if (!token)
		return false;
	call.what = psprintf("by web identity as role \"%s\"", role->arn);
	init_form(&form, "AssumeRoleWithWebIdentity", role, strlen(token) * 3 + 4096);
	add_parameter(&form, "WebIdentityToken", token);
	done = ask_sts(fetch, form.data, NULL, token, &call, keys);
	dm_keys_wipe_text(token);
	return done;
}
