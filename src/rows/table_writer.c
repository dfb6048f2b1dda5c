/*
 * table_writer.c: writes rows of one table as any writer would.
 *
 * Invariants:
 * 1. Constraints, stored generated columns, indexes and row and statement triggers of the table behave as under INSERT,
 *    UPDATE and DELETE. Rights and row-level security are the caller's to check before opening.
 * 2. Inserts go through table_multi_insert() unless the table has row triggers on INSERT; the rows of a batch are
 *    written before an update or delete and before closing, so row order is the caller's.
 * 3. Every write carries the command id of the moment of opening: a snapshot taken before does not see it.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "nodes/makefuncs.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "rows/table_writer.h"

#define BATCH_ROWS 1000
#define BATCH_BYTES (256 * 1024)

struct DmTableWriter
{
	Relation rel;
	EState *estate;
	ResultRelInfo *result;
	EPQState epq;
	bool bulk;	  /* inserts are batched */
	bool updates; /* updates and deletes may come, and their statement triggers fire */
	CommandId command;
	int options; /* of table_multi_insert */
	BulkInsertState bulk_state;
	TupleTableSlot **slots;
	int nslots;	 /* made so far */
	int nqueued; /* filled and waiting */
	Size queued_bytes;
	MemoryContext context; /* of the writer and its slots */
	MemoryContext batch_context;
};

static DmTableWriter *writer_open(Relation rel, const Bitmapset *updated_columns, bool new_table, bool triggers);
static void relation_check(Relation rel, bool triggers_fire);
static void row_change(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot);
static void row_write(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot);
static void writer_flush(DmTableWriter *writer);

/* Starts a group of writers, whose row triggers fire after all of them are closed, at dm_writers_end(). */
void
dm_writers_begin(void)
{
	AfterTriggerBeginQuery();
}

/* Fires the AFTER triggers (foreign keys among them) of what the group wrote. */
void
dm_writers_end(void)
{
	EState *estate = CreateExecutorState();

	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}

/*
 * Opens a writer on rel, which the caller holds open with at least ROW EXCLUSIVE lock, in the current memory context;
 * the active snapshot must stay until the writer is closed. updated_columns (attribute numbers offset by
 * FirstLowInvalidHeapAttributeNumber) are those that updates may change, or NULL if there will be no updates. new_table:
 * the table was created in this transaction and holds nothing yet. Raises for relations that cannot be written so.
 */
DmTableWriter *
dm_writer_open(Relation rel, const Bitmapset *updated_columns, bool new_table)
{
	return writer_open(rel, updated_columns, new_table, true);
}

/* As dm_writer_open, for updates of columns that no user writes: no trigger fires. */
DmTableWriter *
dm_writer_open_silent(Relation rel, const Bitmapset *updated_columns)
{
	return writer_open(rel, updated_columns, false, false);
}

/* Opens a writer; triggers: as for any writer, or none. */
static DmTableWriter *
writer_open(Relation rel, const Bitmapset *updated_columns, bool new_table, bool triggers)
{
	DmTableWriter *writer = palloc0(sizeof(DmTableWriter));
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	EState *estate = CreateExecutorState();

	relation_check(rel, triggers);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	dm_estate_set_relation(estate, rte, updated_columns);
	estate->es_output_cid = GetCurrentCommandId(true);
	estate->es_snapshot = GetActiveSnapshot();

	writer->context = CurrentMemoryContext;
	writer->rel = rel;
	writer->estate = estate;
	writer->command = estate->es_output_cid;
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, rel, 1, NULL, 0);
	if (!triggers)
		writer->result->ri_TrigDesc = NULL;
	ExecOpenIndices(writer->result, false);
	dm_eval_plan_qual_init(&writer->epq, estate);
	writer->bulk =
		!(rel->trigdesc && (rel->trigdesc->trig_insert_before_row || rel->trigdesc->trig_insert_after_row ||
							rel->trigdesc->trig_insert_instead_row));
	writer->updates = updated_columns != NULL;
	writer->options = new_table ? TABLE_INSERT_SKIP_FSM : 0;
	writer->bulk_state = GetBulkInsertState();
	writer->slots = palloc0(sizeof(TupleTableSlot *) * BATCH_ROWS);
	writer->batch_context = AllocSetContextCreate(CurrentMemoryContext, "datamill writer", ALLOCSET_DEFAULT_SIZES);

	ExecBSInsertTriggers(estate, writer->result);
	if (writer->updates)
	{
		ExecBSUpdateTriggers(estate, writer->result);
		ExecBSDeleteTriggers(estate, writer->result);
	}
	return writer;
}

