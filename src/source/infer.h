/*
 * infer.h: names and types of the columns of objects, from a bounded sample of them.
 */
#ifndef DM_INFER_H
#define DM_INFER_H

#include "postgres.h"
#include "access/tupdesc.h"

#include "source/objscan.h"

typedef struct DmInferredColumn
{
	char *name;
	Oid type;
	int32 typmod;
	int64 rows;	   /* seen */
	int64 nulls;   /* of them, without a value */
	char *example; /* a value, or NULL */
	char *doubt;   /* why the type may be another, or NULL */
	bool is_partition;
} DmInferredColumn;

typedef struct DmInferred
{
	List *objects;			   /* listed, of DmObject* */
	DmInferredColumn *columns; /* fields in the order of the first sampled object, then partitions */
	int ncolumns;
	bool complete;		/* the sample is all there is */
	const char *unlike; /* a sampled object whose fields are not those of the first one, or NULL */
} DmInferred;

/*
 * Samples the objects that spec->url names, in the current memory context. NULL when there is no object with a record and
 * spec->allow_empty says that may be. types_json is the option "columns", which overrides types, or NULL.
 */
extern DmInferred *dm_infer(const DmObjScanSpec *spec, const char *types_json);
/* The columns as a row's shape, in the current memory context. */
extern TupleDesc dm_inferred_desc(const DmInferred *inferred);

#endif
