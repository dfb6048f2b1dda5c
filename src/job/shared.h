/*
 * shared.h: what launcher, schedulers, runs and sessions tell each other in shared memory.
 *
 * Everything of consequence is in the catalog; shared memory holds who is alive and whom to wake, and is gone, as it should be,
 * when the server restarts after a crash.
 */
#ifndef DM_JOB_SHARED_H
#define DM_JOB_SHARED_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "storage/latch.h"

#define DM_MAX_DATABASES 256
#define DM_STOP_TEXT 400

/* Why a run was asked to end. */
typedef enum DmStop
{
	DM_STOP_NONE,
	DM_STOP_CANCEL,	  /* somebody called cancel() */
	DM_STOP_TIMEOUT,  /* its time is up */
	DM_STOP_REPLACED, /* overlap cancel: a later time is due */
	DM_STOP_SERVER	  /* the server is stopped */
} DmStop;

typedef enum DmSlotPhase
{
	DM_SLOT_FREE,
	DM_SLOT_RESERVED, /* the scheduler asked for a process */
	DM_SLOT_ALIVE,	  /* it is there */
	DM_SLOT_ENDED	  /* it ended without saying so in the catalog: sqlstate and message tell why */
} DmSlotPhase;

typedef struct DmRunSlot
{
	DmSlotPhase phase;
	Oid database;
	int64 run_id;
	uint32 generation; /* of the slot's use */
	pid_t scheduler;   /* that reserved it */
	pid_t pid;
	DmStop stop;
	TimestampTz reserved_at;
	TimestampTz stop_at; /* when it was asked */
	bool terminated;	 /* it was told to end for good */
	char sqlstate[6];
	char message[DM_STOP_TEXT];
} DmRunSlot;

/* One run's process as the postmaster hands it over. */
typedef struct DmRunTicket
{
	int slot;
	uint32 generation;
	Oid database;
	Oid owner;
	int64 run_id;
} DmRunTicket;

extern void dm_shared_init(void);
extern bool dm_shared_is_there(void);

/* Sessions: wakes the scheduler of this database (starting it, if need be) when the transaction commits. */
extern void dm_shared_wake_at_commit(void);
/* The same at once, for any database. */
extern void dm_shared_rescan(void);
extern void dm_shared_wake(Oid database);
/* Ends a run of this database, whose row the transaction took away, when it commits. */
extern void dm_shared_stop_at_commit(int64 run_id);
/* Databases have come or gone: the launcher looks for itself when the transaction commits. */
extern void dm_shared_rescan_at_commit(void);
/* Ends the scheduler of a database and keeps it away for a while; returns when it is gone, or after five seconds. */
extern void dm_shared_hold(Oid database);

/* The launcher. */
extern void dm_shared_launcher_enter(void);
extern bool dm_shared_rescan_wanted(void);
extern void dm_shared_want(Oid database);
extern bool dm_shared_next_wanted(int *position, Oid *database, TimestampTz *held_until, bool *called);
extern void dm_shared_forget(Oid database);
/* Fills databases (room for DM_MAX_DATABASES) with those that are known and have no scheduler; returns their number. */
extern int dm_shared_databases(Oid *databases);

/* A scheduler; false if the database has one already. */
extern bool dm_shared_scheduler_enter(void);
extern bool dm_shared_scheduler_look(void);
extern bool dm_shared_scheduler_is_woken(void);
extern bool dm_shared_scheduler_retire(void);
/* Has this database a scheduler that is alive? */
extern bool dm_shared_scheduler_is_alive(void);
/* Notes that the scheduler of this database waits for others' runs to end. */
extern void dm_shared_scheduler_starves(bool starves);

/* The process that sends notifications of this database; false if there is one already, or it is not to be there now. */
extern bool dm_shared_sender_enter(void);
extern bool dm_shared_sender_is_there(void);

/* Slots of runs. */
extern int dm_slot_count(void);
extern int dm_slot_used(Oid database, int *elsewhere);
extern bool dm_slot_reserve(Oid database, int64 run_id, DmRunTicket *ticket);
extern void dm_slot_free(const DmRunTicket *ticket);
extern bool dm_slot_enter(const DmRunTicket *ticket);
extern DmStop dm_slot_stop_asked(const DmRunTicket *ticket);
extern void dm_slot_end(const DmRunTicket *ticket, DmStop stop, const char *sqlstate, const char *message);
/* Copies the slot at a position; false beyond the last. */
extern bool dm_slot_copy(int position, DmRunSlot *slot);
/* Asks the run to end; false if it has no process. */
extern bool dm_slot_stop(Oid database, int64 run_id, DmStop stop);
/* Ends all runs of a database at once. */
extern void dm_slot_terminate_all(Oid database);
/* Frees slots whose process was asked for by a scheduler that is gone, and did not come by that time. */
extern void dm_slot_forget_reserved(TimestampTz reserved_before);
/* Ends for good, in this database, what was asked to end before that time. */
extern void dm_slot_terminate_overdue(TimestampTz asked_before);
/* Is there a process, or one on its way, for the run? */
extern bool dm_slot_has_run(Oid database, int64 run_id);

#endif
