/*
 * notice.c: reads what a notification says from the catalog, as texts in the job's time zone.
 *
 * Nothing here raises on account of what is stored: a job may be broken in every way, and that is the news.
 */
#include "postgres.h"

#include <math.h>

#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "notify/notice.h"

#define MAX_RUNS "5"
#define MAX_OBJECTS "100"
#define MAX_TEXT_BYTES "20000"

static const char *const FIELD_NAMES[DM_NOTICE_FIELDS] = {
	"notification_id", "event",	  "count",			"first_at",	  "last_at",	 "database", "notifier",
	"owner",		   "job",	  "run_id",			"state",	  "reason",		 "sqlstate", "message",
	"detail",		   "attempt", "scheduled_time", "started_at", "finished_at", "duration", "next_due",
	"object_count",	   "payload", "title",			"objects",	  "runs",
};

static void read_run(DmNotice *notice, int64 run_id, pg_tz *zone);
static void read_runs(DmNotice *notice, int64 job_id, pg_tz *zone);
static void read_objects(DmNotice *notice);
static void set_title(DmNotice *notice, int64 count);
static Jsonb *read_jsonb(uint64 row, int column);
static char *print_time(TimestampTz time, pg_tz *zone);
static char *print_duration(int64 us);

/* The name of a field, as in templates. */
const char *
dm_notice_field_name(DmNoticeField field)
{
	return FIELD_NAMES[field];
}

/* Reads a notification; see notice.h. */
DmNotice *
dm_notice_read(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	DmNotice *notice = palloc0(sizeof(DmNotice));
	DmCatalogArgs args = {0};
	int64 count;
	int64 run_id;
	int64 job_id;
	bool is_null;
	char *zone_name;
	pg_tz *zone;

	dm_args_int8(&args, id);
	if (dm_catalog_run("SELECT o.event, o.count, o.first_at, o.last_at, o.payload, o.template, o.attempts::bigint, "
					   "n.notifier_id, "
					   "n.name, n.owner::oid, n.owner::text, n.kind, n.config, coalesce(s.secret, '{}'), "
					   "coalesce(j.name, o.job), "
					   "o.run_id, o.job_id, j.timezone, left(o.payload ->> 'reason', " MAX_TEXT_BYTES "), "
					   "left(jsonb_pretty(o.payload), " MAX_TEXT_BYTES
					   "), CASE j.state WHEN 'active' THEN j.next_due END "
					   "FROM datamill.outbox_catalog o JOIN datamill.notifier_catalog n USING (notifier_id) "
					   "LEFT JOIN datamill.notifier_secret_catalog s USING (notifier_id) "
					   "LEFT JOIN datamill.job_catalog j ON j.job_id = o.job_id WHERE o.notification_id = $1",
					   &args) == 0)
		return NULL;
	MemoryContextSwitchTo(context);
	notice->id = id;
	notice->event = notice->values[DM_NOTICE_EVENT] = dm_catalog_text(0, 1);
	count = dm_catalog_int8(0, 2);
	notice->first_at = dm_catalog_time(0, 3);
	notice->last_at = dm_catalog_time(0, 4);
	notice->payload = read_jsonb(0, 5);
	(void) dm_catalog_value(0, 6, &is_null);
	notice->template = is_null ? NULL : read_jsonb(0, 6);
	notice->attempts = (int) dm_catalog_int8(0, 7);
	notice->notifier.id = dm_catalog_int8(0, 8);
	notice->notifier.name = notice->values[DM_NOTICE_NOTIFIER] = dm_catalog_text(0, 9);
	notice->notifier.owner = DatumGetObjectId(dm_catalog_value(0, 10, &is_null));
	notice->values[DM_NOTICE_OWNER] = dm_catalog_text(0, 11);
	notice->notifier.kind = dm_notifier_kind_find(dm_catalog_text(0, 12));
	notice->notifier.config = read_jsonb(0, 13);
	notice->notifier.secret = read_jsonb(0, 14);
	notice->values[DM_NOTICE_JOB] = dm_catalog_text(0, 15);
	run_id = dm_catalog_int8(0, 16);
	job_id = dm_catalog_int8(0, 17);
	zone_name = dm_catalog_text(0, 18);
	zone = zone_name ? pg_tzset(zone_name) : NULL;
	if (!zone)
		zone = pg_tzset("GMT");
	notice->values[DM_NOTICE_REASON] = dm_catalog_text(0, 19);
	notice->values[DM_NOTICE_PAYLOAD] = dm_catalog_text(0, 20);
	notice->values[DM_NOTICE_NEXT_DUE] = print_time(dm_catalog_time(0, 21), zone);
	notice->values[DM_NOTICE_NOTIFICATION_ID] = psprintf(INT64_FORMAT, id);
	notice->values[DM_NOTICE_COUNT] = psprintf(INT64_FORMAT, count);
	notice->values[DM_NOTICE_FIRST_AT] = print_time(notice->first_at, zone);
	notice->values[DM_NOTICE_LAST_AT] = print_time(notice->last_at, zone);
	notice->values[DM_NOTICE_DATABASE] = get_database_name(MyDatabaseId);
	if (run_id != 0)
		read_run(notice, run_id, zone);
	if (!notice->values[DM_NOTICE_MESSAGE])
		notice->values[DM_NOTICE_MESSAGE] = notice->values[DM_NOTICE_REASON];
	if (job_id != 0)
		read_runs(notice, job_id, zone);
	read_objects(notice);
	set_title(notice, count);
	return notice;
}

