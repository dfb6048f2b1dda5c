/*
 * target.c: the table that a load writes: rights, columns, defaults, and the two ways in.
 *
 * 1. Ordinary tables are written in bulk by the table writer. What that does not do (partitioned and foreign tables, views,
 *    BEFORE and INSTEAD OF row triggers, transition tables) and upserts are staged in a tuplestore, which goes to disk beyond
 *    work_mem, and written by one INSERT ... SELECT: Postgres itself then does all that INSERT does.
 * 2. Rights are those of COPY: INSERT on the table or on every column loaded, no row-level security for the
 *    caller; DELETE on the table to replace; what INSERT ... ON CONFLICT DO UPDATE needs to upsert.
 * 3. A column that the source lacks gets its default, and in an upsert keeps its value.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "base/names.h"
#include "load/load.h"
#include "rows/table_writer.h"

#define STAGE "datamill_staged_rows"

struct DmLoadTarget
{
	const DmLoadSpec *spec;
	Relation rel;
	const char *name;	 /* qualified and quoted */
	TupleDesc wanted;	 /* the columns that a source may give, in the order asked for */
	AttrNumber *attnums; /* of rel, of each of them */
	int *given;			 /* index in wanted of the columns that this source gives */
	int ngiven;
	bool staged;
	int64 rows;

	EState *estate; /* of defaults */

	/* Written in bulk. */
	DmTableWriter *writer;
	ExprState **defaults;  /* of columns that the source lacks */
	AttrNumber *defaulted; /* their attnums */
	int ndefaults;
	ExprState **null_defaults; /* of each wanted column whose NULLs are taken for missing, or NULL */
	bool has_null_defaults;

	/* Staged. */
	Tuplestorestate *stage;

	/* COPY's WHERE. */
	ExprState *where;		  /* NULL: all rows are written */
	TupleTableSlot *filtered; /* of the table's shape; staged only */
};

static bool target_is_staged(const DmLoadTarget *target);
static void wanted_make(DmLoadTarget *target);
static void check_rights(const DmLoadTarget *target);
static void check_keys(const DmLoadTarget *target);
static void delete_rows(const DmLoadTarget *target);
static void defaults_make(DmLoadTarget *target);
static void null_defaults_make(DmLoadTarget *target);
static void insert_staged(DmLoadTarget *target);
static void where_make(DmLoadTarget *target);

/* Raises 42809 unless the relation is one that COPY FROM writes to, with COPY's messages. */
static void
check_copy_target(Relation rel)
{
	static const struct
	{
		char kind;
		const char *name;
	} kinds[] = {{RELKIND_VIEW, "view"}, {RELKIND_MATVIEW, "materialized view"}, {RELKIND_SEQUENCE, "sequence"}};
	char kind = rel->rd_rel->relkind;
	const char *what = "non-table relation";

	if (kind == RELKIND_RELATION || kind == RELKIND_FOREIGN_TABLE || kind == RELKIND_PARTITIONED_TABLE ||
		(rel->trigdesc && rel->trigdesc->trig_insert_instead_row))
		return;
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (kinds[i].kind == kind)
			what = kinds[i].name;
	}
	ereport(
		ERROR,
		(errcode(ERRCODE_WRONG_OBJECT_TYPE),
		 errmsg("cannot copy to %s \"%s\"", what, RelationGetRelationName(rel)),
		 kind == RELKIND_VIEW ? errhint("To enable copying to a view, provide an INSTEAD OF INSERT trigger.") : 0));
}

/* Raises unless a load may write there at all. Other kinds of relations are refused by what writes them. */
static void
check_target(const DmLoadTarget *target)
{
	const char *name = RelationGetRelationName(target->rel);

	PreventCommandIfReadOnly(target->spec->is_copy ? "COPY FROM" : "load()");
	if (target->spec->is_copy)
		check_copy_target(target->rel);
	if (check_enable_rls(RelationGetRelid(target->rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 target->spec->is_copy
					 ? errmsg("COPY FROM not supported with row-level security")
					 : errmsg("cannot load into \"%s\" with row-level security enabled for the current user", name),
				 errhint("Use INSERT, or load as the table's owner or as a role with BYPASSRLS.")));
	if (target->spec->mode == DM_LOAD_UPSERT && target->spec->keys == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode upsert needs keys"),
				 errhint("Name the columns of a unique index: keys => '{id}'.")));
	if (target->spec->mode != DM_LOAD_UPSERT && target->spec->keys != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys are for mode upsert only"),
				 errhint("Leave them out, or load with mode => 'upsert'.")));
}

