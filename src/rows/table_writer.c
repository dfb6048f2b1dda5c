/*
 * table_writer.c: writes rows of one table as any writer would.
 *
 * Invariants:
 * 1. Constraints, stored generated columns, indexes and row and statement triggers of the table behave as under INSERT,
 *    UPDATE and DELETE. Rights and row-level security are the caller's to check before opening.
 * 2. Inserts go through table_multi_insert() unless the table has row triggers on INSERT; the rows of a batch are
 *    written before an update or delete and before closing, so row order is the caller's.
 * 3. Every write carries the command id of the moment of opening: a snapshot taken before does not see it.
 * 4. Transition tables of statement triggers are filled after each write, through a copy of the result relation that
 *    has no triggers: what was not written, since a BEFORE trigger said so, is not in them.
 * 5. A partitioned table is written through a writer a partition (table_routing.c); the table's own statement triggers
 *    fire, those of its partitions do not.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
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
#include "rows/table_writer_internal.h"

#define BATCH_ROWS 1000
#define BATCH_BYTES (256 * 1024)

static DmTableWriter *writer_open(Relation rel, const Bitmapset *updated_columns, bool new_table, bool triggers);
static DmTableWriter *writer_make(Relation rel, EState *estate);
static void result_make(DmTableWriter *writer, int range_table_index, ResultRelInfo *root, bool triggers);
static void captures_make(DmTableWriter *writer);
static void relation_check(Relation rel);
static bool row_change(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot);
static void change_failed(const DmTableWriter *writer, const ErrorData *error);
static bool row_write(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot);
static bool row_delete(DmTableWriter *writer, TupleTableSlot *old_slot);

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
 * the table was created in this transaction and holds nothing yet; its rows are frozen where they can be. Raises for
 * relations that cannot be written so.
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
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	EState *estate = CreateExecutorState();
	DmTableWriter *writer;

	relation_check(rel);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	dm_estate_set_relation(estate, rte, updated_columns);
	estate->es_output_cid = GetCurrentCommandId(true);
	estate->es_snapshot = GetActiveSnapshot();

	writer = writer_make(rel, estate);
	writer->epq = palloc0(sizeof(EPQState));
	dm_eval_plan_qual_init(writer->epq, estate);
	writer->updates = updated_columns != NULL;
	writer->options = new_table ? TABLE_INSERT_SKIP_FSM : 0;
	/* what dies with this subtransaction can be frozen: then no later reader has to write that the rows are committed */
	if (new_table && writer->bulk && rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_createSubid == GetCurrentSubTransactionId())
		writer->options |= TABLE_INSERT_FROZEN;
	writer->silent = !triggers;
	result_make(writer, 1, NULL, triggers);
	if (triggers)
		captures_make(writer);

	ExecBSInsertTriggers(estate, writer->result);
	if (writer->updates)
	{
		ExecBSUpdateTriggers(estate, writer->result);
		ExecBSDeleteTriggers(estate, writer->result);
	}
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		writer->routing = dm_routing_begin(writer);
	return writer;
}

/* Opens the writer of a partition, which the caller holds open, with the root's state; no statement trigger fires. */
DmTableWriter *
dm_writer_open_leaf(DmTableWriter *root, Relation rel)
{
	MemoryContext caller = MemoryContextSwitchTo(root->context);
	DmTableWriter *leaf = writer_make(rel, root->estate);

	relation_check(rel);
	leaf->epq = root->epq;
	leaf->must_write = root->must_write;
	memcpy(leaf->captures, root->captures, sizeof(leaf->captures));
	result_make(leaf, 0, root->result, !root->silent);
	dm_result_map_root(leaf->result, root->rel, rel);
	MemoryContextSwitchTo(caller);
	return leaf;
}

