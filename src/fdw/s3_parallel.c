/*
 * s3_parallel.c: parallel scans of datamill_s3's foreign tables.
 *
 * The leader lists the objects, puts them into shared memory (source/objscan_share.h) and reads along. Rows are the same as without
 * workers, in another order.
 *
 * There is no parallel scan where it could not do the same: where bad rows are left out (that takes subtransactions), where a
 * receipt is open (it digests each object from its first byte to its last), and of columns whose input function is not parallel safe.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "fdw/s3_fdw.h"
#include "receipt/receipt.h"

/* Whether values of a type may be read in a worker. What a domain's constraints call is anyone's guess, as for the core. */
static bool
is_type_safe(Oid type)
{
	Oid element = get_element_type(type);
	Oid input;
	Oid typioparam;

	if (get_typtype(type) == TYPTYPE_DOMAIN || (OidIsValid(element) && get_typtype(element) == TYPTYPE_DOMAIN))
		return false;
	getTypeInputInfo(type, &input, &typioparam);
	return func_parallel(input) == PROPARALLEL_SAFE;
}

/* Whether values of all columns of a table may be read in a worker. */
static bool
is_input_safe(Oid table)
{
	Relation relation = table_open(table, NoLock);
	TupleDesc desc = RelationGetDescr(relation);
	bool safe = true;

	for (int i = 0; i < desc->natts && safe; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			safe = is_type_safe(TupleDescAttr(desc, i)->atttypid);
	}
	table_close(relation, NoLock);
	return safe;
}

/* Tells whether a scan may be a part of a parallel plan, on its own in each process or shared. */
static bool
is_parallel_safe(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	return !dm_receipt_is_open() && is_input_safe(rte->relid);
}

/*
 * Adds a path of several processes, if there is work for them; startup and total are the costs of one. small_too: if there is not,
 * adds one of a single worker.
 */
void
dm_s3_parallel_paths(PlannerInfo *root, RelOptInfo *rel, Cost startup, Cost total, bool small_too)
{
	const DmS3Plan *plan = rel->fdw_private;
	int workers = compute_parallel_worker(rel, rel->pages, -1, max_parallel_workers_per_gather);
	double processes;
	ForeignPath *path;

	workers = (int) Min(workers, plan->pieces - 1);
	if (small_too && max_parallel_workers_per_gather > 0)
		workers = Max(workers, 1);
	if (workers <= 0)
		return;
	/* As the core has it: the leader reads less, the more rows the workers send it. */
	processes = workers;
	if (parallel_leader_participation && 1.0 - 0.3 * workers > 0)
		processes += 1.0 - 0.3 * workers;
	path = dm_foreignscan_path(root,
							   rel,
							   clamp_row_est(rel->rows / processes),
							   startup,
							   startup + (total - startup) / processes,
							   NIL,
							   NULL,
							   NIL);
	path->path.parallel_aware = true;
	path->path.parallel_safe = true;
	path->path.parallel_workers = workers;
	add_partial_path(rel, &path->path);
}

/* Tells how much shared memory the objects take: lists them, in the leader. */
static Size
estimate_shared(ForeignScanState *node, ParallelContext *pcxt)
{
	DmS3Scan *scan = node->fdw_state;

	if (!scan->objects)
		dm_s3_scan_open(scan);
	return dm_objshare_size(scan->objects, pcxt->nworkers);
}

/*
 * Puts the objects into shared memory. A receipt that was opened after planning keeps all of them with the leader: the workers
 * get none.
 */
static void
initialize_shared(ForeignScanState *node, ParallelContext *pcxt, void *shared)
{
	DmS3Scan *scan = node->fdw_state;

	dm_objshare_init(shared, scan->objects, pcxt->nworkers);
	if (dm_receipt_is_open())
		dm_objshare_close(shared);
	else
		dm_objscan_join(scan->objects, shared, 0);
}

/* Prepares the shared memory for another scan, in the leader. */
static void
reinitialize_shared(ForeignScanState *node, ParallelContext *pcxt, void *shared)
{
	if (!dm_receipt_is_open())
		dm_objshare_reset(shared);
}

/* Takes the shared memory, in a worker. */
static void
initialize_worker(ForeignScanState *node, shm_toc *toc, void *shared)
{
	((DmS3Scan *) node->fdw_state)->share = shared;
}

/* Lets go of the shared memory, which is about to go. */
static void
shut_down(ForeignScanState *node)
{
	DmS3Scan *scan = node->fdw_state;

	if (scan && scan->objects)
		dm_objscan_leave(scan->objects);
}

/* Sets the callbacks of parallel scans. */
void
dm_s3_parallel_routine(FdwRoutine *routine)
{
	routine->IsForeignScanParallelSafe = is_parallel_safe;
	routine->EstimateDSMForeignScan = estimate_shared;
	routine->InitializeDSMForeignScan = initialize_shared;
	routine->ReInitializeDSMForeignScan = reinitialize_shared;
	routine->InitializeWorkerForeignScan = initialize_worker;
	routine->ShutdownForeignScan = shut_down;
}
