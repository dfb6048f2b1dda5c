/*
 * mail.c: SMTP by curl, on the same pump as HTTP: the same wait, the same guard of addresses, the same end on ERROR.
 *
 * Dots at the start of a line are stuffed by curl. Recipients are all or none: if one is refused the mail is not sent.
 */
#include "postgres.h"

#include "base/errors.h"
#include "net/mail.h"
#include "net/transfer.h"

static void prepare(DmHttpRequest *request);
static ssize_t give_bytes(DmHttpRequest *request, int64 offset, char *buf, Size len);
static void release_recipients(void *resource);
static void set_option(CURLcode code);

/* Makes the request of a mail; see mail.h. */
DmHttpRequest *
dm_mail_make(const DmHttpConfig *config, DmMail *mail)
{
	struct curl_slist **recipients = palloc0(sizeof(struct curl_slist *));
	DmHttpRequest *request;
	DmTransfer *held;
	ListCell *cell;

	/* made before the request, so released after it */
	dm_handle_make(CurrentMemoryContext, recipients, release_recipients);
	request = dm_http_make(config);
	held = request->held;
	foreach (cell, mail->to)
	{
		struct curl_slist *more = curl_slist_append(*recipients, lfirst(cell));

		if (!more)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		*recipients = more;
	}
	request->arg = mail;
	request->prepare = prepare;
	request->upload_read = give_bytes;
	request->upload_bytes = mail->len;
	set_option(curl_easy_setopt(held->easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps"));
	set_option(curl_easy_setopt(
		held->easy, CURLOPT_USE_SSL, (long) (mail->require_tls ? CURLUSESSL_ALL : CURLUSESSL_NONE)));
	/* curl would take a connection of a mail before that needed no TLS */
	set_option(curl_easy_setopt(held->easy, CURLOPT_FRESH_CONNECT, 1L));
	set_option(curl_easy_setopt(held->easy, CURLOPT_FORBID_REUSE, 1L));
	set_option(curl_easy_setopt(held->easy, CURLOPT_MAIL_FROM, mail->from));
	set_option(curl_easy_setopt(held->easy, CURLOPT_MAIL_RCPT, *recipients));
	if (mail->username)
	{
		set_option(curl_easy_setopt(held->easy, CURLOPT_USERNAME, mail->username));
		set_option(curl_easy_setopt(held->easy, CURLOPT_PASSWORD, mail->password ? mail->password : ""));
	}
	return request;
}

/* The line that the server refused with; see mail.h. */
char *
dm_mail_reply(const DmHttpRequest *request)
{
	const DmTransfer *held = request->held;
	char *code = psprintf("%03d", request->status);
	char *found = NULL;

	for (const char *line = held->answer_headers; *line;)
	{
		Size len = strcspn(line, "\r\n");

		if (strncmp(line, code, 3) == 0)
			found = pnstrdup(line, len);
		line += len;
		line += strspn(line, "\r\n");
	}
	if (found)
		dm_text_clean(found);
	return found;
}

/* Called before the attempt. */
static void
prepare(DmHttpRequest *request)
{
	request->url = ((DmMail *) request->arg)->url;
}

/* Gives bytes of the mail. Raises nothing. */
static ssize_t
give_bytes(DmHttpRequest *request, int64 offset, char *buf, Size len)
{
	const DmMail *mail = request->arg;
	Size n = Min(len, mail->len - (Size) offset);

	memcpy(buf, mail->bytes + offset, n);
	return (ssize_t) n;
}

/* Frees the list of recipients. */
static void
release_recipients(void *resource)
{
	curl_slist_free_all(*(struct curl_slist **) resource);
}

/* Raises if an option was not taken. */
static void
set_option(CURLcode code)
{
	if (code != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR), errmsg("the mail client failed: %s", curl_easy_strerror(code))));
}
