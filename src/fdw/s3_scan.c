/*
 * s3_scan.c: runs scans of datamill_s3's foreign tables.
 *
 * Objects are listed when the first row is asked for, so that EXPLAIN and plans that never run open nothing.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "utils/rel.h"

#include "base/compat.h"
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
	scan->context = node->ss.ps.state->es_query_cxt;
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

/* Returns the next row, or an empty slot at the end. */
static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;

	if (!scan->objects)
		dm_s3_scan_open(scan);
	(void) dm_objscan_next(scan->objects, node->ss.ss_ScanTupleSlot);
	return node->ss.ss_ScanTupleSlot;
}

/* Starts over. */
static void
rescan(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;

	if (scan->objects)
		dm_objscan_rescan(scan->objects);
}

/* Ends the scan, wherever it is. */
static void
end_scan(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;

	if (!scan || !scan->objects)
		return;
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
