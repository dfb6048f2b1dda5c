/*
 * s3_explain.c: what EXPLAIN shows of datamill_s3's scans: server, URL, objects and bytes; with ANALYZE, what was read.
 */
#include "postgres.h"

#include "fmgr.h"
#include "foreign/foreign.h"
#include "nodes/plannodes.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/options.h"
#include "fdw/s3_fdw.h"

/* Shows bytes: with a unit for people, exactly for programs. */
static void
show_bytes(const char *label, int64 bytes, ExplainState *es)
{
	if (es->format == EXPLAIN_FORMAT_TEXT)
		ExplainPropertyText(
			label, TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum(bytes))), es);
	else
		ExplainPropertyInteger(label, "bytes", bytes, es);
}

/* Shows what was left out. */
static void
show_pruned(int64 folders, int64 objects, ExplainState *es)
{
	ExplainPropertyInteger("Folders Pruned", NULL, folders, es);
	ExplainPropertyInteger("Objects Pruned", NULL, objects, es);
}

/* Shows what a scan read, which may be less than what matched: LIMIT stops early, and a plan's branch may never run. */
static void
show_work(const DmS3Scan *scan, ExplainState *es)
{
	const DmObjScan *objects = scan->objects;
	DmObjScanStats stats;
	DmStoreStats store;

	dm_objscan_totals(objects, &stats, &store);
	ExplainPropertyInteger("Objects Listed", NULL, stats.objects_listed, es);
	if (scan->spec.filter)
		show_pruned(stats.folders_pruned, stats.objects_pruned, es);
	ExplainPropertyInteger("Objects Read", NULL, stats.objects_read, es);
	show_bytes("Bytes Read", stats.bytes_read, es);
	if (scan->spec.on_error != DM_ON_ERROR_STOP)
		ExplainPropertyInteger("Rows Rejected", NULL, stats.rejected, es);
	ExplainPropertyInteger("List Requests", NULL, store.list_requests, es);
	ExplainPropertyInteger("Requests", NULL, store.list_requests + store.get_requests, es);
	ExplainPropertyInteger("Retries", NULL, store.retries, es);
}

/* Shows a scan. Objects and their size are those listed when the query was planned. */
static void
explain_scan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *scan = castNode(ForeignScan, node->ss.ps.plan);
	ForeignTable *table = GetForeignTable(RelationGetRelid(node->ss.ss_currentRelation));
	const DmS3Scan *running = node->fdw_state;
	char *filter = dm_s3_filter_text(node, es);
	DmS3Plan plan;

	dm_s3_plan_unpack(&plan, scan->fdw_private);
	ExplainPropertyText("Server", GetForeignServer(scan->fs_server)->servername, es);
	ExplainPropertyText("URL", dm_option_get(table->options, "url"), es);
	if (filter)
		ExplainPropertyText("Object Filter", filter, es);
	ExplainPropertyInteger("Objects", NULL, plan.objects, es);
	show_bytes("Size", plan.bytes, es);
	if (es->analyze && running && running->objects)
		show_work(running, es);
	else if (filter)
		show_pruned(plan.folders_pruned, plan.objects_pruned, es);
}

/* Sets the callback of EXPLAIN. */
void
dm_s3_explain_routine(FdwRoutine *routine)
{
	routine->ExplainForeignScan = explain_scan;
}
