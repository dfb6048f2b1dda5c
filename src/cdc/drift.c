/*
 * drift.c: what becomes of columns that a source has and the dataset does not, or the other way round, or in a wider
 * type.
 *
 * Tables are altered as the caller, who must own them, before the merge opens them; it is undone with the transaction.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/names.h"
#include "cdc/adopt.h"
#include "cdc/intake.h"
#include "rows/null_check.h"

static bool column_settle(DmDataset *dataset, Form_pg_attribute offered, bool is_guessed);
static void column_add(DmDataset *dataset, Form_pg_attribute offered);
static void null_refused(void *arg);
static void column_widen(DmDataset *dataset, Oid current, Oid history, Form_pg_attribute offered);
static DmKeptViews *views_drop(const DmDataset *dataset, Form_pg_attribute offered);
static void absent_find(DmDataset *dataset, const DmSource *source);
static bool is_wider(Form_pg_attribute column, Form_pg_attribute than);
static bool is_wider_numeric(int32 typmod, int32 than);

/* True if the dataset's tables may be altered by a merge. */
bool
dm_drift_may_alter(const DmDataset *dataset)
{
	return dataset->settings.on_new == DM_COLUMN_ADD || dataset->settings.widen;
}

/*
 * Adds columns and widens types as the settings allow, and notes the columns that the source lacks by leave of them.
 * Whatever else differs is left for the binding of the source to raise.
 */
void
dm_drift_settle(DmDataset *dataset, const DmSource *source)
{
	List *altered = NIL;

	dataset->absent = NIL;
	dataset->narrower = NULL;
	if (source->offered->natts == 0)
		return;
	for (int i = 0; i < source->offered->natts; i++)
	{
		if (column_settle(dataset, TupleDescAttr(source->offered, i), source->kind == DM_SOURCE_OBJECTS))
			altered = lappend(altered, NameStr(TupleDescAttr(source->offered, i)->attname));
	}
	if (altered)
	{
		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
		ereport(NOTICE,
				(errmsg("columns of dataset %s were added or widened for this source: %s",
						dataset->name,
						dm_names_join(altered))));
	}
	if (dataset->settings.on_missing == DM_COLUMN_IGNORE)
		absent_find(dataset, source);
}

/*
 * Adds or widens the column that the source offers, if it is new or wider. Returns whether it was. A type that was guessed
 * from text widens none: every integer is guessed to be a bigint.
 */
static bool
column_settle(DmDataset *dataset, Form_pg_attribute offered, bool is_guessed)
{
	const char *name = NameStr(offered->attname);
	bool is_sensitive = dm_names_has(dataset->settings.sensitive, name);
	Oid current = is_sensitive ? dataset->sensitive : dataset->current;
	Oid history = is_sensitive ? dataset->sensitive_history : dataset->history;
	AttrNumber number = get_attnum(current, name);
	FormData_pg_attribute stored;
	Relation rel;

	if (number == InvalidAttrNumber)
	{
		if (dataset->settings.on_new != DM_COLUMN_ADD)
			return false;
		column_add(dataset, offered);
		return true;
	}
	if (is_guessed || number < 0 || dm_name_is_added(dataset, name))
		return false;
	rel = table_open(current, AccessShareLock);
	stored = *TupleDescAttr(RelationGetDescr(rel), number - 1);
	table_close(rel, NoLock);
	if (!is_wider(offered, &stored))
		return false;
	if (!dataset->settings.widen)
	{
		dataset->narrower = psprintf("column \"%s\" is %s and the source gives %s",
									 name,
									 format_type_with_typemod(stored.atttypid, stored.atttypmod),
									 format_type_with_typemod(offered->atttypid, offered->atttypmod));
		return false;
	}
	column_widen(dataset, current, history, offered);
	if (is_sensitive || !OidIsValid(dataset->sensitive) || !dm_names_has(dataset->keys, name))
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("key column \"%s\" cannot be widened in a dataset with sensitive columns", name),
			 errdetail("It is of type %s and the source gives %s.",
					   format_type_with_typemod(stored.atttypid, stored.atttypmod),
					   format_type_with_typemod(offered->atttypid, offered->atttypmod))));
}

/*
 * Adds a column to the plain tables and, at their end, to the views. It is NULL in what is stored, whatever default its
 * domain has. Raises if the domain refuses that.
 */
static void
column_add(DmDataset *dataset, Form_pg_attribute offered)
{
	const char *name = NameStr(offered->attname);
	ErrorContextCallback callback = {error_context_stack, null_refused, offered};

	for (int i = 0; i < DM_NAMES; i++)
	{
		if (strcmp(dataset->settings.names[i], name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of the source has the name of a column that the dataset adds", name),
					 errhint("Rename it in a query as source.")));
	}
	error_context_stack = &callback;
	dm_null_check_type(offered->atttypid, offered->atttypmod);
	error_context_stack = callback.previous;
	dm_dataset_views_lock(dataset);
	dm_dataset_execute(psprintf("ALTER TABLE %s ADD COLUMN %s %s DEFAULT NULL",
								dm_relation_name(dataset->current),
								quote_identifier(name),
								dm_column_type(offered)));
	dm_dataset_execute(psprintf("ALTER TABLE %s ADD COLUMN %s %s DEFAULT NULL",
								dm_relation_name(dataset->history),
								quote_identifier(name),
								dm_column_type(offered)));
	CommandCounterIncrement();
	dm_dataset_views_replace(dataset);
}

