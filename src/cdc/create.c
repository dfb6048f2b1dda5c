/*
 * create.c: making datasets: from a list of columns, from a source's columns, from an existing table.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "base/names.h"
#include "cdc/adopt.h"
#include "cdc/create.h"
#include "cdc/feed_options.h"
#include "cdc/json_option.h"
#include "cdc/readopt.h"
#include "cdc/target.h"
#include "receipt/receipt.h"
#include "rows/table_leaves.h"
#include "source/source.h"

/* What stands before a list of columns to make a statement of it. */
#define COLUMNS_PREFIX "CREATE TABLE t ("

static void keys_require(List *columns, List *keys, const char *target);
static void role_check(List *columns, const DmDataset *dataset, List *names, const char *option);
static bool is_stored(const DmDataset *dataset);
static void keys_count_check(const DmDataset *dataset);
static void names_fit(const RangeVar *target, const DmSettings *settings);
static int adopt_take(Jsonb **options);
static void columns_create(const RangeVar *name, const DmCreateSpec *spec, Jsonb *source_options,
						   const DmMergeOptions *options, DmDataset *dataset);
static void table_adopt(const RangeVar *name, Oid current, const DmCreateSpec *spec, const DmMergeOptions *options,
						DmDataset *dataset);
static void columns_error_context(void *arg);
static TupleDesc columns_parse(const char *columns);
static void adoption_log(const DmDataset *dataset, TimestampTz moment, int64 merge_id, Datum effective, int64 rows);

/*
 * Sets keys, columns' roles and settings of a new dataset with these business columns, from the arguments that create
 * it. dataset->effective_type and, of a feed, its columns are set. Raises if they do not fit together.
 */
void
dm_dataset_define(const RangeVar *target, TupleDesc columns, List *keys, const DmMergeOptions *options,
				  DmDataset *dataset)
{
	List *names = NIL;
	ListCell *cell;

	for (int i = 0; i < columns->natts; i++)
		names = lappend(names, NameStr(TupleDescAttr(columns, i)->attname));
	dataset->name = quote_qualified_identifier(target->schemaname, target->relname);
	dataset->keys = keys;
	dataset->settings = options->settings;
	dataset->stored_settings = options->given_settings;
	dataset->untracked = list_copy(options->untracked);
	foreach (cell, options->settings.overwritten)
	{
		if (!dm_names_has(dataset->untracked, lfirst(cell)))
			dataset->untracked = lappend(dataset->untracked, lfirst(cell));
	}
	dataset->close_deletes = options->has_deletes ? options->close_deletes : true;
	dataset->pruned_through = DT_NOBEGIN;
	keys_require(names, keys, dataset->name);
	dm_dataset_check_settings(dataset, names);
	names_fit(target, &dataset->settings);
}

/* Raises unless keys are given and are among the columns. */
static void
keys_require(List *columns, List *keys, const char *target)
{
	ListCell *cell;

	if (keys == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys are required: dataset %s does not exist yet", target),
				 errdetail("The source has the columns %s.", dm_names_join(columns)),
				 errhint("Name the columns that identify a row: keys => '{%s}'.",
						 columns ? (char *) linitial(columns) : "id")));
	foreach (cell, keys)
	{
		if (!dm_names_has(columns, lfirst(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" is not in the source", (char *) lfirst(cell)),
					 errdetail("The source has the columns %s.", dm_names_join(columns))));
	}
}