/* Makes a writer in the current memory context, without a result relation. */
static DmTableWriter *
writer_make(Relation rel, EState *estate)
{
	DmTableWriter *writer = palloc0(sizeof(DmTableWriter));

	writer->context = CurrentMemoryContext;
	writer->rel = rel;
	writer->estate = estate;
	writer->command = estate->es_output_cid;
	writer->bulk =
		!(rel->trigdesc && (rel->trigdesc->trig_insert_before_row || rel->trigdesc->trig_insert_after_row ||
							rel->trigdesc->trig_insert_instead_row));
	writer->bulk_state = GetBulkInsertState();
	writer->slots = palloc0(sizeof(TupleTableSlot *) * BATCH_ROWS);
	writer->batch_context = AllocSetContextCreate(CurrentMemoryContext, "datamill writer", ALLOCSET_DEFAULT_SIZES);
	return writer;
}

/* Makes the writer's result relation, and opens the indexes. */
static void
result_make(DmTableWriter *writer, int range_table_index, ResultRelInfo *root, bool triggers)
{
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->rel, range_table_index, root, 0);
	if (!triggers)
		writer->result->ri_TrigDesc = NULL;
	ExecOpenIndices(writer->result, false);
	if (root)
		(void) ExecGetChildToRootMap(writer->result); /* which is kept where it was made */
	writer->untriggered = makeNode(ResultRelInfo);
	memcpy(writer->untriggered, writer->result, sizeof(ResultRelInfo));
	writer->untriggered->ri_TrigDesc = NULL;
}

/* Makes the transition tables that triggers ask for. */
static void
captures_make(DmTableWriter *writer)
{
	static const CmdType commands[DM_CAPTURES] = {CMD_INSERT, CMD_UPDATE, CMD_DELETE};

	for (int i = 0; i < DM_CAPTURES; i++)
	{
		if (i == DM_CAPTURE_INSERT || writer->updates)
			writer->captures[i] =
				MakeTransitionCaptureState(writer->rel->trigdesc, RelationGetRelid(writer->rel), commands[i]);
	}
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

/* From now on a row that a BEFORE trigger skips is an error (09000): there is nowhere else that it could be. */
void
dm_writer_must_write(DmTableWriter *writer)
{
	writer->must_write = true;
}

/* Raises 09000 for a row that a BEFORE trigger skipped. */
void
dm_writer_raise_skipped(const DmTableWriter *writer)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a BEFORE trigger of table \"%s\" skipped a row that must be written",
					RelationGetRelationName(writer->rel)),
			 errdetail("Without it versions would be lost, or stay that have to go."),
			 errhint("Disable the trigger, or have it let such rows pass: ALTER TABLE ... DISABLE TRIGGER ...")));
}

