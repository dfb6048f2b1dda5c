/*
 * dataset_ddl.c: creates the tables and views of a dataset, as the caller and with the caller's rights.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/names.h"
#include "cdc/cdc.h"
#include "cdc/feed.h"
#include "rows/null_check.h"

/*
 * Room left on each page, so that a new version finds place on the page of the old one: such an update writes no index
 * entry (HOT). Day-to-day changes of up to two fifths of the rows stay on their pages.
 */
#define CURRENT_FILLFACTOR 70

/* The added columns that the current and the history table have, apart from the dates, and their types. */
#define OPERATION_TYPE "pg_catalog.\"char\" NOT NULL"
#define MERGE_TYPE "pg_catalog.int8 NOT NULL"
#define HASH_TYPE "pg_catalog.uuid NOT NULL"

static void names_check(const char *column, const DmDataset *dataset);
static void previous_check(Form_pg_attribute column);
static TupleDesc points_columns(TupleDesc columns, const DmDataset *dataset);
static void siblings_check(const RangeVar *target, const DmDataset *dataset);
static void schema_create(const char *schema);
static TupleDesc part_columns(TupleDesc columns, const DmDataset *dataset, bool sensitive);
static void part_create(const RangeVar *target, const char *suffix, TupleDesc columns, const DmDataset *dataset);
static char *added_definitions(const DmDataset *dataset);
static void part_comment(const RangeVar *target, const char *suffix);
static void key_add(const char *table, const DmDataset *dataset);
static void feed_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset);
static void append_column_definitions(StringInfo sql, TupleDesc columns);
static char *collation_name(Oid collation);
static char *sibling(const RangeVar *target, const char *suffix);
static Oid index_find(Oid table, const char *suffix);
static void index_set(Oid table, const char *suffix, const char *definition, bool is_there, bool is_wanted);

/*
 * Creates schema (if there is none of that name), tables and views for the columns of a source, fills in the relations
 * of *dataset (whose keys, untracked columns and settings are set) and stores it. The primary key is left for
 * dm_dataset_add_key(), after the first load. Raises if anything of these names exists.
 */
void
dm_dataset_create(const RangeVar *target, TupleDesc columns, DmDataset *dataset)
{
	dm_dataset_check_columns(columns, dataset);
	schema_create(target->schemaname);
	siblings_check(target, dataset);
	part_create(target, "", part_columns(columns, dataset, false), dataset);
	if (dataset->settings.sensitive)
		part_create(target, "_sensitive", part_columns(columns, dataset, true), dataset);
	if (dataset->sequence_column)
		feed_create(target, columns, dataset);
	dm_dataset_complete(target, dataset, false);
}

/* Raises 42P07 if a table or view beside the target has a name that the dataset needs. */
static void
siblings_check(const RangeVar *target, const DmDataset *dataset)
{
	static const char *const suffixes[] = {
		"_history", "_versions", "_changes", "_sensitive", "_sensitive_history", "_sensitive_versions", "_feed"};

	for (int i = 0; i < lengthof(suffixes); i++)
	{
		bool is_needed = i < 3 || (i < 6 ? dataset->settings.sensitive != NIL : dataset->sequence_column != NULL);

		if (is_needed && OidIsValid(dm_dataset_sibling(target, suffixes[i])))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("dataset \"%s\" needs the name \"%s%s\", which is taken",
							target->relname,
							target->relname,
							suffixes[i]),
					 errhint("Drop or rename what has it: a dataset whose table was dropped by itself leaves its "
							 "history.")));
	}
}

/*
 * Finds the tables of the dataset by their names, creates its views and the indexes that its settings ask for, and
 * stores it. is_former: views and indexes may be there already.
 */
void
dm_dataset_complete(const RangeVar *target, DmDataset *dataset, bool is_former)
{
	CommandCounterIncrement();
	dataset->current = dm_dataset_sibling(target, "");
	dataset->history = dm_dataset_sibling(target, "_history");
	if (dataset->settings.sensitive)
	{
		dataset->sensitive = dm_dataset_sibling(target, "_sensitive");
		dataset->sensitive_history = dm_dataset_sibling(target, "_sensitive_history");
	}
	if (dataset->sequence_column)
		dataset->feed = dm_dataset_sibling(target, "_feed");
	if (is_former)
		dm_dataset_views_find(dataset);
	else
		dm_dataset_views_create(dataset, NULL);
	dm_dataset_index_history(dataset, NULL);
	CommandCounterIncrement();
	dm_dataset_store(dataset);
}

/*
 * Adds the primary key to the current tables, or the unique index that stands for one where keys may be NULL. A key that
 * stands in the table twice raises 21000 with its values in the words of a merge.
 */
