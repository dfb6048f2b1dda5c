/*
 * sending.c: takes rows of the outbox and sends them.
 *
 * 1. A row is taken (state sending) and committed before it is sent, and what became of it is committed after: it is sent at least once, and
 *    twice only if this process ends in between. NOTIFY is part of the transaction that notes it: exactly once.
 * 2. Several are under way at once, but one a notifier. No transaction is open while anything is waited for.
 * 3. What cannot be sent is tried again after a pause that doubles, for a day; what the remote refuses for good is not.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "notify/delivery.h"
#include "notify/message.h"
#include "notify/notify.h"
#include "notify/outbox.h"

#define MAX_ACTIVE 8
#define LOOK_MS 1000
#define DEFAULT_BACKOFF_MS 10000
#define MAX_BACKOFF_MS (3600 * 1000)
#define GIVE_UP_US USECS_PER_DAY
#define DEADLINE_FACTOR 3 /* timeouts bound each silence; this times as long is the end */

typedef struct Active
{
	int64 id;
	MemoryContext context; /* NULL: the place is free */
	DmNotice *notice;
	DmDelivery *delivery;
	TimestampTz deadline;
} Active;

static Active active[MAX_ACTIVE];

static void adopt(void);
static int take(int room);
static void begin_one(Active *one);
static bool prepare(Active *one);
static void give_up_one(Active *one);
static void advance(void);
static void end_one(Active *one);
static void note_end(const Active *one, DmOutcome outcome, const char *error, long retry_after_ms);
static void note_sent(const Active *one);
static TimestampTz next_attempt(const DmNotice *notice, long retry_after_ms);
static void begin(DmCatalogScope *scope);
static void end(DmCatalogScope *scope);
static int count_active(void);

/* Sends until nothing is due; see notify.h. */
void
dm_sending_run(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "datamill sending", ALLOCSET_DEFAULT_SIZES);
	bool is_first = true;

	for (;;)
	{
		int n;
		int taken;

		CHECK_FOR_INTERRUPTS();
		ResetLatch(MyLatch);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		if (is_first)
			adopt();
		is_first = false;
		n = count_active();
		taken = n < MAX_ACTIVE ? take(MAX_ACTIVE - n) : 0;
		if (count_active() > 0)
			advance();
		else if (taken == 0)
			break;
	}
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);
}

/* Rows that a process of before was sending when it ended. Perhaps they were sent; that is not known. */
static void
adopt(void)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	dm_args_int8(&args, DEFAULT_BACKOFF_MS);
	begin(&scope);
	dm_catalog_run(
		"UPDATE datamill.outbox_catalog SET state = 'pending', last_error = 'the process that sent it ended', "
		"next_attempt_at = clock_timestamp() + $1 * interval '1 ms' WHERE state = 'sending'",
		&args);
	end(&scope);
}

/* Takes rows that are due, one a notifier, and begins to send them. What follows a row and says the same becomes one with it. Returns how many. */
static int
take(int room)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	int64 ids[MAX_ACTIVE];
	uint64 n;

	dm_args_int4(&args, room);
	dm_args_int8(&args, (int64) GetSystemIdentifier());
	dm_args_oid(&args, MyDatabaseId);
	begin(&scope);
	n = dm_catalog_run(
		DM_OUTBOX_HEADS
		"UPDATE datamill.outbox_catalog SET state = 'sending', attempts = attempts + 1 "
		"WHERE notification_id IN (SELECT l.notification_id FROM datamill.outbox_catalog l "
		"WHERE l.state = 'pending' AND l.notification_id IN (SELECT u.notification_id FROM (SELECT "
		"DISTINCT ON (h.notifier_id) h.notification_id, h.next_attempt_at FROM h JOIN "
		"datamill.notifier_catalog n USING (notifier_id) WHERE h.state = 'pending' AND "
		"h.next_attempt_at <= clock_timestamp() AND n.system_identifier = $2 AND n.database_id = $3 "
		"AND NOT EXISTS (SELECT FROM datamill.outbox_catalog b WHERE b.notifier_id = h.notifier_id "
		"AND b.state = 'sending') ORDER BY h.notifier_id, h.next_attempt_at, h.notification_id) u "
		"ORDER BY u.next_attempt_at LIMIT $1) FOR NO KEY UPDATE SKIP LOCKED) RETURNING notification_id",
		&args);
	n = Min(n, (uint64) room);
	for (uint64 i = 0; i < n; i++)
		ids[i] = dm_catalog_int8(i, 1);
	for (uint64 i = 0; i < n; i++)
	{
		args.n = 0;
		dm_args_int8(&args, ids[i]);
		dm_catalog_run(
			"WITH gone AS (DELETE FROM datamill.outbox_catalog d USING datamill.outbox_catalog o "
			"WHERE o.notification_id = $1 AND d.notifier_id = o.notifier_id AND d.queue = o.queue AND d.event = "
			"o.event AND d.state = 'pending' AND d.notification_id > $1 AND (d.payload = o.payload OR o.event IN "
			"('failure', 'recovered', 'success', 'late', 'suspended', 'broken', 'new_objects')) AND "
			"d.notification_id < coalesce((SELECT x.notification_id FROM datamill.outbox_catalog x, "
			"datamill.outbox_catalog p WHERE p.notification_id = $1 AND x.notifier_id = p.notifier_id AND x.queue "
			"= "
			"p.queue AND x.event <> p.event AND x.state = 'pending' AND x.notification_id > $1 ORDER BY "
			"x.notification_id LIMIT 1), 9223372036854775807) RETURNING d.notification_id, d.count, d.last_at, "
			"d.run_id, "
			"d.payload) UPDATE datamill.outbox_catalog o SET count = o.count + g.count, last_at = g.last_at, "
			"run_id "
			"= g.run_id, payload = CASE o.event WHEN 'new_objects' THEN jsonb_build_object('objects', (SELECT "
			"jsonb_agg(e.x) FROM (SELECT o.payload AS p, 0::bigint AS i UNION ALL SELECT payload, notification_id "
			"FROM gone ORDER BY i) v CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(v.p -> 'objects') "
			"WHEN 'array' THEN v.p -> 'objects' ELSE '[]' END) e(x))) ELSE g.payload END "
			"FROM (SELECT sum(count)::bigint AS count, max(last_at) AS last_at, (array_agg(run_id ORDER BY "
			"notification_id DESC))[1] AS run_id, (array_agg(payload ORDER BY notification_id DESC))[1] AS payload "
			"FROM gone) g WHERE o.notification_id = $1 AND g.count IS NOT NULL",
			&args);
	}
	end(&scope);
	for (uint64 i = 0; i < n; i++)
	{
		int place = 0;

		while (active[place].context)
			place++;
		active[place].id = ids[i];
		begin_one(&active[place]);
	}
	return (int) n;
}

