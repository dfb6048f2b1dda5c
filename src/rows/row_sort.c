/*
 * row_sort.c: sorting rows by some of their columns.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/typcache.h"

#include "rows/row_sort.h"

/*
 * Begins a sort of rows of desc by the given attributes, ascending in the default order of their types and under their
 * own collations, NULLs last, in the current memory context. The types must have a default order.
 */
Tuplesortstate *
dm_row_sort_begin(TupleDesc desc, const AttrNumber *attributes, int count)
{
	Oid *operators = palloc(sizeof(Oid) * count);
	Oid *collations = palloc(sizeof(Oid) * count);
	bool *nulls_first = palloc0(sizeof(bool) * count);

	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, attributes[i] - 1);

		operators[i] = lookup_type_cache(attribute->atttypid, TYPECACHE_LT_OPR)->lt_opr;
		collations[i] = attribute->attcollation;
	}
	return tuplesort_begin_heap(desc,
								count,
								unconstify(AttrNumber *, attributes),
								operators,
								collations,
								nulls_first,
								work_mem,
								NULL,
								TUPLESORT_NONE);
}