void
dm_dataset_add_key(const DmDataset *dataset)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		key_add(dataset->name, dataset);
		if (OidIsValid(dataset->sensitive))
			key_add(dm_relation_name(dataset->sensitive), dataset);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("a key stands in the source more than once"),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Give the source with one row a key, for example SELECT DISTINCT ON (key columns), or set "
						 "option duplicates to last.")));
	}
	PG_END_TRY();
}

/* Brings the indexes of history from what the settings before asked for (NULL: nothing) to what they ask for now. */
void
dm_dataset_index_history(const DmDataset *dataset, const DmSettings *before)
{
	Oid tables[] = {dataset->history, dataset->sensitive_history};
	char *keys = psprintf("(%s, %s)", dm_names_quoted(dataset->keys), dm_name_quoted(dataset, DM_NAME_START));
	char *time = psprintf("USING gist (%s(%s, %s))",
						  dm_effective_type(dataset->effective_type)->sql_range,
						  dm_name_quoted(dataset, DM_NAME_START),
						  dm_name_quoted(dataset, DM_NAME_END));

	for (int i = 0; i < lengthof(tables) && OidIsValid(tables[i]); i++)
	{
		index_set(tables[i], "_key_idx", keys, before && before->index_keys, dataset->settings.index_keys);
		index_set(tables[i], "_time_idx", time, before && before->index_time, dataset->settings.index_time);
	}
}

/* Creates an index of a table that is not there, drops one that was asked for and is not any more, or does nothing. */
static void
index_set(Oid table, const char *suffix, const char *definition, bool was_wanted, bool is_wanted)
{
	Oid index = index_find(table, suffix);
	char *name = get_rel_name(table);

	if (is_wanted && !OidIsValid(index))
	{
		name = psprintf(
			"%s%s", pnstrdup(name, pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - strlen(suffix))), suffix);
		dm_dataset_execute(
			psprintf("CREATE INDEX %s ON %s %s", quote_identifier(name), dm_relation_name(table), definition));
	}
	else if (was_wanted && !is_wanted && OidIsValid(index))
		dm_dataset_execute(psprintf("DROP INDEX %s", dm_relation_name(index)));
}

/* Returns the index of a table whose name has this end, since the table may have another name than when it was made; or InvalidOid. */
static Oid
index_find(Oid table, const char *suffix)
{
	Relation rel = table_open(table, AccessShareLock);
	List *indexes = RelationGetIndexList(rel);
	ListCell *cell;

	table_close(rel, NoLock);
	foreach (cell, indexes)
	{
		char *name = get_rel_name(lfirst_oid(cell));

		if (name && strlen(name) >= strlen(suffix) && strcmp(name + strlen(name) - strlen(suffix), suffix) == 0)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* Raises unless the source's columns can make a dataset: keys among them and sortable, names free. */
void
dm_dataset_check_columns(TupleDesc columns, const DmDataset *dataset)
{
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		const char *name = NameStr(column->attname);

		names_check(name, dataset);
		if (dm_names_has(dataset->settings.previous, name))
			previous_check(column);
		if (dm_names_has(dataset->keys, name) &&
			!OidIsValid(lookup_type_cache(column->atttypid, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("column \"%s\" of type %s cannot be a key", name, format_type_be(column->atttypid)),
					 errdetail("The type has no default order.")));
	}
}

/* Raises 42701 if a business column has the name of a column that the dataset adds. */
static void
names_check(const char *column, const DmDataset *dataset)
{
	if (dataset->sequence_column && strcmp(column, DM_COL_UNAVAILABLE) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column \"%s\" of the source has the name of a column that a feed adds", column),
				 errhint("Rename it in a query as source.")));
	for (int j = 0; j < DM_NAMES; j++)
	{
		if (strcmp(column, dataset->settings.names[j]) != 0 || (j == DM_NAME_MADE_BY && !dataset->settings.stamp))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column \"%s\" of the source has the name of a column that the dataset adds", column),
				 errhint("Give the added column another name: options => '{\"names\": {\"%s\": \"...\"}}'.",
						 dm_settings_default_name(j))));
	}
}

/* Says what refuses NULL. */
static void
previous_error_context(void *arg)
{
	errcontext("column %s of kind 3: null before the first change", (char *) arg);
}

/* Raises for a column of kind 3 whose domain refuses NULL: before the first change there is no value before. */
static void
previous_check(Form_pg_attribute column)
{
	ErrorContextCallback callback = {error_context_stack, previous_error_context, NameStr(column->attname)};

	error_context_stack = &callback;
	dm_null_check_type(column->atttypid, column->atttypmod);
	error_context_stack = callback.previous;
}

/* Creates the schema unless it exists. */
static void
schema_create(const char *schema)
{
	if (OidIsValid(get_namespace_oid(schema, true)))
		return;
	dm_dataset_execute(psprintf("CREATE SCHEMA %s", quote_identifier(schema)));
	CommandCounterIncrement();
	ereport(NOTICE, (errmsg("schema \"%s\" did not exist and was created", schema)));
}

