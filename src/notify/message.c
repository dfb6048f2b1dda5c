/*
 * message.c: subject, text and HTML of a notification.
 *
 * The HTML is made of tables with styles of their own, since that is what mail programs show alike; it loads nothing from anywhere.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "notify/message.h"
#include "notify/template.h"

#define MAX_SUBJECT_MESSAGE_BYTES 90
#define FONT "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
#define MONO "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
#define CELL "padding:6px 16px 6px 0;border-bottom:1px solid #e8eaed;vertical-align:top;"
#define HEAD "padding:6px 16px 6px 0;border-bottom:1px solid #c4c9d0;text-align:left;font-weight:600;color:#5b6470;"

/* What the table of facts shows, in this order. */
static const struct
{
	DmNoticeField field;
	const char *label;
} facts[] = {
	{DM_NOTICE_JOB, "Job"},
	{DM_NOTICE_DATABASE, "Database"},
	{DM_NOTICE_OWNER, "Owner"},
	{DM_NOTICE_STATE, "State"},
	{DM_NOTICE_SQLSTATE, "SQLSTATE"},
	{DM_NOTICE_SCHEDULED_TIME, "Scheduled for"},
	{DM_NOTICE_STARTED_AT, "Started"},
	{DM_NOTICE_DURATION, "Duration"},
	{DM_NOTICE_RUN_ID, "Run"},
	{DM_NOTICE_ATTEMPT, "Attempt"},
	{DM_NOTICE_NEXT_DUE, "Next due"},
};

static char *template_part(const DmNotice *notice, const char *part, DmEscape escape);
static const char *body_text(const DmNotice *notice);
static void append_block(StringInfo out, const char *text, const char *style);
static void append_heading(StringInfo out, const char *text);
static void append_cell(StringInfo out, const char *text, const char *style);
static const char *tone_color(DmNoticeTone tone);
static const char *state_color(const char *state);

/* The subject: where and what, and the first line of why. */
char *
dm_message_subject(const DmNotice *notice)
{
	char *subject = template_part(notice, "subject", DM_ESCAPE_LINE);
	const char *message = notice->values[DM_NOTICE_MESSAGE];
	StringInfoData out;

	if (subject)
		return subject;
	initStringInfo(&out);
	appendStringInfo(&out, "[%s] %s", notice->values[DM_NOTICE_DATABASE], notice->values[DM_NOTICE_TITLE]);
	if (message && message[0] && (notice->tone == DM_TONE_BAD || notice->tone == DM_TONE_WARNING))
	{
		int len = strcspn(message, "\n");
		int shown = pg_mbcliplen(message, len, MAX_SUBJECT_MESSAGE_BYTES);

		appendStringInfo(&out, ": %.*s%s", shown, message, shown < len ? "..." : "");
	}
	subject = out.data;
	initStringInfo(&out);
	dm_escape_append(&out, subject, DM_ESCAPE_LINE);
	return out.data;
}

/* The body as plain text. */
char *
dm_message_text(const DmNotice *notice)
{
	char *text = template_part(notice, "text", DM_ESCAPE_NONE);
	const char *body = body_text(notice);
	const char *detail = notice->values[DM_NOTICE_DETAIL];
	StringInfoData out;

	if (text)
		return text;
	initStringInfo(&out);
	appendStringInfo(&out, "%s\n\n", notice->values[DM_NOTICE_TITLE]);
	if (body)
		appendStringInfo(&out, "%s\n\n", body);
	if (detail)
		appendStringInfo(&out, "%s\n\n", detail);
	if (notice->objects != NIL)
		appendStringInfo(&out, "%s\n", dm_message_objects_text(notice));
	for (int i = 0; i < lengthof(facts); i++)
	{
		if (notice->values[facts[i].field])
			appendStringInfo(&out, "%-14s %s\n", facts[i].label, notice->values[facts[i].field]);
	}
	if (notice->runs != NIL)
		appendStringInfo(&out, "\nLast runs\n%s", dm_message_runs_text(notice));
	appendStringInfo(&out,
					 "\n-- \ndatamill, notifier %s, notification %s\n",
					 notice->values[DM_NOTICE_NOTIFIER],
					 notice->values[DM_NOTICE_NOTIFICATION_ID]);
	return out.data;
}