/* A time in UTC as JSON has it. */
char *
dm_notice_iso_time(TimestampTz time)
{
	struct pg_tm tm;
	fsec_t fsec;
	int offset;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, &offset, &tm, &fsec, NULL, pg_tzset("GMT")) != 0)
		return NULL;
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
					tm.tm_year,
					tm.tm_mon,
					tm.tm_mday,
					tm.tm_hour,
					tm.tm_min,
					tm.tm_sec,
					(int) fsec);
}

/* Reads the run that the news is of. */
static void
read_run(DmNotice *notice, int64 run_id, pg_tz *zone)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};

	dm_args_int8(&args, run_id);
	notice->values[DM_NOTICE_RUN_ID] = psprintf(INT64_FORMAT, run_id);
	if (dm_catalog_run("SELECT state, sqlstate, left(coalesce(message, reason), " MAX_TEXT_BYTES
					   "), left(detail, " MAX_TEXT_BYTES "), attempt, scheduled_time, started_at, finished_at, "
					   "(extract(epoch FROM finished_at - started_at) * 1e6)::bigint, started_at IS NULL "
					   "FROM datamill.run_catalog WHERE run_id = $1",
					   &args) == 0)
		return;
	MemoryContextSwitchTo(context);
	notice->values[DM_NOTICE_STATE] = dm_catalog_text(0, 1);
	notice->values[DM_NOTICE_SQLSTATE] = dm_catalog_text(0, 2);
	notice->values[DM_NOTICE_MESSAGE] = dm_catalog_text(0, 3);
	notice->values[DM_NOTICE_DETAIL] = dm_catalog_text(0, 4);
	notice->values[DM_NOTICE_ATTEMPT] = dm_catalog_text(0, 5);
	notice->values[DM_NOTICE_SCHEDULED_TIME] = print_time(dm_catalog_time(0, 6), zone);
	notice->values[DM_NOTICE_STARTED_AT] = print_time(dm_catalog_time(0, 7), zone);
	notice->values[DM_NOTICE_FINISHED_AT] = print_time(dm_catalog_time(0, 8), zone);
	if (!TIMESTAMP_IS_NOEND(dm_catalog_time(0, 7)) && !TIMESTAMP_IS_NOEND(dm_catalog_time(0, 8)))
		notice->values[DM_NOTICE_DURATION] = print_duration(dm_catalog_int8(0, 9));
}

/* Reads the last runs of the job. */
static void
read_runs(DmNotice *notice, int64 job_id, pg_tz *zone)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	uint64 n;

	dm_args_int8(&args, job_id);
	n = dm_catalog_run(
		"SELECT scheduled_time, state, (extract(epoch FROM finished_at - started_at) * 1e6)::bigint, "
		"left(coalesce(message, reason, ''), 200), started_at FROM datamill.run_catalog "
		"WHERE job_id = $1 AND finished_at IS NOT NULL ORDER BY scheduled_time DESC, attempt DESC "
		"LIMIT " MAX_RUNS,
		&args);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < n; i++)
	{
		DmNoticeRun *run = palloc0(sizeof(DmNoticeRun));

		run->scheduled_time = print_time(dm_catalog_time(i, 1), zone);
		run->state = dm_catalog_text(i, 2);
		run->duration =
			TIMESTAMP_IS_NOEND(dm_catalog_time(i, 5)) ? pstrdup("") : print_duration(dm_catalog_int8(i, 3));
		run->message = dm_catalog_text(i, 4);
		notice->runs = lappend(notice->runs, run);
	}
}

