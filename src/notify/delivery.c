/*
 * delivery.c: makes the request of each kind of notifier, and judges what became of it.
 *
 * Secrets are in the memory of the delivery, which goes when it is over, and nowhere else: what a remote answers is told only after they have been
 * taken out of it.
 */
#include "postgres.h"

#include <time.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/errors.h"
#include "base/guc.h"
#include "net/mail.h"
#include "net/retry.h"
#include "notify/delivery.h"
#include "notify/message.h"
#include "notify/mime.h"

#define PAGERDUTY_URL "https://events.pagerduty.com/v2/enqueue"
#define DEFAULT_TIMEOUT_MS 20000
#define MAX_ANSWER_BYTES (64 * 1024)
#define SHOWN_ANSWER_BYTES 200
#define MAX_ERROR_BYTES 500
#define MAX_SECRETS 32
#define SHA256_BYTES 32

struct DmDelivery
{
	const DmNotice *notice;
	DmHttpRequest *request;
	DmHttpConfig config;
	DmMail mail;
	const char *url;
	char *body;
	const char *key; /* of the HMAC; NULL: no signature */
};

static void make_mail(DmDelivery *delivery);
static void make_post(DmDelivery *delivery);
static void prepare_post(DmHttpRequest *request);
static ssize_t give_body(DmHttpRequest *request, int64 offset, char *buf, Size len);
static char *sign(const char *key, int64 timestamp, const char *body);
static DmOutcome judge_answer(const DmDelivery *delivery, char **error);
static DmOutcome judge_fault(const DmDelivery *delivery, char **error);
static char *to_utf8(char *text);
static const char *domain_of(const char *mailbox);

/* Makes the request of a notification; see delivery.h. */
DmDelivery *
dm_delivery_make(const DmNotice *notice)
{
	DmDelivery *delivery = palloc0(sizeof(DmDelivery));
	const Jsonb *config = notice->notifier.config;

	delivery->notice = notice;
	delivery->config.ca_file = dm_config_text(config, "ca_file");
	delivery->config.verify_tls = true;
	delivery->config.timeout_ms = dm_config_ms(config, "timeout", DEFAULT_TIMEOUT_MS);
	delivery->config.connect_timeout_ms = delivery->config.timeout_ms;
	if (dm_guc_allowed_hosts && *dm_guc_allowed_hosts && !superuser_arg(notice->notifier.owner))
		delivery->config.allowed_hosts = pstrdup(dm_guc_allowed_hosts);
	if (notice->notifier.kind == DM_NOTIFIER_SMTP)
		make_mail(delivery);
	else
		make_post(delivery);
	return delivery;
}

/* The request of a delivery. */
DmHttpRequest *
dm_delivery_request(DmDelivery *delivery)
{
	return delivery->request;
}

/* Judges a request; see delivery.h. */
DmOutcome
dm_delivery_judge(DmDelivery *delivery, char **error, long *retry_after_ms)
{
	const DmHttpRequest *request = delivery->request;
	char *retry_after = dm_http_header(request, "Retry-After");
	DmOutcome outcome = DM_OUTCOME_RETRY;
	int len;

	*retry_after_ms = retry_after ? dm_retry_after_ms(retry_after, time(NULL)) : -1;
	if (request->state == DM_HTTP_DONE)
		outcome = judge_answer(delivery, error);
	else if (request->state == DM_HTTP_FAILED)
		outcome = judge_fault(delivery, error);
	else
		*error = pstrdup("it took too long");
	if (outcome == DM_OUTCOME_SENT)
		return outcome;
	dm_delivery_redact(*error, &delivery->notice->notifier);
	len = strlen(*error);
	if (len > MAX_ERROR_BYTES)
		(*error)[pg_mbcliplen(*error, len, MAX_ERROR_BYTES)] = '\0';
	return outcome;
}

