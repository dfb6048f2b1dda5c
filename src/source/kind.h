/*
 * kind.h: what each kind of source implements. Private to source/.
 */
#ifndef DM_SOURCE_KIND_H
#define DM_SOURCE_KIND_H

#include "postgres.h"

#include "source/objscan.h"
#include "source/source.h"

typedef struct DmSourceOps
{
	/* Checks the types of source->wanted, whose names were matched, and prepares the run. */
	void (*bind)(DmSource *source);
	int64 (*run)(DmSource *source, DmSourceEach each, void *arg);
	/* Releases what the memory context does not own; NULL if nothing. */
	void (*close)(DmSource *source);
} DmSourceOps;

/* Head of every kind's state. */
typedef struct DmSourceState
{
	const DmSourceOps *ops;
	MemoryContext context; /* the source's own, in which its state lives */
} DmSourceState;

/* Each sets kind, offered and state. They run in the source's own memory context. */
extern void dm_source_query_open(DmSource *source);
extern void dm_source_objects_open(DmSource *source, List *options, bool whole_records);
/* Fills in how to read the objects of a URL, with the server found, in the current memory context; text that is no URL raises. Returns the checked options. */
extern List *dm_source_objects_spec(const char *url, Jsonb *options, DmObjScanSpec *spec);
/* Is a source, blanks around it aside, a URL of objects? */
extern bool dm_source_is_url(const char *text);

/* The attribute of desc with that name, or NULL; dropped ones have none. */
extern Form_pg_attribute dm_source_attribute(TupleDesc desc, const char *name);
/* Is the attribute one that a source fills: not dropped and not generated? */
extern bool dm_source_is_wanted(Form_pg_attribute attribute);

#endif