/* Begins to send a row that was taken. */
static void
begin_one(Active *one)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool is_ready = false;

	one->notice = NULL;
	one->delivery = NULL;
	one->context = AllocSetContextCreate(TopMemoryContext, "datamill notification", ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		is_ready = prepare(one);
	}
	PG_CATCH();
	{
		give_up_one(one);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (is_ready)
		return;
	MemoryContextDelete(one->context);
	one->context = NULL;
}

/* Reads a row, makes its request and starts it. False if there is nothing to wait for. */
static bool
prepare(Active *one)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	bool is_sent = false;

	begin(&scope);
	MemoryContextSwitchTo(one->context);
	one->notice = dm_notice_read(one->id);
	if (one->notice && one->notice->notifier.kind == DM_NOTIFIER_NOTIFY)
	{
		dm_args_text(&args, dm_config_text(one->notice->notifier.config, "channel"));
		dm_args_text(&args, dm_message_notify(one->notice));
		dm_catalog_run("SELECT pg_notify($1, $2)", &args);
		note_sent(one);
		is_sent = true;
	}
	else if (one->notice)
	{
		MemoryContextSwitchTo(one->context);
		one->delivery = dm_delivery_make(one->notice);
	}
	end(&scope);
	if (is_sent || !one->notice)
		return false;
	MemoryContextSwitchTo(one->context);
	one->deadline = GetCurrentTimestamp() +
					DEADLINE_FACTOR * INT64CONST(1000) * dm_delivery_request(one->delivery)->config->timeout_ms;
	dm_http_start(dm_delivery_request(one->delivery));
	return true;
}