/* Returns the columns of one part: those that are not sensitive, or the keys and those that are. */
static TupleDesc
part_columns(TupleDesc columns, const DmDataset *dataset, bool sensitive)
{
	AttrNumber *chosen = palloc(sizeof(AttrNumber) * columns->natts);
	TupleDesc part;
	int count = 0;

	for (int i = 0; i < columns->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(columns, i)->attname);

		if (dm_names_has(dataset->settings.sensitive, name) == sensitive ||
			(sensitive && dm_names_has(dataset->keys, name)))
			chosen[count++] = i + 1;
	}
	part = CreateTemplateTupleDesc(count);
	for (int i = 0; i < count; i++)
		TupleDescCopyEntry(part, i + 1, columns, chosen[i]);
	return part;
}

/* Creates the current and the history table of one part. */
static void
part_create(const RangeVar *target, const char *suffix, TupleDesc columns, const DmDataset *dataset)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", sibling(target, suffix));
	append_column_definitions(&sql, columns);
	appendStringInfoString(&sql, dm_previous_definitions(", ", columns, dataset));
	appendStringInfo(&sql, ", %s) WITH (fillfactor = %d)", added_definitions(dataset), CURRENT_FILLFACTOR);
	dm_dataset_execute(sql.data);
	dm_dataset_history_create(target, suffix, columns, dataset);
	part_comment(target, suffix);
}

/* Creates the history table of one part, for the columns of the part. */
void
dm_dataset_history_create(const RangeVar *target, const char *suffix, TupleDesc columns, const DmDataset *dataset)
{
	const char *effective = dm_effective_type(dataset->effective_type)->sql_type;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", sibling(target, psprintf("%s_history", suffix)));
	append_column_definitions(&sql, columns);
	appendStringInfoString(&sql, dm_previous_definitions(", ", columns, dataset));
	appendStringInfo(&sql,
					 ", %s " OPERATION_TYPE ", %s %s NOT NULL, %s " MERGE_TYPE
					 ", %s %s NOT NULL, %s " OPERATION_TYPE ", %s " MERGE_TYPE ")",
					 dm_name_quoted(dataset, DM_NAME_OPERATION),
					 dm_name_quoted(dataset, DM_NAME_START),
					 effective,
					 dm_name_quoted(dataset, DM_NAME_MERGE),
					 dm_name_quoted(dataset, DM_NAME_END),
					 effective,
					 dm_name_quoted(dataset, DM_NAME_ENDED_BY),
					 dm_name_quoted(dataset, DM_NAME_ENDED_MERGE));
	if (dataset->settings.partition != DM_PERIOD_NONE)
		appendStringInfo(&sql, " PARTITION BY RANGE (%s)", dm_name_quoted(dataset, DM_NAME_END));
	dm_dataset_execute(sql.data);
}

/* Returns the definitions of the columns that the current table of a part adds, with commas between them. */
static char *
added_definitions(const DmDataset *dataset)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "%s " OPERATION_TYPE ", %s %s NOT NULL, %s " MERGE_TYPE ", %s " HASH_TYPE ", %s " HASH_TYPE,
					 dm_name_quoted(dataset, DM_NAME_OPERATION),
					 dm_name_quoted(dataset, DM_NAME_START),
					 dm_effective_type(dataset->effective_type)->sql_type,
					 dm_name_quoted(dataset, DM_NAME_MERGE),
					 dm_name_quoted(dataset, DM_NAME_KEY_HASH),
					 dm_name_quoted(dataset, DM_NAME_ROW_HASH));
	if (dataset->settings.stamp)
		appendStringInfo(&sql, ", %s " OPERATION_TYPE, dm_name_quoted(dataset, DM_NAME_MADE_BY));
	return sql.data;
}

/* Says what the tables of a part are. */
static void
part_comment(const RangeVar *target, const char *suffix)
{
	const char *of = suffix[0] ? "sensitive columns of a datamill dataset" : "datamill dataset";

	dm_dataset_execute(
		psprintf("COMMENT ON TABLE %s IS 'Current rows of a %s, one a live key: business columns, "
				 "operation (I or U: what made this version), start of the version, the merge that made it "
				 "(datamill.merges), hashes of key and row.'",
				 sibling(target, suffix),
				 of));
	dm_dataset_execute(psprintf(
		"COMMENT ON TABLE %s IS 'Closed versions of a %s: business columns, operation, start "
		"and end (exclusive) of the version, the merge that made it, what ended it (U or D), and the merge that "
		"did.'",
		sibling(target, psprintf("%s_history", suffix)),
		of));
}

