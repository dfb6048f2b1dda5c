/*
 * states.h: the words that job_catalog and run_catalog hold.
 */
#ifndef DM_STATES_H
#define DM_STATES_H

/* Of a job. */
#define DM_STATE_ACTIVE "active"
#define DM_STATE_PAUSED "paused"
#define DM_STATE_SUSPENDED "suspended" /* too many failures or crashes in a row */
#define DM_STATE_BROKEN "broken" /* cannot run as it is: its owner, schedule or time zone is not there any more */

/* Of a run. */
#define DM_RUN_QUEUED "queued"
#define DM_RUN_STARTING "starting" /* a process is asked for */
#define DM_RUN_RUNNING "running"
#define DM_RUN_SUCCEEDED "succeeded"
#define DM_RUN_FAILED "failed"
#define DM_RUN_CRASHED "crashed"
#define DM_RUN_CANCELLED "cancelled"
#define DM_RUN_SKIPPED "skipped"
#define DM_RUN_TIMED_OUT "timed_out"

#define DM_REASON_RESTORED "this database was restored or copied: datamill.accept_jobs() makes its jobs active here"

#endif