/*
 * Has the rows written frozen, which needs a table that nobody else can look at. They are written in bulk then, also with
 * AFTER ROW triggers; the caller has checked that there are no BEFORE ROW triggers.
 */
void
dm_writer_freeze(DmTableWriter *writer)
{
	writer->options |= TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN;
	writer->bulk = true;
}

/* Returns a cleared slot of the table's shape to fill and store (ExecStoreVirtualTuple), then give to dm_writer_insert. */
TupleTableSlot *
dm_writer_slot(DmTableWriter *writer)
{
	TupleTableSlot *slot;

	if (writer->nqueued == writer->nslots)
	{
		MemoryContext caller = MemoryContextSwitchTo(writer->context);

		writer->slots[writer->nslots++] = table_slot_create(writer->rel, NULL);
		MemoryContextSwitchTo(caller);
	}
	slot = writer->slots[writer->nqueued];
	ExecClearTuple(slot);
	return slot;
}

/* Inserts the slot got from dm_writer_slot(), now or with its batch; its values need not outlive the call. */
void
dm_writer_insert(DmTableWriter *writer, TupleTableSlot *slot)
{
	TupleConstr *constr = writer->rel->rd_att->constr;

	slot->tts_tableOid = RelationGetRelid(writer->rel);
	if (!writer->bulk)
	{
		ExecSimpleRelationInsert(writer->result, writer->estate, slot);
		ResetPerTupleExprContext(writer->estate);
		return;
	}
	if (constr)
	{
		if (constr->has_generated_stored)
			ExecComputeStoredGenerated(writer->result, writer->estate, slot, CMD_INSERT);
		ExecConstraints(writer->result, slot, writer->estate);
	}
	if (writer->rel->rd_rel->relispartition)
		ExecPartitionCheck(writer->result, slot, writer->estate, true);
	ExecMaterializeSlot(slot);
	if (TTS_IS_BUFFERTUPLE(slot)) /* other access methods have slots of their own; there rows are counted only */
		writer->queued_bytes += ((HeapTupleTableSlot *) slot)->tuple->t_len;
	writer->nqueued++;
	if (writer->nqueued == BATCH_ROWS || writer->queued_bytes >= BATCH_BYTES)
		writer_flush(writer);
}

/* Computes the table's stored generated columns in a filled slot of its shape, as an insert would. */
void
dm_writer_generate(DmTableWriter *writer, TupleTableSlot *slot)
{
	TupleConstr *constr = writer->rel->rd_att->constr;

	if (!constr || !constr->has_generated_stored)
		return;
	slot->tts_tableOid = RelationGetRelid(writer->rel);
	ExecComputeStoredGenerated(writer->result, writer->estate, slot, CMD_INSERT);
	ResetPerTupleExprContext(writer->estate);
}

/* Updates the row in old_slot (as fetched: its tid counts) to the values in new_slot. Raises 40001 if it has changed. */
void
dm_writer_update(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	row_change(writer, old_slot, new_slot);
}

/* Deletes the row in old_slot. Raises 40001 if it has changed since it was fetched. */
void
dm_writer_delete(DmTableWriter *writer, TupleTableSlot *old_slot)
{
	row_change(writer, old_slot, NULL);
}