/*
 * Adds the key to a current table. A unique index of columns that may be NULL identifies no row for logical
 * replication, so there the whole row does.
 */
static void
key_add(const char *table, const DmDataset *dataset)
{
	const char *keys = dm_names_quoted(dataset->keys);

	if (!dataset->settings.null_keys)
	{
		dm_dataset_execute(psprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", table, keys));
		return;
	}
	dm_dataset_execute(psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", table, keys));
	dm_dataset_execute(psprintf("ALTER TABLE %s REPLICA IDENTITY FULL", table));
}

/*
 * Returns the columns of the points. Those of deletes hold keys and nothing else, so the others are of the type below their
 * domain, which may refuse NULL when a dump is read.
 */
static TupleDesc
points_columns(TupleDesc columns, const DmDataset *dataset)
{
	TupleDesc points = CreateTupleDescCopy(columns);

	for (int i = 0; i < points->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(points, i);

		if (!dm_names_has(dataset->keys, NameStr(column->attname)))
			column->atttypid = getBaseTypeAndTypmod(column->atttypid, &column->atttypmod);
	}
	return points;
}

/*
 * Creates what a feed needs besides: the table of points (events of which no version shows all), and indexes by which all
 * that is known of a key is found.
 */
static void
feed_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset)
{
	char *names = dm_names_quoted(dataset->keys);
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", sibling(target, "_feed"));
	append_column_definitions(&sql, points_columns(columns, dataset));
	appendStringInfo(&sql,
					 ", %1$s %2$s NOT NULL, %3$s " OPERATION_TYPE ", %4$s " MERGE_TYPE ", " DM_COL_UNAVAILABLE
					 " pg_catalog.text[], PRIMARY KEY (%5$s, %1$s, %3$s, %4$s))",
					 start,
					 dm_effective_type(dataset->effective_type)->sql_type,
					 dm_name_quoted(dataset, DM_NAME_OPERATION),
					 dm_name_quoted(dataset, DM_NAME_MERGE),
					 names);
	dm_dataset_execute(sql.data);
	dm_dataset_execute(
		psprintf("COMMENT ON TABLE %s IS 'Events of a datamill feed that no version shows, or not all of it: D "
				 "deletes where nothing was, N upserts that changed nothing, U upserts with values of "
				 "their own. Later events may need them.'",
				 sibling(target, "_feed")));
	dm_dataset_execute(psprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", sibling(target, ""), names));
	dm_dataset_execute(
		psprintf("ALTER TABLE %s ADD PRIMARY KEY (%s, %s)", sibling(target, "_history"), names, start));
}

/* Appends "name type COLLATE collation, ..." of all columns. */
static void
append_column_definitions(StringInfo sql, TupleDesc columns)
{
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		appendStringInfo(
			sql, "%s%s %s", i == 0 ? "" : ", ", quote_identifier(NameStr(column->attname)), dm_column_type(column));
	}
}

/* Returns definitions of the columns that keep the values before of columns of kind 3, a prefix before each. */
char *
dm_previous_definitions(const char *prefix, TupleDesc columns, const DmDataset *dataset)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		const char *name = NameStr(column->attname);

		if (dm_names_has(dataset->settings.previous, name))
			appendStringInfo(&sql,
							 "%s%s %s DEFAULT NULL",
							 prefix,
							 quote_identifier(dm_settings_previous_name(name)),
							 dm_column_type(column));
	}
	return sql.data;
}

/* Returns a column's type and, if it is not the type's own, its collation, for a statement. */
char *
dm_column_type(Form_pg_attribute column)
{
	char *type = format_type_extended(
		column->atttypid, column->atttypmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	if (OidIsValid(column->attcollation) && column->attcollation != get_typcollation(column->atttypid))
		return psprintf("%s COLLATE %s", type, collation_name(column->attcollation));
	return type;
}

/* Returns the qualified, quoted name of a collation. */
static char *
collation_name(Oid collation)
{
	HeapTuple tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = quote_qualified_identifier(get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
	return name;
}

/* Returns the qualified, quoted name of the target or of a relation beside it. */
static char *
sibling(const RangeVar *target, const char *suffix)
{
	return quote_qualified_identifier(target->schemaname, psprintf("%s%s", target->relname, suffix));
}

/* Returns the OID of the target or of a relation beside it. */
/* Returns the relation beside the target whose name has this end, or InvalidOid. */
Oid
dm_dataset_sibling(const RangeVar *target, const char *suffix)
{
	return get_relname_relid(psprintf("%s%s", target->relname, suffix),
							 get_namespace_oid(target->schemaname, false));
}

/* Executes statements as the current user. */
void
dm_dataset_execute(const char *sql)
{
	int code;

	SPI_connect();
	code = SPI_execute(sql, false, 0);
	if (code < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(code), sql);
	SPI_finish();
}