/* Reads the objects that the payload names. */
static void
read_objects(DmNotice *notice)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	uint64 n;

	dm_args_int8(&args, notice->id);
	n = dm_catalog_run(
		"SELECT coalesce(substring(x ->> 'uri' FROM '^[a-z0-9]+://[^/]*/(.*)$'), x ->> 'uri', ''), "
		"coalesce(CASE jsonb_typeof(x -> 'size') WHEN 'number' THEN pg_size_pretty((x -> 'size')::numeric) END, "
		"''), "
		"coalesce(left(replace(x ->> 'modified', 'T', ' '), 19), ''), "
		"coalesce(substring(x ->> 'uri' FROM '^[a-z0-9]+://([^/]*)/'), ''), count(*) OVER () "
		"FROM datamill.outbox_catalog o CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(o.payload -> "
		"'objects') WHEN 'array' THEN o.payload -> 'objects' ELSE '[]' END) WITH ORDINALITY u(x, i) "
		"WHERE o.notification_id = $1 AND o.event = 'new_objects' ORDER BY i LIMIT " MAX_OBJECTS,
		&args);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < n; i++)
	{
		DmNoticeObject *object = palloc0(sizeof(DmNoticeObject));

		object->key = dm_catalog_text(i, 1);
		object->size = dm_catalog_text(i, 2);
		object->modified = dm_catalog_text(i, 3);
		object->bucket = dm_catalog_text(i, 4);
		notice->objects = lappend(notice->objects, object);
		notice->values[DM_NOTICE_OBJECT_COUNT] = dm_catalog_text(i, 5);
	}
}

/* Says what happened in a few words, and how bad that is. */
static void
set_title(DmNotice *notice, int64 count)
{
	static const struct
	{
		const char *event;
		DmNoticeTone tone;
		const char *words;
	} known[] = {{"failure", DM_TONE_BAD, "failed"},
				 {"recovered", DM_TONE_GOOD, "recovered"},
				 {"success", DM_TONE_GOOD, "succeeded"},
				 {"suspended", DM_TONE_BAD, "is suspended"},
				 {"broken", DM_TONE_BAD, "is broken"},
				 {"late", DM_TONE_WARNING, "is late"}};
	const char *job = notice->values[DM_NOTICE_JOB];
	char *title = NULL;

	notice->tone = DM_TONE_NEWS;
	for (int i = 0; i < lengthof(known); i++)
	{
		if (strcmp(known[i].event, notice->event) != 0)
			continue;
		notice->tone = known[i].tone;
		title = psprintf("%s %s", job ? job : "a job", known[i].words);
	}
	if (strcmp(notice->event, "new_objects") == 0)
	{
		const char *n = notice->values[DM_NOTICE_OBJECT_COUNT];

		title = psprintf("%s new %s%s%s",
						 n ? n : "0",
						 n && strcmp(n, "1") == 0 ? "object" : "objects",
						 job ? " for " : "",
						 job ? job : "");
		count = 1;
	}
	else if (strcmp(notice->event, "test") == 0)
		title = psprintf("test of notifier %s", notice->notifier.name);
	else if (!title)
		title = job ? psprintf("%s: %s", job, notice->event) : pstrdup(notice->event);
	if (count > 1)
		title = psprintf("%s " INT64_FORMAT " times since %s", title, count, notice->values[DM_NOTICE_FIRST_AT]);
	notice->values[DM_NOTICE_TITLE] = title;
}

/* Returns a jsonb of the last statement, copied to the current memory context. */
static Jsonb *
read_jsonb(uint64 row, int column)
{
	bool is_null;

	return DatumGetJsonbPCopy(dm_catalog_value(row, column, &is_null));
}

/* A time to the second with its zone; NULL for none. */
static char *
print_time(TimestampTz time, pg_tz *zone)
{
	struct pg_tm tm;
	const char *name = NULL;
	fsec_t fsec;
	int offset;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, &offset, &tm, &fsec, &name, zone) != 0)
		return NULL;
	return psprintf("%04d-%02d-%02d %02d:%02d:%02d %s",
					tm.tm_year,
					tm.tm_mon,
					tm.tm_mday,
					tm.tm_hour,
					tm.tm_min,
					tm.tm_sec,
					name && strcmp(name, "GMT") != 0 ? name : "UTC");
}

/* A duration as people read it. */
static char *
print_duration(int64 us)
{
	int64 s = us / USECS_PER_SEC;

	if (us < USECS_PER_SEC)
		return psprintf(INT64_FORMAT " ms", us / 1000);
	if (s < 60)
		return psprintf("%.1f s", us / 1e6);
	if (s < 3600)
		return psprintf(INT64_FORMAT " min " INT64_FORMAT " s", s / 60, s % 60);
	return psprintf(INT64_FORMAT " h " INT64_FORMAT " min", s / 3600, s % 3600 / 60);
}