/*
 * Opens and locks the target of a load, in the current memory context, until the end of the transaction. To replace its
 * rows keeps other writers out, but not readers. Raises 42501 without any right to insert, and 0A000 with row-level security.
 */
DmLoadTarget *
dm_load_target_open(const DmLoadSpec *spec)
{
	DmLoadTarget *target = palloc0(sizeof(DmLoadTarget));
	Oid user = GetUserId();
	const char *name = get_rel_name(spec->target);

	if (!name)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", spec->target)));
	/* Who may write nothing there must not even make others wait. */
	if (pg_class_aclcheck(spec->target, user, ACL_INSERT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(spec->target, user, ACL_INSERT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(
			ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(spec->target)), get_rel_name(spec->target));
	target->spec = spec;
	target->rel =
		try_table_open(spec->target, spec->mode == DM_LOAD_REPLACE ? ShareRowExclusiveLock : RowExclusiveLock);
	if (!target->rel)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table \"%s\" was dropped", name)));
	target->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(target->rel)),
											  RelationGetRelationName(target->rel));
	check_target(target);
	wanted_make(target);
	target->staged = target_is_staged(target);
	return target;
}

/* Returns the target's qualified name. */
const char *
dm_load_target_name(const DmLoadTarget *target)
{
	return target->name;
}

/* Returns the columns that a source may give. */
TupleDesc
dm_load_target_wanted(const DmLoadTarget *target)
{
	return target->wanted;
}

/* Is the target a table that takes no room: truncated, or never written? */
bool
dm_load_target_is_bare(const DmLoadTarget *target)
{
	return target->rel->rd_rel->relkind == RELKIND_RELATION && RelationGetNumberOfBlocks(target->rel) == 0;
}

/* Must Postgres itself write the rows? */
static bool
target_is_staged(const DmLoadTarget *target)
{
	const TriggerDesc *triggers = target->rel->trigdesc;

	if (target->spec->mode == DM_LOAD_UPSERT || target->rel->rd_rel->relkind != RELKIND_RELATION)
		return true;
	return triggers && (triggers->trig_insert_before_row || triggers->trig_insert_instead_row ||
						triggers->trig_insert_new_table);
}

/* Sets the columns that a source may give: those asked for, or all that are not generated. */
static void
wanted_make(DmLoadTarget *target)
{
	TupleDesc desc = RelationGetDescr(target->rel);
	List *columns = target->spec->columns;
	ListCell *cell;
	int count = 0;

	target->attnums = palloc(sizeof(AttrNumber) * (desc->natts + 1));
	foreach (cell, columns)
		target->attnums[count++] = (AttrNumber) lfirst_int(cell);
	for (int i = 0; columns == NIL && i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && !attribute->attgenerated)
			target->attnums[count++] = attribute->attnum;
	}
	target->wanted = CreateTemplateTupleDesc(count);
	for (int i = 0; i < count; i++)
		TupleDescCopyEntry(target->wanted, i + 1, desc, target->attnums[i]);
}

/*
 * Begins to write: `present` are the attnums of the wanted columns that the source gives. With null_is_missing a NULL in a
 * column that is NOT NULL and has a default becomes that, except in an upsert. The active snapshot must stay until the
 * target is closed. Raises 42501 on a column without the right to insert, 42703 on a key that the source lacks.
 */
