/*
 * replay.c: runs that read again what an earlier run read, as its receipts have it.
 *
 * 1. A replay is a run like any other, for the same time and with the same arguments, but that listings of objects give those that the earlier run
 *    read, by their etags (source/pins.c). What tables held then is not known; they are read as they are.
 * 2. It succeeds if it read all of those objects, and else takes back what it did: a replay that read less is none.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/errors.h"
#include "job/job.h"
#include "job/replay.h"
#include "job/shared.h"
#include "source/archive.h"
#include "source/pins.h"

/* The run that is to be replayed, by its row, or if that is gone by its receipt. */
#define READ_ORIGIN                                                                                                \
	"SELECT j.job_id, j.owner::oid, coalesce(n.name, c.definition), coalesce(n.definition, c.code) IS DISTINCT "   \
	"FROM j.definition FROM (SELECT $1::bigint AS run_id) v LEFT JOIN datamill.run_catalog n USING (run_id) "      \
	"LEFT JOIN datamill.receipt_log c ON c.run_id = v.run_id AND c.kind = 'job' LEFT JOIN datamill.job_catalog j " \
	"ON CASE WHEN n.run_id IS NULL THEN j.name = c.definition AND j.owner = c.owner ELSE j.job_id = n.job_id END"

#define INSERT_REPLAY                                                                                              \
	"INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, attempt, trigger, state, reason, "     \
	"arguments, replay_of) SELECT j.job_id, j.name, j.owner, t.scheduled_time, (SELECT coalesce(max(o.attempt), "  \
	"0) + 1 FROM datamill.run_catalog o WHERE o.job_id = j.job_id AND o.scheduled_time = t.scheduled_time), "      \
	"'replay', 'queued', 'replay of run ' || $1, t.arguments, $1 FROM datamill.job_catalog j CROSS JOIN "          \
	"(SELECT coalesce(n.scheduled_time, c.started_at) AS scheduled_time, coalesce(n.arguments, c.arguments) AS "   \
	"arguments FROM (SELECT $1::bigint AS run_id) v LEFT JOIN datamill.run_catalog n USING (run_id) "              \
	"LEFT JOIN datamill.receipt_log c ON c.run_id = v.run_id AND c.kind = 'job') t "                               \
	"WHERE j.job_id = $2 RETURNING run_id"

static int64 run_of_receipt(const char *receipt);
static int64 job_of_run(int64 run_id, bool force);
static DmArchive *archive_of_run(int64 run_id);

/* Queues a replay. */
int64
dm_run_replay(const char *receipt, bool force)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	int64 replay_of;
	int64 run_id;

	dm_job_check_context();
	replay_of = run_of_receipt(receipt);
	dm_args_int8(&args, replay_of);
	dm_args_int8(&args, job_of_run(replay_of, force));
	dm_catalog_begin(&scope);
	if (dm_catalog_run(INSERT_REPLAY, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the job of run " INT64_FORMAT " does not exist any more", replay_of)));
	run_id = dm_catalog_int8(0, 1);
	dm_catalog_end(&scope);
	dm_shared_wake_at_commit();
	return run_id;
}

/* Returns the last run that wrote the receipt. Raises 42704 if the caller sees no such receipt, 55000 if no run wrote it. */
static int64
run_of_receipt(const char *receipt)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	int64 run_id;

	dm_args_oid(&args, GetUserId());
	dm_args_text(&args, receipt);
	dm_catalog_begin(&scope);
	if (dm_catalog_run(
			"SELECT r.run_id FROM datamill.receipt_log r WHERE r.id = $2 AND pg_has_role($1, r.owner, 'USAGE') "
			"ORDER BY r.run_id DESC NULLS LAST LIMIT 1",
			&args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("receipt \"%s\" does not exist", receipt),
				 errhint("See datamill.receipts.")));
	run_id = dm_catalog_int8(0, 1);
	dm_catalog_end(&scope);
	if (run_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("receipt \"%s\" was not written by the run of a job", receipt),
				 errhint("Only runs can be replayed.")));
	return run_id;
}

