/*
 * dataset_ddl.c: creates the tables and views of a dataset, as the caller and with the caller's rights.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/names.h"
#include "cdc/cdc.h"
#include "cdc/feed.h"

/*
 * Room left on each page, so that a new version finds place on the page of the old one: such an update writes no index
 * entry (HOT). Day-to-day changes of up to two fifths of the rows stay on their pages.
 */
#define CURRENT_FILLFACTOR 70

static void columns_check(TupleDesc columns, const DmDataset *dataset);
static void schema_create(const char *schema);
static void tables_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset);
static void feed_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset);
static void views_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset);
static void append_column_definitions(StringInfo sql, TupleDesc columns);
static void append_column_names(StringInfo sql, TupleDesc columns);
static char *collation_name(Oid collation);
static char *sibling(const RangeVar *target, const char *suffix);
static void execute(const char *sql);

/*
 * Creates schema (if there is none of that name), tables and views for the columns of a source, fills in the relations
 * of *dataset (whose keys, untracked columns and settings are set) and stores it. The primary key is left for
 * dm_dataset_add_key(), after the first load. Raises if anything of these names exists.
 */
void
dm_dataset_create(const RangeVar *target, TupleDesc columns, DmDataset *dataset)
{
	Oid schema;

	columns_check(columns, dataset);
	schema_create(target->schemaname);
	SPI_connect();
	tables_create(target, columns, dataset);
	if (dataset->sequence_column)
		feed_create(target, columns, dataset);
	views_create(target, columns, dataset);
	SPI_finish();
	CommandCounterIncrement();
	schema = get_namespace_oid(target->schemaname, false);
	dataset->current = get_relname_relid(target->relname, schema);
	dataset->history = get_relname_relid(psprintf("%s_history", target->relname), schema);
	if (dataset->sequence_column)
		dataset->feed = get_relname_relid(psprintf("%s_feed", target->relname), schema);
	dm_dataset_store(dataset,
					 get_relname_relid(psprintf("%s_versions", target->relname), schema),
					 get_relname_relid(psprintf("%s_changes", target->relname), schema));
}

/*
 * Adds the primary key to the current table. A key that stands in the table twice raises 21000 with its values in the
 * words of a merge.
 */
void
dm_dataset_add_key(const DmDataset *dataset)
{
	MemoryContext caller = CurrentMemoryContext;
	char *sql = psprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", dataset->name, dm_names_quoted(dataset->keys));

	PG_TRY();
	{
		SPI_connect();
		execute(sql);
		SPI_finish();
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
				 errhint("Give the source with one row a key, for example SELECT DISTINCT ON (key columns).")));
	}
	PG_END_TRY();
}

/* Raises unless the source's columns can make a dataset: keys among them and sortable, names free. */
static void
columns_check(TupleDesc columns, const DmDataset *dataset)
{
	static const char *const added[] = {DM_COL_OPERATION,
										DM_COL_START,
										DM_COL_END,
										DM_COL_KEY_HASH,
										DM_COL_ROW_HASH,
										DM_COL_MERGE,
										DM_COL_ENDED_BY,
										DM_COL_ENDED_MERGE,
										"valid",
										"effective"};

	for (int i = 0; i < columns->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(columns, i)->attname);

		for (int j = 0; j < lengthof(added); j++)
		{
			if (strcmp(name, added[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" of the source has the name of a column that the dataset adds", name),
						 errhint("Rename it in a query: cdc_merge(..., 'SELECT %s AS other_name, ... FROM ...').",
								 quote_identifier(name))));
		}
		if (dm_names_has(dataset->keys, name) &&
			!OidIsValid(lookup_type_cache(TupleDescAttr(columns, i)->atttypid, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("column \"%s\" of type %s cannot be a key",
							name,
							format_type_be(TupleDescAttr(columns, i)->atttypid)),
					 errdetail("The type has no default order.")));
	}
}

/* Creates the schema unless it exists. */
static void
schema_create(const char *schema)
{
	if (OidIsValid(get_namespace_oid(schema, true)))
		return;
	SPI_connect();
	execute(psprintf("CREATE SCHEMA %s", quote_identifier(schema)));
	SPI_finish();
	CommandCounterIncrement();
	ereport(NOTICE, (errmsg("schema \"%s\" did not exist and was created", schema)));
}

/* Creates the current and the history table. */
static void
tables_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset)
{
	const char *effective = dm_effective_type(dataset->effective_type)->sql_type;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", sibling(target, ""));
	append_column_definitions(&sql, columns);
	appendStringInfo(&sql,
					 ", " DM_COL_OPERATION " pg_catalog.\"char\" NOT NULL, " DM_COL_START
					 " %s NOT NULL, " DM_COL_MERGE " pg_catalog.int8 NOT NULL, " DM_COL_KEY_HASH
					 " pg_catalog.uuid NOT NULL, " DM_COL_ROW_HASH
					 " pg_catalog.uuid NOT NULL) WITH (fillfactor = %d)",
					 effective,
					 CURRENT_FILLFACTOR);
	execute(sql.data);

	resetStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", sibling(target, "_history"));
	append_column_definitions(&sql, columns);
	appendStringInfo(&sql,
					 ", " DM_COL_OPERATION " pg_catalog.\"char\" NOT NULL, " DM_COL_START
					 " %s NOT NULL, " DM_COL_MERGE " pg_catalog.int8 NOT NULL, " DM_COL_END
					 " %s NOT NULL, " DM_COL_ENDED_BY " pg_catalog.\"char\" NOT NULL, " DM_COL_ENDED_MERGE
					 " pg_catalog.int8 NOT NULL)",
					 effective,
					 effective);
	execute(sql.data);
	execute(
		psprintf("COMMENT ON TABLE %s IS 'Current rows of a datamill dataset, one a live key: business columns, "
				 "operation (I or U: what made this version), start of the version, the merge that made it "
				 "(datamill.merges), hashes of "
				 "key and row.'",
				 sibling(target, "")));
	execute(psprintf(
		"COMMENT ON TABLE %s IS 'Closed versions of a datamill dataset: business columns, operation, start "
		"and end (exclusive) of the version, the merge that made it, what ended it (U or D), and the merge that "
		"did.'",
		sibling(target, "_history")));
}