/* Takes secrets out of a text; see delivery.h. */
void
dm_delivery_redact(char *text, const DmNotifier *notifier)
{
	static const char *const names[] = {"url", "password", "routing_key", "key"};
	const char *secrets[MAX_SECRETS];
	int n = 0;

	for (int i = 0; i < lengthof(names); i++)
	{
		char *secret = dm_config_text(notifier->secret, names[i]);
		char *part = secret && i == 0 ? strstr(secret, "://") : NULL;

		if (secret)
			secrets[n++] = secret;
		/* of a URL, what stands behind the host, also piece by piece */
		part = part ? strpbrk(part + 3, "/?") : NULL;
		while (part && n < MAX_SECRETS - lengthof(names))
		{
			Size len;

			secrets[n++] = pstrdup(part);
			part += strspn(part, "/?&=");
			len = strcspn(part, "/?&=");
			if (len >= 8)
				secrets[n++] = pnstrdup(part, len);
			part = part[len] ? part + len : NULL;
		}
	}
	dm_redact(text, secrets, n);
}

/* Makes a mail. */
static void
make_mail(DmDelivery *delivery)
{
	const DmNotice *notice = delivery->notice;
	const Jsonb *config = notice->notifier.config;
	char *tls = dm_config_text(config, "tls");
	char *reply_to = dm_config_text(config, "reply_to");
	DmMime mime = {.from = to_utf8(dm_config_text(config, "from")),
				   .reply_to = reply_to ? to_utf8(reply_to) : NULL};
	StringInfoData bytes;
	DmMailbox mailbox;
	ListCell *cell;

	foreach (cell, dm_config_list(config, "to"))
	{
		mime.to = lappend(mime.to, to_utf8(lfirst(cell)));
		if (!dm_mailbox_parse(lfirst(cell), &mailbox))
			elog(ERROR, "a mailbox that was checked is none");
		delivery->mail.to = lappend(delivery->mail.to, mailbox.address);
	}
	if (!dm_mailbox_parse(mime.from, &mailbox))
		elog(ERROR, "a mailbox that was checked is none");
	delivery->mail.from = mailbox.address;
	mime.subject = to_utf8(dm_message_subject(notice));
	mime.text = to_utf8(dm_message_text(notice));
	mime.html = to_utf8(dm_message_html(notice));
	mime.date = time(NULL);
	mime.message_id = psprintf("datamill." INT64_FORMAT ".%d." INT64_FORMAT "@%s",
							   notice->id,
							   notice->attempts,
							   (int64) mime.date,
							   domain_of(mailbox.address));
	initStringInfo(&bytes);
	dm_mime_write(&mime, &bytes);
	delivery->mail.url = dm_config_text(config, "url");
	delivery->mail.require_tls = !tls || strcmp(tls, "none") != 0;
	delivery->mail.username = dm_config_text(config, "username");
	delivery->mail.password = dm_config_text(notice->notifier.secret, "password");
	delivery->mail.bytes = bytes.data;
	delivery->mail.len = bytes.len;
	delivery->request = dm_mail_make(&delivery->config, &delivery->mail);
}

/* Makes a POST of JSON. */
static void
make_post(DmDelivery *delivery)
{
	const DmNotice *notice = delivery->notice;
	const DmNotifier *notifier = &notice->notifier;
	const char *secret_url = dm_config_text(notifier->secret, "url");
	const char *url = dm_config_text(notifier->config, "url");
	char *routing_key = dm_config_text(notifier->secret, "routing_key");
	char *body;

	switch (notifier->kind)
	{
		case DM_NOTIFIER_SLACK: body = dm_message_slack(notice); break;
		case DM_NOTIFIER_PAGERDUTY:
			if (!url)
				url = PAGERDUTY_URL;
			body = dm_message_pagerduty(
				notice, dm_config_text(notifier->config, "severity"), routing_key ? routing_key : "");
			break;
		default:
			body = dm_message_webhook(notice);
			delivery->key = dm_config_text(notifier->secret, "key");
			break;
	}
	delivery->url = secret_url ? secret_url : url;
	if (!delivery->url || (notifier->kind == DM_NOTIFIER_PAGERDUTY && !routing_key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("its secret is not here: dumps carry none"),
				 errhint("Give it with datamill.alter_notifier().")));
	delivery->body = to_utf8(body);
	delivery->request = dm_http_make(&delivery->config);
	delivery->request->arg = delivery;
	delivery->request->method = "POST";
	delivery->request->prepare = prepare_post;
	delivery->request->upload_read = give_body;
	delivery->request->upload_bytes = strlen(delivery->body);
	delivery->request->body_max = MAX_ANSWER_BYTES;
}

