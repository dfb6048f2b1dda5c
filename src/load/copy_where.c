/*
 * copy_where.c: WHERE and FREEZE of COPY FROM, by COPY's own rules.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "load/copy.h"

/* Raises 42501 unless the user may read the columns that a condition looks at, 42P10 on generated ones. */
static void
check_columns(Relation rel, const Bitmapset *columns)
{
	Oid relid = RelationGetRelid(rel);
	bool may_read_all = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	int i = -1;

	while ((i = bms_next_member(columns, i)) >= 0)
	{
		AttrNumber attnum = (AttrNumber) (i + FirstLowInvalidHeapAttributeNumber);

		if (!may_read_all && pg_attribute_aclcheck(relid, attnum, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
			aclcheck_error(
				ACLCHECK_NO_PRIV, get_relkind_objtype(rel->rd_rel->relkind), RelationGetRelationName(rel));
		if (attnum < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("system columns are not supported in COPY FROM WHERE conditions")));
		if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("generated columns are not supported in COPY FROM WHERE conditions"),
					 errdetail("Column \"%s\" is a generated column.", get_attname(relid, attnum, false))));
	}
}

/* Returns the columns of a condition, numbered as in selectedCols; a reference to the whole row is all of them. */
static Bitmapset *
columns_of(Relation rel, Node *where)
{
	Bitmapset *columns = NULL;
	TupleDesc desc = RelationGetDescr(rel);

	pull_varattnos(where, 1, &columns);
	if (!bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns))
		return columns;
	columns = bms_del_member(columns, 0 - FirstLowInvalidHeapAttributeNumber);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			columns = bms_add_member(columns, i + 1 - FirstLowInvalidHeapAttributeNumber);
	}
	return columns;
}

/*
 * Returns a condition over the rows of rel as a list of expressions that must all be true, whose variables are of relation 1. text
 * is that of the statement. Raises as COPY does.
 */
List *
dm_copy_where(Relation rel, Node *where, const char *text)
{
	ParseState *state = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node *condition;

	state->p_sourcetext = text;
	item = addRangeTableEntryForRelation(state, rel, RowExclusiveLock, NULL, false, false);
	addNSItemToQuery(state, item, false, true, true);
	condition = transformExpr(state, copyObject(where), EXPR_KIND_COPY_WHERE);
	condition = coerce_to_boolean(state, condition, "WHERE");
	assign_expr_collations(state, condition);
	check_columns(rel, columns_of(rel, condition));
	condition = eval_const_expressions(NULL, condition);
	condition = (Node *) canonicalize_qual((Expr *) condition, false);
	free_parsestate(state);
	return make_ands_implicit((Expr *) condition);
}

/* Raises unless rows may be written frozen: nobody else, and no earlier snapshot of our own, can look at the table. */
void
dm_copy_check_freeze(Relation rel)
{
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot perform COPY FREEZE on a partitioned table")));
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot perform COPY FREEZE on \"%s\", which is not an ordinary table",
						RelationGetRelationName(rel))));
	if (rel->trigdesc && (rel->trigdesc->trig_insert_before_row || rel->trigdesc->trig_insert_new_table))
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("COPY FREEZE of an s3:// URL is not supported with BEFORE ROW triggers or transition tables"),
			 errhint("Leave FREEZE out, or disable the triggers.")));
	InvalidateCatalogSnapshot();
	if (!ThereAreNoPriorRegisteredSnapshots() || !ThereAreNoReadyPortals())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot perform COPY FREEZE because of prior transaction activity")));
	if (rel->rd_createSubid != GetCurrentSubTransactionId() &&
		dm_new_file_subid(rel) != GetCurrentSubTransactionId())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot perform COPY FREEZE because the table was not created or truncated in the current "
						"subtransaction")));
}
