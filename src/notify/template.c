/*
 * template.c: checks and fills templates.
 *
 * A value never becomes markup: it is escaped for where it goes. Exceptions are what is made here as markup (tables of runs and objects in
 * HTML), and the payload in JSON, which is JSON.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"

#include "base/options.h"
#include "notify/message.h"
#include "notify/template.h"

#define HERE DM_OPTION_FUNCTION
#define PAYLOAD "payload."

static const DmOption parts[] = {
	{"subject", DM_OPTION_STRING, HERE, .help = "one line"},
	{"text", DM_OPTION_STRING, HERE, .help = "plain text"},
	{"html", DM_OPTION_STRING, HERE, .help = "body of HTML"},
	{"json", DM_OPTION_STRING, HERE, .help = "what a webhook, Slack or NOTIFY gets"},
};
static const DmOptionSet part_set = {parts, lengthof(parts), NULL};

typedef void (*Placeholder)(StringInfo out, const char *name, void *arg);

typedef struct Filling
{
	const DmNotice *notice;
	DmEscape escape;
} Filling;

static char *expand(const char *template, Placeholder placeholder, void *arg);
static void put_one(StringInfo out, const char *name, void *arg);
static void put_value(StringInfo out, const char *name, void *arg);
static int find_field(const char *name);

/* Checks a template; see template.h. */
void
dm_template_check(Jsonb *template)
{
	char *subject;
	char *json;

	dm_options_check_json(&part_set, template);
	for (int i = 0; i < lengthof(parts); i++)
	{
		char *part = dm_config_text(template, parts[i].name);

		if (part)
			expand(part, put_one, NULL);
	}
	subject = dm_config_text(template, "subject");
	if (subject && strpbrk(subject, "\r\n"))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the subject must be one line")));
	json = dm_config_text(template, "json");
	if (json)
		DirectFunctionCall1(jsonb_in, CStringGetDatum(expand(json, put_one, NULL)));
}

/* Fills a template in; see template.h. */
char *
dm_template_fill(const char *template, const DmNotice *notice, DmEscape escape)
{
	Filling filling = {notice, escape};

	return expand(template, put_value, &filling);
}

/* Appends a value, escaped; see template.h. */
void
dm_escape_append(StringInfo out, const char *value, DmEscape escape)
{
	StringInfoData quoted;

	switch (escape)
	{
		case DM_ESCAPE_NONE: appendStringInfoString(out, value); break;
		case DM_ESCAPE_LINE:
			for (const char *p = value; *p; p++)
				appendStringInfoChar(out, (uint8) *p < ' ' || *p == 0x7f ? ' ' : *p);
			break;
		case DM_ESCAPE_HTML:
			for (const char *p = value; *p; p++)
			{
				switch (*p)
				{
					case '&': appendStringInfoString(out, "&amp;"); break;
					case '<': appendStringInfoString(out, "&lt;"); break;
					case '>': appendStringInfoString(out, "&gt;"); break;
					case '"': appendStringInfoString(out, "&quot;"); break;
					case '\'': appendStringInfoString(out, "&#39;"); break;
					default: appendStringInfoChar(out, *p);
				}
			}
			break;
		case DM_ESCAPE_JSON:
			initStringInfo(&quoted);
			escape_json(&quoted, value);
			appendBinaryStringInfo(out, quoted.data + 1, quoted.len - 2);
			break;
	}
}

/* Copies a template, with each placeholder replaced by what the callback appends. Raises 22023 on one that is not closed. */
static char *
expand(const char *template, Placeholder placeholder, void *arg)
{
	StringInfoData out;
	const char *open;

	initStringInfo(&out);
	while ((open = strstr(template, "{{")) != NULL)
	{
		const char *close = strstr(open, "}}");
		const char *name = open + 2;
		Size len;

		if (!close)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a placeholder of a template is not closed"),
					 errhint("A placeholder is written {{job}}.")));
		appendBinaryStringInfo(&out, template, open - template);
		name += strspn(name, " ");
		len = close > name ? close - name : 0;
		while (len > 0 && name[len - 1] == ' ')
			len--;
		placeholder(&out, pnstrdup(name, len), arg);
		template = close + 2;
	}
	appendStringInfoString(&out, template);
	return out.data;
}

/* Appends 1 for a placeholder. Raises 22023 if there is none of the name. */
static void
put_one(StringInfo out, const char *name, void *arg)
{
	if (find_field(name) < 0 && (strncmp(name, PAYLOAD, strlen(PAYLOAD)) != 0 || name[strlen(PAYLOAD)] == '\0'))
	{
		StringInfoData known;

		initStringInfo(&known);
		for (int i = 0; i < DM_NOTICE_FIELDS; i++)
			appendStringInfo(&known, "%s, ", dm_notice_field_name(i));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no placeholder {{%s}}", name),
				 errhint("Placeholders: %sand payload.KEY.", known.data)));
	}
	appendStringInfoChar(out, '1');
}

/* Appends the value of a placeholder; nothing if there is none. */
static void
put_value(StringInfo out, const char *name, void *arg)
{
	Filling *filling = arg;
	const DmNotice *notice = filling->notice;
	bool is_html = filling->escape == DM_ESCAPE_HTML;
	int field = find_field(name);
	const char *value = NULL;

	if (field < 0)
		value = strncmp(name, PAYLOAD, strlen(PAYLOAD)) == 0
					? dm_config_text(notice->payload, name + strlen(PAYLOAD))
					: NULL;
	else if (field == DM_NOTICE_RUNS && is_html)
		dm_message_runs_html(notice, out);
	else if (field == DM_NOTICE_OBJECTS && is_html)
		dm_message_objects_html(notice, out);
	else if (field == DM_NOTICE_RUNS)
		value = dm_message_runs_text(notice);
	else if (field == DM_NOTICE_OBJECTS)
		value = dm_message_objects_text(notice);
	else if (field == DM_NOTICE_PAYLOAD && filling->escape == DM_ESCAPE_JSON)
		appendStringInfoString(out, JsonbToCString(NULL, &notice->payload->root, VARSIZE(notice->payload)));
	else
		value = notice->values[field];
	if (value)
		dm_escape_append(out, value, filling->escape);
}

/* Returns the field of a name, or -1. */
static int
find_field(const char *name)
{
	for (int i = 0; i < DM_NOTICE_FIELDS; i++)
	{
		if (strcmp(dm_notice_field_name(i), name) == 0)
			return i;
	}
	return -1;
}
