/*
 * health.h: whether there is what starts jobs.
 */
#ifndef DM_HEALTH_H
#define DM_HEALTH_H

/* running, not running, off (datamill.scheduler), not preloaded, or standby. */
extern const char *dm_scheduler_state(void);
/* Processes of runs: in the server, and of these in this database. */
extern void dm_process_slots(int *used, int *used_here);

#endif
