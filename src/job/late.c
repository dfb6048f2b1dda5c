/*
 * late.c: tells of jobs that are late: those whose time has come and gone without a success, whatever the reason.
 *
 * It costs a look at every job, so it is done once a minute, and only if a notifier is to hear of it; datamill.late_jobs tells everybody who asks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "base/catalog.h"
#include "job/scheduler.h"

/* Adds an event for each job that has been late since it last was due, once. Returns whether anybody wants to hear of such. */
bool
dm_late_tell(void)
{
	DmEvents *events = dm_events_make();
	uint64 n;

	if (dm_catalog_run("SELECT FROM datamill.subscription_catalog WHERE event = 'late' LIMIT 1", NULL) == 0)
		return false;
	n = dm_catalog_run(
		"SELECT l.job_id, l.owner::oid, l.why FROM datamill.late_job_catalog l WHERE EXISTS "
		"(SELECT FROM datamill.subscription_catalog s JOIN datamill.notifier_catalog n USING (notifier_id) "
		"WHERE s.event = 'late' AND (s.job_id = l.job_id OR (s.job_id IS NULL AND n.owner = l.owner))) "
		"AND NOT EXISTS (SELECT FROM datamill.event_log e WHERE e.event = 'late' AND e.job_id = l.job_id "
		"AND e.happened_at >= l.expected_at) ORDER BY l.job_id",
		NULL);
	for (uint64 i = 0; i < n; i++)
	{
		bool is_null;

		dm_events_add(events,
					  "late",
					  DatumGetObjectId(dm_catalog_value(i, 2, &is_null)),
					  dm_catalog_int8(i, 1),
					  0,
					  dm_catalog_text(i, 3));
	}
	dm_events_store(events);
	return true;
}