/* Returns a cleared slot of the table's shape to fill and store (ExecStoreVirtualTuple), then give to dm_writer_insert. */
TupleTableSlot *
dm_writer_slot(DmTableWriter *writer)
{
	TupleTableSlot *slot;

	if (writer->routing)
		return dm_routing_slot(writer->routing);
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

/*
 * Inserts the slot got from dm_writer_slot(), now or with its batch; its values need not outlive the call. Returns false
 * if a BEFORE trigger kept it out, unless rows must be written.
 */
bool
dm_writer_insert(DmTableWriter *writer, TupleTableSlot *slot)
{
	TupleConstr *constr = writer->rel->rd_att->constr;

	if (writer->routing)
		return dm_routing_insert(writer->routing, slot);
	slot->tts_tableOid = RelationGetRelid(writer->rel);
	if (!writer->bulk)
		return dm_writer_insert_now(writer, slot);
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
		dm_writer_flush(writer);
	return true;
}

/* Inserts a filled slot of the table at once. Returns false if a BEFORE trigger kept it out. */
bool
dm_writer_insert_now(DmTableWriter *writer, TupleTableSlot *slot)
{
	bool written;

	ItemPointerSetInvalid(&slot->tts_tid);
	ExecSimpleRelationInsert(writer->result, writer->estate, slot);
	written = ItemPointerIsValid(&slot->tts_tid);
	if (written)
		dm_writer_capture(writer, DM_CAPTURE_INSERT, NULL, slot);
	else if (writer->must_write)
		dm_writer_raise_skipped(writer);
	ResetPerTupleExprContext(writer->estate);
	return written;
}

/*
 * Puts a row that was written into the transition tables: the old one, by its tuple id, and the new one, NULL where
 * there is none. A row that comes and goes by an UPDATE may have its old and new version put there one at a time.
 */
void
dm_writer_capture(DmTableWriter *writer, DmCapture capture, ItemPointer old, TupleTableSlot *new_slot)
{
	TransitionCaptureState *state = writer->captures[capture];

	if (!state)
		return;
	if (capture == DM_CAPTURE_INSERT)
		ExecARInsertTriggers(writer->estate, writer->untriggered, new_slot, NIL, state);
	else if (capture == DM_CAPTURE_DELETE)
		ExecARDeleteTriggers(writer->estate, writer->untriggered, old, NULL, state, false);
	else
		ExecARUpdateTriggers(
			writer->estate, writer->untriggered, NULL, NULL, old, NULL, new_slot, NIL, state, false);
}

/* True if the row is in the table, as this statement has left it. */
bool
dm_writer_is_stored(DmTableWriter *writer, ItemPointer tid)
{
	bool found;

	if (!writer->stored)
	{
		MemoryContext caller = MemoryContextSwitchTo(writer->context);

		writer->stored = table_slot_create(writer->rel, NULL);
		MemoryContextSwitchTo(caller);
	}
	found = table_tuple_fetch_row_version(writer->rel, tid, SnapshotSelf, writer->stored);
	ExecClearTuple(writer->stored);
	return found;
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

/*
 * Updates the row in old_slot (as fetched: its tid counts, and its table if there are partitions) to the values in
 * new_slot. Returns false if a BEFORE trigger kept it as it was, unless rows must be written. Raises 40001 if it has
 * changed, and 27000 if this statement changed it.
 */
bool
dm_writer_update(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	return row_change(writer, old_slot, new_slot);
}

/* Deletes the row in old_slot; returns and raises as dm_writer_update. */
bool
dm_writer_delete(DmTableWriter *writer, TupleTableSlot *old_slot)
{
	return row_change(writer, old_slot, NULL);
}

/*
 * Updates a row, or deletes it if new_slot is NULL. A row that was changed since it was fetched is, to the table, an error
 * that does not say how that came.
 */
static bool
row_change(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	volatile bool written = false;
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		written = row_write(writer, old_slot, new_slot);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		change_failed(writer, error);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!written && writer->must_write)
		dm_writer_raise_skipped(writer);
	return written;
}

/* Says it where a write failed since the row had been changed: by somebody else or by this statement. */
static void
change_failed(const DmTableWriter *writer, const ErrorData *error)
{
	bool by_self = error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE && error->funcname &&
				   (strcmp(error->funcname, "heap_update") == 0 || strcmp(error->funcname, "heap_delete") == 0);
	bool is_internal = error->sqlerrcode == ERRCODE_INTERNAL_ERROR;

	by_self |= is_internal && (strcmp(error->message, "attempted to lock invisible tuple") == 0 ||
							   strcmp(error->message, "tuple already updated by self") == 0);
	if (by_self)
	{
		FlushErrorState();
		ereport(
			ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("a row of \"%s\" was already changed by this statement", RelationGetRelationName(writer->rel)),
			 errdetail(
				 "A function of the source or a trigger wrote to the table while its rows were being written."),
			 errhint(
				 "Have the source only read the table, and an AFTER trigger propagate changes to other rows.")));
	}
	if (IsolationUsesXactSnapshot() && is_internal && strncmp(error->message, "tuple concurrently ", 19) == 0)
	{
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to table \"%s\" due to concurrent update",
						RelationGetRelationName(writer->rel)),
				 errhint("Retry the transaction.")));
	}
}

