/*
 * target.c: what a merge's target may be, and which targets this session is merging.
 *
 * The source of a merge runs while its target is being written, and functions in it can do anything. What goes through
 * datamill is refused at its start; rows that were written in other ways are met by the writer of the table, which raises 27000.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "cdc/target.h"

/* The innermost merge that goes on, or NULL. */
static const DmRunning *innermost = NULL;

static const char *kind_of(Oid relation);

/*
 * Returns the relation of a target (which `text` spelt), locked against being dropped until the end of the transaction, or InvalidOid if there
 * is none or not even its schema. Raises 42809 for what is or would be temporary.
 */
Oid
dm_target_find(const RangeVar *target, const char *text)
{
	Oid schema = get_namespace_oid(target->schemaname, true);

	if (strcmp(target->schemaname, "pg_temp") == 0 || (OidIsValid(schema) && isAnyTempNamespace(schema)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a dataset cannot be a temporary table"),
				 errdetail("Target \"%s\" is in a schema of temporary tables.", text),
				 errhint("Name a schema that stays: schema.table.")));
	return OidIsValid(schema) ? RangeVarGetRelid(target, AccessShareLock, true) : InvalidOid;
}

/* Raises 42809 for a relation that can neither be a dataset nor become one. */
void
dm_target_check_kind(Oid relation, const char *text)
{
	const char *kind = kind_of(relation);

	if (kind)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("target \"%s\" is %s", text, kind),
				 errdetail("A dataset is an ordinary or partitioned table."),
				 errhint("Give a name that is not taken; what has rows can be its source.")));
}

/* Returns what a relation is, with its article, if it is no table that a dataset could be. */
static const char *
kind_of(Oid relation)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Form_pg_class form;
	bool is_system;
	bool is_partition;
	char kind;

	if (!HeapTupleIsValid(tuple))
		return NULL; /* dropped just now, which is found out where it is locked */
	form = (Form_pg_class) GETSTRUCT(tuple);
	kind = form->relkind;
	is_partition = form->relispartition;
	is_system = IsSystemClass(relation, form);
	ReleaseSysCache(tuple);
	switch (kind)
	{
		case RELKIND_VIEW: return "a view";
		case RELKIND_MATVIEW: return "a materialized view";
		case RELKIND_FOREIGN_TABLE: return "a foreign table";
		case RELKIND_SEQUENCE: return "a sequence";
		case RELKIND_COMPOSITE_TYPE: return "a composite type";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX: return "an index";
		default: return is_system ? "a system catalog" : is_partition ? "a partition" : NULL;
	}
}

/* Notes that the target is being merged. */
void
dm_running_begin(DmRunning *running, const RangeVar *target)
{
	running->target = target;
	running->outer = innermost;
	innermost = running;
}

/* Takes that back; whoever began calls it whether the merge succeeds or not. */
void
dm_running_end(const DmRunning *running)
{
	innermost = running->outer;
}

/* Raises 55006 if a merge of the target goes on in this session. */
void
dm_running_check(const RangeVar *target)
{
	for (const DmRunning *running = innermost; running; running = running->outer)
	{
		if (strcmp(running->target->schemaname, target->schemaname) == 0 &&
			strcmp(running->target->relname, target->relname) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("dataset %s is being written by this session",
							quote_qualified_identifier(target->schemaname, target->relname)),
					 errdetail("What a merge or an undo calls, functions of its source and triggers, cannot change "
							   "its target."),
					 errhint("Do that before or after it.")));
	}
}
