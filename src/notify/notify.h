/*
 * notify.h: notifiers, what they are told of, and the outbox between events and senders.
 */
#ifndef DM_NOTIFY_H
#define DM_NOTIFY_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "base/columns.h"

typedef enum DmNotifierKind
{
	DM_NOTIFIER_SLACK,
	DM_NOTIFIER_SMTP,
	DM_NOTIFIER_PAGERDUTY,
	DM_NOTIFIER_WEBHOOK,
	DM_NOTIFIER_NOTIFY,
	DM_NOTIFIER_KINDS
} DmNotifierKind;

typedef struct DmNotifier
{
	int64 id;
	char *name;
	Oid owner;
	DmNotifierKind kind;
	Jsonb *config;
	Jsonb *secret; /* an object; empty after a restore */
} DmNotifier;

/* notifier.c */
extern void dm_notifier_create(const char *name, const char *kind, Jsonb *config, Jsonb *secret);
extern void dm_notifier_alter(const char *name, Jsonb *config, Jsonb *secret);
extern void dm_notifier_drop(const char *name);
/* Reads the notifier of a name that the caller may use, without its secret. Raises 42704, 42725. */
extern void dm_notifier_find(const char *name, DmNotifier *notifier);
/* Lets the notifiers of the roles that the caller is a member of send from this database, which is a copy. */
extern void dm_notifier_accept(Oid caller);

/* config.c: what a kind takes. */
extern const char *dm_notifier_kind_name(DmNotifierKind kind);
extern DmNotifierKind dm_notifier_kind_find(const char *name);
/* Raises 22023 unless config and secret are what the kind takes, and all that it needs. */
extern void dm_config_check(DmNotifierKind kind, Jsonb *config, Jsonb *secret);
/* A member of an object as text, palloc'd; NULL if it is not there. */
extern char *dm_config_text(const Jsonb *object, const char *name);
/* A member that is one text or an array of texts (char*). */
extern List *dm_config_list(const Jsonb *object, const char *name);
/* A duration in milliseconds. */
extern int dm_config_ms(const Jsonb *object, const char *name, int otherwise);

/* subscribe.c */
extern void dm_subscription_add(const char *job, const char *event, const char *notifier, Jsonb *template);
extern bool dm_subscription_remove(const char *job, const char *event, const char *notifier);
extern int64 dm_notifier_test(const char *name);

/*
 * outbox.c. In a catalog scope: queues what is to be said of events that this transaction stored (a column of their numbers). Waits for
 * nobody.
 */
extern void dm_outbox_add(const DmColumn *event_nos);
/* In a catalog scope: when a sender has something to do next; DT_NOEND for never. */
extern TimestampTz dm_outbox_next(void);
/* In a catalog scope: deletes what is over and older. */
extern void dm_outbox_expire(TimestampTz before);

/* sending.c: sends until nothing is due any more. To be called in a process of its own, outside a transaction. */
extern void dm_sending_run(void);

#endif
