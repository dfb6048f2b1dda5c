/*
 * s3_fdw.c: plans scans of datamill_s3's foreign tables.
 *
 * 1. Objects are listed in planning, which opens none, and the scan of the statement takes that list; a plan that runs again
 *    lists anew. Numbers of what was listed go into the plan, for EXPLAIN.
 * 2. The user whose rights count (the current one, or the owner of the view the table stands in) needs USAGE on the
 *    server for both, since listing already tells what is there.
 * 3. Columns that the query does not use are not converted.
 * 4. All conditions are checked by the executor.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "fdw/s3_fdw.h"
#include "fdw/s3_options.h"
#include "source/source.h"

/* Bytes of a value of a type not listed below, as text in an object; a short varchar(n) has less. */
#define DM_TEXT_WIDTH 16

/* Returns the bytes that a value of a column is likely to take in an object, as text. */
static int
estimate_text_width(Form_pg_attribute attribute)
{
	switch (attribute->atttypid)
	{
		case BOOLOID: return 4;
		case INT2OID: return 3;
		case INT4OID: return 5;
		case INT8OID: return 8;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID: return 8;
		case DATEOID: return 10;
		case TIMESTAMPOID: return 19;
		case TIMESTAMPTZOID: return 22;
		case UUIDOID: return 36;
		default: return Min(DM_TEXT_WIDTH, get_typavgwidth(attribute->atttypid, attribute->atttypmod));
	}
}

/* Returns the bytes that a row is likely to take in an object: each value as text, and what separates it. */
static double
estimate_row_bytes(Oid table)
{
	Relation relation = table_open(table, NoLock);
	TupleDesc desc = RelationGetDescr(relation);
	double bytes = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped)
			bytes += estimate_text_width(attribute) + 1;
	}
	table_close(relation, NoLock);
	return Max(bytes, 1);
}

/* Collects which columns a scan must give: those of the target list and of the conditions. */
static void
collect_needed(RelOptInfo *rel, DmS3Plan *plan)
{
	Bitmapset *used = NULL;
	ListCell *cell;
	int member = -1;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &used);
	foreach (cell, rel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, cell)->clause, rel->relid, &used);
	while ((member = bms_next_member(used, member)) >= 0)
	{
		AttrNumber attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum == InvalidAttrNumber)
			plan->all_needed = true;
		else if (attnum > 0)
			plan->needed = bms_add_member(plan->needed, attnum);
	}
}

/*
 * Keeps the query of this level and those around it from running in parallel: bad rows are left out by means of
 * subtransactions, which there are none of in a parallel query.
 */
static void
forbid_parallel(PlannerInfo *root)
{
	root->glob->parallelModeOK = false;
	for (; root; root = root->parent_root)
	{
		for (int i = 1; i < root->simple_rel_array_size; i++)
		{
			if (root->simple_rel_array && root->simple_rel_array[i])
				root->simple_rel_array[i]->consider_parallel = false;
		}
	}
}

/* Sets the estimates of rows: sizes of the objects times rows a byte, times the conditions' selectivity. */
static void
get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	DmS3Plan *plan = palloc0(sizeof(DmS3Plan));
	Oid user = dm_plan_user(root, rel);
	DmObjScanSpec spec;
	DmObjMeasure measure;
	double pages;
	List *constant;
	EState *estate;

	if (!OidIsValid(user))
		user = GetUserId();
	dm_s3_table_spec(&spec, table, user);
	dm_source_check_usage(spec.server, user);
	if (spec.on_error != DM_ON_ERROR_STOP)
		forbid_parallel(root);
	plan->filter = dm_s3_filter_find(rel, &spec);
	constant = dm_s3_filter_constant(plan->filter);
	spec.filter = dm_s3_filter_plan(&spec, constant, &estate);
	dm_objscan_measure(&spec, &measure);
	if (estate)
		FreeExecutorState(estate);
	plan->objects = measure.objects;
	plan->listed = measure.listed;
	plan->folders_pruned = measure.folders_pruned;
	plan->objects_pruned = measure.objects_pruned;
	plan->listing = measure.listing;
	plan->bytes = measure.bytes;
	plan->pieces = measure.pieces;
	collect_needed(rel, plan);
	pages = (double) Min(measure.plain_bytes / BLCKSZ + 1, (int64) MaxBlockNumber);
	/* What ANALYZE has found is scaled to the size of today, as for tables. */
	if (rel->tuples >= 0 && rel->pages > 0)
		rel->tuples = clamp_row_est(rel->tuples / rel->pages * pages);
	else
		rel->tuples = clamp_row_est((double) measure.plain_bytes / estimate_row_bytes(table));
	rel->pages = (BlockNumber) pages;
	/* conditions that objects were left out by hold for all others */
	rel->rows = clamp_row_est(
		rel->tuples *
		clauselist_selectivity(root, list_difference_ptr(rel->baserestrictinfo, constant), 0, JOIN_INNER, NULL));
	rel->fdw_private = plan;
}