/* In PG_CATCH: notes that a row cannot be sent, or not now. */
static void
give_up_one(Active *one)
{
	DmOutcome outcome = DM_OUTCOME_RETRY;
	ErrorData *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(one->context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(one->context);
	RESUME_INTERRUPTS();
	/* what is wrong with it stays wrong; a lock, or memory, may be had later */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION ||
		error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
		outcome = DM_OUTCOME_FAILED;
	if (one->notice)
		dm_delivery_redact(error->message, &one->notice->notifier);
	note_end(one, outcome, error->message, -1);
}

/* Lets what is under way go on until something ends, for a second at most. */
static void
advance(void)
{
	long wait_ms = LOOK_MS;

	for (int i = 0; i < MAX_ACTIVE; i++)
	{
		long ms = active[i].context ? dm_http_wait_ms(dm_delivery_request(active[i].delivery)) : -1;

		if (ms >= 0)
			wait_ms = Min(wait_ms, ms);
	}
	dm_http_pump(wait_ms);
	for (int i = 0; i < MAX_ACTIVE; i++)
	{
		if (!active[i].context)
			continue;
		if (dm_http_advance(dm_delivery_request(active[i].delivery)))
			end_one(&active[i]);
		else if (GetCurrentTimestamp() > active[i].deadline)
		{
			dm_http_stop(dm_delivery_request(active[i].delivery));
			end_one(&active[i]);
		}
	}
}

/* Notes what became of one, and frees it. */
static void
end_one(Active *one)
{
	MemoryContext caller = MemoryContextSwitchTo(one->context);
	char *error = NULL;
	long retry_after_ms;
	DmOutcome outcome = dm_delivery_judge(one->delivery, &error, &retry_after_ms);

	note_end(one, outcome, error, retry_after_ms);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(one->context);
	one->context = NULL;
}

/* Writes what became of one, in a transaction of its own. */
static void
note_end(const Active *one, DmOutcome outcome, const char *error, long retry_after_ms)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz next = outcome == DM_OUTCOME_RETRY ? next_attempt(one->notice, retry_after_ms) : DT_NOEND;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	begin(&scope);
	MemoryContextSwitchTo(caller);
	if (outcome == DM_OUTCOME_SENT)
		note_sent(one);
	else
	{
		dm_args_int8(&args, one->id);
		dm_args_text(&args, error);
		dm_args_time(&args, next);
		dm_catalog_run(
			"UPDATE datamill.outbox_catalog SET state = CASE WHEN $3 IS NULL OR first_at < clock_timestamp() - "
			"interval '1 day' THEN 'failed' ELSE 'pending' END, "
			"last_error = $2, next_attempt_at = coalesce($3, next_attempt_at) WHERE notification_id = $1",
			&args);
		/* a remote that asks for patience means all */
		if (retry_after_ms >= 0 && !TIMESTAMP_IS_NOEND(next))
			dm_catalog_run(
				"UPDATE datamill.outbox_catalog b SET next_attempt_at = $3 FROM datamill.outbox_catalog o "
				"WHERE o.notification_id = $1 AND b.notifier_id = o.notifier_id AND b.state = 'pending' "
				"AND b.next_attempt_at < $3 AND $2 IS NOT NULL",
				&args);
	}
	end(&scope);
	MemoryContextSwitchTo(caller);
	if (outcome != DM_OUTCOME_SENT && TIMESTAMP_IS_NOEND(next))
		ereport(LOG,
				(errmsg("datamill could not send notification " INT64_FORMAT "%s%s: %s",
						one->id,
						one->notice ? " by notifier " : "",
						one->notice ? one->notice->notifier.name : "",
						error)));
}

/* In a catalog scope: notes that one was sent, and holds back what came meanwhile and says the same. */
static void
note_sent(const Active *one)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, one->id);
	dm_catalog_run(
		"UPDATE datamill.outbox_catalog SET state = 'sent', sent_at = clock_timestamp(), last_error = NULL "
		"WHERE notification_id = $1",
		&args);
	dm_catalog_run(
		"UPDATE datamill.outbox_catalog b SET next_attempt_at = greatest(b.next_attempt_at, o.sent_at + "
		"n.repeat_after) FROM datamill.outbox_catalog o JOIN datamill.notifier_catalog n USING (notifier_id) "
		"WHERE o.notification_id = $1 AND n.repeat_after > interval '0' AND b.notification_id = (SELECT "
		"f.notification_id FROM datamill.outbox_catalog f WHERE f.notifier_id = o.notifier_id AND f.queue = "
		"o.queue "
		"AND f.state = 'pending' ORDER BY f.notification_id LIMIT 1) AND b.event = o.event AND b.attempts = 0 AND "
		"NOT EXISTS (SELECT FROM datamill.outbox_catalog x WHERE x.notifier_id = o.notifier_id AND x.queue = "
		"o.queue "
		"AND x.event <> o.event AND x.state = 'pending')",
		&args);
}

/* When to try again; DT_NOEND once that is not worth it. Of a notification that could not even be read nothing is known. */
static TimestampTz
next_attempt(const DmNotice *notice, long retry_after_ms)
{
	int base_ms =
		notice ? dm_config_ms(notice->notifier.config, "backoff", DEFAULT_BACKOFF_MS) : DEFAULT_BACKOFF_MS;
	double wait_ms = notice ? Min(ldexp(base_ms, Min(notice->attempts - 1, 30)), MAX_BACKOFF_MS) : base_ms;
	TimestampTz next;

	wait_ms *= 0.75 + pg_prng_double(&pg_global_prng_state) / 2;
	next = GetCurrentTimestamp() + (int64) (Max(wait_ms, retry_after_ms) * 1000);
	return notice && next - notice->first_at > GIVE_UP_US ? DT_NOEND : next;
}

/* Begins a transaction and a scope in it; memory is the caller's. */
static void
begin(DmCatalogScope *scope)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	dm_catalog_begin(scope);
	MemoryContextSwitchTo(caller);
}

/* Commits it. */
static void
end(DmCatalogScope *scope)
{
	MemoryContext caller = CurrentMemoryContext;

	dm_catalog_end(scope);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

/* How many are under way. */
static int
count_active(void)
{
	int n = 0;

	for (int i = 0; i < MAX_ACTIVE; i++)
		n += active[i].context != NULL;
	return n;
}