/* Called before the attempt: sets URL and headers. */
static void
prepare_post(DmHttpRequest *request)
{
	const DmDelivery *delivery = request->arg;
	int64 now = time(NULL);

	request->url = delivery->url;
	dm_http_header_add(request, "Content-Type: application/json; charset=utf-8");
	if (delivery->notice->notifier.kind != DM_NOTIFIER_WEBHOOK)
		return;
	dm_http_header_add(request, psprintf("Datamill-Notification: " INT64_FORMAT, delivery->notice->id));
	if (delivery->key)
		dm_http_header_add(request,
						   psprintf("Datamill-Signature: t=" INT64_FORMAT ",v1=%s",
									now,
									sign(delivery->key, now, delivery->body)));
}

/* Gives bytes of the body. Raises nothing. */
static ssize_t
give_body(DmHttpRequest *request, int64 offset, char *buf, Size len)
{
	const DmDelivery *delivery = request->arg;

	memcpy(buf, delivery->body + offset, len);
	return (ssize_t) len;
}

/* HMAC-SHA256 over the time, a dot and the body, in hexadecimal digits, as Stripe's webhooks have it. */
static char *
sign(const char *key, int64 timestamp, const char *body)
{
	char *text = psprintf(INT64_FORMAT ".%s", timestamp, body);
	char *hex = palloc0(2 * SHA256_BYTES + 1);
	uint8 mac[SHA256_BYTES];

	if (!HMAC(EVP_sha256(), key, (int) strlen(key), (const uint8 *) text, strlen(text), mac, NULL))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute an HMAC")));
	for (int i = 0; i < SHA256_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", mac[i]);
	return hex;
}

/* Judges a whole answer. */
static DmOutcome
judge_answer(const DmDelivery *delivery, char **error)
{
	DmHttpRequest *request = delivery->request;
	int shown = strnlen(request->error_body, SHOWN_ANSWER_BYTES);
	char *body;

	if (delivery->notice->notifier.kind == DM_NOTIFIER_SMTP || (request->status >= 200 && request->status < 300))
		return DM_OUTCOME_SENT;
	/* redacted before it is cut: half a secret is not found */
	dm_delivery_redact(request->error_body, &delivery->notice->notifier);
	body = pnstrdup(request->error_body, shown);
	dm_text_clean(body);
	*error = psprintf("HTTP status %d%s%s", request->status, body[0] ? ": " : "", body);
	return dm_retry_is_transient(request->status) || request->status == 408 ? DM_OUTCOME_RETRY : DM_OUTCOME_FAILED;
}

/* Judges a request that has no answer. */
static DmOutcome
judge_fault(const DmDelivery *delivery, char **error)
{
	const DmHttpRequest *request = delivery->request;
	char *reply = NULL;

	*error = dm_http_fault(request);
	if (request->blocked[0])
		return DM_OUTCOME_FAILED;
	/* a yes that nobody reads to its end */
	if (request->too_long)
		return DM_OUTCOME_SENT;
	if (delivery->notice->notifier.kind != DM_NOTIFIER_SMTP)
		return DM_OUTCOME_RETRY;
	if (request->status >= 400)
		reply = dm_mail_reply(request);
	if (reply)
		*error = psprintf("%s: %s", *error, reply);
	/* 530 to 538 are about authentication and encryption: those may be put right */
	return request->status >= 500 && (request->status < 530 || request->status > 538) ? DM_OUTCOME_FAILED
																					  : DM_OUTCOME_RETRY;
}

/* Converts a text from the encoding of the database. Where that is none, what is no UTF-8 becomes question marks. */
static char *
to_utf8(char *text)
{
	char *end;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		return pg_server_to_any(text, strlen(text), PG_UTF8);
	text = pstrdup(text);
	end = text + strlen(text);
	for (uint8 *p = (uint8 *) text; *p;)
	{
		int len = pg_utf_mblen(p);

		if ((char *) p + len <= end && pg_utf8_islegal(p, len))
			p += len;
		else
			*p++ = '?';
	}
	return text;
}

/* The domain of an address. */
static const char *
domain_of(const char *mailbox)
{
	return strchr(mailbox, '@') + 1;
}
