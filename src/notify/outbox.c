/*
 * outbox.c: from events to rows that wait to be sent.
 *
 * 1. A row is written in the transaction of its event: there is news exactly if there is the event. Writing it locks nothing that another
 *    transaction may hold, and there is no foreign key: rows of the same kind become one later, when they are sent (sending.c).
 * 2. News of a job goes out in the order of its events, to each notifier. What goes wrong with one keeps no other waiting.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "base/compat.h"
#include "notify/notify.h"
#include "notify/outbox.h"

#define EXPIRE_BATCH "10000"

/* Queues what is to be said of events; see notify.h. */
void
dm_outbox_add(const DmColumn *event_nos)
{
	DmCatalogArgs args = {0};

	dm_args_column(&args, event_nos);
	dm_args_int8(&args, (int64) GetSystemIdentifier());
	dm_args_oid(&args, MyDatabaseId);
	/* what is said of this job goes before what is said of all; the same as what was said last waits */
	if (dm_catalog_run(
			"INSERT INTO datamill.outbox_catalog (notifier_id, queue, job_id, job, run_id, event, payload, "
			"template, "
			"first_at, last_at, next_attempt_at) "
			"SELECT u.notifier_id, u.queue, u.job_id, u.job, u.run_id, u.event, u.payload, u.template, "
			"u.happened_at, u.happened_at, greatest(u.happened_at, u.repeat_after + (SELECT CASE WHEN o.event = "
			"u.event AND o.state = 'sent' THEN o.sent_at END FROM datamill.outbox_catalog o WHERE o.notifier_id = "
			"u.notifier_id AND o.queue = u.queue ORDER BY o.notification_id DESC LIMIT 1)) "
			"FROM (SELECT DISTINCT ON (e.event_no, n.notifier_id) e.event_no, n.notifier_id, n.repeat_after, "
			"coalesce(e.job_id, " DM_OUTBOX_QUEUE(
				"e.event") ") AS queue, e.job_id, j.name AS job, e.run_id, e.event, "
						   "e.payload, s.template, e.happened_at FROM datamill.event_log e "
						   "JOIN datamill.notifier_catalog n ON n.owner = e.owner AND n.system_identifier = $2 AND "
						   "n.database_id = "
						   "$3 JOIN datamill.subscription_catalog s ON s.notifier_id = n.notifier_id AND s.event = "
						   "e.event AND "
						   "(s.job_id IS NULL OR s.job_id = e.job_id) LEFT JOIN datamill.job_catalog j ON j.job_id "
						   "= e.job_id "
						   "WHERE e.event_no = ANY ($1) ORDER BY e.event_no, n.notifier_id, s.job_id NULLS LAST) u "
						   "ORDER BY u.event_no",
			&args) == 0)
		return;
	/* news of another kind ends the wait of what was held back, the first of its queue: its state would be told out of order */
	args.n = 1;
	dm_catalog_run(
		"UPDATE datamill.outbox_catalog o SET next_attempt_at = clock_timestamp() WHERE o.notification_id IN "
		"(SELECT b.notification_id FROM datamill.outbox_catalog b WHERE b.notification_id IN "
		"(SELECT h.notification_id FROM datamill.event_log e JOIN datamill.notifier_catalog n ON n.owner = e.owner "
		"CROSS JOIN LATERAL (SELECT f.notification_id, f.event FROM datamill.outbox_catalog f WHERE f.notifier_id "
		"= "
		"n.notifier_id AND f.queue = e.job_id AND f.state IN ('pending', 'sending') ORDER BY f.notification_id "
		"LIMIT 1) h WHERE e.event_no = ANY ($1) AND h.event <> e.event) AND b.state = 'pending' AND b.attempts = 0 "
		"AND b.next_attempt_at > clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED)",
		&args);
}

/* When there is something to send; see notify.h. */
TimestampTz
dm_outbox_next(void)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, (int64) GetSystemIdentifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_run(DM_OUTBOX_HEADS
				   "SELECT min(CASE h.state WHEN 'sending' THEN h.last_at ELSE h.next_attempt_at END) "
				   "FROM h JOIN datamill.notifier_catalog n USING (notifier_id) "
				   "WHERE n.system_identifier = $1 AND n.database_id = $2",
				   &args);
	return dm_catalog_time(0, 1);
}

/* Deletes what is over; see notify.h. */
void
dm_outbox_expire(TimestampTz before)
{
	DmCatalogArgs args = {0};

	dm_args_time(&args, before);
	dm_catalog_run("DELETE FROM datamill.outbox_catalog WHERE notification_id IN (SELECT notification_id FROM "
				   "datamill.outbox_catalog WHERE state IN ('sent', 'failed') AND last_at < $1 "
				   "ORDER BY last_at LIMIT " EXPIRE_BATCH ")",
				   &args);
	/* written while their notifier was being dropped */
	dm_catalog_run("DELETE FROM datamill.outbox_catalog o WHERE last_at < $1 AND NOT EXISTS "
				   "(SELECT FROM datamill.notifier_catalog n WHERE n.notifier_id = o.notifier_id)",
				   &args);
}
