/*
 * assign.h: gives a query's value the type of a column as INSERT would. Private to source/.
 *
 * The type is changed by a cast in the query. What an explicit cast does otherwise than an assignment is done here: a
 * length that a value exceeds is an error, where a cast would cut the value in silence.
 */
#ifndef DM_ASSIGN_H
#define DM_ASSIGN_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "fmgr.h"

typedef enum DmAssignKind
{
	DM_ASSIGN_NONE,	  /* the value is right as it is */
	DM_ASSIGN_LENGTH, /* by the type's length function */
	DM_ASSIGN_INPUT	  /* as text, by the type's input function: arrays with a length, domains */
} DmAssignKind;

typedef struct DmAssign
{
	DmAssignKind kind;
	FmgrInfo function; /* length or input function */
	FmgrInfo output;   /* of what the query gives; DM_ASSIGN_INPUT only */
	Oid ioparam;
	int32 typmod;
} DmAssign;

extern char *dm_assign_init(DmAssign *assign, Form_pg_attribute offered, Form_pg_attribute wanted);
extern Datum dm_assign_apply(DmAssign *assign, Datum value, bool isnull);

#endif
