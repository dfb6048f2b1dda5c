/*
 * progress.h: how far a long statement is, for pg_stat_progress_copy and datamill.progress.
 */
#ifndef DM_PROGRESS_H
#define DM_PROGRESS_H

#include "postgres.h"
#include "utils/backend_progress.h"

/* What runs; the view datamill.progress names them by number. */
typedef enum DmProgressOperation
{
	DM_PROGRESS_LOAD = 1,
	DM_PROGRESS_COPY_FROM = 2,
	DM_PROGRESS_UNLOAD = 3,
	DM_PROGRESS_COPY_TO = 4,
	DM_PROGRESS_MERGE = 5
} DmProgressOperation;

typedef struct DmProgress
{
	int64 objects;	/* read or written to their end */
	int64 bytes;	/* as stored */
	int64 rows;		/* read or written */
	int64 rejected; /* rows left out as bad */
	int64 retries;	/* of requests */
} DmProgress;

/* A report that goes on after a subtransaction is rolled back. */
typedef struct DmProgressState
{
	bool reporting;
	Oid relation;
	int64 params[PGSTAT_NUM_PROGRESS_PARAM];
} DmProgressState;

/*
 * Starts to report on a relation (InvalidOid: none), unless another command of this backend reports already: then the calls
 * that follow do nothing. An error ends it with its (sub)transaction.
 */
extern void dm_progress_begin(DmProgressOperation operation, Oid relation);
extern void dm_progress_end(void);
/* Adds to what is to be done: objects and their bytes as stored. */
extern void dm_progress_expect(int64 objects, int64 bytes);
/* Sets *reported to done and adds what has come since to what was done. Does nothing where nothing is reported. */
extern void dm_progress_advance(DmProgress *reported, const DmProgress *done);
/* A subtransaction's rollback ends the report: what was kept before it goes on. */
extern void dm_progress_save(DmProgressState *state);
extern void dm_progress_restore(const DmProgressState *state);

#endif
