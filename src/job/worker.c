/*
 * worker.c: the process of a run.
 *
 * 1. It is connected as the owner of the job: its session user, so nothing that the body does gains another's rights.
 * 2. Of the catalog it writes its own run's row only: when it begins, and as it ends, the latter in the body's last transaction. What follows
 *    from the end is the scheduler's to decide. If the row is not there to be ended, the body is taken back.
 * 3. It has a slot in shared memory as long as it lives, which its exit gives back. However it ends, it says so: in the row, or if it cannot,
 *    in the slot.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/catalog.h"
#include "base/columns.h"
#include "base/compat.h"
#include "base/guc.h"
#include "job/body.h"
#include "job/expect.h"
#include "job/look.h"
#include "job/rehearsal.h"
#include "job/replay.h"
#include "job/shared.h"
#include "job/states.h"
#include "job/track.h"
#include "job/worker.h"
#include "receipt/receipt.h"

extern PGDLLEXPORT void dm_run_main(Datum main_arg);

typedef struct Work
{
	DmRun run;
	char *name;
	char *body;
	char *definition; /* its digest */
	char *when_sql;
	List *expect; /* of char*: queries */
	bool is_rehearsal;
	int64 replay_of; /* run whose inputs this one reads again; 0: none */
	int64 timeout_ms;
	DestReceiver *receiver;
	DmBody execution;
	DmReceipt *receipt;
	const char *report; /* of a rehearsal */
	bool is_look;		/* for objects, and does not execute the body */
	DmLook look;
} Work;

static DmRunTicket ticket;
static Work work;
static bool is_run = false;
static bool has_ended = false;
static volatile sig_atomic_t timed_out = false;
static char last_sqlstate[6];
static char last_message[DM_STOP_TEXT];
static emit_log_hook_type previous_log_hook = NULL;

static void leave(int code, Datum arg);
static bool server_is_stopping(void);
static void note_fatal(ErrorData *error);
static bool claim(void);
static void start_clock(void);
static void stop_clock(void);
static void on_timeout(void);
static void on_grace(void);
static bool is_wanted(void);
static void rehearse(void);
static void perform(void);
static void finish(void *arg);
static void end_run(const char *state, const char *reason, const ErrorData *error);
static uint64 write_end(const char *state, const char *reason, const ErrorData *error);
static void fail(MemoryContext context);
static char *describe(const ErrorData *error);

/* The run of this process. */
const DmRun *
dm_run_current(void)
{
	return is_run ? &work.run : NULL;
}

/* Entry of the process. */
void
dm_run_main(Datum main_arg)
{
	MemoryContext context;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!dm_slot_enter(&ticket))
		proc_exit(0);
	before_shmem_exit(leave, 0);
	previous_log_hook = emit_log_hook;
	emit_log_hook = note_fatal;
	BackgroundWorkerInitializeConnectionByOid(ticket.database, ticket.owner, 0);
	context = AllocSetContextCreate(TopMemoryContext, "datamill run", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	if (claim())
	{
		is_run = true;
		dm_receipt_set_run(work.run.run_id);
		PG_TRY();
		{
			perform();
		}
		PG_CATCH();
		{
			fail(context);
		}
		PG_END_TRY();
	}
	pgstat_report_stat(true);
	has_ended = true;
	dm_slot_end(&ticket, DM_STOP_NONE, NULL, NULL);
	proc_exit(0);
}

/* Exit callback: a run that has not written its end tells it to the scheduler. */
static void
leave(int code, Datum arg)
{
	DmStop stop = DM_STOP_NONE;

	if (has_ended)
		return;
	if (timed_out)
		stop = DM_STOP_TIMEOUT;
	else if (strcmp(last_sqlstate, "57P01") == 0 && server_is_stopping())
		stop = DM_STOP_SERVER;
	dm_slot_end(&ticket,
				stop,
				last_sqlstate[0] ? last_sqlstate : "57P01",
				last_message[0] ? last_message : "the process ended without saying why");
}

