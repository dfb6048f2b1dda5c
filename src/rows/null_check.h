/*
 * null_check.h: raises for a NULL that a column's domain refuses. NULL reaches no input function where a value is left out
 * or put together by hand, so whoever does that asks here.
 */
#ifndef DM_NULL_CHECK_H
#define DM_NULL_CHECK_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "nodes/bitmapset.h"

typedef struct DmNullCheck DmNullCheck;

/*
 * Prepares for those of the columns (indexes from 0) that are of domains with constraints, in the current memory context;
 * desc stays. Returns NULL if there is none: then every NULL passes.
 */
extern DmNullCheck *dm_null_check_make(TupleDesc desc, const Bitmapset *columns);
/* Raises, for a NULL among those columns (other than the ones of except), what an INSERT of it does, with the column. */
extern void dm_null_check(DmNullCheck *check, const bool *nulls, const Bitmapset *except);
/* Raises what an INSERT of NULL into a column of that type does. */
extern void dm_null_check_type(Oid type, int32 typmod);

#endif