void
dm_load_target_begin(DmLoadTarget *target, const Bitmapset *present, bool null_is_missing)
{
	int attribute = -1;

	target->given = palloc(sizeof(int) * (target->wanted->natts + 1));
	while ((attribute = bms_next_member(present, attribute)) >= 0)
		target->given[target->ngiven++] = attribute - 1;
	check_rights(target);
	check_keys(target);
	if (target->spec->mode == DM_LOAD_REPLACE)
		delete_rows(target);
	target->estate = CreateExecutorState();
	if (null_is_missing && target->spec->mode != DM_LOAD_UPSERT)
		null_defaults_make(target);
	if (target->staged)
		target->stage = tuplestore_begin_heap(false, false, work_mem);
	if (!target->staged || target->spec->where)
		defaults_make(target);
	if (target->spec->where)
		where_make(target);
	if (target->staged)
		return;
	dm_writers_begin();
	target->writer = dm_writer_open(target->rel, NULL, false);
	if (target->spec->freeze)
		dm_writer_freeze(target->writer);
}

/* Sets the defaults of the columns that the source lacks, and NULL for those that have none. */
static void
fill_defaults(DmLoadTarget *target, TupleTableSlot *slot)
{
	ExprContext *context = GetPerTupleExprContext(target->estate);

	for (int i = 0; i < target->ndefaults; i++)
	{
		int attribute = target->defaulted[i] - 1;

		slot->tts_values[attribute] =
			ExecEvalExprSwitchContext(target->defaults[i], context, &slot->tts_isnull[attribute]);
	}
}

/* Puts defaults in place of NULLs that are taken for missing. */
static void
fill_nulls(DmLoadTarget *target, TupleTableSlot *slot)
{
	ExprContext *context = GetPerTupleExprContext(target->estate);

	for (int i = 0; i < target->wanted->natts; i++)
	{
		if (slot->tts_isnull[i] && target->null_defaults[i])
			slot->tts_values[i] =
				ExecEvalExprSwitchContext(target->null_defaults[i], context, &slot->tts_isnull[i]);
	}
}

/* Fills a slot of the table's shape with the given columns and the defaults of the others. */
static void
fill_row(DmLoadTarget *target, const TupleTableSlot *slot, TupleTableSlot *row)
{
	memset(row->tts_isnull, true, RelationGetNumberOfAttributes(target->rel));
	for (int i = 0; i < target->ngiven; i++)
	{
		int from = target->given[i];
		int to = target->attnums[from] - 1;

		row->tts_values[to] = slot->tts_values[from];
		row->tts_isnull[to] = slot->tts_isnull[from];
	}
	if (target->ndefaults > 0)
		fill_defaults(target, row);
	ExecStoreVirtualTuple(row);
}

/* Is COPY's WHERE true of the row? */
static bool
row_passes(DmLoadTarget *target, TupleTableSlot *row)
{
	ExprContext *context = GetPerTupleExprContext(target->estate);

	context->ecxt_scantuple = row;
	return ExecQual(target->where, context);
}

/* Stages one row, if it is wanted. */
static void
stage_row(DmLoadTarget *target, TupleTableSlot *slot)
{
	if (target->where)
	{
		ExecClearTuple(target->filtered);
		fill_row(target, slot, target->filtered);
		if (!row_passes(target, target->filtered))
			return;
	}
	tuplestore_puttupleslot(target->stage, slot);
}

/* Writes, or stages, one row of the wanted shape. Its values need not outlive the call. */
void
dm_load_target_put(DmLoadTarget *target, TupleTableSlot *slot)
{
	TupleTableSlot *row;

	ResetPerTupleExprContext(target->estate);
	if (target->has_null_defaults)
		fill_nulls(target, slot);
	if (target->staged)
	{
		stage_row(target, slot);
		return;
	}
	row = dm_writer_slot(target->writer);
	fill_row(target, slot, row);
	if (target->where && !row_passes(target, row))
		return;
	dm_writer_insert(target->writer, row);
	target->rows++;
}

/* Writes what waits, fires what is due, and returns how many rows were written. */
int64
dm_load_target_finish(DmLoadTarget *target)
{
	if (target->staged)
	{
		if (target->ngiven > 0)
			insert_staged(target);
		tuplestore_end(target->stage);
		if (target->filtered)
			ExecDropSingleTupleTableSlot(target->filtered);
	}
	else
	{
		dm_writer_close(target->writer);
		dm_writers_end();
	}
	FreeExecutorState(target->estate);
	return target->rows;
}

