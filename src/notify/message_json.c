/*
 * message_json.c: notifications as JSON: what Slack, PagerDuty, webhooks and listeners of NOTIFY get.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "notify/message.h"
#include "notify/template.h"

#define SLACK_TEXT_BYTES 2500 /* of 3000 characters that a section may have */
#define SLACK_ESCAPED_BYTES 2900
#define SUMMARY_BYTES 1000		  /* of 1024 characters that a summary may have */
#define NOTIFY_BYTES 7900		  /* of less than 8000 that NOTIFY takes */
#define NOTIFY_MESSAGE_BYTES 1000 /* six each as JSON at the worst */

static char *template_json(const DmNotice *notice);
static void put_text(StringInfo out, const char *name, const char *value);
static void put_members(StringInfo out, const DmNotice *notice, int message_bytes);
static char *clip(const char *text, int bytes);
static char *slack_fit(const char *text);
static char *slack_escape(const char *text);
static bool is_resolved(const DmNotice *notice);

/* What a Slack webhook takes: blocks, and a text for where they are not shown. */
char *
dm_message_slack(const DmNotice *notice)
{
	static const DmNoticeField facts[] = {
		DM_NOTICE_DATABASE, DM_NOTICE_SCHEDULED_TIME, DM_NOTICE_DURATION, DM_NOTICE_RUN_ID, DM_NOTICE_SQLSTATE};
	static const char *const marks[] = {[DM_TONE_GOOD] = ":large_green_circle:",
										[DM_TONE_BAD] = ":red_circle:",
										[DM_TONE_WARNING] = ":large_orange_circle:",
										[DM_TONE_NEWS] = ":information_source:"};
	char *custom = template_json(notice);
	char *text = notice->template ? dm_config_text(notice->template, "text") : NULL;
	const char *message = notice->values[DM_NOTICE_MESSAGE];
	StringInfoData mark;
	StringInfoData out;

	if (custom)
		return custom;
	initStringInfo(&mark);
	if (text)
		appendStringInfoString(&mark, slack_fit(dm_template_fill(text, notice, DM_ESCAPE_NONE)));
	else
	{
		appendStringInfo(&mark, "%s *%s*", marks[notice->tone], slack_escape(notice->values[DM_NOTICE_TITLE]));
		if (!message && notice->objects != NIL)
			message = dm_message_objects_text(notice);
		if (!message && notice->tone == DM_TONE_NEWS && JB_ROOT_COUNT(notice->payload) > 0)
			message = notice->values[DM_NOTICE_PAYLOAD];
		if (message && message[0])
			appendStringInfo(&mark, "\n```%s```", slack_fit(message));
	}
	initStringInfo(&out);
	appendStringInfoString(&out, "{\"text\": ");
	escape_json(&out, slack_escape(dm_message_subject(notice)));
	appendStringInfoString(&out,
						   ", \"blocks\": [{\"type\": \"section\", \"text\": {\"type\": \"mrkdwn\", \"text\": ");
	escape_json(&out, mark.data);
	appendStringInfoString(&out, "}}, {\"type\": \"context\", \"elements\": [{\"type\": \"mrkdwn\", \"text\": ");
	resetStringInfo(&mark);
	for (int i = 0; i < lengthof(facts); i++)
	{
		if (notice->values[facts[i]])
			appendStringInfo(&mark,
							 "%s%s: %s",
							 mark.len > 0 ? "  |  " : "",
							 dm_notice_field_name(facts[i]),
							 slack_escape(notice->values[facts[i]]));
	}
	escape_json(&out, mark.data);
	appendStringInfoString(&out, "}]}]}");
	return out.data;
}

