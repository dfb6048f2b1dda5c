/*
 * config.c: what each kind of notifier takes, and what it needs.
 *
 * Messages name keys, and show values of config only: never those of secret.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/options.h"
#include "notify/mime.h"
#include "notify/notify.h"

#define MAX_CHANNEL_BYTES (NAMEDATALEN - 1)
#define HERE DM_OPTION_FUNCTION
#define SECRET .where = HERE, .secret = true

static const DmOption common[] = {
	{"repeat_after", DM_OPTION_DURATION, HERE, .max = 86400 * 1000, .help = "news of the same kind wait so long"},
	{"backoff", DM_OPTION_DURATION, HERE, .min = 10, .max = 3600 * 1000, .help = "before the second attempt"},
	{"timeout", DM_OPTION_DURATION, HERE, .min = 100, .max = 60 * 1000, .help = "of one attempt"},
};
static const DmOption tls[] = {
	{"ca_file", DM_OPTION_STRING, HERE, .help = "PEM file of the authorities that may sign for the server"},
};
static const DmOption slack_secret[] = {
	{"url", DM_OPTION_STRING, SECRET, .help = "of the incoming webhook"},
};
static const DmOption smtp[] = {
	{"url", DM_OPTION_STRING, HERE, .help = "smtp://host:port or smtps://host:port"},
	{"tls", DM_OPTION_ENUM, HERE, .values = "required, none", .help = "none: smtp without STARTTLS"},
	{"from", DM_OPTION_STRING, HERE, .help = "mailbox of the sender"},
	{"to", DM_OPTION_NAMES, HERE, .help = "mailboxes of the recipients"},
	{"reply_to", DM_OPTION_STRING, HERE, .help = "mailbox for answers"},
	{"username", DM_OPTION_STRING, HERE, .help = "for AUTH"},
};
static const DmOption smtp_secret[] = {
	{"password", DM_OPTION_STRING, SECRET, .help = "for AUTH"},
};
static const DmOption pagerduty[] = {
	{"url", DM_OPTION_STRING, HERE, .help = "of the events API"},
	{"severity", DM_OPTION_ENUM, HERE, .values = "critical, error, warning, info", .help = "of failures"},
};
static const DmOption pagerduty_secret[] = {
	{"routing_key", DM_OPTION_STRING, SECRET, .help = "of the integration"},
};
static const DmOption webhook[] = {
	{"url", DM_OPTION_STRING, HERE, .help = "where to POST to"},
};
static const DmOption webhook_secret[] = {
	{"url", DM_OPTION_STRING, SECRET, .help = "where to POST to, if that is a secret"},
	{"key", DM_OPTION_STRING, SECRET, .help = "of the HMAC"},
};
static const DmOption notify[] = {
	{"channel", DM_OPTION_STRING, HERE, .help = "of NOTIFY"},
};

static const DmOptionSet common_set = {common, lengthof(common), NULL};
static const DmOptionSet tls_set = {tls, lengthof(tls), &common_set};

typedef struct Kind
{
	const char *name;
	DmOptionSet config;
	DmOptionSet secret;
} Kind;

static const Kind kinds[DM_NOTIFIER_KINDS] = {
	[DM_NOTIFIER_SLACK] = {"slack", {NULL, 0, &tls_set}, {slack_secret, lengthof(slack_secret), NULL}},
	[DM_NOTIFIER_SMTP] = {"smtp", {smtp, lengthof(smtp), &tls_set}, {smtp_secret, lengthof(smtp_secret), NULL}},
	[DM_NOTIFIER_PAGERDUTY] = {"pagerduty",
							   {pagerduty, lengthof(pagerduty), &tls_set},
							   {pagerduty_secret, lengthof(pagerduty_secret), NULL}},
	[DM_NOTIFIER_WEBHOOK] = {"webhook",
							 {webhook, lengthof(webhook), &tls_set},
							 {webhook_secret, lengthof(webhook_secret), NULL}},
	[DM_NOTIFIER_NOTIFY] = {"notify", {notify, lengthof(notify), &common_set}, {NULL, 0, NULL}},
};

static void need(DmNotifierKind kind, const char *value, const char *what);
static void check_url(const char *url, const char *schemes, bool is_secret);
static bool url_is_good(const char *url, const char *schemes);
static void check_mailbox(const char *name, const char *text);
static void check_smtp(const Jsonb *config);

/* Returns the name of a kind. */
const char *
dm_notifier_kind_name(DmNotifierKind kind)
{
	return kinds[kind].name;
}

/* Returns the kind of a name. Raises 22023. */
DmNotifierKind
dm_notifier_kind_find(const char *name)
{
	for (int i = 0; i < DM_NOTIFIER_KINDS; i++)
	{
		if (strcmp(kinds[i].name, name) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no kind of notifier \"%s\"", name),
			 errhint("Kinds: slack, smtp, pagerduty, webhook, notify.")));
}

