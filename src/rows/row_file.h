/*
 * row_file.h: rows set aside in a temporary file, each with two numbers, to be read back in the order in which they came.
 */
#ifndef DM_ROW_FILE_H
#define DM_ROW_FILE_H

#include "postgres.h"
#include "executor/tuptable.h"

typedef struct DmRowFile DmRowFile;

extern DmRowFile *dm_row_file_make(MemoryContext context);
extern void dm_row_file_put(DmRowFile *file, TupleTableSlot *slot, uint64 order, uint64 tag);
extern void dm_row_file_rewind(DmRowFile *file);
extern bool dm_row_file_get(DmRowFile *file, TupleTableSlot *slot, uint64 *order, uint64 *tag);
extern void dm_row_file_close(DmRowFile *file);

#endif
