/*
 * compat.h: what differs between PostgreSQL 15, 16, 17 and 18.
 *
 * The only file that tests PG_VERSION_NUM. Everything else calls what is defined here.
 */
#ifndef DM_COMPAT_H
#define DM_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "datamill needs PostgreSQL 15 or later"
#endif

/* 16 moved SET_VARSIZE() and its like from postgres.h to a header of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Reads a date or time by a template that must fit exactly, raising what does not. 16 hands errors on by a node. */
#include "utils/formatting.h"
#define dm_parse_datetime(value, format, collation, type, typmod, zone)                                            \
	parse_datetime(value, format, collation, true, type, typmod, zone, NULL)

/* 16 renamed what names a relation's file. */
#if PG_VERSION_NUM >= 160000
#define dm_relation_file(rel) ((rel)->rd_locator)
#else
#define dm_relation_file(rel) ((rel)->rd_node)
#endif

/* 18 knows only a prefix, pg_noreturn. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* The object_aclcheck() family replaced one function a catalog in 16. */
#if PG_VERSION_NUM >= 160000
#include "utils/acl.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_database.h"
#define dm_server_aclcheck(oid, user, mode) object_aclcheck(ForeignServerRelationId, oid, user, mode)
#define dm_namespace_aclcheck(oid, user, mode) object_aclcheck(NamespaceRelationId, oid, user, mode)
#define dm_database_aclcheck(oid, user, mode) object_aclcheck(DatabaseRelationId, oid, user, mode)
#define dm_relation_is_owned(oid) object_ownercheck(RelationRelationId, oid, GetUserId())
#define dm_database_is_owned(oid) object_ownercheck(DatabaseRelationId, oid, GetUserId())
#else
#include "utils/acl.h"
#define dm_server_aclcheck(oid, user, mode) pg_foreign_server_aclcheck(oid, user, mode)
#define dm_namespace_aclcheck(oid, user, mode) pg_namespace_aclcheck(oid, user, mode)
#define dm_database_aclcheck(oid, user, mode) pg_database_aclcheck(oid, user, mode)
#define dm_relation_is_owned(oid) pg_class_ownercheck(oid, GetUserId())
#define dm_database_is_owned(oid) pg_database_ownercheck(oid, GetUserId())
#endif

/* 17 renamed the resource owner and wait event interfaces; the generic event serves before that. */
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#define dm_wait_event_make(name) WaitEventExtensionNew(name)
#else
#include "utils/wait_event.h"
#define dm_wait_event_make(name) ((uint32) PG_WAIT_EXTENSION)
#endif

/* 18 added the per-node disabled count to create_foreignscan_path(), 17 the restrict-info list. */
#if PG_VERSION_NUM >= 180000
#define dm_foreignscan_path(root, rel, rows, startup, total, pathkeys, outer, priv)                                \
	create_foreignscan_path(root, rel, NULL, rows, 0, startup, total, pathkeys, outer, NULL, NIL, priv)
#elif PG_VERSION_NUM >= 170000
#define dm_foreignscan_path(root, rel, rows, startup, total, pathkeys, outer, priv)                                \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, pathkeys, outer, NULL, NIL, priv)
#else
#define dm_foreignscan_path(root, rel, rows, startup, total, pathkeys, outer, priv)                                \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, pathkeys, outer, NULL, priv)
#endif

/*
 * Whom a scan of a foreign table checks access as: the owner of the view it stands in, or InvalidOid for the current
 * user. 16 moved it from the range table entry.
 */
#if PG_VERSION_NUM >= 160000
#define dm_plan_user(root, rel) ((rel)->userid)
#define dm_scan_user(node) (castNode(ForeignScan, (node)->ss.ps.plan)->checkAsUser)
#else
#define dm_plan_user(root, rel) (planner_rt_fetch((rel)->relid, root)->checkAsUser)
#define dm_scan_user(node)                                                                                         \
	(exec_rt_fetch(castNode(ForeignScan, (node)->ss.ps.plan)->scan.scanrelid, (node)->ss.ps.state)->checkAsUser)
#endif

/* 18 took the printing of properties and the state out of explain.h. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#else
#include "commands/explain.h"
#endif
/* A set of wait events for the whole session; it belongs to a resource owner since 17, to a memory context before.
 * 16 added to EvalPlanQualInit(). */
#if PG_VERSION_NUM >= 170000
#define dm_wait_event_set_make(n) CreateWaitEventSet(NULL, n)
#else
#define dm_wait_event_set_make(n) CreateWaitEventSet(TopMemoryContext, n)
#endif
#if PG_VERSION_NUM >= 160000
#define dm_eval_plan_qual_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL)
#else
#define dm_eval_plan_qual_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1)
#endif

