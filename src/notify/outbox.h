/*
 * outbox.h: parts of statements on datamill.outbox_catalog.
 */
#ifndef DM_OUTBOX_H
#define DM_OUTBOX_H

/* The queue of an event of no job: those of one name are sent in order. */
#define DM_OUTBOX_QUEUE(event) "-1 - (hashtext(" event ")::bigint & 2147483647)"

/* Names h: the first row of each queue that is not over, found by one look into the index for each. */
#define DM_OUTBOX_HEADS                                                                                            \
	"WITH RECURSIVE h AS ((SELECT notifier_id, queue, notification_id, state, next_attempt_at, last_at "           \
	"FROM datamill.outbox_catalog WHERE state IN ('pending', 'sending') "                                          \
	"ORDER BY notifier_id, queue, notification_id LIMIT 1) UNION ALL SELECT f.* FROM h CROSS JOIN LATERAL "        \
	"(SELECT o.notifier_id, o.queue, o.notification_id, o.state, o.next_attempt_at, o.last_at "                    \
	"FROM datamill.outbox_catalog o WHERE o.state IN ('pending', 'sending') AND (o.notifier_id, o.queue) > "       \
	"(h.notifier_id, h.queue) ORDER BY o.notifier_id, o.queue, o.notification_id LIMIT 1) f) "

#endif
