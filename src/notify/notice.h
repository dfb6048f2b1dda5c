/*
 * notice.h: all that can be said about one notification.
 */
#ifndef DM_NOTICE_H
#define DM_NOTICE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "notify/notify.h"

/* Values of placeholders, in the order of their names in notice.c. */
typedef enum DmNoticeField
{
	DM_NOTICE_NOTIFICATION_ID,
	DM_NOTICE_EVENT,
	DM_NOTICE_COUNT,
	DM_NOTICE_FIRST_AT,
	DM_NOTICE_LAST_AT,
	DM_NOTICE_DATABASE,
	DM_NOTICE_NOTIFIER,
	DM_NOTICE_OWNER,
	DM_NOTICE_JOB,
	DM_NOTICE_RUN_ID,
	DM_NOTICE_STATE,
	DM_NOTICE_REASON,
	DM_NOTICE_SQLSTATE,
	DM_NOTICE_MESSAGE,
	DM_NOTICE_DETAIL,
	DM_NOTICE_ATTEMPT,
	DM_NOTICE_SCHEDULED_TIME,
	DM_NOTICE_STARTED_AT,
	DM_NOTICE_FINISHED_AT,
	DM_NOTICE_DURATION,
	DM_NOTICE_NEXT_DUE,
	DM_NOTICE_OBJECT_COUNT,
	DM_NOTICE_PAYLOAD,
	DM_NOTICE_TITLE,   /* what happened, in a few words */
	DM_NOTICE_OBJECTS, /* tables, made where they are wanted */
	DM_NOTICE_RUNS,
	DM_NOTICE_FIELDS
} DmNoticeField;

typedef enum DmNoticeTone
{
	DM_TONE_GOOD,
	DM_TONE_BAD,
	DM_TONE_WARNING,
	DM_TONE_NEWS
} DmNoticeTone;

typedef struct DmNoticeRun
{
	char *scheduled_time;
	char *state;
	char *duration;
	char *message; /* "" for none */
} DmNoticeRun;

typedef struct DmNoticeObject
{
	char *key;
	char *size;
	char *modified;
	char *bucket;
} DmNoticeObject;

typedef struct DmNotice
{
	int64 id;
	int attempts; /* this one included */
	TimestampTz created_at;
	TimestampTz first_at;
	TimestampTz last_at;
	char *event;
	DmNotifier notifier;
	Jsonb *payload;
	Jsonb *template; /* NULL: none */
	DmNoticeTone tone;
	char *values[DM_NOTICE_FIELDS]; /* NULL: there is none */
	List *runs;						/* DmNoticeRun*, latest first */
	List *objects;					/* DmNoticeObject*, the first ones */
} DmNotice;

/* In a catalog scope: reads a notification, in the current memory context. NULL if it is gone. */
extern DmNotice *dm_notice_read(int64 id);
extern const char *dm_notice_field_name(DmNoticeField field);
/* A time as 2026-11-21T10:00:00.000000Z. */
extern char *dm_notice_iso_time(TimestampTz time);

#endif
