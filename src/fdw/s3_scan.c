/*
 * s3_scan.c: runs scans of datamill_s3's foreign tables.
 *
 * Objects are listed when the first row is asked for, so that EXPLAIN and plans that never run open nothing.
 *
 * A scan that starts over (a correlated subquery, the inner side of a join) keeps its rows from the second pass on, or from the first
 * where the plan says so, if its objects are no larger than work_mem or datamill.prefetch_memory. A pass reads the rows that are
 * kept, then goes on with the objects where the last one stopped; so objects are fetched twice at most.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/guc.h"
#include "fdw/s3_fdw.h"
#include "fdw/s3_options.h"
#include "source/source.h"

/* Prepares a scan: rights, options, needed columns. Raises 42501 without USAGE on the server. */
static void
begin_scan(ForeignScanState *node, int eflags)
{
	DmS3Scan *scan;
	DmS3Plan plan;
	Oid user;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	scan = palloc0(sizeof(DmS3Scan));
	user = dm_scan_user(node);
	if (!OidIsValid(user))
		user = GetUserId();
	dm_s3_table_spec(&scan->spec, RelationGetRelid(node->ss.ss_currentRelation), user);
	dm_source_check_usage(scan->spec.server, user);
	dm_s3_plan_unpack(&plan, castNode(ForeignScan, node->ss.ps.plan)->fdw_private);
	scan->spec.desc = RelationGetDescr(node->ss.ss_currentRelation);
	scan->spec.needed = plan.needed;
	scan->spec.all_needed = plan.all_needed;
	scan->spec.in_query = true;
	scan->spec.listing = plan.listing;
	scan->spec.filter = dm_s3_filter_begin(node, &scan->spec);
	scan->context = node->ss.ps.state->es_query_cxt;
	scan->rewinds = (eflags & EXEC_FLAG_REWIND) != 0;
	node->fdw_state = scan;
}

/* Lists the objects, in the context of the query; a parallel worker takes those that the leader listed. */
void
dm_s3_scan_open(DmS3Scan *scan)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->context);

	scan->spec.listed = scan->share != NULL;
	scan->objects = dm_objscan_begin(&scan->spec);
	if (scan->share)
		dm_objscan_join(scan->objects, scan->share, ParallelWorkerNumber + 1);
	MemoryContextSwitchTo(caller);
}

/* From here on, keeps the rows that are read, if they are few enough and no other process reads some. */
static void
keep_rows(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;
	const int64 most = Max(work_mem, dm_guc_prefetch_memory_kb) * INT64CONST(1024);
	MemoryContext caller;

	if (node->ss.ps.plan->parallel_aware || dm_objscan_size(scan->objects) > most)
		return;
	dm_objscan_read_all(scan->objects);
	caller = MemoryContextSwitchTo(scan->context);
	scan->kept = tuplestore_begin_heap(false, false, work_mem);
	if (!scan->kept_row)
		scan->kept_row = ExecInitExtraTupleSlot(node->ss.ps.state, scan->spec.desc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(caller);
}

/* Stores the next of the rows that are kept in slot; false if all of them were read. */
static bool
next_kept(DmS3Scan *scan, TupleTableSlot *slot)
{
	const Size natts = scan->spec.desc->natts;
	MemoryContext caller;
	bool found;

	if (tuplestore_ateof(scan->kept))
		return false;
	/* A row that comes from disk is the slot's until the next one: longer than the caller's context lives. */
	caller = MemoryContextSwitchTo(scan->context);
	found = tuplestore_gettupleslot(scan->kept, true, false, scan->kept_row);
	MemoryContextSwitchTo(caller);
	if (!found)
		return false;
	ExecClearTuple(slot);
	slot_getallattrs(scan->kept_row);
	memcpy(slot->tts_values, scan->kept_row->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, scan->kept_row->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	return true;
}

/* Returns the next row, or an empty slot at the end. */
static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	if (!scan->objects)
	{
		dm_s3_scan_open(scan);
		if (scan->rewinds)
			keep_rows(node);
	}
	if (scan->kept && next_kept(scan, slot))
		return slot;
	if (scan->ended)
		return ExecClearTuple(slot);
	scan->ended = !dm_objscan_next(scan->objects, slot);
	if (scan->kept && !scan->ended)
		tuplestore_putvalues(scan->kept, scan->spec.desc, slot->tts_values, slot->tts_isnull);
	return slot;
}

/* Starts over. */
static void
rescan(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;

	if (!scan->objects)
		return;
	if (scan->kept)
	{
		tuplestore_rescan(scan->kept);
		return;
	}
	dm_objscan_rescan(scan->objects);
	scan->started = scan->ended = false;
	keep_rows(node);
}

/* Ends the scan, wherever it is. */
static void
end_scan(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;

	if (!scan || !scan->objects)
		return;
	if (scan->kept)
	{
		tuplestore_end(scan->kept);
		scan->kept = NULL;
	}
	dm_objscan_end(scan->objects);
	scan->objects = NULL;
}

/* Sets the executor's callbacks. Writing is not supported: Postgres says so where a callback is missing. */
void
dm_s3_scan_routine(FdwRoutine *routine)
{
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = iterate_scan;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
}
