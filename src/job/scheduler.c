/*
 * scheduler.c: the process that starts the jobs of one database.
 *
 * 1. It sleeps until something is due or somebody wakes it: a transaction that changed jobs, a run that ended.
 * 2. A tick is a few short transactions. One that fails is logged and tried again; it never ends the process.
 * 3. It waits for no user: rows that sessions have locked are passed over, and no lock is waited for long.
 * 4. Its commits need not reach the disk at once: what a run does later is behind them in the log.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "base/guc.h"
#include "job/scheduler.h"
#include "job/sender.h"
#include "job/shared.h"

#define LOOK_US (60 * USECS_PER_SEC)
#define AFTER_ERROR_US (5 * USECS_PER_SEC)
#define POSTPONED_US (USECS_PER_SEC / 2)
#define RESERVED_US (2 * USECS_PER_SEC)
#define EXPIRE_US USECS_PER_HOUR
#define CLOCK_WENT_BACK_US USECS_PER_SEC
#define TELL_LATE_US (60 * USECS_PER_SEC)
#define MAX_ROUNDS 100

extern PGDLLEXPORT void dm_scheduler_main(Datum main_arg);

static MemoryContext tick_context;
static TimestampTz expired_at = 0; /* a difference to DT_NOBEGIN would overflow */
static TimestampTz last_tick_at = DT_NOBEGIN;
static TimestampTz late_told_at = DT_NOBEGIN;
static bool late_is_wanted = false;
static bool is_first = true;

static void set_session(void);
static TimestampTz tick_or_wait(void);
static TimestampTz tick(void);
static bool extension_is_there(void);
static void begin(DmCatalogScope *scope);
static void end(DmCatalogScope *scope);
static void settle(TimestampTz now, bool *postponed);
static void stop_replaced(List *jobs);
static TimestampTz next_stop(TimestampTz now);
static void sleep_until(TimestampTz wake_at);

/* Entry of the process; main_arg is the OID of the database. */
void
dm_scheduler_main(Datum main_arg)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler); /* which lock_timeout needs */
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg), InvalidOid, 0);
	set_session();
	if (!dm_shared_scheduler_enter())
		proc_exit(0);
	dm_catalog_keep_plans();
	tick_context = AllocSetContextCreate(TopMemoryContext, "datamill tick", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		TimestampTz started_at;
		TimestampTz wake_at;

		ResetLatch(MyLatch);
		QueryCancelPending = false; /* of a tick that is over */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(tick_context);
		MemoryContextSwitchTo(tick_context);
		started_at = GetCurrentTimestamp();
		wake_at = tick_or_wait();
		ereport(DEBUG1,
				(errmsg_internal("datamill scheduler: a tick of %.1f ms",
								 (GetCurrentTimestamp() - started_at) / 1000.0)));
		pgstat_report_stat(false);
		sleep_until(wake_at);
	}
}

/*
 * Settings that the database or its roles may have, and which must not change what happens here. Plans are made once, perhaps before there
 * are statistics: they use indexes.
 */