/* Adds the paths: all objects in order, and shared by several processes. A row costs ten times a heap's to read, since it is parsed, as file_fdw has it. */
static void
get_paths(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	Cost startup = rel->baserestrictcost.startup;
	Cost per_row = cpu_tuple_cost * 10 + rel->baserestrictcost.per_tuple;
	Cost total = startup + seq_page_cost * rel->pages + per_row * rel->tuples;

	ForeignPath *path = dm_foreignscan_path(root, rel, rel->rows, startup, total, NIL, rel->lateral_relids, NIL);
	DmS3Plan *plan = rel->fdw_private;

	/* An Append that could run in a worker never waits for its scans at the same time; it still can share them. */
	plan->is_async = rel->reloptkind == RELOPT_OTHER_MEMBER_REL && enable_async_append && dm_s3_is_async(table);
	if (plan->is_async)
		path->path.parallel_safe = false;
	add_path(rel, &path->path);
	if (rel->consider_parallel && !rel->lateral_relids)
		dm_s3_parallel_paths(root, rel, startup, total, plan->is_async);
}

/* Makes the plan of the path: all conditions are the executor's. */
static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *rel, Oid table, ForeignPath *path, List *tlist, List *clauses,
		 Plan *outer_plan)
{
	DmS3Plan *plan = rel->fdw_private;

	return make_foreignscan(tlist,
							extract_actual_clauses(clauses, false),
							rel->relid,
							extract_actual_clauses(plan->filter, false),
							dm_s3_plan_pack(rel->fdw_private),
							NIL,
							NIL,
							outer_plan);
}

/* Sets the planner's callbacks. */
void
dm_s3_plan_routine(FdwRoutine *routine)
{
	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
}

/* Returns a 64-bit number as a node that can be copied. */
static Const *
make_int8(int64 number)
{
	return makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(number), false, FLOAT8PASSBYVAL);
}

/*
 * Returns what a plan keeps as a list that can be copied: whether all are needed, needed attribute numbers, then the numbers.
 */
List *
dm_s3_plan_pack(const DmS3Plan *plan)
{
	List *needed = NIL;
	List *list;
	int member = -1;

	while ((member = bms_next_member(plan->needed, member)) >= 0)
		needed = lappend_int(needed, member);
	list = list_make2(makeBoolean(plan->all_needed), needed);
	list = lappend(list, make_int8(plan->objects));
	list = lappend(list, make_int8(plan->bytes));
	list = lappend(list, make_int8(plan->listed));
	list = lappend(list, make_int8(plan->folders_pruned));
	list = lappend(list, make_int8(plan->objects_pruned));
	return lappend(list, make_int8(plan->listing));
}

/* Returns a number of such a list. */
static int64
number_at(List *list, int at)
{
	return DatumGetInt64(list_nth_node(Const, list, at)->constvalue);
}

/* Reads such a list back, in the current memory context. */
void
dm_s3_plan_unpack(DmS3Plan *plan, List *list)
{
	ListCell *cell;

	memset(plan, 0, sizeof(*plan));
	plan->objects = number_at(list, 2);
	plan->bytes = number_at(list, 3);
	plan->listed = number_at(list, 4);
	plan->folders_pruned = number_at(list, 5);
	plan->objects_pruned = number_at(list, 6);
	plan->listing = number_at(list, 7);
	plan->all_needed = boolVal(linitial(list));
	foreach (cell, (List *) lsecond(list))
		plan->needed = bms_add_member(plan->needed, lfirst_int(cell));
}