/* Raises for columns that settings name and that are not among the business columns, or are keys, or have two kinds. */
void
dm_dataset_check_settings(const DmDataset *dataset, List *columns)
{
	const DmSettings *settings = &dataset->settings;
	List *kinds = list_concat_copy(settings->keep_first, settings->previous);
	ListCell *cell;

	if (dataset->sequence_column)
		dm_settings_check_feed(&dataset->settings);
	keys_count_check(dataset);
	role_check(columns, dataset, dataset->untracked, "untracked");
	role_check(columns, dataset, settings->sensitive, "sensitive");
	role_check(columns, dataset, kinds, "kinds");
	foreach (cell, kinds)
	{
		if (dm_names_has(dataset->untracked, lfirst(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" is untracked and has kind 0 or 3", (char *) lfirst(cell)),
					 errhint("Give it one of the two.")));
	}
	foreach (cell, settings->previous)
	{
		if (dm_names_has(columns, dm_settings_previous_name(lfirst(cell))))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of the source has the name of a column that the dataset adds",
							dm_settings_previous_name(lfirst(cell))),
					 errdetail("It keeps the value before of column \"%s\", which is of kind 3.",
							   (char *) lfirst(cell))));
	}
	if (settings->last_wins && !settings->order_column)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"duplicates\" last needs option \"sequence_column\""),
				 errhint("Name the column that tells which of the rows with one key is the last.")));
	if (settings->order_column && !dataset->sequence_column)
	{
		List *names = list_make1(unconstify(char *, settings->order_column));

		role_check(columns, dataset, names, "sequence");
	}
}

/* Raises 42703 unless the names are columns other than keys: of the source or, where there is one, of the dataset. */
static void
role_check(List *columns, const DmDataset *dataset, List *names, const char *option)
{
	const char *owner = is_stored(dataset) ? "dataset" : "source";
	ListCell *cell;

	foreach (cell, names)
	{
		if (!dm_names_has(columns, lfirst(cell)) || dm_names_has(dataset->keys, lfirst(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("%s column \"%s\" is not a column of the %s other than its keys",
							option,
							(char *) lfirst(cell),
							owner),
					 errdetail("The %s has the columns %s.", owner, dm_names_join(columns))));
	}
}

/* Is the dataset there already, and not about to be created? */
static bool
is_stored(const DmDataset *dataset)
{
	return dataset->id != 0;
}

/*
 * Raises 54011 for more keys than the indexes hold. The table of a feed's points has three columns besides in its key, the
 * index of history one.
 */
static void
keys_count_check(const DmDataset *dataset)
{
	int most = INDEX_MAX_KEYS - (dataset->sequence_column ? 3 : dataset->settings.index_keys ? 1 : 0);

	if (list_length(dataset->keys) > most)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("%s has at most %d key columns",
						dataset->sequence_column	   ? "a feed"
						: dataset->settings.index_keys ? "a dataset with an index of history by key"
													   : "a dataset",
						most),
				 errdetail("%d are given.", list_length(dataset->keys))));
}

/* Raises if the name is too long for the relations beside it. */
static void
names_fit(const RangeVar *target, const DmSettings *settings)
{
	Size suffix = settings->sensitive ? strlen("_sensitive_versions") : strlen("_versions");

	if (settings->partition != DM_PERIOD_NONE)
		suffix = settings->sensitive ? strlen("_sensitive_history_0000_00") : strlen("_history_0000_00");
	if (strlen(target->relname) + suffix > NAMEDATALEN - 1)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("target name \"%s\" is too long", target->relname),
				 errdetail("With these settings up to %d bytes are added to it, and names have at most %d bytes.",
						   (int) suffix,
						   NAMEDATALEN - 1)));
}

