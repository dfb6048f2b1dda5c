/*
 * datamill.c: module magic and _PG_init, the only file that may include every folder.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/guc.h"
#include "job/launcher.h"
#include "job/watch.h"
#include "load/load.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/* Runs once per backend, when the library is loaded. */
void
_PG_init(void)
{
	dm_guc_init();
	dm_copy_hook_init();
	dm_database_hook_init();
	dm_watch_init();
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		dm_launcher_init();
}
