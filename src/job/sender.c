/*
 * sender.c: the process that sends notifications: there is one while something is due, so a slow mail server keeps no scheduler waiting.
 *
 * The scheduler starts it, and is woken when it ends: what came in between is then seen. It runs nobody's code.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "job/sender.h"
#include "job/shared.h"
#include "notify/notify.h"

#define PAUSE_US (USECS_PER_SEC / 10)
#define AFTER_FAILURE_US (5 * USECS_PER_SEC)

extern PGDLLEXPORT void dm_sender_main(Datum main_arg);

static BackgroundWorkerHandle *handle = NULL;
static TimestampTz started_at = 0;
static TimestampTz started_for = DT_NOEND;

static bool start_process(void);

/* Starts the process if it is due; see sender.h. */
TimestampTz
dm_sender_start(TimestampTz now)
{
	TimestampTz next = dm_outbox_next();
	/* a process that did nothing about what it was started for has failed */
	int64 pause_us = next == started_for ? AFTER_FAILURE_US : PAUSE_US;
	pid_t pid;

	if (next > now)
		return next;
	/* it looks again before it ends, and its end wakes the scheduler; an earlier scheduler may have started it */
	if (dm_shared_sender_is_there())
		return DT_NOEND;
	/* it begins or ends */
	if (handle && GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
		return now + PAUSE_US;
	if (now >= started_at && now - started_at < pause_us)
		return started_at + pause_us;
	started_at = now;
	started_for = next;
	return start_process() ? DT_NOEND : now + AFTER_FAILURE_US;
}

/* Entry of the process; main_arg is the OID of the database. */
void
dm_sender_main(Datum main_arg)
{
	static const char *const settings[][2] = {{"application_name", "datamill notifier"},
											  {"default_transaction_isolation", "read committed"},
											  {"default_transaction_read_only", "off"},
											  {"idle_in_transaction_session_timeout", "0"},
											  {"jit", "off"},
											  {"lock_timeout", "10s"},
											  {"max_parallel_workers_per_gather", "0"},
											  {"session_replication_role", "origin"},
											  {"statement_timeout", "0"}};

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler); /* which lock_timeout needs */
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg), InvalidOid, 0);
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	if (!dm_shared_sender_enter())
		proc_exit(0);
	pgstat_report_activity(STATE_RUNNING, "sends notifications");
	dm_sending_run();
	pgstat_report_stat(true);
	proc_exit(0);
}

/* Asks the postmaster for the process. */
static bool
start_process(void)
{
	MemoryContext caller;
	BackgroundWorker worker = {0};
	bool started;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "datamill", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dm_sender_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "datamill notifier of database %u", MyDatabaseId);
	strlcpy(worker.bgw_type, "datamill notifier", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	worker.bgw_notify_pid = MyProcPid;
	if (handle)
		pfree(handle);
	handle = NULL;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(caller);
	return started;
}
