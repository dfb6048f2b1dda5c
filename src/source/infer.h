/*
 * infer.h: names and types of the columns of objects, from a bounded sample of them.
 */
#ifndef DM_INFER_H
#define DM_INFER_H

#include "postgres.h"
#include "access/tupdesc.h"

#include "source/objscan.h"

/*
 * Returns the columns of the objects that spec->url names, in the order of the first sampled object's fields, in the
 * current memory context; NULL when there is no object with a record and spec->allow_empty says that may be.
 * types_json is the option "columns", or NULL.
 */
extern TupleDesc dm_infer_columns(const DmObjScanSpec *spec, const char *types_json, List **objects);

#endif