/* An event of PagerDuty's events API v2: what is bad opens an incident of the job, what is good closes it. */
char *
dm_message_pagerduty(const DmNotice *notice, const char *severity, const char *routing_key)
{
	const char *job = notice->values[DM_NOTICE_JOB];
	const char *database = notice->values[DM_NOTICE_DATABASE];
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_text(&out, "routing_key", routing_key);
	put_text(&out, "event_action", is_resolved(notice) ? "resolve" : "trigger");
	put_text(&out, "dedup_key", psprintf("%s/%s", database, job ? job : notice->event));
	if (!is_resolved(notice))
	{
		appendStringInfoString(&out, ", \"payload\": {");
		put_text(&out, "summary", clip(dm_message_subject(notice), SUMMARY_BYTES));
		put_text(&out, "source", database);
		put_text(&out,
				 "severity",
				 notice->tone == DM_TONE_BAD	   ? (severity ? severity : "error")
				 : notice->tone == DM_TONE_WARNING ? "warning"
												   : "info");
		put_text(&out, "timestamp", dm_notice_iso_time(notice->last_at));
		put_text(&out, "component", job);
		put_text(&out, "class", notice->event);
		appendStringInfoString(&out, ", \"custom_details\": {");
		put_members(&out, notice, SUMMARY_BYTES);
		appendStringInfoString(&out, "}}");
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* All there is, for programs. */
char *
dm_message_webhook(const DmNotice *notice)
{
	char *custom = template_json(notice);
	StringInfoData out;

	if (custom)
		return custom;
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_members(&out, notice, 0);
	appendStringInfo(
		&out, ", \"payload\": %s}", JsonbToCString(NULL, &notice->payload->root, VARSIZE(notice->payload)));
	return out.data;
}

/* The same, as far as NOTIFY takes it: without the payload if that is too large. */
char *
dm_message_notify(const DmNotice *notice)
{
	char *whole = dm_message_webhook(notice);
	StringInfoData out;

	if (strlen(whole) <= NOTIFY_BYTES)
		return whole;
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_members(&out, notice, NOTIFY_MESSAGE_BYTES);
	appendStringInfoString(&out, ", \"truncated\": true}");
	/* names of jobs and roles that are all control characters: the id tells where to look */
	if (out.len > NOTIFY_BYTES)
		return psprintf("{\"notification_id\": " INT64_FORMAT ", \"truncated\": true}", notice->id);
	return out.data;
}

/* The template's json filled in; NULL if there is none. */
static char *
template_json(const DmNotice *notice)
{
	char *template = notice->template ? dm_config_text(notice->template, "json") : NULL;

	return template ? dm_template_fill(template, notice, DM_ESCAPE_JSON) : NULL;
}

/* Appends a member of a string; nothing for NULL. */
static void
put_text(StringInfo out, const char *name, const char *value)
{
	if (!value)
		return;
	appendStringInfo(out, "%s\"%s\": ", out->data[out->len - 1] == '{' ? "" : ", ", name);
	escape_json(out, value);
}

/* Appends what is known of the notification as members; texts cut at message_bytes, or as they are if that is 0. */
static void
put_members(StringInfo out, const DmNotice *notice, int message_bytes)
{
	appendStringInfo(
		out, "\"notification_id\": " INT64_FORMAT ", \"count\": %s", notice->id, notice->values[DM_NOTICE_COUNT]);
	put_text(out, "event", notice->event);
	put_text(out, "title", notice->values[DM_NOTICE_TITLE]);
	put_text(out, "first_at", dm_notice_iso_time(notice->first_at));
	put_text(out, "last_at", dm_notice_iso_time(notice->last_at));
	for (int i = DM_NOTICE_DATABASE; i <= DM_NOTICE_NEXT_DUE; i++)
	{
		const char *value = notice->values[i];

		if (!value || (message_bytes > 0 && i == DM_NOTICE_DETAIL))
			continue;
		if (i == DM_NOTICE_RUN_ID || i == DM_NOTICE_ATTEMPT)
			appendStringInfo(out, ", \"%s\": %s", dm_notice_field_name(i), value);
		else
			put_text(out, dm_notice_field_name(i), message_bytes > 0 ? clip(value, message_bytes) : value);
	}
}

/* Returns the text, cut between characters if it is longer. */
static char *
clip(const char *text, int bytes)
{
	int len = strlen(text);

	return pnstrdup(text, len > bytes ? pg_mbcliplen(text, len, bytes) : len);
}

/* As much of a text, escaped, as a section takes; an escaped character is five at most. */
static char *
slack_fit(const char *text)
{
	char *escaped = slack_escape(clip(text, SLACK_TEXT_BYTES));

	return strlen(escaped) <= SLACK_ESCAPED_BYTES ? escaped : slack_escape(clip(text, SLACK_ESCAPED_BYTES / 5));
}

/* Slack's own markup: three characters mean something, and backticks would end a block. */
static char *
slack_escape(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = text; *p; p++)
	{
		switch (*p)
		{
			case '&': appendStringInfoString(&out, "&amp;"); break;
			case '<': appendStringInfoString(&out, "&lt;"); break;
			case '>': appendStringInfoString(&out, "&gt;"); break;
			case '`': appendStringInfoChar(&out, '\''); break;
			default: appendStringInfoChar(&out, *p);
		}
	}
	return out.data;
}

/* Does the news close an incident? */
static bool
is_resolved(const DmNotice *notice)
{
	return notice->tone == DM_TONE_GOOD;
}