/* Raises unless config and secret are good; see notify.h. */
void
dm_config_check(DmNotifierKind kind, Jsonb *config, Jsonb *secret)
{
	char *url = NULL;
	char *secret_url;
	char *channel;

	dm_options_check_json(&kinds[kind].config, config);
	dm_options_check_json(&kinds[kind].secret, secret);
	if (kind != DM_NOTIFIER_SLACK)
		url = dm_config_text(config, "url");
	secret_url = dm_config_text(secret, "url");
	channel = dm_config_text(config, "channel");
	switch (kind)
	{
		case DM_NOTIFIER_SLACK: need(kind, secret_url, "url in secret"); break;
		case DM_NOTIFIER_SMTP:
			check_smtp(config);
			if (dm_config_text(secret, "password"))
				need(kind, dm_config_text(config, "username"), "username in config, since there is a password");
			return;
		case DM_NOTIFIER_PAGERDUTY:
			need(kind, dm_config_text(secret, "routing_key"), "routing_key in secret");
			break;
		case DM_NOTIFIER_WEBHOOK:
			need(kind, url ? url : secret_url, "url in config or secret");
			if (url && secret_url)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("a webhook has one url, in config or in secret")));
			break;
		case DM_NOTIFIER_NOTIFY:
			need(kind, channel, "channel in config");
			if (strlen(channel) > MAX_CHANNEL_BYTES)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the name of a channel has %d bytes at most", MAX_CHANNEL_BYTES)));
			break;
		case DM_NOTIFIER_KINDS: break;
	}
	if (url)
		check_url(url, "http, https", false);
	if (secret_url)
		check_url(secret_url, "http, https", true);
}

/* A member of an object as text; see notify.h. */
char *
dm_config_text(const Jsonb *object, const char *name)
{
	JsonbValue value;

	if (!getKeyJsonValueFromContainer((JsonbContainer *) &object->root, name, strlen(name), &value))
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	if (value.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	if (value.type == jbvBool)
		return pstrdup(value.val.boolean ? "true" : "false");
	return NULL;
}

/* A member that is one text or several; see notify.h. */
List *
dm_config_list(const Jsonb *object, const char *name)
{
	List *list = NIL;
	JsonbValue value;

	if (!getKeyJsonValueFromContainer((JsonbContainer *) &object->root, name, strlen(name), &value))
		return NIL;
	if (value.type == jbvString)
		return list_make1(pnstrdup(value.val.string.val, value.val.string.len));
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		return NIL;
	for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
	{
		JsonbValue *one = getIthJsonbValueFromContainer(value.val.binary.data, i);

		if (one->type == jbvString)
			list = lappend(list, pnstrdup(one->val.string.val, one->val.string.len));
	}
	return list;
}

/* A duration; see notify.h. */
int
dm_config_ms(const Jsonb *object, const char *name, int otherwise)
{
	char *text = dm_config_text(object, name);

	return text ? dm_option_duration_ms(name, text) : otherwise;
}

/* Raises if something that a kind needs is not there. */
static void
need(DmNotifierKind kind, const char *value, const char *what)
{
	if (!value)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a notifier of kind %s needs %s", kinds[kind].name, what)));
}

/* Raises unless the URL has one of the schemes (separated by ", ") and a host, and nothing that does not belong there. */
static void
check_url(const char *url, const char *schemes, bool is_secret)
{
	if (url_is_good(url, schemes))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 is_secret ? errmsg("the url in secret is none that can be used")
					   : errmsg("url \"%s\" is none that can be used", url),
			 errhint("It begins with one of %s, then ://host or ://host:port; user names, passwords and blanks do "
					 "not belong "
					 "there.",
					 schemes)));
}

/* Is the URL one of a scheme and a host, without user, blanks or control characters? */
static bool
url_is_good(const char *url, const char *schemes)
{
	const char *host = strstr(url, "://");
	Size len;
	char *scheme;

	if (!host)
		return false;
	scheme = psprintf(", %.*s, ", (int) (host - url), url);
	if (!strstr(psprintf(", %s, ", schemes), scheme))
		return false;
	host += 3;
	len = strcspn(host, "/?#");
	if (len == 0 || host[0] == ':' || memchr(host, '@', len))
		return false;
	for (const char *p = url; *p; p++)
	{
		if ((uint8) *p <= ' ' || *p == 0x7f || IS_HIGHBIT_SET(*p) || *p == '\\' || *p == '"')
			return false;
	}
	return true;
}

/* Raises unless the text is a mailbox: an address, or a name with an address in angle brackets. */
static void
check_mailbox(const char *name, const char *text)
{
	DmMailbox mailbox;

	if (!dm_mailbox_parse(text, &mailbox))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": it is no mailbox", name),
			 errhint("For example ann@example.com, or Ann <ann@example.com>; line breaks do not belong there.")));
}

/* Raises unless the config of a mail server is complete. */
static void
check_smtp(const Jsonb *config)
{
	char *url = dm_config_text(config, "url");
	char *from = dm_config_text(config, "from");
	char *reply_to = dm_config_text(config, "reply_to");
	List *to = dm_config_list(config, "to");
	ListCell *cell;

	need(DM_NOTIFIER_SMTP, url, "url in config");
	need(DM_NOTIFIER_SMTP, from, "from in config");
	need(DM_NOTIFIER_SMTP, to == NIL ? NULL : "", "to in config");
	check_url(url, "smtp, smtps", false);
	check_mailbox("from", from);
	foreach (cell, to)
		check_mailbox("to", lfirst(cell));
	if (reply_to)
		check_mailbox("reply_to", reply_to);
}
