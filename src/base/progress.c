/*
 * progress.c: how far a long statement is.
 *
 * Postgres keeps twenty numbers a backend for its own progress views. A load takes those of COPY, so it shows in
 * pg_stat_progress_copy; the last ones, which COPY leaves alone, hold what that view has no column for and are read by
 * datamill.progress. All state is in the backend's entry, which Postgres clears when a command ends or fails.
 */
#include "postgres.h"

#include "commands/progress.h"
#include "pgstat.h"
#include "utils/backend_status.h"

#include "base/progress.h"

/* Numbers that no COPY uses; view datamill.progress counts them from 1. */
#define PROGRESS_OPERATION 19
#define PROGRESS_OBJECTS 18
#define PROGRESS_OBJECTS_TOTAL 17
#define PROGRESS_RETRIES 16

/* Does this backend report a command of ours? */
static bool
is_reporting(void)
{
	return MyBEEntry && MyBEEntry->st_progress_command == PROGRESS_COMMAND_COPY &&
		   MyBEEntry->st_progress_param[PROGRESS_OPERATION] != 0;
}

/* Starts to report. */
void
dm_progress_begin(DmProgressOperation operation, Oid relation)
{
	bool writes = operation == DM_PROGRESS_UNLOAD || operation == DM_PROGRESS_COPY_TO;

	if (!MyBEEntry || MyBEEntry->st_progress_command != PROGRESS_COMMAND_INVALID)
		return;
	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, relation);
	pgstat_progress_update_param(PROGRESS_COPY_COMMAND,
								 writes ? PROGRESS_COPY_COMMAND_TO : PROGRESS_COPY_COMMAND_FROM);
	pgstat_progress_update_param(PROGRESS_OPERATION, operation);
}

/* Ends the report. */
void
dm_progress_end(void)
{
	if (is_reporting())
		pgstat_progress_end_command();
}

/* Adds to a number of the report. */
static void
add(int param, int64 number)
{
	if (number != 0)
		pgstat_progress_update_param(param, MyBEEntry->st_progress_param[param] + number);
}

/* Adds to what is to be done. */
void
dm_progress_expect(int64 objects, int64 bytes)
{
	if (!is_reporting())
		return;
	add(PROGRESS_OBJECTS_TOTAL, objects);
	add(PROGRESS_COPY_BYTES_TOTAL, bytes);
}

/* Adds what was done since the last call. */
void
dm_progress_advance(DmProgress *reported, const DmProgress *done)
{
	if (!is_reporting())
		return;
	add(PROGRESS_OBJECTS, done->objects - reported->objects);
	add(PROGRESS_COPY_BYTES_PROCESSED, done->bytes - reported->bytes);
	add(PROGRESS_COPY_TUPLES_PROCESSED, done->rows - reported->rows);
	add(PROGRESS_COPY_TUPLES_EXCLUDED, done->rejected - reported->rejected);
	add(PROGRESS_RETRIES, done->retries - reported->retries);
	*reported = *done;
}

/* Keeps the report, which a subtransaction's rollback ends. */
void
dm_progress_save(DmProgressState *state)
{
	state->reporting = is_reporting();
	if (!state->reporting)
		return;
	state->relation = MyBEEntry->st_progress_command_target;
	for (int i = 0; i < PGSTAT_NUM_PROGRESS_PARAM; i++)
		state->params[i] = MyBEEntry->st_progress_param[i];
}

/* Goes on with a report that was kept. */
void
dm_progress_restore(const DmProgressState *state)
{
	if (!state->reporting || is_reporting())
		return;
	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, state->relation);
	for (int i = 0; i < PGSTAT_NUM_PROGRESS_PARAM; i++)
		pgstat_progress_update_param(i, state->params[i]);
}
