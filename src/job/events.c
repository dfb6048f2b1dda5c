/*
 * events.c: what happened to jobs, collected in a tick and stored by one statement, with the news of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/columns.h"
#include "job/scheduler.h"
#include "notify/notify.h"

struct DmEvents
{
	DmColumn event;
	DmColumn owner;
	DmColumn job_id;
	DmColumn run_id;
	DmColumn reason;
};

/* Makes an empty collection. */
DmEvents *
dm_events_make(void)
{
	return palloc0(sizeof(DmEvents));
}

/* Adds an event; run_id 0 for none. */
void
dm_events_add(DmEvents *events, const char *event, Oid owner, int64 job_id, int64 run_id, const char *reason)
{
	dm_column_add_text(&events->event, event);
	events->owner.type = OIDOID;
	dm_column_add(&events->owner, ObjectIdGetDatum(owner), false);
	dm_column_add_int8(&events->job_id, job_id);
	dm_column_add_int8(&events->run_id, run_id);
	dm_column_add_text(&events->reason, reason);
}

/* Stores them. */
void
dm_events_store(DmEvents *events)
{
	DmColumn event_nos = {.type = INT8OID};
	DmCatalogArgs args = {0};
	uint64 n;

	if (events->event.n == 0)
		return;
	dm_args_column(&args, &events->event);
	dm_args_column(&args, &events->owner);
	dm_args_column(&args, &events->job_id);
	dm_args_column(&args, &events->run_id);
	dm_args_column(&args, &events->reason);
	n = dm_catalog_run(
		"INSERT INTO datamill.event_log (event, owner, job_id, run_id, payload) "
		"SELECT event, owner::regrole, job_id, nullif(run_id, 0), "
		"jsonb_strip_nulls(jsonb_build_object('reason', reason)) "
		"FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY u(event, owner, job_id, run_id, reason, i) ORDER BY i "
		"RETURNING event_no",
		&args);
	for (uint64 i = 0; i < n; i++)
		dm_column_add_int8(&event_nos, dm_catalog_int8(i, 1));
	dm_outbox_add(&event_nos);
}
