/*
 * shared.c: the shared memory of jobs.
 *
 * 1. Nothing here can fail for want of memory: arrays have a fixed size, and one lock guards all of it. Nothing raises while it is held.
 * 2. A process enters itself and leaves in a callback at its end; a pid or latch that is there belongs to a living process, so it may be
 *    signalled under the lock.
 * 3. Without shared_preload_libraries there is no shared memory: sessions then wake nobody, and nothing else is called.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "job/shared.h"

#define HOLD_MS 15000
#define HOLD_WAIT_MS 5000

typedef struct DatabaseSlot
{
	Oid database; /* InvalidOid: free */
	pid_t pid;	  /* of its scheduler, 0 if there is none */
	pid_t sender; /* the process that sends notifications, 0 if there is none */
	Latch *latch;
	bool wanted;  /* it should have a scheduler */
	bool called;  /* somebody woke it since it last looked, or wanted one where there was none */
	bool woken;	  /* its latch was set since it last looked */
	bool starves; /* its scheduler has runs to start and no room for them */
	TimestampTz held_until;
} DatabaseSlot;

typedef struct JobShared
{
	LWLock *lock;
	Latch *launcher;
	bool rescan;
	DatabaseSlot databases[DM_MAX_DATABASES];
	int nslots;
	DmRunSlot slots[FLEXIBLE_ARRAY_MEMBER];
} JobShared;

static JobShared *shared = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;
static Size shared_size(void);
static void shared_request(void);
static void shared_startup(void);
static DatabaseSlot *database_find(Oid database, bool add);
static void wake_scheduler(DatabaseSlot *slot);
static void launcher_leave(int code, Datum arg);
static void scheduler_leave(int code, Datum arg);
static void sender_leave(int code, Datum arg);
static DmRunSlot *slot_of(const DmRunTicket *ticket);

/* Asks for the memory. Called once, from _PG_init, by the postmaster. */
void
dm_shared_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = shared_request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

/* Was the library preloaded, so that there are processes for jobs? */
bool
dm_shared_is_there(void)
{
	return shared != NULL;
}

/* Makes the launcher look at the list of databases. */
void
dm_shared_rescan(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->rescan = true;
	if (shared->launcher)
		SetLatch(shared->launcher);
	LWLockRelease(shared->lock);
}

/* Wakes the scheduler of a database, or lets the launcher start one. */
void
dm_shared_wake(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(database, true);
	if (slot)
		slot->called = slot->called || slot->pid || !slot->wanted;
	if (slot && slot->pid)
		wake_scheduler(slot);
	else if (slot)
		slot->wanted = true;
	if (shared->launcher && (!slot || !slot->pid))
		SetLatch(shared->launcher);
	LWLockRelease(shared->lock);
}

/* Ends the scheduler of a database and keeps it away while the statement that asked has its way. */
void
dm_shared_hold(Oid database)
{
	DatabaseSlot *slot;
	bool alive = true;

	if (!shared)
		return;
	for (int waited_ms = 0; alive && waited_ms < HOLD_WAIT_MS; waited_ms += 10)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		slot = database_find(database, false);
		alive = slot && (slot->pid || slot->sender);
		if (slot)
			slot->held_until = GetCurrentTimestamp() + HOLD_MS * INT64CONST(1000);
		if (alive && slot->pid)
			kill(slot->pid, SIGTERM);
		if (alive && slot->sender)
			kill(slot->sender, SIGTERM);
		LWLockRelease(shared->lock);
		if (alive)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Makes this process the launcher that is woken. */
void
dm_shared_launcher_enter(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	shared->rescan = true;
	LWLockRelease(shared->lock);
	before_shmem_exit(launcher_leave, 0);
}

/* Is the launcher to look at the list of databases? Asking takes the wish away. */
bool
dm_shared_rescan_wanted(void)
{
	bool wanted;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	wanted = shared->rescan;
	shared->rescan = false;
	LWLockRelease(shared->lock);
	return wanted;
}

/* Notes that a database should have a scheduler. */
void
dm_shared_want(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(database, true);
	if (slot && !slot->pid)
		slot->wanted = true;
	LWLockRelease(shared->lock);
	if (!slot)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("datamill looks after %d databases at most; database %u has no scheduler",
						DM_MAX_DATABASES,
						database)));
}

/*
 * Finds, from a position on (0 for the first), the next database that wants a scheduler and has none; held_until is the time before which it
 * must not have one, or 0; *called tells that it was called since it was last asked about.
 */