/* Creates a dataset without merging. Returns its current table. */
Oid
dm_dataset_create_empty(const DmCreateSpec *spec)
{
	RangeVar *name = dm_dataset_parse(spec->target);
	Jsonb *options = spec->options;
	DmDataset dataset = {0};
	DmMergeOptions *parsed;
	Jsonb *source_options;
	Oid current;
	int adopt;

	PreventCommandIfReadOnly("create_dataset()");
	PreventCommandIfParallelMode("create_dataset()");
	adopt = adopt_take(&options);
	parsed = dm_merge_options_parse(options, &source_options);
	dm_feed_options_refuse(options, "full", parsed->settings.last_wins);
	if (parsed->scope || parsed->max_delete_percent != 100)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope and max_delete_percent are options of a merge")));
	dm_dataset_lock(name);
	current = dm_target_find(name, spec->target);
	dataset.effective_type = OidIsValid(parsed->effective_type) ? parsed->effective_type : DATEOID;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(current))
	{
		if (dm_dataset_find(current, &dataset))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("\"%s\" is a dataset already", spec->target),
					 errhint("alter_dataset changes its settings.")));
		dm_target_check_kind(current, spec->target);
		dm_adopt_check_free(current);
		if (adopt == 0 || (adopt < 0 && !dm_adopt_has_key(current, spec->keys) &&
						   !dm_dataset_is_former(current, &parsed->settings)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("\"%s\" exists and is not a dataset", spec->target),
					 errdetail("A table with a unique key of these columns is adopted as it is."),
					 errhint("options => '{\"adopt\": true}' adopts it and adds the key.")));
		table_adopt(name, current, spec, parsed, &dataset);
	}
	else if (adopt > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no table \"%s\" to adopt", spec->target)));
	else
		columns_create(name, spec, source_options, parsed, &dataset);
	PopActiveSnapshot();
	return dataset.current;
}

/* Takes option adopt out of the object. Returns it, or -1 if it is not given. */
static int
adopt_take(Jsonb **options)
{
	JsonbValue *value;
	int adopt;

	if (!JB_ROOT_IS_OBJECT(*options))
		return -1; /* raised on where options are read */
	value = getKeyJsonValueFromContainer(&(*options)->root, "adopt", strlen("adopt"), NULL);
	if (!value)
		return -1;
	adopt = dm_json_flag("adopt", value);
	*options =
		DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(*options), CStringGetTextDatum("adopt")));
	return adopt;
}

/* Creates an empty dataset with the columns of the list or of the source. */
static void
columns_create(const RangeVar *name, const DmCreateSpec *spec, Jsonb *source_options, const DmMergeOptions *options,
			   DmDataset *dataset)
{
	DmSource *source = NULL;
	TupleDesc columns;

	if (spec->columns && spec->source)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("both columns and source are given"),
				 errhint("Give one of them: a source has columns of its own.")));
	if (!spec->columns && !spec->source)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" does not exist: give columns or source", spec->target),
				 errhint("For example columns => 'id int, name text', or source => 's3://bucket/*.csv'.")));
	if (spec->source)
	{
		source = dm_source_open(spec->source, source_options);
		columns = source->offered;
	}
	else
		columns = columns_parse(spec->columns);
	dm_dataset_define(name, columns, spec->keys, options, dataset);
	dm_dataset_create(name, columns, dataset);
	dm_dataset_add_key(dataset);
	if (source)
		dm_source_close(source);
}

/* Makes the existing table a dataset. */
static void
table_adopt(const RangeVar *name, Oid current, const DmCreateSpec *spec, const DmMergeOptions *options,
			DmDataset *dataset)
{
	Datum effective = dm_effective_make(dataset->effective_type, spec->effective);
	int64 merge_id = dm_dataset_next_merge();
	TimestampTz moment = spec->effective;
	int64 rows;

	if (!dm_relation_is_owned(current))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(current));
	dm_table_lock(current, AccessExclusiveLock);
	if (spec->columns || spec->source)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" exists: a table that is adopted has its own columns", spec->target),
				 errhint("Leave columns and source out.")));
	if (TIMESTAMP_NOT_FINITE(spec->effective))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("the effective date must not be infinite")));
	if (dm_dataset_is_former(current, &options->settings))
	{
		rows = dm_dataset_readopt(name, current, spec->keys, options, dataset, &merge_id, &moment);
		effective = dm_effective_make(dataset->effective_type, moment);
	}
	else
	{
		dm_dataset_define(name, dm_adopt_columns(current), spec->keys, options, dataset);
		rows = dm_dataset_adopt(name, current, dataset, effective, merge_id);
	}
	adoption_log(dataset, moment, merge_id, effective, rows);
}

