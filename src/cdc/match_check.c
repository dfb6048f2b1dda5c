/*
 * match_check.c: what a merge refuses: keys that are NULL or come twice, more deletes than are allowed.
 */
#include "postgres.h"

#include "utils/rel.h"

#include "cdc/match.h"

/* Raises 23502 if a key column of the source's row of that number is NULL. */
void
dm_keys_check_null(const DmShape *shape, const bool *nulls, int64 row)
{
	for (int i = 0; i < shape->nkeys; i++)
	{
		if (nulls[shape->keys[i]])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("key column \"%s\" is NULL in row " INT64_FORMAT " of the source",
							NameStr(TupleDescAttr(shape->wanted, shape->keys[i])->attname),
							row),
					 errhint("Leave such rows out with a query as source, choose other keys, or create the dataset "
							 "with null_keys allow.")));
	}
}

/* Raises if two rows of the batch have one key; sorts the batch by key hash. */
void
dm_duplicates_check(const DmShape *shape, DmRowBuffer *batch)
{
	for (int i = 0; i < batch->nrows; i++)
		batch->rows[i].order = batch->rows[i].tag;
	dm_row_buffer_sort(batch);
	for (int i = 0; i < batch->nrows; i++)
	{
		for (int j = i + 1; j < batch->nrows && batch->rows[j].order == batch->rows[i].order; j++)
		{
			bool is_same = true;

			for (int k = 0; k < shape->nkeys && is_same; k++)
			{
				int key = shape->keys[k];

				is_same = dm_value_equal(&shape->ops->columns[key],
										 batch->rows[i].values[key],
										 batch->rows[i].nulls[key],
										 batch->rows[j].values[key],
										 batch->rows[j].nulls[key]);
			}
			if (is_same)
				dm_raise_duplicate_key(shape, batch->rows[j].values, batch->rows[j].nulls);
		}
	}
}

/* Raises 54000 if more of current's rows would be deleted than the caller allows. */
void
dm_deletes_check(const DmMatcherSpec *spec, int64 current_rows)
{
	int64 deleted = spec->apply.counts->deleted;

	if (current_rows == 0 || deleted * 100.0 / current_rows <= spec->max_delete_percent)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg("the merge would delete %.1f %% of %s", deleted * 100.0 / current_rows, spec->apply.dataset->name),
		 errdetail("That is " INT64_FORMAT " of " INT64_FORMAT " rows; max_delete_percent is %g.",
				   deleted,
				   current_rows,
				   spec->max_delete_percent),
		 errhint("Check that the source is complete, or raise max_delete_percent.")));
}