bool
dm_shared_next_wanted(int *position, Oid *database, TimestampTz *held_until, bool *called)
{
	bool found = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (; !found && *position < DM_MAX_DATABASES; ++*position)
	{
		DatabaseSlot *slot = &shared->databases[*position];

		if (!OidIsValid(slot->database) || !slot->wanted || slot->pid)
			continue;
		found = true;
		*database = slot->database;
		*held_until = slot->held_until;
		*called = slot->called;
		slot->called = false;
	}
	LWLockRelease(shared->lock);
	return found;
}

/* Lists the databases that are known and have no scheduler. */
int
dm_shared_databases(Oid *databases)
{
	int n = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < DM_MAX_DATABASES; i++)
	{
		if (OidIsValid(shared->databases[i].database) && !shared->databases[i].pid)
			databases[n++] = shared->databases[i].database;
	}
	LWLockRelease(shared->lock);
	return n;
}

/* A database is gone: forgets it. */
void
dm_shared_forget(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(database, false);
	if (slot && !slot->pid && !slot->sender)
		memset(slot, 0, sizeof(*slot));
	LWLockRelease(shared->lock);
}

/* Makes this process the scheduler of its database. */
bool
dm_shared_scheduler_enter(void)
{
	DatabaseSlot *slot;
	bool entered = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, true);
	if (slot && !slot->pid && slot->held_until <= GetCurrentTimestamp())
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		slot->wanted = true;
		entered = true;
	}
	LWLockRelease(shared->lock);
	if (entered)
		before_shmem_exit(scheduler_leave, 0);
	return entered;
}

/* The scheduler is about to look at everything: calls so far are heeded by that. Returns whether there were any. */
bool
dm_shared_scheduler_look(void)
{
	DatabaseSlot *slot;
	bool called;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, false);
	called = slot && slot->called;
	if (slot)
		slot->called = slot->woken = false;
	LWLockRelease(shared->lock);
	return called;
}

/* Was the scheduler woken since it looked? Its latch need not be set any more: waiting for a lock or a page resets it. */
bool
dm_shared_scheduler_is_woken(void)
{
	DatabaseSlot *slot;
	bool woken;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = database_find(MyDatabaseId, false);
	woken = slot && slot->woken;
	LWLockRelease(shared->lock);
	return woken;
}

/* The scheduler is not needed any more. False if somebody called since it looked. */
bool
dm_shared_scheduler_retire(void)
{
	DatabaseSlot *slot;
	bool retires;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, false);
	retires = !slot || !slot->called;
	if (slot && retires)
	{
		slot->wanted = false;
		slot->pid = 0;
		slot->latch = NULL;
	}
	/* nobody will ask what became of runs */
	for (int i = 0; retires && i < shared->nslots; i++)
	{
		if (shared->slots[i].phase == DM_SLOT_ENDED && shared->slots[i].database == MyDatabaseId)
			shared->slots[i].phase = DM_SLOT_FREE;
	}
	LWLockRelease(shared->lock);
	return retires;
}

/* Notes whether this scheduler is to be woken when any run ends. */
void
dm_shared_scheduler_starves(bool starves)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, false);
	if (slot)
		slot->starves = starves;
	LWLockRelease(shared->lock);
}

/* Makes this process the one that sends notifications of its database. */
bool
dm_shared_sender_enter(void)
{
	DatabaseSlot *slot;
	bool entered = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, false);
	if (slot && !slot->sender && slot->held_until <= GetCurrentTimestamp())
	{
		slot->sender = MyProcPid;
		entered = true;
	}
	LWLockRelease(shared->lock);
	if (entered)
		before_shmem_exit(sender_leave, 0);
	return entered;
}

/* Does this database have a process that sends notifications? */
bool
dm_shared_sender_is_there(void)
{
	DatabaseSlot *slot;
	bool is_there;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = database_find(MyDatabaseId, false);
	is_there = slot && slot->sender;
	LWLockRelease(shared->lock);
	return is_there;
}

/* Number of slots there are. */
int
dm_slot_count(void)
{
	return shared->nslots;
}

/* Returns how many slots runs of the database use; *elsewhere those of other databases. */
int
dm_slot_used(Oid database, int *elsewhere)
{
	int used = 0;

	*elsewhere = 0;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		if (shared->slots[i].phase != DM_SLOT_FREE)
			(*(shared->slots[i].database == database ? &used : elsewhere))++;
	}
	LWLockRelease(shared->lock);
	return used;
}