/* Closes the table and keeps its lock. */
void
dm_load_target_close(DmLoadTarget *target)
{
	table_close(target->rel, NoLock);
}

/* Raises 42501 unless the current user may insert into the table or into each column that the source gives. */
static void
check_rights(const DmLoadTarget *target)
{
	Oid relid = RelationGetRelid(target->rel);

	if (pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		return;
	for (int i = 0; i < target->ngiven; i++)
	{
		if (pg_attribute_aclcheck(relid, target->attnums[target->given[i]], GetUserId(), ACL_INSERT) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV,
						   get_relkind_objtype(target->rel->rd_rel->relkind),
						   RelationGetRelationName(target->rel));
	}
}

/* Is this a column that the source gives? */
static bool
is_given(const DmLoadTarget *target, const char *name)
{
	for (int i = 0; i < target->ngiven; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(target->wanted, target->given[i])->attname), name) == 0)
			return true;
	}
	return false;
}

/* Raises 42703 on a key that the source does not give. */
static void
check_keys(const DmLoadTarget *target)
{
	ListCell *cell;

	if (target->ngiven == 0)
		return;
	foreach (cell, target->spec->keys)
	{
		if (!is_given(target, lfirst(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" is not among the source's columns", (char *) lfirst(cell)),
					 errhint("Keys are columns of the target that the source gives.")));
	}
}

/* Executes a statement as the current user and returns how many rows it wrote. SPI is connected. */
static int64
execute(const char *sql)
{
	int code = SPI_execute(sql, false, 0);

	if (code < 0)
		elog(ERROR, "SPI_execute failed: %s: %s", SPI_result_code_string(code), sql);
	return (int64) SPI_processed;
}

/*
 * Deletes all rows. By DELETE and not by TRUNCATE: readers neither wait nor see an empty table, triggers fire
 * and foreign keys are checked row by row, and rights are those to delete. VACUUM reclaims the room.
 */
static void
delete_rows(const DmLoadTarget *target)
{
	SPI_connect();
	(void) execute(psprintf("DELETE FROM %s", target->name));
	SPI_finish();
}

/* Returns the expression of a column's default, or NULL if that is NULL. A domain without one checks that NULL is allowed. */
static Expr *
default_of(Relation rel, Form_pg_attribute attribute)
{
	Expr *expr = (Expr *) build_column_default(rel, attribute->attnum);

	if (!expr && get_typtype(attribute->atttypid) == TYPTYPE_DOMAIN)
	{
		Oid base = getBaseType(attribute->atttypid);
		Node *null = (Node *) makeNullConst(base, -1, attribute->attcollation);

		expr = (Expr *) coerce_to_domain(
			null, base, -1, attribute->atttypid, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1, false);
	}
	return expr;
}

/* Prepares the defaults of all columns that the source does not give, and that are not generated. */
static void
defaults_make(DmLoadTarget *target)
{
	TupleDesc desc = RelationGetDescr(target->rel);
	bool *given = palloc0(sizeof(bool) * (desc->natts + 1));

	target->defaults = palloc0(sizeof(ExprState *) * (desc->natts + 1));
	target->defaulted = palloc0(sizeof(AttrNumber) * (desc->natts + 1));
	for (int i = 0; i < target->ngiven; i++)
		given[target->attnums[target->given[i]] - 1] = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Expr *expr;

		if (given[i] || attribute->attisdropped || attribute->attgenerated)
			continue;
		expr = default_of(target->rel, attribute);
		if (!expr)
			continue;
		target->defaults[target->ndefaults] = ExecInitExpr(expression_planner(expr), NULL);
		target->defaulted[target->ndefaults++] = attribute->attnum;
	}
}

/*
 * Prepares COPY's WHERE. Staged rows get their defaults when they are inserted, so only those that the condition looks at are
 * computed before, too: raises 0A000 where that would not give the same value.
 */