static void
set_session(void)
{
	static const char *const settings[][2] = {{"application_name", "datamill scheduler"},
											  {"default_transaction_isolation", "read committed"},
											  {"default_transaction_read_only", "off"},
											  {"enable_seqscan", "off"},
											  {"idle_in_transaction_session_timeout", "0"},
											  {"jit", "off"},
											  {"lock_timeout", "10s"},
											  {"max_parallel_workers_per_gather", "0"},
											  {"plan_cache_mode", "force_generic_plan"},
											  {"session_replication_role", "origin"},
											  {"statement_timeout", "0"},
											  {"synchronous_commit", "off"}};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Does a tick; after an error, says when to try again. */
static TimestampTz
tick_or_wait(void)
{
	volatile TimestampTz wake_at = GetCurrentTimestamp() + AFTER_ERROR_US;

	PG_TRY();
	{
		wake_at = tick();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	pgstat_report_activity(STATE_IDLE, NULL);
	return wake_at;
}

/* Does what is to be done and returns when there is something to do next. Ends the process if the extension is gone. */
static TimestampTz
tick(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz wake_at = DT_NOEND;
	List *replaced = NIL;
	List *launches = NIL;
	bool postponed = false;
	bool refused = false;
	bool is_called;
	DmCatalogScope scope;

	is_called = dm_shared_scheduler_look() || is_first;
	if (!extension_is_there())
	{
		if (dm_shared_scheduler_retire())
			proc_exit(0);
		return now;
	}
	pgstat_report_activity(STATE_RUNNING, "looks what is to be done");
	settle(now, &postponed);
	if (dm_guc_scheduler)
	{
		begin(&scope);
		if (is_called)
			dm_settle_pause_restored();
		if (is_first)
			dm_due_queue_reboot();
		if (is_first || now < last_tick_at - CLOCK_WENT_BACK_US)
			dm_due_follow_clock(now);
		dm_due_queue(now, &replaced);
		end(&scope);
		stop_replaced(replaced);
		/* what was skipped may keep other jobs from running */
		settle(now, &postponed);
		begin(&scope);
		launches = dm_launch_choose(now, &refused);
		end(&scope);
		launches = dm_launch_start(launches);
	}
	begin(&scope);
	if (launches != NIL)
		dm_launch_return(launches, now);
	if (now - expired_at > EXPIRE_US)
	{
		dm_settle_expire(now);
		expired_at = now;
	}
	if (dm_guc_scheduler)
	{
		TimestampTz send_at = dm_sender_start(now);

		wake_at = dm_launch_next(now);
		wake_at = Min(wake_at, send_at);
	}
	end(&scope);
	is_first = false;
	last_tick_at = now;
	if (TIMESTAMP_IS_NOBEGIN(late_told_at) || now - late_told_at >= TELL_LATE_US || now < late_told_at)
	{
		begin(&scope);
		late_is_wanted = dm_late_tell();
		end(&scope);
		late_told_at = now;
	}
	if (late_is_wanted)
		wake_at = Min(wake_at, late_told_at + TELL_LATE_US);
	dm_slot_terminate_overdue(now - dm_guc_cancel_grace_ms * INT64CONST(1000));
	if (refused)
		wake_at = now;
	if (postponed)
		wake_at = Min(wake_at, now + POSTPONED_US);
	return Min(wake_at, next_stop(now));
}

/* Is the extension in this database? */
static bool
extension_is_there(void)
{
	bool is_there;

	StartTransactionCommand();
	is_there = OidIsValid(get_extension_oid("datamill", true));
	CommitTransactionCommand();
	MemoryContextSwitchTo(tick_context);
	return is_there;
}

/* Begins a transaction and a scope in it; memory is the tick's. */
static void
begin(DmCatalogScope *scope)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	dm_catalog_begin(scope);
	MemoryContextSwitchTo(tick_context);
}

/* Commits it. */
static void
end(DmCatalogScope *scope)
{
	dm_catalog_end(scope);
	CommitTransactionCommand();
	MemoryContextSwitchTo(tick_context);
}

/* Settles all runs that ended. */
static void
settle(TimestampTz now, bool *postponed)
{
	DmCatalogScope scope;
	List *tickets;
	ListCell *cell;
	int n = 1;

	begin(&scope);
	tickets = dm_settle_slots(now);
	end(&scope);
	foreach (cell, tickets)
		dm_slot_free(lfirst(cell));
	for (int round = 0; n > 0 && round < MAX_ROUNDS; round++)
	{
		begin(&scope);
		n = dm_settle_runs(now, postponed);
		end(&scope);
	}
}

/* Cancels the runs of jobs that have a later one queued. */
static void
stop_replaced(List *jobs)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	ListCell *cell;

	foreach (cell, jobs)
	{
		uint64 n;

		args.n = 0;
		dm_args_int8(&args, *(int64 *) lfirst(cell));
		begin(&scope);
		dm_catalog_run(
			"UPDATE datamill.run_catalog SET state = 'cancelled', reason = 'a later time came due', "
			"finished_at = clock_timestamp() WHERE run_id IN (SELECT run_id FROM datamill.run_catalog r "
			"WHERE job_id = $1 AND state = 'queued' AND trigger NOT IN ('backfill', 'replay', 'rehearsal') AND "
			"EXISTS "
			"(SELECT "
			"FROM datamill.run_catalog l WHERE l.job_id = $1 AND l.state = 'queued' AND l.trigger = 'schedule' "
			"AND l.scheduled_time > r.scheduled_time) FOR NO KEY UPDATE SKIP LOCKED)",
			&args);
		n = dm_catalog_run(
			"SELECT run_id FROM datamill.run_catalog WHERE job_id = $1 AND state IN ('starting', 'running') "
			"AND trigger NOT IN ('backfill', 'replay', 'rehearsal')",
			&args);
		for (uint64 i = 0; i < n; i++)
			dm_slot_stop(MyDatabaseId, dm_catalog_int8(i, 1), DM_STOP_REPLACED);
		end(&scope);
	}
}

/* Returns when a run of this database is to be terminated, or its process given up. */
static TimestampTz
next_stop(TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	DmRunSlot slot;

	for (int i = 0; dm_slot_copy(i, &slot); i++)
	{
		if (slot.database != MyDatabaseId)
			continue;
		if (slot.phase == DM_SLOT_ALIVE && slot.stop != DM_STOP_NONE && !slot.terminated)
			next = Min(next, slot.stop_at + dm_guc_cancel_grace_ms * INT64CONST(1000));
		if (slot.phase == DM_SLOT_RESERVED)
			next = Min(next, Max(slot.reserved_at, now) + RESERVED_US);
	}
	return next;
}

/*
 * Sleeps, unless somebody called since the tick began: a tick that waited for a lock or for a page that another process read has reset the
 * latch. The system's clock may be set while it sleeps, and a prepared transaction is committed without a word, so it looks once a minute in
 * any case.
 */
static void
sleep_until(TimestampTz wake_at)
{
	static uint32 wait_event = 0;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = Min(wake_at, now + LOOK_US);

	if (wait_event == 0)
		wait_event = dm_wait_event_make("DatamillScheduler");
	if (!dm_shared_scheduler_is_woken())
		/* rounded up, lest it wakes too early */
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) Max((until - now + 999) / 1000, 0),
						 wait_event);
}