/*
 * Creates what a feed needs besides: the table of points (events of which no version shows all), and indexes by which all
 * that is known of a key is found.
 */
static void
feed_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset)
{
	char *names = dm_names_quoted(dataset->keys);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", sibling(target, "_feed"));
	append_column_definitions(&sql, columns);
	appendStringInfo(&sql,
					 ", " DM_COL_START " %s NOT NULL, " DM_COL_OPERATION
					 " pg_catalog.\"char\" NOT NULL, " DM_COL_MERGE " pg_catalog.int8 NOT NULL, " DM_COL_UNAVAILABLE
					 " pg_catalog.text[], PRIMARY KEY (%s, " DM_COL_START ", " DM_COL_OPERATION ", " DM_COL_MERGE
					 "))",
					 dm_effective_type(dataset->effective_type)->sql_type,
					 names);
	execute(sql.data);
	execute(psprintf("COMMENT ON TABLE %s IS 'Events of a datamill feed that no version shows, or not all of it: D "
					 "deletes where "
					 "nothing was, N upserts that changed nothing, U upserts with values of their own. Later "
					 "events may need them.'",
					 sibling(target, "_feed")));
	execute(psprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", sibling(target, ""), names));
	execute(psprintf("ALTER TABLE %s ADD PRIMARY KEY (%s, " DM_COL_START ")", sibling(target, "_history"), names));
}

/* Creates the versions and the changes view. */
static void
views_create(const RangeVar *target, TupleDesc columns, const DmDataset *dataset)
{
	const char *range = dm_effective_type(dataset->effective_type)->sql_range;
	const char *effective = dm_effective_type(dataset->effective_type)->sql_type;
	StringInfoData names;

	initStringInfo(&names);
	append_column_names(&names, columns);
	execute(psprintf("CREATE VIEW %s AS SELECT %s, " DM_COL_OPERATION ", " DM_COL_START ", NULL::%s AS " DM_COL_END
					 ", %s(" DM_COL_START ", NULL) AS valid, " DM_COL_MERGE
					 " FROM %s UNION ALL SELECT %s, " DM_COL_OPERATION ", " DM_COL_START ", " DM_COL_END
					 ", %s(" DM_COL_START ", " DM_COL_END "), " DM_COL_MERGE " FROM %s",
					 sibling(target, "_versions"),
					 names.data,
					 effective,
					 range,
					 sibling(target, ""),
					 names.data,
					 range,
					 sibling(target, "_history")));
	execute(psprintf("CREATE VIEW %s AS SELECT " DM_COL_START " AS effective, " DM_COL_OPERATION
					 ", %s FROM %s UNION ALL SELECT " DM_COL_START ", " DM_COL_OPERATION
					 ", %s FROM %s UNION ALL SELECT " DM_COL_END
					 ", 'D'::pg_catalog.\"char\", %s FROM %s WHERE " DM_COL_ENDED_BY " <> 'U'",
					 sibling(target, "_changes"),
					 names.data,
					 sibling(target, ""),
					 names.data,
					 sibling(target, "_history"),
					 names.data,
					 sibling(target, "_history")));
	execute(psprintf(
		"COMMENT ON VIEW %s IS 'All versions of a datamill dataset; as of a moment: WHERE valid @> moment.'",
		sibling(target, "_versions")));
	execute(psprintf(
		"COMMENT ON VIEW %s IS 'What changed in a datamill dataset at each effective date: I and U with the "
		"new values, D with the last ones.'",
		sibling(target, "_changes")));
}

/* Appends "name type COLLATE collation, ..." of all columns. */
static void
append_column_definitions(StringInfo sql, TupleDesc columns)
{
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		appendStringInfo(sql,
						 "%s%s %s",
						 i == 0 ? "" : ", ",
						 quote_identifier(NameStr(column->attname)),
						 format_type_extended(column->atttypid,
											  column->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(column->attcollation) && column->attcollation != get_typcollation(column->atttypid))
			appendStringInfo(sql, " COLLATE %s", collation_name(column->attcollation));
	}
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

/* Appends the quoted names of all columns. */
static void
append_column_names(StringInfo sql, TupleDesc columns)
{
	for (int i = 0; i < columns->natts; i++)
		appendStringInfo(
			sql, "%s%s", i == 0 ? "" : ", ", quote_identifier(NameStr(TupleDescAttr(columns, i)->attname)));
}

/* Returns the qualified, quoted name of the target or of a relation beside it. */
static char *
sibling(const RangeVar *target, const char *suffix)
{
	return quote_qualified_identifier(target->schemaname, psprintf("%s%s", target->relname, suffix));
}

/* Executes one statement as the current user; SPI is connected. */
static void
execute(const char *sql)
{
	int code = SPI_execute(sql, false, 0);

	if (code < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(code), sql);
}
