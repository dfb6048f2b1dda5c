/*
 * s3_fdw.h: the parts of datamill_s3 and what they hand on: planner to plan, plan to scan, scan to EXPLAIN.
 */
#ifndef DM_S3_FDW_H
#define DM_S3_FDW_H

#include "postgres.h"
#include "foreign/fdwapi.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "utils/tuplestore.h"

#include "base/handle.h"
#include "source/objfilter.h"
#include "source/objscan.h"
#include "source/objscan_share.h"

/* What a plan keeps of planning; it travels as a list, since plans are copied. */
typedef struct DmS3Plan
{
	int64 objects; /* to read, as of when the query was planned */
	int64 bytes;   /* their size */
	int64 pieces;  /* that processes could read them in at most; used in planning only */
	bool is_async; /* scans of it wait beside others; the same */
	int64 listed;  /* objects seen in the listing */
	int64 folders_pruned;
	int64 objects_pruned;
	int64 listing;	   /* to be taken by the scan; see source/listing.h */
	List *filter;	   /* of RestrictInfo*: conditions that leave out objects; used in planning only */
	Bitmapset *needed; /* attribute numbers that the query uses */
	bool all_needed;
} DmS3Plan;

/* fdw_state of a running scan. */
typedef struct DmS3Scan
{
	DmObjScanSpec spec;
	DmObjScan *objects;	   /* NULL until the first row is asked for */
	DmObjShare *share;	   /* a worker's: where its objects are */
	bool rewinds;		   /* the plan expects it to start over */
	bool ended;			   /* the objects have no more rows */
	bool started;		   /* its first bytes were asked for; s3_async.c */
	DmHandle *wait_handle; /* of a descriptor to wait for, or NULL; s3_async.c */
	int wait_fd;
	/* Rows kept for scans that start over: */
	Tuplestorestate *kept; /* NULL: none */
	TupleTableSlot *kept_row;
	MemoryContext context;
} DmS3Scan;

/* Each sets the callbacks that it implements. */
extern void dm_s3_plan_routine(FdwRoutine *routine);
extern void dm_s3_scan_routine(FdwRoutine *routine);
extern void dm_s3_parallel_routine(FdwRoutine *routine);
extern void dm_s3_async_routine(FdwRoutine *routine);
extern void dm_s3_analyze_routine(FdwRoutine *routine);
extern void dm_s3_explain_routine(FdwRoutine *routine);
extern void dm_s3_import_routine(FdwRoutine *routine);

/* s3_scan.c: lists the objects, in the context of the query; in a parallel worker takes those that the leader listed. */
extern void dm_s3_scan_open(DmS3Scan *scan);
/* s3_parallel.c: adds paths of several processes; a small table, too, if it is asked for. */
extern void dm_s3_parallel_paths(PlannerInfo *root, RelOptInfo *rel, Cost startup, Cost total, bool small_too);
/* s3_async.c: whether a table's scan may wait beside others. */
extern bool dm_s3_is_async(Oid table);

/* s3_filter.c: see there. */
extern List *dm_s3_filter_find(RelOptInfo *rel, const DmObjScanSpec *spec);
extern List *dm_s3_filter_constant(List *infos);
extern DmObjFilter *dm_s3_filter_plan(const DmObjScanSpec *spec, List *infos, EState **estate);
extern DmObjFilter *dm_s3_filter_begin(ForeignScanState *node, const DmObjScanSpec *spec);
extern char *dm_s3_filter_text(ForeignScanState *node, struct ExplainState *es);

extern List *dm_s3_plan_pack(const DmS3Plan *plan);
extern void dm_s3_plan_unpack(DmS3Plan *plan, List *list);

#endif