/* Reserves a slot for a run and fills the ticket, but for the owner. False if none is free. */
bool
dm_slot_reserve(Oid database, int64 run_id, DmRunTicket *ticket)
{
	bool found = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots && !found; i++)
	{
		DmRunSlot *slot = &shared->slots[i];
		uint32 generation = slot->generation + 1;

		if (slot->phase != DM_SLOT_FREE)
			continue;
		memset(slot, 0, sizeof(*slot));
		slot->phase = DM_SLOT_RESERVED;
		slot->generation = ticket->generation = generation;
		slot->database = ticket->database = database;
		slot->run_id = ticket->run_id = run_id;
		slot->scheduler = MyProcPid;
		slot->reserved_at = GetCurrentTimestamp();
		ticket->slot = i;
		found = true;
	}
	LWLockRelease(shared->lock);
	return found;
}

/* Gives a slot back, unless it has another use by now. */
void
dm_slot_free(const DmRunTicket *ticket)
{
	DmRunSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(ticket);
	if (slot)
		slot->phase = DM_SLOT_FREE;
	LWLockRelease(shared->lock);
}

/* The process of a run takes the slot that was reserved for it. False if it is not wanted any more. */
bool
dm_slot_enter(const DmRunTicket *ticket)
{
	DmRunSlot *slot;
	bool entered;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(ticket);
	entered = slot && slot->phase == DM_SLOT_RESERVED;
	if (entered)
	{
		slot->phase = DM_SLOT_ALIVE;
		slot->pid = MyProcPid;
	}
	LWLockRelease(shared->lock);
	return entered;
}

/* Returns why the run of the slot was asked to end. */
DmStop
dm_slot_stop_asked(const DmRunTicket *ticket)
{
	DmRunSlot *slot;
	DmStop stop;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = slot_of(ticket);
	stop = slot ? slot->stop : DM_STOP_NONE;
	LWLockRelease(shared->lock);
	return stop;
}

/*
 * The process of a run leaves. With a message it ended without saying so in the catalog, and the slot stays until the scheduler has done
 * that; without one the slot is free. stop is why it was asked to end, if that did not come through the slot.
 */
void
dm_slot_end(const DmRunTicket *ticket, DmStop stop, const char *sqlstate, const char *message)
{
	DatabaseSlot *scheduler;
	DmRunSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(ticket);
	if (slot)
	{
		slot->phase = message ? DM_SLOT_ENDED : DM_SLOT_FREE;
		slot->pid = 0;
		if (slot->stop == DM_STOP_NONE)
			slot->stop = stop;
		if (message)
		{
			strlcpy(slot->sqlstate, sqlstate, sizeof(slot->sqlstate));
			strlcpy(slot->message, message, sizeof(slot->message));
		}
		scheduler = database_find(slot->database, false);
		/* nobody will ask for what became of it */
		if (!scheduler || (!scheduler->pid && !scheduler->wanted))
			slot->phase = DM_SLOT_FREE;
		for (int i = 0; i < DM_MAX_DATABASES; i++)
		{
			DatabaseSlot *other = &shared->databases[i];

			if (other->pid && (other == scheduler || other->starves))
				wake_scheduler(other);
		}
	}
	LWLockRelease(shared->lock);
}

/* Has this database a scheduler that is alive? False without shared memory. */
bool
dm_shared_scheduler_is_alive(void)
{
	DatabaseSlot *slot;
	bool alive;

	if (!shared)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	slot = database_find(MyDatabaseId, false);
	alive = slot && slot->pid != 0;
	LWLockRelease(shared->lock);
	return alive;
}

/* Copies the slot at a position. */
bool
dm_slot_copy(int position, DmRunSlot *slot)
{
	if (position >= shared->nslots)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	*slot = shared->slots[position];
	LWLockRelease(shared->lock);
	return true;
}

/* Asks the run of a database to end. The first reason stays. */
bool
dm_slot_stop(Oid database, int64 run_id, DmStop stop)
{
	bool found = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots && !found; i++)
	{
		DmRunSlot *slot = &shared->slots[i];

		if (slot->run_id != run_id || slot->database != database ||
			(slot->phase != DM_SLOT_ALIVE && slot->phase != DM_SLOT_RESERVED))
			continue;
		found = true;
		if (slot->stop == DM_STOP_NONE)
		{
			slot->stop = stop;
			slot->stop_at = GetCurrentTimestamp();
		}
		if (slot->phase == DM_SLOT_ALIVE)
			kill(slot->pid, SIGINT);
	}
	LWLockRelease(shared->lock);
	return found;
}