/*
 * True if the postmaster is stopping the server, which it writes into its lock file before it tells its children. The scheduler may live a
 * little longer than a run, and would otherwise take its end for one that somebody wanted.
 */
static bool
server_is_stopping(void)
{
	char text[MAXPGPATH + 1024];
	char *line = text;
	int fd = open("postmaster.pid", O_RDONLY | PG_BINARY, 0);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[Max(len, 0)] = '\0';
	for (int i = 1; line && i < LOCK_FILE_LINE_PM_STATUS; i++)
	{
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return line && strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

/* Keeps what fits of a message, cut between characters. */
static void
note_message(const char *message)
{
	int len = pg_mbcliplen(message, strlen(message), sizeof(last_message) - 1);

	memcpy(last_message, message, len);
	last_message[len] = '\0';
}

/* Log hook: keeps the last error, in case it ends the process. */
static void
note_fatal(ErrorData *error)
{
	if (error->elevel >= ERROR)
	{
		strlcpy(last_sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(last_sqlstate));
		note_message(error->message ? error->message : "");
	}
	if (previous_log_hook)
		previous_log_hook(error);
}

/* Sets the run to running and reads what it is to do. False if it is not wanted any more. */
static bool
claim(void)
{
	MemoryContext context = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	bool is_null;
	bool claimed;

	StartTransactionCommand();
	XactReadOnly = false;
	(void) set_config_option(
		"synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	dm_args_int8(&args, ticket.run_id);
	dm_args_int4(&args, MyProcPid);
	dm_catalog_begin(&scope);
	claimed =
		dm_catalog_run(
			"UPDATE datamill.run_catalog r SET state = 'running', started_at = clock_timestamp(), pid = $2, "
			"definition = j.definition, arguments = CASE WHEN j.pinned IS NULL OR r.replay_of IS NOT NULL THEN "
			"r.arguments "
			"ELSE r.arguments || jsonb_build_object('objects', j.pinned) END "
			"FROM datamill.job_catalog j WHERE r.run_id = $1 AND r.state = 'starting' AND j.job_id = r.job_id "
			"RETURNING r.name, j.body, j.when_sql, (extract(epoch FROM j.timeout) * 1000)::bigint, "
			"r.scheduled_time, r.arguments, j.expect, r.trigger = 'rehearsal', "
			"j.definition, r.trigger = 'look', j.watch, r.job_id, j.arguments ->> 'server', r.replay_of",
			&args) > 0;
	if (claimed)
	{
		MemoryContextSwitchTo(context);
		work.run.run_id = ticket.run_id;
		work.name = dm_catalog_text(0, 1);
		work.body = dm_catalog_text(0, 2);
		work.when_sql = dm_catalog_text(0, 3);
		work.timeout_ms = dm_catalog_int8(0, 4);
		work.run.scheduled_time = dm_catalog_time(0, 5);
		work.run.arguments = PointerGetDatum(PG_DETOAST_DATUM_COPY(dm_catalog_value(0, 6, &is_null)));
		work.expect = dm_expect_list(dm_catalog_text(0, 7));
		work.is_rehearsal = DatumGetBool(dm_catalog_value(0, 8, &is_null));
		work.definition = dm_catalog_text(0, 9);
		work.is_look = DatumGetBool(dm_catalog_value(0, 10, &is_null));
		work.look.run_id = ticket.run_id;
		work.look.name = work.name;
		work.look.watch = dm_catalog_text(0, 11);
		work.look.job_id = dm_catalog_int8(0, 12);
		work.look.server = dm_catalog_text(0, 13);
		work.replay_of = dm_catalog_int8(0, 14);
	}
	dm_catalog_end(&scope);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	if (claimed)
		SetConfigOption("application_name", psprintf("datamill:%s", work.name), PGC_USERSET, PGC_S_SESSION);
	return claimed;
}

/* Does the run's work. */
static void
perform(void)
{
	char *arguments;

	if (dm_slot_stop_asked(&ticket) != DM_STOP_NONE)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the run was cancelled before it began")));
	start_clock();
	if (work.is_look)
	{
		dm_look(&work.look);
		return;
	}
	if (work.replay_of > 0)
		dm_replay_begin(work.replay_of);
	if (work.when_sql && !work.is_rehearsal && work.replay_of == 0 && !is_wanted())
	{
		end_run(DM_RUN_SKIPPED, "when_sql was not true", NULL);
		return;
	}
	arguments = JsonbToCString(
		NULL, &DatumGetJsonbP(work.run.arguments)->root, VARSIZE(DatumGetPointer(work.run.arguments)));
	work.receiver = dm_capture_make(CurrentMemoryContext);
	work.receipt = dm_receipt_begin("job", work.name, arguments);
	dm_receipt_set_code(work.receipt, work.definition);
	dm_receipt_set_run_receipt(work.receipt);
	dm_track_begin();
	work.execution.text = work.body;
	work.execution.receiver = work.receiver;
	work.execution.context = CurrentMemoryContext;
	work.execution.finish = finish;
	if (work.is_rehearsal)
		rehearse();
	else
		dm_body_execute(&work.execution);
}

/* Lets the timeout of the run begin. */
static void
start_clock(void)
{
	static TimeoutId run_timeout = USER_TIMEOUT;
	static TimeoutId grace_timeout = USER_TIMEOUT;

	if (run_timeout == USER_TIMEOUT && grace_timeout == USER_TIMEOUT)
	{
		run_timeout = RegisterTimeout(USER_TIMEOUT, on_timeout);
		grace_timeout = RegisterTimeout(USER_TIMEOUT, on_grace);
	}
	enable_timeout_after(run_timeout, Min(work.timeout_ms, PG_INT32_MAX));
	enable_timeout_after(grace_timeout, Min(work.timeout_ms + dm_guc_cancel_grace_ms, PG_INT32_MAX));
}

/* Ends all timeouts: from here on only bookkeeping is done. */
static void
stop_clock(void)
{
	disable_all_timeouts(false);
	QueryCancelPending = false;
}

/* Timeout handler: the run's time is up. */
static void
on_timeout(void)
{
	timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Timeout handler: and it has not ended since. */
static void
on_grace(void)
{
	InterruptPending = true;
	ProcDiePending = true;
	SetLatch(MyLatch);
}

/* Executes when_sql in a transaction of its own and returns whether it is true. */
static bool
is_wanted(void)
{
	MemoryContext context = CurrentMemoryContext;
	bool wanted;

	StartTransactionCommand();
	wanted = dm_expect_is_true(work.when_sql, "when_sql", work.name);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return wanted;
}

/* Rehearses the body; the report is the result of the run. */
static void
rehearse(void)
{
	DmRehearsal rehearsal = {.body = &work.execution, .expect = work.expect, .job = work.name};
	ErrorData complaint = {.sqlerrcode = ERRCODE_CHECK_VIOLATION};

	dm_rehearse(&rehearsal);
	work.report = rehearsal.report;
	complaint.message = rehearsal.complaint;
	end_run(rehearsal.is_ok ? DM_RUN_SUCCEEDED : DM_RUN_FAILED, NULL, rehearsal.is_ok ? NULL : &complaint);
}

/* In the body's last transaction: writes the receipt and the end of the run. Raises if the run is not to be ended by this process. */
static void
finish(void *arg)
{
	dm_track_report(work.receipt);
	if (work.replay_of == 0)
		dm_archive_note(work.receipt);
	dm_expect_check(work.expect, work.name);
	if (dm_receipt_is_empty(work.receipt))
		work.receipt = NULL;
	else
		dm_receipt_write(work.receipt);
	if (work.replay_of > 0)
		dm_replay_check(work.replay_of, work.run.run_id);
	else
		dm_archive_run(work.run.run_id);
	if (write_end(DM_RUN_SUCCEEDED, NULL, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " was ended by others: what it did is taken back", work.run.run_id)));
}

/* Writes the end of the run in a transaction of its own. */
static void
end_run(const char *state, const char *reason, const ErrorData *error)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	write_end(state, reason, error);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Updates the run's row in the transaction that is open; returns 0 if it is not running. */
static uint64
write_end(const char *state, const char *reason, const ErrorData *error)
{
	bool was_read_only = XactReadOnly;
	const char *rows = work.report ? work.report : !error && work.receiver ? dm_capture_rows(work.receiver) : NULL;
	DmCatalogArgs args = {0};
	DmColumn commands = {0};
	DmCatalogScope scope;
	struct rusage usage;
	ListCell *cell;
	uint64 n;

	getrusage(RUSAGE_SELF, &usage);
	foreach (cell, work.execution.commands)
		dm_column_add_text(&commands, lfirst(cell));
	dm_args_int8(&args, work.run.run_id);
	dm_args_text(&args, state);
	dm_args_text(&args, reason);
	dm_args_text(&args, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	dm_args_text(&args, error ? error->message : NULL);
	dm_args_text(&args, error ? describe(error) : NULL);
	dm_args_column(&args, &commands);
	dm_args_text(&args, rows);
	dm_args_int8(&args,
				 (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * USECS_PER_SEC + usage.ru_utime.tv_usec +
					 usage.ru_stime.tv_usec);
	dm_args_int8(&args, usage.ru_maxrss * INT64CONST(1024));
	XactReadOnly = false;
	dm_catalog_begin(&scope);
	n = dm_catalog_run(
		"UPDATE datamill.run_catalog SET state = $2, reason = coalesce($3, reason), sqlstate = $4, message = $5, "
		"detail = $6, commands = $7, result = $8::jsonb, cpu_seconds = $9 / 1e6, peak_memory = $10, "
		"finished_at = clock_timestamp() WHERE run_id = $1 AND state = 'running'",
		&args);
	dm_catalog_end(&scope);
	XactReadOnly = was_read_only;
	return n;
}

/* In PG_CATCH: takes back what is open and writes why the run failed. */
static void
fail(MemoryContext context)
{
	DmStop stop = dm_slot_stop_asked(&ticket);
	const char *state = DM_RUN_FAILED;
	const char *reason = NULL;
	ErrorData *error;

	HOLD_CANCEL_INTERRUPTS();
	stop_clock();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	strlcpy(last_sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(last_sqlstate));
	note_message(error->message);
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(context);
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && timed_out)
	{
		state = DM_RUN_TIMED_OUT;
		reason = "it went on for longer than its timeout";
	}
	else if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && stop != DM_STOP_NONE)
	{
		state = DM_RUN_CANCELLED;
		reason = stop == DM_STOP_REPLACED ? "a later time came due" : "by cancel() or drop_job()";
	}
	end_run(state, reason, error);
	RESUME_CANCEL_INTERRUPTS();
}

/* Returns detail, hint and context of an error in one text; NULL if it has none. */
static char *
describe(const ErrorData *error)
{
	StringInfoData out;

	initStringInfo(&out);
	if (error->detail)
		appendStringInfo(&out, "DETAIL: %s\n", error->detail);
	if (error->hint)
		appendStringInfo(&out, "HINT: %s\n", error->hint);
	if (error->cursorpos > 0)
		appendStringInfo(&out, "POSITION: character %d of the body\n", error->cursorpos);
	if (error->context)
		appendStringInfo(&out, "CONTEXT: %s\n", error->context);
	if (out.len > 0)
		out.data[out.len - 1] = '\0';
	return out.len > 0 ? out.data : NULL;
}