/* The subtransaction that gave a table its present file; 16 renamed it. */
#include "utils/rel.h"
#if PG_VERSION_NUM >= 160000
#define dm_new_file_subid(rel) ((rel)->rd_newRelfilelocatorSubid)
#else
#define dm_new_file_subid(rel) ((rel)->rd_newRelfilenodeSubid)
#endif

/* 18 dropped the promise to run a query only once. */
#include "executor/executor.h"
#if PG_VERSION_NUM >= 180000
#define dm_executor_run(query) ExecutorRun(query, ForwardScanDirection, 0)
#else
#define dm_executor_run(query) ExecutorRun(query, ForwardScanDirection, 0, true)
#endif

/* ExecInsertIndexTuples() got a flag for summarizing indexes in 16. */
#include "parser/parse_relation.h"
#if PG_VERSION_NUM >= 160000
#define dm_insert_index_tuples(rri, slot, estate, update)                                                          \
	ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL, false)
#else
#define dm_insert_index_tuples(rri, slot, estate, update)                                                          \
	ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL)
#endif

/*
 * Gives estate a range table of one relation of which `updated` columns (numbered as in updatedCols) are updated: which
 * generated columns are computed anew depends on it. 16 moved the columns to RTEPermissionInfo.
 */
static inline void
dm_estate_set_relation(EState *estate, RangeTblEntry *rte, const Bitmapset *updated)
{
#if PG_VERSION_NUM >= 160000
	List *permissions = NIL;
	RTEPermissionInfo *info = addRTEPermissionInfo(&permissions, rte);

	info->updatedCols = bms_copy(updated);
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), permissions, bms_make_singleton(1));
#else
	ExecInitRangeTable(estate, list_make1(rte), permissions);
#endif
#else
	rte->updatedCols = bms_copy(updated);
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* 15 wants to be told how rows of a partitioned table become those of a partition; 16 finds out. */
#if PG_VERSION_NUM >= 160000
#define dm_result_map_root(rri, root, leaf) ((void) 0)
#else
#include "access/tupconvert.h"
#define dm_result_map_root(rri, root, leaf)                                                                        \
	((rri)->ri_RootToPartitionMap = convert_tuples_by_name(RelationGetDescr(root), RelationGetDescr(leaf)))
#endif

/* Fires BEFORE ROW triggers of an update; false if one of them keeps the row as it is. Each version added an argument. */
#include "commands/trigger.h"
#if PG_VERSION_NUM >= 180000
#define dm_before_update(estate, epq, rri, tid, slot, result, failure)                                             \
	ExecBRUpdateTriggers(estate, epq, rri, tid, NULL, slot, result, failure, false)
#elif PG_VERSION_NUM >= 160000
#define dm_before_update(estate, epq, rri, tid, slot, result, failure)                                             \
	ExecBRUpdateTriggers(estate, epq, rri, tid, NULL, slot, result, failure)
#else
#define dm_before_update(estate, epq, rri, tid, slot, result, failure)                                             \
	ExecBRUpdateTriggersNew(estate, epq, rri, tid, NULL, slot, result, failure)
#endif

/* 16 let parseTypeString() report errors softly. */
#include "parser/parse_type.h"
#if PG_VERSION_NUM >= 160000
#define dm_parse_type(text, type, typmod) ((void) parseTypeString(text, type, typmod, NULL))
#else
#define dm_parse_type(text, type, typmod) parseTypeString(text, type, typmod, false)
#endif

/* 16 lets columns be missing, if told to. */
#include "access/attmap.h"
#if PG_VERSION_NUM >= 160000
#define dm_attrmap_by_name(in, out) build_attrmap_by_name_if_req(in, out, false)
#else
#define dm_attrmap_by_name(in, out) build_attrmap_by_name_if_req(in, out)
#endif

/* 18 keeps a compact copy of each attribute: to be called after one was changed in place. */
#if PG_VERSION_NUM >= 180000
#define dm_attribute_changed(desc, i) populate_compact_attribute(desc, i)
#else
#define dm_attribute_changed(desc, i) ((void) 0)
#endif

/* 18 asks whether a deferrable primary key would do, and has scans count themselves for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define dm_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel, false)
#define dm_index_beginscan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define dm_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#define dm_index_beginscan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 18 took the run_once argument away. */
#if PG_VERSION_NUM >= 180000
#define dm_portal_run(portal, top, receiver, done) PortalRun(portal, FETCH_ALL, top, receiver, receiver, done)
#else
#define dm_portal_run(portal, top, receiver, done) PortalRun(portal, FETCH_ALL, top, true, receiver, receiver, done)
#endif

/* 16 tells apart who has the rights of a role and who may become it. */
#if PG_VERSION_NUM >= 160000
#define dm_role_can_become(member, role) member_can_set_role(member, role)
#else
#define dm_role_can_become(member, role) is_member_of_role(member, role)
#endif

/* tuplesort got an int of options instead of a bool in 15; its variants moved to their own header in 16. */
#include "utils/tuplesort.h"

#endif
