/*
 * launcher.h: what _PG_init calls.
 */
#ifndef DM_LAUNCHER_H
#define DM_LAUNCHER_H

/* In the postmaster, when the library is preloaded. */
extern void dm_launcher_init(void);
/* In every process: commands on databases and extensions that schedulers have to know of. */
extern void dm_database_hook_init(void);

#endif