/* As row_change, with the errors that the table has. */
static bool
row_write(DmTableWriter *writer, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	bool written;

	if (writer->routing)
		return new_slot ? dm_routing_update(writer->routing, old_slot, new_slot)
						: dm_routing_delete(writer->routing, old_slot);
	if (!new_slot)
		return row_delete(writer, old_slot);
	ItemPointerSetInvalid(&new_slot->tts_tid);
	ExecSimpleRelationUpdate(writer->result, writer->estate, writer->epq, old_slot, new_slot);
	written = ItemPointerIsValid(&new_slot->tts_tid);
	if (written)
		dm_writer_capture(writer, DM_CAPTURE_UPDATE, &old_slot->tts_tid, new_slot);
	ResetPerTupleExprContext(writer->estate);
	return written;
}

/* Deletes a row. */
static bool
row_delete(DmTableWriter *writer, TupleTableSlot *old_slot)
{
	TriggerDesc *triggers = writer->result->ri_TrigDesc;

	ExecSimpleRelationDelete(writer->result, writer->estate, writer->epq, old_slot);
	ResetPerTupleExprContext(writer->estate);
	if (triggers && triggers->trig_delete_before_row && dm_writer_is_stored(writer, &old_slot->tts_tid))
		return false;
	dm_writer_capture(writer, DM_CAPTURE_DELETE, &old_slot->tts_tid, NULL);
	return true;
}

/* Writes what is queued, fires AFTER STATEMENT triggers (row triggers at dm_writers_end), and releases everything. */
void
dm_writer_close(DmTableWriter *writer)
{
	EState *estate = writer->estate;

	if (writer->routing)
		dm_routing_flush(writer->routing);
	dm_writer_flush(writer);
	ExecASInsertTriggers(estate, writer->result, writer->captures[DM_CAPTURE_INSERT]);
	if (writer->updates)
	{
		ExecASUpdateTriggers(estate, writer->result, writer->captures[DM_CAPTURE_UPDATE]);
		ExecASDeleteTriggers(estate, writer->result, writer->captures[DM_CAPTURE_DELETE]);
	}
	if (writer->routing)
		dm_routing_end(writer->routing);
	else
		table_finish_bulk_insert(writer->rel, writer->options);
	dm_writer_close_leaf(writer);
	ExecCloseResultRelations(estate);
	ExecCloseRangeTableRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
}

/* Releases what a writer of one table holds, its root's state apart. */
void
dm_writer_close_leaf(DmTableWriter *writer)
{
	ListCell *cell;

	foreach (cell, writer->result->ri_ancestorResultRels)
	{
		ResultRelInfo *ancestor = lfirst(cell);

		if (ancestor->ri_RangeTableIndex == 0) /* the root's are closed with its range table */
			table_close(ancestor->ri_RelationDesc, NoLock);
	}
	for (int i = 0; i < writer->nslots; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	if (writer->stored)
		ExecDropSingleTupleTableSlot(writer->stored);
	FreeBulkInsertState(writer->bulk_state);
	ExecCloseIndices(writer->result);
	MemoryContextDelete(writer->batch_context);
}

/* Writes the queued rows to the table and its indexes. */
void
dm_writer_flush(DmTableWriter *writer)
{
	MemoryContext caller;
	bool has_indexes = writer->result->ri_NumIndices > 0;
	TransitionCaptureState *capture = writer->captures[DM_CAPTURE_INSERT];
	bool has_triggers = capture || (writer->rel->trigdesc && writer->rel->trigdesc->trig_insert_after_row);

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
			ExecARInsertTriggers(writer->estate, writer->result, writer->slots[i], recheck, capture);
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
relation_check(Relation rel)
{
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of this database", RelationGetRelationName(rel)),
				 errhint("Views and foreign tables, also as partitions, cannot be targets.")));
}