static void
where_make(DmLoadTarget *target)
{
	Bitmapset *columns = NULL;
	bool whole_row;
	int kept = 0;

	target->where = ExecInitQual(target->spec->where, NULL);
	if (!target->staged)
		return;
	target->filtered = MakeSingleTupleTableSlot(RelationGetDescr(target->rel), &TTSOpsVirtual);
	pull_varattnos((Node *) target->spec->where, 1, &columns);
	whole_row = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns);
	for (int i = 0; i < target->ndefaults; i++)
	{
		AttrNumber attnum = target->defaulted[i];

		if (!whole_row && !bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, columns))
			continue;
		if (contain_volatile_functions((Node *) target->defaults[i]->expr))
			ereport(
				ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("WHERE cannot look at column \"%s\" here, whose default is volatile",
						get_attname(RelationGetRelid(target->rel), attnum, false)),
				 errdetail("The target is partitioned, a view or a foreign table, or has BEFORE ROW triggers.")));
		target->defaults[kept] = target->defaults[i];
		target->defaulted[kept++] = attnum;
	}
	target->ndefaults = kept;
}

/* Prepares the defaults of the columns whose NULLs are taken for missing: those that are NOT NULL and have one. */
static void
null_defaults_make(DmLoadTarget *target)
{
	target->null_defaults = palloc0(sizeof(ExprState *) * (target->wanted->natts + 1));
	for (int i = 0; i < target->wanted->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target->rel), target->attnums[i] - 1);
		Expr *expr = attribute->attnotnull ? (Expr *) build_column_default(target->rel, attribute->attnum) : NULL;

		if (!expr)
			continue;
		target->null_defaults[i] = ExecInitExpr(expression_planner(expr), NULL);
		target->has_null_defaults = true;
	}
}

/* Appends the names of the given columns, each with `before` in front. */
static void
append_columns(StringInfo sql, const DmLoadTarget *target, const char *before)
{
	for (int i = 0; i < target->ngiven; i++)
		appendStringInfo(sql,
						 "%s%s%s",
						 i > 0 ? ", " : "",
						 before,
						 quote_identifier(NameStr(TupleDescAttr(target->wanted, target->given[i])->attname)));
}

/* Appends what to do with a row whose key is there: update all other given columns, or the keys if there are no others. */
static void
append_conflict(StringInfo sql, const DmLoadTarget *target)
{
	bool only_keys = target->ngiven == list_length(target->spec->keys);
	const char *comma = "";
	ListCell *cell;

	appendStringInfoString(sql, " ON CONFLICT (");
	foreach (cell, target->spec->keys)
		appendStringInfo(sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "", quote_identifier(lfirst(cell)));
	appendStringInfoString(sql, ") DO UPDATE SET ");
	for (int i = 0; i < target->ngiven; i++)
	{
		const char *name = NameStr(TupleDescAttr(target->wanted, target->given[i])->attname);

		if (dm_names_has(target->spec->keys, name) && !only_keys)
			continue;
		appendStringInfo(sql, "%s%s = excluded.%s", comma, quote_identifier(name), quote_identifier(name));
		comma = ", ";
	}
}

/* Makes the staged rows a relation of the open SPI connection, under the name STAGE. */
static void
register_stage(DmLoadTarget *target)
{
	EphemeralNamedRelation stage = palloc0(sizeof(EphemeralNamedRelationData));
	int code;

	stage->md.name = STAGE;
	stage->md.reliddesc = InvalidOid;
	stage->md.tupdesc = target->wanted;
	stage->md.enrtype = ENR_NAMED_TUPLESTORE;
	stage->md.enrtuples = (double) tuplestore_tuple_count(target->stage);
	stage->reldata = target->stage;
	code = SPI_register_relation(stage);
	if (code < 0)
		elog(ERROR, "SPI_register_relation failed: %s", SPI_result_code_string(code));
}

/* Inserts the staged rows with one statement, as the current user. Given identity values are kept, as COPY keeps them. */
static void
insert_staged(DmLoadTarget *target)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (", target->name);
	append_columns(&sql, target, "");
	appendStringInfoString(&sql, ") OVERRIDING SYSTEM VALUE SELECT ");
	append_columns(&sql, target, "s.");
	appendStringInfoString(&sql, " FROM " STAGE " s");
	if (target->spec->mode == DM_LOAD_UPSERT)
		append_conflict(&sql, target);
	SPI_connect();
	register_stage(target);
	target->rows = execute(sql.data);
	SPI_finish();
}