/* Ends for good what was asked to end before a time. Others' signals to a process that is gone cannot happen: see 2. */
void
dm_slot_terminate_overdue(TimestampTz asked_before)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		DmRunSlot *slot = &shared->slots[i];

		if (slot->phase == DM_SLOT_ALIVE && slot->database == MyDatabaseId && slot->stop != DM_STOP_NONE &&
			!slot->terminated && slot->stop_at <= asked_before)
		{
			slot->terminated = true;
			kill(slot->pid, SIGTERM);
		}
	}
	LWLockRelease(shared->lock);
}

/* Ends all runs of a database at once. */
void
dm_slot_terminate_all(Oid database)
{
	if (!shared)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		if (shared->slots[i].phase == DM_SLOT_ALIVE && shared->slots[i].database == database)
			kill(shared->slots[i].pid, SIGTERM);
	}
	LWLockRelease(shared->lock);
}

/* Frees the slots of this database for which no process came. */
void
dm_slot_forget_reserved(TimestampTz reserved_before)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		DmRunSlot *slot = &shared->slots[i];

		if (slot->phase == DM_SLOT_RESERVED && slot->database == MyDatabaseId && slot->scheduler != MyProcPid &&
			slot->reserved_at < reserved_before)
			slot->phase = DM_SLOT_FREE;
	}
	LWLockRelease(shared->lock);
}

/* Is there a process, or one on its way, for the run? */
bool
dm_slot_has_run(Oid database, int64 run_id)
{
	bool found = false;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots && !found; i++)
		found = shared->slots[i].phase != DM_SLOT_FREE && shared->slots[i].database == database &&
				shared->slots[i].run_id == run_id;
	LWLockRelease(shared->lock);
	return found;
}

/* Bytes of shared memory. */
static Size
shared_size(void)
{
	return add_size(offsetof(JobShared, slots), mul_size(max_worker_processes, sizeof(DmRunSlot)));
}

/* shmem_request hook. */
static void
shared_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("datamill jobs", 1);
}

/* shmem_startup hook. */
static void
shared_startup(void)
{
	bool found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("datamill jobs", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &(GetNamedLWLockTranche("datamill jobs"))->lock;
		shared->nslots = max_worker_processes;
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Finds the entry of a database, under the lock; makes one if told to and there is room, else returns NULL. */
static DatabaseSlot *
database_find(Oid database, bool add)
{
	DatabaseSlot *unused = NULL;

	for (int i = 0; i < DM_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &shared->databases[i];

		if (slot->database == database)
			return slot;
		if (!unused && !OidIsValid(slot->database))
			unused = slot;
	}
	if (!add || !unused)
		return NULL;
	memset(unused, 0, sizeof(*unused));
	unused->database = database;
	return unused;
}

/* Wakes the scheduler that a database has, under the lock. */
static void
wake_scheduler(DatabaseSlot *slot)
{
	slot->woken = true;
	SetLatch(slot->latch);
}

/* Exit callback of the launcher. */
static void
launcher_leave(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(shared->lock);
}

/* Exit callback of a scheduler: the launcher decides whether another is to come. */
static void
scheduler_leave(int code, Datum arg)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, false);
	if (slot && slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->latch = NULL;
		slot->starves = false;
	}
	/* the database may be gone */
	shared->rescan = shared->rescan || (slot && slot->wanted);
	if (shared->launcher)
		SetLatch(shared->launcher);
	LWLockRelease(shared->lock);
}

/* Exit callback of the process that sends notifications. */
static void
sender_leave(int code, Datum arg)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = database_find(MyDatabaseId, false);
	if (slot && slot->sender == MyProcPid)
		slot->sender = 0;
	if (slot && slot->pid)
		wake_scheduler(slot);
	LWLockRelease(shared->lock);
}

/* Finds the slot of a ticket, under the lock; NULL if it has another use by now. */
static DmRunSlot *
slot_of(const DmRunTicket *ticket)
{
	DmRunSlot *slot = &shared->slots[ticket->slot];

	return slot->generation == ticket->generation && slot->phase != DM_SLOT_FREE ? slot : NULL;
}
