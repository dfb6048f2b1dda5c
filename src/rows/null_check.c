/*
 * null_check.c: raises for a NULL that a column's domain refuses.
 *
 * Whether a domain takes NULL only its constraints can tell, when they are asked: by its input function, which is the one
 * that is called for NULL, too.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "rows/null_check.h"

typedef struct NullColumn
{
	int column;
	const char *name;
	FmgrInfo input;
	Oid ioparam;
	int32 typmod;
} NullColumn;

struct DmNullCheck
{
	int current; /* index of the one that is being asked */
	int count;
	NullColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

static void column_error_context(void *arg);

/* See null_check.h. */
DmNullCheck *
dm_null_check_make(TupleDesc desc, const Bitmapset *columns)
{
	DmNullCheck *check = NULL;
	int column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, column);
		NullColumn *one;
		Oid input;

		if (!DomainHasConstraints(attribute->atttypid))
			continue;
		if (!check)
			check = palloc0(offsetof(DmNullCheck, columns) + sizeof(NullColumn) * bms_num_members(columns));
		one = &check->columns[check->count++];
		one->column = column;
		one->name = NameStr(attribute->attname);
		one->typmod = attribute->atttypmod;
		getTypeInputInfo(attribute->atttypid, &input, &one->ioparam);
		fmgr_info(input, &one->input);
	}
	return check;
}

/* See null_check.h. */
void
dm_null_check(DmNullCheck *check, const bool *nulls, const Bitmapset *except)
{
	ErrorContextCallback callback = {error_context_stack, column_error_context, check};

	error_context_stack = &callback;
	for (check->current = 0; check->current < check->count; check->current++)
	{
		NullColumn *one = &check->columns[check->current];

		if (nulls[one->column] && !bms_is_member(one->column, except))
			(void) InputFunctionCall(&one->input, NULL, one->ioparam, one->typmod);
	}
	error_context_stack = callback.previous;
}

/* See null_check.h. */
void
dm_null_check_type(Oid type, int32 typmod)
{
	Oid input;
	Oid ioparam;

	if (!DomainHasConstraints(type))
		return;
	getTypeInputInfo(type, &input, &ioparam);
	(void) OidInputFunctionCall(input, NULL, ioparam, typmod);
}

/* Says which column is NULL. */
static void
column_error_context(void *arg)
{
	const DmNullCheck *check = arg;

	errcontext("column %s: null", check->columns[check->current].name);
}