/* Says why a new column cannot be of a domain that refuses NULL. */
static void
null_refused(void *arg)
{
	Form_pg_attribute offered = arg;

	errcontext("new column %s: null in the rows that the dataset has", NameStr(offered->attname));
	errhint("Cast it to the type below its domain in a query as source: %s::%s.",
			quote_identifier(NameStr(offered->attname)),
			format_type_be(getBaseType(offered->atttypid)));
}

/* Gives a column of one part the type that the source offers. The hashes of rows are made anew where they change. */
static void
column_widen(DmDataset *dataset, Oid current, Oid history, Form_pg_attribute offered)
{
	const char *name = quote_identifier(NameStr(offered->attname));
	const char *type = dm_column_type(offered);
	char *alter = psprintf("ALTER COLUMN %s TYPE %s", name, type);
	DmKeptViews *kept = views_drop(dataset, offered);

	if (dm_names_has(dataset->settings.previous, NameStr(offered->attname)))
		alter = psprintf("%s, ALTER COLUMN %s TYPE %s",
						 alter,
						 quote_identifier(dm_settings_previous_name(NameStr(offered->attname))),
						 type);
	dm_dataset_execute(psprintf("ALTER TABLE %s %s", dm_relation_name(current), alter));
	dm_dataset_execute(psprintf("ALTER TABLE %s %s", dm_relation_name(history), alter));
	CommandCounterIncrement();
	dm_dataset_views_create(dataset, kept);
	UpdateActiveSnapshotCommandId();
	dm_dataset_rehash(dataset);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

/* Drops the dataset's views; raises 2BP01 in words of its own if others are made of them. Returns what is to be kept of them. */
static DmKeptViews *
views_drop(const DmDataset *dataset, Form_pg_attribute offered)
{
	MemoryContext caller = CurrentMemoryContext;
	DmKeptViews *volatile kept = NULL;

	PG_TRY();
	{
		kept = dm_dataset_views_drop(dataset);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("column \"%s\" of dataset %s cannot get type %s",
						NameStr(offered->attname),
						dataset->name,
						format_type_with_typemod(offered->atttypid, offered->atttypmod)),
				 errdetail("Its views are made anew for that, and other objects depend on them: %s.",
						   error->detail ? error->detail : error->message),
				 errhint("Drop those, merge, and create them again.")));
	}
	PG_END_TRY();
	return kept;
}

/* Notes the business columns other than keys that the source does not offer. */
static void
absent_find(DmDataset *dataset, const DmSource *source)
{
	List *columns = dm_dataset_columns(dataset);
	ListCell *cell;

	foreach (cell, columns)
	{
		bool is_offered = false;

		for (int i = 0; i < source->offered->natts; i++)
			is_offered |= strcmp(NameStr(TupleDescAttr(source->offered, i)->attname), lfirst(cell)) == 0;
		if (!is_offered && !dm_names_has(dataset->keys, lfirst(cell)))
			dataset->absent = lappend(dataset->absent, lfirst(cell));
	}
}

/*
 * True if every value of the type `than` is one of the column's type, with the same meaning of equality. Text is no wider
 * varchar: it is what every literal is, and says nothing of lengths.
 */
static bool
is_wider(Form_pg_attribute column, Form_pg_attribute than)
{
	static const Oid integers[] = {INT2OID, INT4OID, INT8OID, NUMERICOID};
	int wide = -1;
	int narrow = -1;

	for (int i = 0; i < lengthof(integers); i++)
	{
		if (column->atttypid == integers[i])
			wide = i;
		if (than->atttypid == integers[i])
			narrow = i;
	}
	if (narrow >= 0 && wide > narrow)
		return column->atttypid != NUMERICOID || column->atttypmod < 0;
	if (than->atttypid == FLOAT4OID)
		return column->atttypid == FLOAT8OID;
	if (than->atttypid == VARCHAROID && than->atttypmod >= 0)
		return column->atttypid == VARCHAROID && (column->atttypmod < 0 || column->atttypmod > than->atttypmod);
	if (than->atttypid == NUMERICOID && column->atttypid == NUMERICOID && than->atttypmod >= 0)
		return is_wider_numeric(column->atttypmod, than->atttypmod);
	return false;
}

/* As is_wider, of numeric: no typmod, or as many digits on both sides of the point and more on one. */
static bool
is_wider_numeric(int32 typmod, int32 than)
{
	int scale = (typmod - (int32) VARHDRSZ) & 0x7ff;
	int precision = ((typmod - (int32) VARHDRSZ) >> 16) & 0xffff;
	int than_scale = (than - (int32) VARHDRSZ) & 0x7ff;
	int than_precision = ((than - (int32) VARHDRSZ) >> 16) & 0xffff;

	if (typmod < 0)
		return true;
	if (scale >= 1024 || than_scale >= 1024)
		return false; /* a negative scale */
	return scale >= than_scale && precision - scale >= than_precision - than_scale &&
		   (scale > than_scale || precision > than_precision);
}