/* The body as HTML. */
char *
dm_message_html(const DmNotice *notice)
{
	char *html = template_part(notice, "html", DM_ESCAPE_HTML);
	const char *color = tone_color(notice->tone);
	const char *body = body_text(notice);
	StringInfoData out;

	if (html)
		return html;
	initStringInfo(&out);
	appendStringInfo(
		&out,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
		"content=\"width=device-width\"></head>\n<body style=\"margin:0;padding:24px 8px;background:#f3f4f6;\">\n"
		"<table role=\"presentation\" align=\"center\" width=\"640\" cellpadding=\"0\" cellspacing=\"0\" "
		"style=\"width:100%%;max-width:640px;margin:0 auto;background:#ffffff;border:1px solid "
		"#e1e4e8;border-top:4px "
		"solid %s;border-radius:6px;\">\n<tr><td style=\"padding:24px 28px 28px;" FONT
		"font-size:14px;line-height:1.45;color:#1f2933;\">\n<div style=\"font-size:12px;color:#5b6470;\">",
		color);
	dm_escape_append(&out, notice->values[DM_NOTICE_DATABASE], DM_ESCAPE_HTML);
	appendStringInfo(
		&out, "</div>\n<div style=\"margin:2px 0 16px;font-size:20px;font-weight:600;color:%s;\">", color);
	dm_escape_append(&out, notice->values[DM_NOTICE_TITLE], DM_ESCAPE_HTML);
	appendStringInfoString(&out, "</div>\n");
	if (body)
		append_block(&out,
					 body,
					 notice->tone == DM_TONE_BAD ? "background:#fdf0ef;color:#7b241c;"
												 : "background:#f3f4f6;color:#1f2933;");
	if (notice->values[DM_NOTICE_DETAIL])
		append_block(&out, notice->values[DM_NOTICE_DETAIL], "background:#f8f9fa;color:#3e4c59;");
	dm_message_objects_html(notice, &out);
	appendStringInfoString(&out,
						   "<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" "
						   "style=\"width:100%;margin:16px 0 0;border-collapse:collapse;font-size:13px;\">\n");
	for (int i = 0; i < lengthof(facts); i++)
	{
		if (!notice->values[facts[i].field])
			continue;
		appendStringInfoString(&out, "<tr>");
		append_cell(&out, facts[i].label, CELL "width:110px;color:#5b6470;");
		append_cell(&out, notice->values[facts[i].field], CELL);
		appendStringInfoString(&out, "</tr>\n");
	}
	appendStringInfoString(&out, "</table>\n");
	if (notice->runs != NIL)
	{
		append_heading(&out, "Last runs");
		dm_message_runs_html(notice, &out);
	}
	appendStringInfoString(
		&out, "<div style=\"margin-top:22px;font-size:12px;color:#7b8794;\">datamill &middot; notifier ");
	dm_escape_append(&out, notice->values[DM_NOTICE_NOTIFIER], DM_ESCAPE_HTML);
	appendStringInfo(&out,
					 " &middot; notification %s</div>\n</td></tr></table>\n</body></html>\n",
					 notice->values[DM_NOTICE_NOTIFICATION_ID]);
	return out.data;
}

/* The last runs, one a line. */
char *
dm_message_runs_text(const DmNotice *notice)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, notice->runs)
	{
		const DmNoticeRun *run = lfirst(cell);

		appendStringInfo(&out,
						 "%s  %-9s  %10s  %.*s\n",
						 run->scheduled_time ? run->scheduled_time : "",
						 run->state,
						 run->duration,
						 (int) strcspn(run->message, "\n"),
						 run->message);
	}
	return out.data;
}

/* The objects, one a line. */
char *
dm_message_objects_text(const DmNotice *notice)
{
	const char *count = notice->values[DM_NOTICE_OBJECT_COUNT];
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, notice->objects)
	{
		const DmNoticeObject *object = lfirst(cell);

		appendStringInfo(&out, "%s  %s  %s  %s\n", object->key, object->size, object->modified, object->bucket);
	}
	if (count && strtoll(count, NULL, 10) > list_length(notice->objects))
		appendStringInfo(&out,
						 "... and " INT64_FORMAT " more\n",
						 (int64) strtoll(count, NULL, 10) - list_length(notice->objects));
	return out.data;
}

/* The last runs as an HTML table. */
void
dm_message_runs_html(const DmNotice *notice, StringInfo out)
{
	ListCell *cell;

	if (notice->runs == NIL)
		return;
	appendStringInfoString(out,
						   "<table cellpadding=\"0\" cellspacing=\"0\" "
						   "style=\"width:100%;border-collapse:collapse;font-size:13px;\">\n<tr>"
						   "<th style=\"" HEAD "\">Scheduled for</th><th style=\"" HEAD "\">State</th>"
						   "<th style=\"" HEAD "text-align:right;\">Duration</th><th style=\"" HEAD
						   "padding-right:0;\">Message</th></tr>\n");
	foreach (cell, notice->runs)
	{
		const DmNoticeRun *run = lfirst(cell);

		appendStringInfoString(out, "<tr>");
		append_cell(out, run->scheduled_time ? run->scheduled_time : "", CELL "white-space:nowrap;");
		append_cell(out, run->state, psprintf(CELL "font-weight:600;color:%s;", state_color(run->state)));
		append_cell(out, run->duration, CELL "text-align:right;white-space:nowrap;");
		append_cell(out, run->message, CELL "padding-right:0;color:#5b6470;");
		appendStringInfoString(out, "</tr>\n");
	}
	appendStringInfoString(out, "</table>\n");
}

