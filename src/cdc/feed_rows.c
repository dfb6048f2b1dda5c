/*
 * feed_rows.c: rows with columns for operation and sequence, to events.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/names.h"
#include "cdc/feed_rows.h"
#include "rows/null_check.h"

struct DmFeedRows
{
	DmFeed *feed;
	const DmFeedOptions *options;
	int operation; /* index in the source's row, -1 if there is none */
	int sequence;
	DmNullCheck *null_check; /* of domains that may refuse NULL; NULL: there are none */
	Bitmapset *not_keys;	 /* what a delete does not tell */
	int64 rows;
};

static bool is_feed_column(const DmFeedOptions *options, const char *name);
static const char *operation_of(const DmFeedRows *rows, const Datum *values, const bool *nulls);
static bool is_truncate(const DmFeedRows *rows, const char *operation);
static bool is_delete(const DmFeedRows *rows, const char *operation);
static void row_check(const Datum *values, const bool *nulls, void *arg);

/*
 * Returns the business columns among those that the source of a new dataset offers, and the type of its sequences.
 * Raises 42703 if the operation or the sequence column is not among them, 0A000 for a sequence of a type that has none.
 */
TupleDesc
dm_feed_rows_columns(const DmFeedOptions *options, TupleDesc offered, Oid *sequence_type)
{
	int left = offered->natts;
	TupleDesc columns;
	int count = 0;

	if (!options->sequence_column)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode feed needs option \"sequence_column\""),
				 errhint("Name the column that tells the order of a key's events: options => "
						 "'{\"sequence_column\": \"...\"}'.")));
	for (int i = 0; i < offered->natts; i++)
		left -= is_feed_column(options, NameStr(TupleDescAttr(offered, i)->attname));
	if (left != offered->natts - (options->operation_column ? 2 : 1))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("the source lacks the sequence or the operation column"),
			 errdetail("sequence_column is \"%s\", operation_column %s.",
					   options->sequence_column,
					   options->operation_column ? psprintf("\"%s\"", options->operation_column) : "not given")));
	columns = CreateTemplateTupleDesc(left);
	for (int i = 0; i < offered->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(offered, i);
		const char *name = NameStr(column->attname);

		if (strcmp(name, options->sequence_column) == 0)
			*sequence_type = OidIsValid(options->sequence_type) ? options->sequence_type
																: dm_sequence_type(name, column->atttypid);
		if (!is_feed_column(options, name))
			TupleDescCopyEntry(columns, ++count, offered, i + 1);
	}
	return columns;
}

/* True for the columns of a feed's source that are not business columns. */
static bool
is_feed_column(const DmFeedOptions *options, const char *name)
{
	return strcmp(name, options->sequence_column) == 0 ||
		   (options->operation_column && strcmp(name, options->operation_column) == 0);
}

/* Returns the type of bounds for a sequence: its own, bigint for smaller integers. Raises for types without one. */
Oid
dm_sequence_type(const char *name, Oid type)
{
	Oid base = getBaseType(type);

	if (base == INT2OID || base == INT4OID)
		base = INT8OID;
	if (base == VARCHAROID)
		base = TEXTOID;
	if (!dm_effective_type(base))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sequence column \"%s\" of type %s is not supported", name, format_type_be(type)),
				 errhint("Sequences are of type %s; cast it in a query as source.", dm_effective_type_names())));
	return base;
}

/* Returns what the source has to give: the business columns, the operation if there is one, and the sequence. */
TupleDesc
dm_feed_rows_wanted(const DmFeedOptions *options, const DmShape *shape, Oid sequence_type)
{
	int natts = shape->wanted->natts;
	int extra = options->operation_column ? 2 : 1;
	TupleDesc desc = CreateTemplateTupleDesc(natts + extra);

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, shape->wanted, i);
	if (options->operation_column)
		TupleDescInitEntry(desc, natts + 1, options->operation_column, TEXTOID, -1, 0);
	TupleDescInitEntry(desc, natts + extra, options->sequence_column, sequence_type, -1, 0);
	return desc;
}

/* Begins to read rows of a source, which is to be bound then to what is wanted, in the current memory context. */
DmFeedRows *
dm_feed_rows_begin(DmFeed *feed, const DmFeedOptions *options, const DmShape *shape, DmSource *source)
{
	DmFeedRows *rows = palloc0(sizeof(DmFeedRows));
	int natts = shape->wanted->natts;
	Bitmapset *all = bms_add_range(NULL, 0, natts - 1);

	rows->feed = feed;
	rows->options = options;
	rows->operation = options->operation_column ? natts : -1;
	rows->sequence = options->operation_column ? natts + 1 : natts;
	rows->not_keys = bms_copy(all);
	for (int i = 0; i < shape->nkeys; i++)
		rows->not_keys = bms_del_member(rows->not_keys, shape->keys[i]);
	rows->null_check = dm_null_check_make(shape->wanted, all);
	if (rows->null_check)
	{
		source->check = row_check;
		source->check_arg = rows;
	}
	return rows;
}

/* Returns the operation of a row, palloc'd, "" where there is none. */
static const char *
operation_of(const DmFeedRows *rows, const Datum *values, const bool *nulls)
{
	if (rows->operation < 0 || nulls[rows->operation])
		return "";
	return TextDatumGetCString(values[rows->operation]);
}

/* True for the operations that end the versions of all keys. */
static bool
is_truncate(const DmFeedRows *rows, const char *operation)
{
	return dm_names_has(rows->options->truncate_values, operation);
}

/* True for the operations that are deletes. */
static bool
is_delete(const DmFeedRows *rows, const char *operation)
{
	return rows->operation >= 0 && dm_names_has(rows->options->delete_values, operation);
}

/* Raises for a NULL that a domain refuses: of a delete the keys count, of a truncate nothing. A DmSourceCheck. */
static void
row_check(const Datum *values, const bool *nulls, void *arg)
{
	DmFeedRows *rows = arg;
	const char *operation = operation_of(rows, values, nulls);

	if (!is_truncate(rows, operation))
		dm_null_check(rows->null_check, nulls, is_delete(rows, operation) ? rows->not_keys : NULL);
}

/* Takes one row. A DmSourceEach; arg is the DmFeedRows. Raises 23502 without a key or a sequence. */
void
dm_feed_rows_row(TupleTableSlot *slot, void *arg)
{
	DmFeedRows *rows = arg;
	const char *operation;
	Datum sequence;

	rows->rows++;
	slot_getallattrs(slot);
	if (slot->tts_isnull[rows->sequence])
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("sequence column \"%s\" is NULL in row " INT64_FORMAT " of the source",
						rows->options->sequence_column,
						rows->rows),
				 errhint("Leave such rows out with a query as source.")));
	sequence = slot->tts_values[rows->sequence];
	operation = operation_of(rows, slot->tts_values, slot->tts_isnull);
	if (is_truncate(rows, operation))
		dm_feed_truncate(rows->feed, sequence);
	else if (is_delete(rows, operation))
		dm_feed_delete(rows->feed, sequence, slot->tts_values, slot->tts_isnull);
	else
		dm_feed_upsert(rows->feed, sequence, slot->tts_values, slot->tts_isnull, NULL);
}
