/*
 * row_ops.h: equality and hashing of column values, by the rules of their types.
 */
#ifndef DM_ROW_OPS_H
#define DM_ROW_OPS_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

#define DM_HASH_BYTES 16

typedef struct DmColumnOps DmColumnOps;

struct DmColumnOps
{
	bool (*equal)(DmColumnOps *ops, Datum a, Datum b);			   /* of two values that are not NULL */
	void (*digest)(DmColumnOps *ops, Datum value, StringInfo out); /* appends bytes that equal values share */
	int digest_bytes; /* that digest appends, where they are the value's own in memory; else 0 */
	bool typbyval;
	int16 typlen;
	Oid collation;
	FmgrInfo eq;   /* the type's own =; fn_oid invalid if it has none */
	FmgrInfo hash; /* its extended hash function; fn_oid invalid if it has none */
};

typedef struct DmRowOps
{
	int natts;
	DmColumnOps *columns; /* one an attribute; dropped ones are not usable */
	StringInfoData bytes; /* scratch of dm_row_hash */
} DmRowOps;

extern DmRowOps *dm_row_ops_make(TupleDesc desc);
extern void dm_row_hash(DmRowOps *ops, const Datum *values, const bool *nulls, const int *columns, int ncolumns,
						uint8 *hash);

/* NULL equals NULL and nothing else; other values are compared by their type's own equality. */
static inline bool
dm_value_equal(DmColumnOps *ops, Datum a, bool a_null, Datum b, bool b_null)
{
	if (a_null || b_null)
		return a_null == b_null;
	if (ops->typbyval && a == b)
		return true; /* the same bits are equal by any type's rules */
	return ops->equal(ops, a, b);
}

#endif
