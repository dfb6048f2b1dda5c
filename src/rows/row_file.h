/*
 * row_file.h: rows set aside in a temporary file (base/temp_file.h), each with two numbers, to be read back in the order in
 * which they came.
 */
#ifndef DM_ROW_FILE_H
#define DM_ROW_FILE_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "storage/buffile.h"

extern void dm_row_file_put(BufFile *file, TupleTableSlot *slot, uint64 order, uint64 tag);
extern bool dm_row_file_get(BufFile *file, TupleTableSlot *slot, uint64 *order, uint64 *tag);

#endif
