/*
 * message.h: what a notification looks like where no template says otherwise, and with one.
 */
#ifndef DM_MESSAGE_H
#define DM_MESSAGE_H

#include "postgres.h"
#include "lib/stringinfo.h"

#include "notify/notice.h"

/* Each is palloc'd. */
extern char *dm_message_subject(const DmNotice *notice);
extern char *dm_message_text(const DmNotice *notice);
extern char *dm_message_html(const DmNotice *notice);
/* Bodies of requests; the template's json, where there is one. */
extern char *dm_message_slack(const DmNotice *notice);
extern char *dm_message_pagerduty(const DmNotice *notice, const char *severity, const char *routing_key);
extern char *dm_message_webhook(const DmNotice *notice);
extern char *dm_message_notify(const DmNotice *notice);

/* Tables, for templates. Empty if there is nothing to show. */
extern char *dm_message_runs_text(const DmNotice *notice);
extern char *dm_message_objects_text(const DmNotice *notice);
extern void dm_message_runs_html(const DmNotice *notice, StringInfo out);
extern void dm_message_objects_html(const DmNotice *notice, StringInfo out);

#endif
