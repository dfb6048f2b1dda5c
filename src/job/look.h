/*
 * look.h: looks for new objects.
 */
#ifndef DM_LOOK_H
#define DM_LOOK_H

#include "postgres.h"

#include "job/watch.h"

/* The run that looks. */
typedef struct DmLook
{
	int64 run_id;
	int64 job_id;
	const char *name;	/* of the job */
	const char *watch;	/* what it watches now, or NULL */
	const char *server; /* through which; NULL: the one that there is */
} DmLook;

/*
 * Looks as the current user, in a transaction of its own: queues runs for new objects, and takes the row of the run that looks away. It stays,
 * as one that succeeded, if the look before it failed. Raises what goes wrong.
 */
extern void dm_look(const DmLook *look);

#endif
