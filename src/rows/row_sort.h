/*
 * row_sort.h: sorting rows by some of their columns, in work_mem and beyond it in temporary files.
 */
#ifndef DM_ROW_SORT_H
#define DM_ROW_SORT_H

#include "postgres.h"
#include "access/tupdesc.h"

#include "base/compat.h"

extern Tuplesortstate *dm_row_sort_begin(TupleDesc desc, const AttrNumber *attributes, int count);

#endif
