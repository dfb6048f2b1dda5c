/*
 * at_commit.c: what a transaction wants of the processes of jobs, which is told them when it commits and not before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "job/shared.h"

/* A run that is to be ended when the transaction commits. */
typedef struct Stop
{
	int64 run_id;
	SubTransactionId within; /* in which that was asked for */
} Stop;

static bool wake_at_commit = false;
static bool rescan_at_commit = false;
static bool callback_is_there = false;
static List *stop_at_commit = NIL; /* of Stop*, in TopTransactionContext */

static void at_end_of_transaction(XactEvent event, void *arg);
static void at_end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);

/* Wakes the scheduler of this database when the transaction commits; does nothing without shared memory. */
void
dm_shared_wake_at_commit(void)
{
	if (!dm_shared_is_there())
		return;
	wake_at_commit = true;
	if (!callback_is_there)
	{
		RegisterXactCallback(at_end_of_transaction, NULL);
		RegisterSubXactCallback(at_end_of_subtransaction, NULL);
	}
	callback_is_there = true;
}

/* Ends a run of this database when the transaction commits. */
void
dm_shared_stop_at_commit(int64 run_id)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Stop *stop = palloc(sizeof(Stop));

	stop->run_id = run_id;
	stop->within = GetCurrentSubTransactionId();
	stop_at_commit = lappend(stop_at_commit, stop);
	MemoryContextSwitchTo(caller);
	dm_shared_wake_at_commit();
}

/* Makes the launcher look at the list of databases when the transaction commits. */
void
dm_shared_rescan_at_commit(void)
{
	if (!dm_shared_is_there())
		return;
	rescan_at_commit = true;
	dm_shared_wake_at_commit();
}

/* Transaction callback: wakes whom the transaction wanted woken. Raises 0A000 if it wants to end runs and is to be prepared: nobody would. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	ListCell *cell;

	if (event == XACT_EVENT_PRE_PREPARE && stop_at_commit != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that ends runs of jobs")));
	if (event == XACT_EVENT_COMMIT && wake_at_commit)
	{
		if (rescan_at_commit)
			dm_shared_rescan();
		foreach (cell, stop_at_commit)
			dm_slot_stop(MyDatabaseId, ((Stop *) lfirst(cell))->run_id, DM_STOP_CANCEL);
		dm_shared_wake(MyDatabaseId);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		wake_at_commit = rescan_at_commit = false;
		stop_at_commit = NIL;
	}
}

/* Subtransaction callback: what was asked for in one that is rolled back is not. */
static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	ListCell *cell;

	foreach (cell, stop_at_commit)
	{
		Stop *stop = lfirst(cell);

		if (stop->within != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			stop->within = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
			stop_at_commit = foreach_delete_current(stop_at_commit, cell);
	}
}
