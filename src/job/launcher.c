/*
 * launcher.c: the process that starts a scheduler in each database.
 *
 * 1. It is connected to no database, and reads only the list of them. Whether one has the extension is for its scheduler to find, which ends
 *    if not; CREATE EXTENSION calls it back.
 * 2. A scheduler that ends otherwise is started anew, after a pause. Nothing that happens in one database keeps another waiting.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "job/launcher.h"
#include "job/shared.h"

#define PAUSE_US (5 * USECS_PER_SEC)
#define RESTART_SECONDS 5

extern PGDLLEXPORT void dm_launcher_main(Datum main_arg);

/* When a scheduler was last started in a database. */
typedef struct Started
{
	Oid database;
	TimestampTz at;
} Started;

static Started started[DM_MAX_DATABASES];

static void look_at_databases(void);
static TimestampTz start_wanted(TimestampTz now);
static Started *started_find(Oid database);
static bool start_scheduler(Oid database);

/* Asks for the launcher and shared memory. Called once, from _PG_init, by the postmaster. */
void
dm_launcher_init(void)
{
	BackgroundWorker worker = {0};

	dm_shared_init();
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "datamill", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dm_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "datamill launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "datamill launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* Entry of the process. */
void
dm_launcher_main(Datum main_arg)
{
	uint32 wait_event;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	dm_shared_launcher_enter();
	wait_event = dm_wait_event_make("DatamillLauncher");
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz wake_at;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		/* looking may take the latch's news away */
		while (dm_shared_rescan_wanted())
			look_at_databases();
		wake_at = start_wanted(now);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (TIMESTAMP_IS_NOEND(wake_at) ? 0 : WL_TIMEOUT),
						 TIMESTAMP_IS_NOEND(wake_at) ? -1 : (long) Max((wake_at - now) / 1000 + 1, 1),
						 wait_event);
	}
}

/* Reads the list of databases: those that are new may have a scheduler, those that are gone are forgotten. */
static void
look_at_databases(void)
{
	Oid *known = palloc(DM_MAX_DATABASES * sizeof(Oid));
	int nknown = dm_shared_databases(known);
	Relation databases;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	databases = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(databases, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		for (int i = 0; i < nknown; i++)
		{
			if (known[i] == database->oid)
				known[i] = InvalidOid;
		}
		if (database->datallowconn && !database->datistemplate)
			dm_shared_want(database->oid);
	}
	table_endscan(scan);
	table_close(databases, AccessShareLock);
	CommitTransactionCommand();
	for (int i = 0; i < nknown; i++)
	{
		if (OidIsValid(known[i]))
			dm_shared_forget(known[i]);
	}
	pfree(known);
}

/* Starts the schedulers that are wanted; returns when to look again for those that have to wait. */
static TimestampTz
start_wanted(TimestampTz now)
{
	TimestampTz wake_at = DT_NOEND;
	TimestampTz held_until;
	int position = 0;
	bool called;
	Oid database;

	while (dm_shared_next_wanted(&position, &database, &held_until, &called))
	{
		Started *last = started_find(database);
		TimestampTz not_before = called ? held_until : Max(held_until, last->at + PAUSE_US);

		if (not_before <= now)
		{
			not_before = now + PAUSE_US;
			last->at = now;
			if (!start_scheduler(database))
				ereport(LOG,
						(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						 errmsg("datamill found no process for the scheduler of database %u", database),
						 errhint("Raise max_worker_processes.")));
		}
		wake_at = Min(wake_at, not_before);
	}
	return wake_at;
}

/* Finds when a database's scheduler was last started; reuses the oldest entry if there is none. */
static Started *
started_find(Oid database)
{
	Started *oldest = &started[0];

	for (int i = 0; i < DM_MAX_DATABASES; i++)
	{
		if (started[i].database == database)
			return &started[i];
		if (started[i].at < oldest->at)
			oldest = &started[i];
	}
	oldest->database = database;
	oldest->at = 0;
	return oldest;
}

/* Asks the postmaster for a scheduler. It wakes this process when it starts and ends. */
static bool
start_scheduler(Oid database)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "datamill", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dm_scheduler_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "datamill scheduler of database %u", database);
	strlcpy(worker.bgw_type, "datamill scheduler", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}
