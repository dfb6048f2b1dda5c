/*
 * subscribe.c: which events go to which notifier.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "notify/notify.h"
#include "notify/outbox.h"
#include "notify/template.h"

#define MAX_EVENT_BYTES 200

static void find(const char *job, const char *event, const char *name, DmNotifier *notifier, DmCatalogArgs *args);
static bool find_job(const char *job, Oid owner, int64 *job_id, bool *is_others);

/* Sends an event to a notifier; of all jobs of its owner if job is NULL or "*". template may be NULL. */
void
dm_subscription_add(const char *job, const char *event, const char *name, Jsonb *template)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmNotifier notifier;

	find(job, event, name, &notifier, &args);
	if (template)
		dm_template_check(template);
	dm_args_add(&args, JSONBOID, template ? JsonbPGetDatum(template) : (Datum) 0, template == NULL);
	dm_catalog_begin(&scope);
	dm_catalog_run("INSERT INTO datamill.subscription_catalog (notifier_id, job_id, event, template) "
				   "VALUES ($1, $2, $3, $4) ON CONFLICT (notifier_id, job_id, event) DO UPDATE "
				   "SET template = excluded.template",
				   &args);
	dm_catalog_end(&scope);
}

/* Takes that back; false if it was not so. */
bool
dm_subscription_remove(const char *job, const char *event, const char *name)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmNotifier notifier;
	uint64 n;

	find(job, event, name, &notifier, &args);
	dm_catalog_begin(&scope);
	n = dm_catalog_run("DELETE FROM datamill.subscription_catalog WHERE notifier_id = $1 "
					   "AND job_id IS NOT DISTINCT FROM $2 AND event = $3",
					   &args);
	dm_catalog_end(&scope);
	return n > 0;
}

/* Queues a notification that is a test, and returns its id. The caller wakes the scheduler. */
int64
dm_notifier_test(const char *name)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmNotifier notifier;
	int64 id;

	dm_notifier_find(name, &notifier);
	dm_args_int8(&args, notifier.id);
	dm_args_text(&args, GetUserNameFromId(GetUserId(), false));
	dm_catalog_begin(&scope);
	dm_catalog_run("INSERT INTO datamill.outbox_catalog (notifier_id, queue, event, payload, first_at, last_at, "
				   "next_attempt_at) SELECT $1, " DM_OUTBOX_QUEUE(
					   "'test'") ", 'test', jsonb_build_object('reason', 'asked for by ' || $2), t, t, t "
								 "FROM clock_timestamp() t RETURNING notification_id",
				   &args);
	id = dm_catalog_int8(0, 1);
	dm_catalog_end(&scope);
	return id;
}

/* Finds notifier and job, and adds both and the event as parameters. Raises 22004, 42704, 42501, 22023. */
static void
find(const char *job, const char *event, const char *name, DmNotifier *notifier, DmCatalogArgs *args)
{
	bool is_others = false;
	int64 job_id = 0;

	if (!event || !name)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("event and notifier must not be NULL")));
	if (event[0] == '\0' || strlen(event) > MAX_EVENT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of an event must have 1 to %d bytes", MAX_EVENT_BYTES)));
	dm_notifier_find(name, notifier);
	if (job && strcmp(job, "*") == 0)
		job = NULL;
	if (job && !find_job(job, notifier->owner, &job_id, &is_others))
	{
		if (is_others)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("notifier \"%s\" cannot tell of job \"%s\", which belongs to another role", name, job),
					 errhint("Make a notifier of that role.")));
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", job),
				 errhint("See datamill.jobs.")));
	}
	dm_args_int8(args, notifier->id);
	dm_args_add(args, INT8OID, Int64GetDatum(job_id), job == NULL);
	dm_args_text(args, event);
}

/* Finds the job of a name that belongs to a role; else tells whether the caller can see one of another. */
static bool
find_job(const char *job, Oid owner, int64 *job_id, bool *is_others)
{
	Oid caller = GetUserId();
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	bool found = false;
	uint64 n;

	dm_args_text(&args, job);
	dm_catalog_begin(&scope);
	n = dm_catalog_run("SELECT job_id, owner::oid FROM datamill.job_catalog WHERE name = $1 ORDER BY job_id",
					   &args);
	for (uint64 i = 0; i < n && !found; i++)
	{
		bool is_null;
		Oid role = DatumGetObjectId(dm_catalog_value(i, 2, &is_null));

		*job_id = dm_catalog_int8(i, 1);
		found = role == owner;
		*is_others = *is_others || dm_role_can_become(caller, role);
	}
	dm_catalog_end(&scope);
	return found;
}
