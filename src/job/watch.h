/*
 * watch.h: what a job watches, besides the clock: an event, a relation that receipts name, or objects.
 */
#ifndef DM_WATCH_H
#define DM_WATCH_H

#include "postgres.h"

#include "job/job.h"

typedef enum DmWatchKind
{
	DM_WATCH_EVENT,	   /* event:NAME */
	DM_WATCH_RELATION, /* relation:SCHEMA.TABLE */
	DM_WATCH_OBJECTS   /* a URL: one run for all that is new */
} DmWatchKind;

/* Of objects: what a run is for. */
typedef enum DmWatchMode
{
	DM_WATCH_ALL,	/* all that is new */
	DM_WATCH_EACH,	/* each URL: one of them */
	DM_WATCH_LATEST /* latest URL: the newest of them */
} DmWatchMode;

typedef struct DmWatch
{
	DmWatchKind kind;
	DmWatchMode mode;
	char *name; /* of the event; of the relation, qualified and quoted; or the URL */
} DmWatch;

/* Condition of SQL on a row of job_catalog: does it watch objects? */
#define DM_WATCHES_OBJECTS "coalesce(j.watch ~ '^((each|latest) )?(s3|file)://', false)"

/* Reads what a job watches. Raises 22023 on what is none of these. */
extern void dm_watch_parse(const char *text, DmWatch *watch);
/*
 * Checks what the job watches, if anything, brings it into the form in which it is looked up, and sets the schedule of one that
 * watches objects and has none. Returns whether it did that. Raises 22023, and 42501 if the owner may not read the relation.
 */
extern bool dm_watch_prepare(DmJob *job);
/* In every process: receipts start what watches their outputs. */
extern void dm_watch_init(void);

#endif
