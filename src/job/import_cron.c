/*
 * import_cron.c: moves the jobs of pg_cron over.
 *
 * 1. cron.job is read, and cron.unschedule() called, as the caller: what pg_cron does not show or allow to him is none of his here.
 * 2. A job is made and unscheduled in one subtransaction: it is in one of the two places at any time, or the error says why it stays.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"

#include "base/catalog.h"
#include "job/job.h"
#include "job/states.h"

PG_FUNCTION_INFO_V1(dm_import_pg_cron_sql);

#define REASON_COPIED "pg_cron has it, too: datamill.resume() makes it active here"
#define REASON_INACTIVE "it was not active in pg_cron"

typedef struct CronJob
{
	int64 id;
	char *schedule;
	char *command;
	char *node;
	char *database;
	char *username;
	bool is_active;
	char *name;
} CronJob;

static void check_pg_cron(void);
static uint64 read_jobs(CronJob **jobs);
static char *elsewhere(const CronJob *cron);
static char *first_five_fields(char *schedule);
static char *try_move(const CronJob *cron, bool dry_run, bool unschedule);
static void move(const CronJob *cron, bool unschedule);
static void pause_job(int64 job_id, const char *reason);
static void unschedule_job(int64 id);

/* import_pg_cron(dry_run, unschedule) returns a row for each job that pg_cron shows. */
PGDLLEXPORT Datum
dm_import_pg_cron_sql(PG_FUNCTION_ARGS)
{
	bool dry_run = PG_GETARG_BOOL(0);
	bool unschedule = PG_GETARG_BOOL(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	CronJob *jobs;
	uint64 n;

	dm_job_check_context();
	InitMaterializedSRF(fcinfo, 0);
	check_pg_cron();
	n = read_jobs(&jobs);
	for (uint64 i = 0; i < n; i++)
	{
		char *schedule = jobs[i].schedule;
		char *reason = elsewhere(&jobs[i]);
		const char *done = unschedule ? "moved" : "copied";
		Datum values[5];
		bool nulls[5] = {false};

		CHECK_FOR_INTERRUPTS();
		jobs[i].schedule = first_five_fields(schedule);
		if (!reason)
			reason = try_move(&jobs[i], dry_run, unschedule);
		if (reason)
			done = "not moved";
		else if (jobs[i].schedule != schedule)
			reason = psprintf("pg_cron looks at five fields only: its schedule is \"%s\"", jobs[i].schedule);
		values[0] = Int64GetDatum(jobs[i].id);
		values[1] = CStringGetTextDatum(jobs[i].name);
		values[2] = CStringGetTextDatum(schedule);
		values[3] = CStringGetTextDatum(done);
		values[4] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
		nulls[4] = !reason;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Raises unless pg_cron keeps its jobs in this database. */
static void
check_pg_cron(void)
{
	Oid extension = get_extension_oid("pg_cron", true);
	Oid schema = get_namespace_oid("cron", true);
	Oid table = OidIsValid(schema) ? get_relname_relid("job", schema) : InvalidOid;
	const char *database = GetConfigOption("cron.database_name", true, false);

	/* another's table of that name is not believed */
	if (!OidIsValid(extension) || !OidIsValid(table) ||
		getExtensionOfObject(RelationRelationId, table) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cron keeps no jobs in this database"),
				 database ? errhint("They are in database \"%s\": call this there.", database)
						  : errhint("Call this in the database that has the extension pg_cron.")));
}

/* Reads the jobs that the caller sees, in the order of their ids, into the current memory context. Returns their number. */
static uint64
read_jobs(CronJob **jobs)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 n;

	SPI_connect();
	if (SPI_execute("SELECT jobid, schedule, command, nodename, database, username, active, jobname FROM cron.job "
					"ORDER BY jobid",
					true,
					0) != SPI_OK_SELECT)
		elog(ERROR, "cron.job was not read");
	n = SPI_processed;
	MemoryContextSwitchTo(context);
	*jobs = palloc0((n + 1) * sizeof(CronJob));
	for (uint64 i = 0; i < n; i++)
	{
		CronJob *job = &(*jobs)[i];

		job->id = dm_catalog_int8(i, 1);
		job->schedule = dm_catalog_text(i, 2);
		job->command = dm_catalog_text(i, 3);
		job->node = dm_catalog_text(i, 4);
		job->database = dm_catalog_text(i, 5);
		job->username = dm_catalog_text(i, 6);
		job->is_active = strcmp(dm_catalog_text(i, 7), "t") == 0;
		job->name = dm_catalog_text(i, 8);
		if (!job->name)
			job->name = psprintf("pg_cron " INT64_FORMAT, job->id);
	}
	SPI_finish();
	return n;
}

/* Returns why a job cannot be one of this database; NULL if it can. */
static char *
elsewhere(const CronJob *cron)
{
	const char *here = get_database_name(MyDatabaseId);

	if (strcmp(cron->database, here) != 0)
		return psprintf("it runs in database \"%s\": make it there with datamill.create_job()", cron->database);
	if (cron->node[0] != '\0' && cron->node[0] != '/' && strcmp(cron->node, "localhost") != 0 &&
		strcmp(cron->node, "127.0.0.1") != 0 && strcmp(cron->node, "::1") != 0)
		return psprintf("it runs on host \"%s\": make it there with datamill.create_job()", cron->node);
	return NULL;
}

/* Returns a schedule without what follows its five fields, which pg_cron takes for the command; itself if there is nothing. */
static char *
first_five_fields(char *schedule)
{
	const char *at = schedule + strspn(schedule, " \t");
	const char *end = at;

	for (int i = 0; i < 5; i++)
	{
		end = at + strcspn(at, " \t");
		at = end + strspn(end, " \t");
	}
	return *at == '\0' ? schedule : pnstrdup(schedule, end - schedule);
}

/* Moves a job, or only tries whether that can be done. Returns why it cannot; NULL if it can. */
static char *
try_move(const CronJob *cron, bool dry_run, bool unschedule)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char *volatile reason = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		move(cron, unschedule);
		if (dry_run)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			ReThrowError(error);
		reason = error->detail ? psprintf("%s: %s", error->message, error->detail)
				 : error->hint ? psprintf("%s: %s", error->message, error->hint)
							   : pstrdup(error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return reason;
}

/* Makes the job and unschedules it there. Raises what is wrong with it. */
static void
move(const CronJob *cron, bool unschedule)
{
	const char *zone = GetConfigOption("cron.timezone", true, false);
	DmJob job;

	dm_job_init(&job);
	job.values[DM_JOB_NAME] = cron->name;
	job.values[DM_JOB_BODY] = cron->command;
	job.values[DM_JOB_SCHEDULE] = cron->schedule;
	job.values[DM_JOB_TIMEZONE] = pstrdup(zone && zone[0] ? zone : "GMT");
	job.values[DM_JOB_OWNER] = pstrdup(quote_identifier(cron->username));
	/* as pg_cron does it; its commands have no limit of time, and this is the longest that there is here */
	job.values[DM_JOB_OVERLAP] = "queue";
	job.values[DM_JOB_MISSED] = "skip";
	job.values[DM_JOB_SUSPEND_AFTER] = "0";
	job.values[DM_JOB_TIMEOUT] = "24 days";
	dm_job_create(&job);
	if (!cron->is_active)
		pause_job(job.job_id, REASON_INACTIVE);
	else if (!unschedule)
		pause_job(job.job_id, REASON_COPIED);
	if (unschedule)
		unschedule_job(cron->id);
}

/* Sets a job that was just made to paused. */
static void
pause_job(int64 job_id, const char *reason)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	dm_args_int8(&args, job_id);
	dm_args_text(&args, reason);
	dm_catalog_begin(&scope);
	dm_catalog_run("UPDATE datamill.job_catalog SET state = '" DM_STATE_PAUSED
				   "', state_reason = $2 WHERE job_id = $1",
				   &args);
	dm_catalog_end(&scope);
}

/* Calls cron.unschedule() as the caller. */
static void
unschedule_job(int64 id)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};

	SPI_connect();
	if (SPI_execute_with_args("SELECT cron.unschedule($1)", 1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cron.unschedule() was not called");
	SPI_finish();
}
