/*
 * table_writer.h: inserts, updates and deletes rows of one table as any writer would, in bulk where that is allowed.
 */
#ifndef DM_TABLE_WRITER_H
#define DM_TABLE_WRITER_H

#include "postgres.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "utils/relcache.h"

typedef struct DmTableWriter DmTableWriter;

extern void dm_writers_begin(void);
extern void dm_writers_end(void);
extern DmTableWriter *dm_writer_open(Relation rel, const Bitmapset *updated_columns, bool new_table);
extern DmTableWriter *dm_writer_open_silent(Relation rel, const Bitmapset *updated_columns);
extern void dm_writer_freeze(DmTableWriter *writer);
extern void dm_writer_must_write(DmTableWriter *writer);
extern TupleTableSlot *dm_writer_slot(DmTableWriter *writer);
extern bool dm_writer_insert(DmTableWriter *writer, TupleTableSlot *slot);
extern void dm_writer_generate(DmTableWriter *writer, TupleTableSlot *slot);
extern bool dm_writer_update(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot);
extern bool dm_writer_delete(DmTableWriter *writer, TupleTableSlot *old_slot);
extern void dm_writer_close(DmTableWriter *writer);

#endif