/*
 * Updates a row, or deletes it if new_slot is NULL. A row that somebody changed after the transaction's snapshot was taken
 * is, to the table, an internal error; only where the snapshot can be that old is it worth looking out for.
 */
static void
row_change(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	MemoryContext caller = CurrentMemoryContext;

	if (!IsolationUsesXactSnapshot())
	{
		row_write(writer, old_slot, new_slot);
		return;
	}
	PG_TRY();
	{
		row_write(writer, old_slot, new_slot);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_INTERNAL_ERROR || strncmp(error->message, "tuple concurrently ", 19) != 0)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to table \"%s\" due to concurrent update",
						RelationGetRelationName(writer->rel)),
				 errhint("Retry the transaction.")));
	}
	PG_END_TRY();
}

/* As row_change, with the errors that the table has. */
static void
row_write(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	if (new_slot)
		ExecSimpleRelationUpdate(writer->result, writer->estate, &writer->epq, old_slot, new_slot);
	else
		ExecSimpleRelationDelete(writer->result, writer->estate, &writer->epq, old_slot);
	ResetPerTupleExprContext(writer->estate);
}

/* Writes what is queued, fires AFTER STATEMENT triggers (row triggers at dm_writers_end), and releases everything. */
void
dm_writer_close(DmTableWriter *writer)
{
	EState *estate = writer->estate;

	writer_flush(writer);
	ExecASInsertTriggers(estate, writer->result, NULL);
	if (writer->updates)
	{
		ExecASUpdateTriggers(estate, writer->result, NULL);
		ExecASDeleteTriggers(estate, writer->result, NULL);
	}
	for (int i = 0; i < writer->nslots; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	FreeBulkInsertState(writer->bulk_state);
	table_finish_bulk_insert(writer->rel, writer->options);
	ExecCloseIndices(writer->result);
	ExecCloseResultRelations(estate);
	ExecCloseRangeTableRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	MemoryContextDelete(writer->batch_context);
}

/* Writes the queued rows to the table and its indexes. */
static void
writer_flush(DmTableWriter *writer)
{
	MemoryContext caller;
	bool has_indexes = writer->result->ri_NumIndices > 0;
	bool has_triggers = writer->rel->trigdesc && writer->rel->trigdesc->trig_insert_after_row;

	if (writer->nqueued == 0)
		return;
	caller = MemoryContextSwitchTo(writer->batch_context);
	table_multi_insert(
		writer->rel, writer->slots, writer->nqueued, writer->command, writer->options, writer->bulk_state);
	for (int i = 0; i < writer->nqueued && (has_indexes || has_triggers); i++)
	{
		List *recheck = NIL;

		if (has_indexes)
			recheck = dm_insert_index_tuples(writer->result, writer->slots[i], writer->estate, false);
		if (has_triggers)
			ExecARInsertTriggers(writer->estate, writer->result, writer->slots[i], recheck, NULL);
		list_free(recheck);
		ResetPerTupleExprContext(writer->estate);
	}
	for (int i = 0; i < writer->nqueued; i++)
		ExecClearTuple(writer->slots[i]);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(writer->batch_context);
	writer->nqueued = 0;
	writer->queued_bytes = 0;
}

/* Raises for a relation that this writer does not write. */
static void
relation_check(Relation rel, bool triggers_fire)
{
	TriggerDesc *triggers = rel->trigdesc;

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an ordinary table", RelationGetRelationName(rel)),
				 errhint("Partitioned tables, views and foreign tables cannot be targets.")));
	if (triggers_fire && triggers &&
		(triggers->trig_insert_new_table || triggers->trig_update_new_table || triggers->trig_update_old_table ||
		 triggers->trig_delete_old_table))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("triggers of \"%s\" that use transition tables are not supported",
						RelationGetRelationName(rel)),
				 errhint("Use row triggers, or statement triggers without REFERENCING.")));
}