/* Makes the position of a syntax error one in the list of columns, and says what that is. */
static void
columns_error_context(void *arg)
{
	const char *columns = arg;
	int position = geterrposition() - (int) strlen(COLUMNS_PREFIX);

	if (geterrposition() > 0)
	{
		errposition(0);
		internalerrposition(Max(1, Min(position, pg_mbstrlen(columns) + 1)));
		internalerrquery(columns);
	}
	errhint("Argument columns is a list of names and types: columns => 'id int, name text'.");
}

/* Returns the columns of a list as CREATE TABLE has them: names, types and collations, no constraints. */
static TupleDesc
columns_parse(const char *columns)
{
	char *statement = psprintf(COLUMNS_PREFIX "%s\n)", columns);
	ErrorContextCallback callback = {error_context_stack, columns_error_context, unconstify(char *, columns)};
	List *statements;
	RawStmt *raw;
	CreateStmt *create;
	TupleDesc desc;
	ListCell *cell;
	int count = 0;

	error_context_stack = &callback;
	statements = raw_parser(statement, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	raw = list_length(statements) == 1 ? linitial_node(RawStmt, statements) : NULL;
	create = raw && IsA(raw->stmt, CreateStmt) ? (CreateStmt *) raw->stmt : NULL;
	if (!create || create->tableElts == NIL || create->inhRelations || create->partspec || create->options ||
		create->tablespacename || create->accessMethod || create->oncommit != ONCOMMIT_NOOP)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("columns must be a list of names and types"),
				 errhint("For example columns => 'id int, name text'.")));
	desc = CreateTemplateTupleDesc(list_length(create->tableElts));
	foreach (cell, create->tableElts)
	{
		ColumnDef *column = lfirst(cell);
		Oid type;
		int32 typmod;

		if (!IsA(column, ColumnDef) || column->constraints || column->typeName->setof)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("columns must be a list of names and types, without constraints"),
					 errhint("Add constraints with ALTER TABLE, or create the table and have it adopted.")));
		typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
		TupleDescInitEntry(
			desc, ++count, column->colname, type, typmod, list_length(column->typeName->arrayBounds));
		TupleDescInitEntryCollation(desc, count, GetColumnDefCollation(NULL, column, type));
		for (int i = 0; i < count - 1; i++)
		{
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), column->colname) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" stands in the list twice", column->colname)));
		}
	}
	return desc;
}

/* Writes the adoption into the log of merges, as the first of the dataset, and its receipt. */
static void
adoption_log(const DmDataset *dataset, TimestampTz moment, int64 merge_id, Datum effective, int64 rows)
{
	bool is_date = dataset->effective_type == DATEOID;
	DmReceipt *receipt = dm_receipt_begin("create_dataset", dataset->name, "{\"adopt\": true}");
	DmReceiptOutput output = {.uri = dataset->name, .counts = psprintf("{\"adopted\": " INT64_FORMAT "}", rows)};
	Oid types[] = {INT8OID, INT8OID, TIMESTAMPTZOID, DATEOID, TEXTOID, INT8OID, TEXTOID, OIDOID};
	Datum values[8];
	char nulls[] = "        ";
	DmCatalogScope scope;

	dm_receipt_output(receipt, &output);
	values[0] = Int64GetDatum(merge_id);
	values[1] = Int64GetDatum(dataset->id);
	values[2] = TimestampTzGetDatum(moment);
	values[3] = is_date ? effective : (Datum) 0;
	values[4] = CStringGetTextDatum(dataset->name);
	values[5] = Int64GetDatum(rows);
	values[6] = CStringGetTextDatum(dm_receipt_write(receipt));
	values[7] = ObjectIdGetDatum(GetUserId());
	nulls[3] = is_date ? ' ' : 'n';
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"INSERT INTO datamill.merge_catalog (merge_id, dataset_id, effective, effective_day, mode, source, "
		"inserted, updated, deleted, unchanged, missing, rejected, refreshed, live_rows, receipt, "
		"started_at, finished_at, merged_by) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, 'adopt', $5, $6, "
		"0, 0, 0, 0, 0, 0, $6, $7, now(), clock_timestamp(), $8::regrole)",
		lengthof(types),
		types,
		values,
		nulls);
	dm_catalog_end(&scope);
}
