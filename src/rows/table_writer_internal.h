/*
 * table_writer_internal.h: what table_writer.c and table_routing.c share of a writer.
 */
#ifndef DM_TABLE_WRITER_INTERNAL_H
#define DM_TABLE_WRITER_INTERNAL_H

#include "postgres.h"
#include "access/heapam.h"
#include "commands/trigger.h"
#include "nodes/execnodes.h"

#include "rows/table_writer.h"

typedef struct DmRouting DmRouting;

/* The transition tables that statement triggers of a table ask for. */
typedef enum DmCapture
{
	DM_CAPTURE_INSERT,
	DM_CAPTURE_UPDATE,
	DM_CAPTURE_DELETE,
	DM_CAPTURES
} DmCapture;

struct DmTableWriter
{
	Relation rel;
	EState *estate; /* of a partition's writer: its root's */
	ResultRelInfo *result;
	ResultRelInfo *untriggered;					   /* the same without triggers, to fill transition tables */
	TransitionCaptureState *captures[DM_CAPTURES]; /* NULL where no trigger asks */
	TupleTableSlot *stored;						   /* to look whether a row is still there; NULL until needed */
	EPQState *epq;
	bool bulk;		 /* inserts are batched */
	bool silent;	 /* no trigger fires */
	bool updates;	 /* updates and deletes may come, and their statement triggers fire */
	bool must_write; /* a row that a trigger skips is an error */
	CommandId command;
	int options; /* of table_multi_insert */
	BulkInsertState bulk_state;
	TupleTableSlot **slots;
	int nslots;	 /* made so far */
	int nqueued; /* filled and waiting */
	Size queued_bytes;
	MemoryContext context; /* of the writer and its slots */
	MemoryContext batch_context;
	DmRouting *routing; /* of a partitioned table: its partitions; else NULL */
};

/* table_writer.c, for partitions */
extern DmTableWriter *dm_writer_open_leaf(DmTableWriter *root, Relation rel);
extern void dm_writer_flush(DmTableWriter *writer);
extern void dm_writer_raise_skipped(const DmTableWriter *writer) pg_attribute_noreturn();
extern bool dm_writer_insert_now(DmTableWriter *writer, TupleTableSlot *slot);
extern void dm_writer_capture(DmTableWriter *writer, DmCapture capture, ItemPointer old, TupleTableSlot *new_slot);
extern bool dm_writer_is_stored(DmTableWriter *writer, ItemPointer tid);
extern void dm_writer_close_leaf(DmTableWriter *leaf);

/* table_routing.c, for partitioned tables */
extern DmRouting *dm_routing_begin(DmTableWriter *root);
extern TupleTableSlot *dm_routing_slot(DmRouting *routing);
extern bool dm_routing_insert(DmRouting *routing, TupleTableSlot *slot);
extern bool dm_routing_update(DmRouting *routing, TupleTableSlot *old_slot, TupleTableSlot *new_slot);
extern bool dm_routing_delete(DmRouting *routing, TupleTableSlot *old_slot);
extern void dm_routing_flush(DmRouting *routing);
extern void dm_routing_end(DmRouting *routing);

#endif
