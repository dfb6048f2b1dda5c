/*
 * guc.h: the settings datamill.*, defined once in _PG_init.
 */
#ifndef DM_GUC_H
#define DM_GUC_H

#include "postgres.h"

extern char *dm_guc_default_server; /* server an s3:// URL uses when none is named; empty: the only usable one */
extern char *dm_guc_allowed_hosts;	/* hosts that servers of users who are no superusers may be at; empty: any */
extern char *dm_guc_archive; /* URL under which runs keep the objects that they read; empty: nothing is kept */
extern int dm_guc_prefetch_memory_kb; /* ceiling of the bytes fetched ahead by one scan */
extern int dm_guc_hash_bits;		  /* developer: bits of the key hash that are used, 1..64 */
extern int dm_guc_split_bytes;		  /* developer: bytes of a range of a parallel scan; 0: as it sees fit */
extern int dm_guc_csv_buffer_bytes;	  /* developer: first size of a CSV reader's buffer */

extern bool dm_guc_scheduler;		  /* may jobs start by themselves */
extern int dm_guc_max_runs;			  /* runs at once in the cluster */
extern int dm_guc_max_runs_per_role;  /* runs of one role at once in a database; 0: as many as there may be */
extern bool dm_guc_superuser_jobs;	  /* may jobs of superusers run */
extern int dm_guc_cancel_grace_ms;	  /* from a cancel to termination */
extern int dm_guc_run_retention_days; /* how long finished runs and events are kept; 0: for ever */

extern void dm_guc_init(void);

#endif
