/*
 * pipeline.h: pipelines: sets of jobs that are described as a whole.
 */
#ifndef DM_PIPELINE_H
#define DM_PIPELINE_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "job/job.h"

/* A job that a configuration wants. */
typedef struct DmWanted
{
	char *name;
	Datum options;	/* jsonb: all options of create_job, the defaults of those that are not given among them */
	char *follows;	/* as DmJob has it */
	List *after;	/* of char*: the names in it */
	List *upstream; /* of DmWanted*: those of them that are in the configuration */
	bool is_placed;
} DmWanted;

typedef struct DmWantedPool
{
	char *name;
	int32 slots;
} DmWantedPool;

typedef struct DmPipeline
{
	char *name;
	List *jobs;	 /* of DmWanted*, each after those of them that it follows */
	List *pools; /* of DmWantedPool* */
} DmPipeline;

/* Reads a configuration into the current memory context. Raises 22023 on what is none, 42P17 on jobs in a circle. */
extern void dm_pipeline_read(Datum config, DmPipeline *pipeline);
/* The jobs of a pipeline of the current user, locked or not: a list of DmJob*, by name. Raises 42501 on one that he may not change. */
extern List *dm_pipeline_jobs(const char *name, bool lock);

#endif