/* The objects as an HTML table: key, size, time, bucket. */
void
dm_message_objects_html(const DmNotice *notice, StringInfo out)
{
	const char *count = notice->values[DM_NOTICE_OBJECT_COUNT];
	ListCell *cell;

	if (notice->objects == NIL)
		return;
	appendStringInfoString(out,
						   "<table cellpadding=\"0\" cellspacing=\"0\" "
						   "style=\"width:100%;border-collapse:collapse;font-size:13px;\">\n<tr>"
						   "<th style=\"" HEAD "\">Key</th><th style=\"" HEAD "text-align:right;\">Size</th>"
						   "<th style=\"" HEAD "\">Modified</th><th style=\"" HEAD
						   "padding-right:0;\">Bucket</th></tr>\n");
	foreach (cell, notice->objects)
	{
		const DmNoticeObject *object = lfirst(cell);

		appendStringInfoString(out, "<tr>");
		append_cell(out, object->key, CELL MONO "font-size:12px;word-break:break-all;");
		append_cell(out, object->size, CELL "text-align:right;white-space:nowrap;");
		append_cell(out, object->modified, CELL "white-space:nowrap;");
		append_cell(out, object->bucket, CELL "padding-right:0;");
		appendStringInfoString(out, "</tr>\n");
	}
	appendStringInfoString(out, "</table>\n");
	if (count && strtoll(count, NULL, 10) > list_length(notice->objects))
		appendStringInfo(out,
						 "<div style=\"padding:6px 0;color:#5b6470;\">... and " INT64_FORMAT " more</div>\n",
						 (int64) strtoll(count, NULL, 10) - list_length(notice->objects));
}

/* A part of the template filled in; NULL if there is none. */
static char *
template_part(const DmNotice *notice, const char *part, DmEscape escape)
{
	char *template = notice->template ? dm_config_text(notice->template, part) : NULL;

	return template ? dm_template_fill(template, notice, escape) : NULL;
}

/* What is said besides the facts: the error or the reason; of an event that a user emitted, its payload. NULL for nothing. */
static const char *
body_text(const DmNotice *notice)
{
	if (notice->values[DM_NOTICE_MESSAGE])
		return notice->values[DM_NOTICE_MESSAGE];
	if (notice->tone == DM_TONE_NEWS && notice->objects == NIL && JB_ROOT_COUNT(notice->payload) > 0)
		return notice->values[DM_NOTICE_PAYLOAD];
	return NULL;
}

/* Appends a block of text whose lines stay as they are. */
static void
append_block(StringInfo out, const char *text, const char *style)
{
	appendStringInfo(out,
					 "<div style=\"margin:0 0 12px;padding:10px 12px;border-radius:4px;white-space:pre-wrap;"
					 "overflow-wrap:anywhere;font-size:13px;" MONO "%s\">",
					 style);
	dm_escape_append(out, text, DM_ESCAPE_HTML);
	appendStringInfoString(out, "</div>\n");
}

/* Appends a heading. */
static void
append_heading(StringInfo out, const char *text)
{
	appendStringInfo(out, "<div style=\"margin:22px 0 4px;font-size:15px;font-weight:600;\">%s</div>\n", text);
}

/* Appends a cell of a table. */
static void
append_cell(StringInfo out, const char *text, const char *style)
{
	appendStringInfo(out, "<td style=\"%s\">", style);
	dm_escape_append(out, text, DM_ESCAPE_HTML);
	appendStringInfoString(out, "</td>");
}

/* The colour of a tone: each is dark enough to be read on white. */
static const char *
tone_color(DmNoticeTone tone)
{
	switch (tone)
	{
		case DM_TONE_GOOD: return "#1e7b45";
		case DM_TONE_BAD: return "#b42318";
		case DM_TONE_WARNING: return "#9a5b00";
		case DM_TONE_NEWS: break;
	}
	return "#1f5fa8";
}

/* The colour of the state of a run. */
static const char *
state_color(const char *state)
{
	if (strcmp(state, "succeeded") == 0)
		return tone_color(DM_TONE_GOOD);
	if (strcmp(state, "skipped") == 0 || strcmp(state, "cancelled") == 0)
		return "#5b6470";
	return tone_color(DM_TONE_BAD);
}