/* Returns the job of a run. Raises 42704 if it is gone or not the caller's, 55000 if it changed and force is not given. */
static int64
job_of_run(int64 run_id, bool force)
{
	MemoryContext caller = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	int64 job_id;
	Oid owner;
	char *name;
	bool is_changed;
	bool is_null;

	dm_args_int8(&args, run_id);
	dm_catalog_begin(&scope);
	dm_catalog_run(READ_ORIGIN, &args);
	job_id = dm_catalog_int8(0, 1);
	owner = DatumGetObjectId(dm_catalog_value(0, 2, &is_null));
	is_changed = DatumGetBool(dm_catalog_value(0, 4, &is_null));
	MemoryContextSwitchTo(caller);
	name = dm_catalog_text(0, 3);
	dm_catalog_end(&scope);
	if (job_id == 0 || !dm_role_can_become(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the job of run " INT64_FORMAT " does not exist any more", run_id)));
	if (is_changed && !force)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has changed since run " INT64_FORMAT, name, run_id),
				 errhint("Replay with force => true executes it as it is now, on what the run read.")));
	return job_id;
}

/* Sets the pins of this process. */
void
dm_replay_begin(int64 replay_of)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	dm_pins_set(dm_pins_of_run(replay_of));
	dm_pins_set_archive(archive_of_run(replay_of));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Returns where a run kept what it read, in the current memory context; NULL if it did not. */
static DmArchive *
archive_of_run(int64 run_id)
{
	MemoryContext caller = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	DmArchive *archive = NULL;

	dm_args_int8(&args, run_id);
	dm_catalog_begin(&scope);
	if (dm_catalog_run("SELECT metadata #>> '{archive,url}', metadata #>> '{archive,server}' FROM "
					   "datamill.receipt_log WHERE run_id = $1 AND kind = 'job' AND metadata #>> '{archive,url}' "
					   "IS NOT NULL AND metadata #>> '{archive,server}' IS NOT NULL",
					   &args) > 0)
	{
		MemoryContextSwitchTo(caller);
		archive = palloc(sizeof(DmArchive));
		archive->url = dm_catalog_text(0, 1);
		archive->server = dm_catalog_text(0, 2);
	}
	dm_catalog_end(&scope);
	return archive;
}

/* Notes the archive in the receipt of the run. */
void
dm_archive_note(DmReceipt *receipt)
{
	DmArchive *archive = dm_archive_current();
	StringInfoData value;

	if (!archive)
		return;
	initStringInfo(&value);
	appendStringInfoString(&value, "{\"url\": ");
	escape_json(&value, archive->url);
	appendStringInfoString(&value, ", \"server\": ");
	escape_json(&value, archive->server);
	appendStringInfoChar(&value, '}');
	dm_receipt_metadata(receipt, "archive", value.data);
}

/* Keeps what a run read. */
void
dm_archive_run(int64 run_id)
{
	DmArchive *archive = dm_archive_current();

	if (archive)
		dm_archive_put(archive, dm_pins_of_run(run_id));
}

/* Compares what was read with what the earlier run read. */
void
dm_replay_check(int64 replay_of, int64 run_id)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	uint64 nlacking;

	dm_args_int8(&args, replay_of);
	dm_args_int8(&args, run_id);
	dm_catalog_begin(&scope);
	nlacking = dm_catalog_run(
		"WITH read AS (SELECT r.run_id, x.value ->> 'uri' AS uri FROM datamill.receipt_log r "
		"CROSS JOIN jsonb_array_elements(r.inputs) x WHERE r.run_id IN ($1, $2) AND x.value ? 'etag' "
		"AND left(x.value ->> 'uri', 5) = 's3://') "
		"SELECT uri FROM read WHERE run_id = $1 EXCEPT SELECT uri FROM read WHERE run_id = $2 ORDER BY 1 LIMIT 1",
		&args);
	if (nlacking > 0)
		ereport(
			ERROR,
			(errcode(DM_ERRCODE_OBJECT_CHANGED),
			 errmsg("the replay of run " INT64_FORMAT " did not read \"%s\"", replay_of, dm_catalog_text(0, 1)),
			 errdetail("What it did is taken back."),
			 errhint(
				 "load() leaves out what its ledger has: see datamill.forget_loads(). Otherwise the job or what it "
				 "depends on has changed.")));
	dm_catalog_end(&scope);
}
