/*
 * citus_sql.c: the statements of a merge on tables that Citus distributes.
 *
 * Invariants:
 * 1. Each joins colocated tables on all keys, of which the distribution column is one, and writes rows to the shard they
 *    come from. So Citus runs each as one task a shard, within the transaction of the caller.
 * 2. They use operators and types only, and functions of pg_catalog that are immutable: workers need nothing of ours.
 * 3. All names are quoted and qualified, operators too, and values are literals: nothing depends on search_path or
 *    DateStyle, here or on a worker.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/names.h"
#include "cdc/citus.h"

#define OPERATION(letter) "'" letter "'::pg_catalog.\"char\""

static char *columns_list(const DmCitusNames *names, const char *prefix, const int *columns, int count);
static char *any_differs(const DmCitusNames *names, const int *columns, int count);
static char *is_operation(const DmCitusNames *names, const char *operation);
static char *is_of_merge(const DmCitusNames *names, const char *alias, DmName name);
static char *assignments(const DmCitusNames *names, const int *columns, int count);
static const char *column_name(const DmCitusNames *names, int column);

/* The table of the source's rows: columns as in current, and the hashes. */
char *
dm_citus_stage_sql(const DmCitusNames *names)
{
	TupleDesc wanted = names->shape->wanted;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE UNLOGGED TABLE %s (", names->stage);
	for (int i = 0; i < wanted->natts; i++)
		appendStringInfo(&sql, "%s %s, ", column_name(names, i), dm_column_type(TupleDescAttr(wanted, i)));
	appendStringInfo(&sql,
					 "%s pg_catalog.uuid, %s pg_catalog.uuid)",
					 dm_name_quoted(names->dataset, DM_NAME_KEY_HASH),
					 dm_name_quoted(names->dataset, DM_NAME_ROW_HASH));
	return sql.data;
}

/* The table of what is to be done: as the other one, with the operation: I, U, D, or N where untracked columns differ. */
char *
dm_citus_changes_sql(const DmCitusNames *names)
{
	return psprintf("CREATE UNLOGGED TABLE %s (LIKE %s, %s pg_catalog.\"char\")",
					names->changes,
					names->stage,
					dm_name_quoted(names->dataset, DM_NAME_OPERATION));
}

/* Finds a key that stands in the source more than once. */
char *
dm_citus_duplicate_sql(const DmCitusNames *names)
{
	char *keys = columns_list(names, "s.", names->shape->keys, names->shape->nkeys);

	return psprintf("SELECT %s FROM %s s GROUP BY %s "
					"HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1::pg_catalog.int8 LIMIT 1",
					keys,
					names->stage,
					keys);
}

/* Finds the rows of the source that are new or differ from the row of current with their key. */
char *
dm_citus_find_changed_sql(const DmCitusNames *names)
{
	const DmShape *shape = names->shape;
	const char *operation = dm_name_quoted(names->dataset, DM_NAME_OPERATION);
	const char *key_hash = dm_name_quoted(names->dataset, DM_NAME_KEY_HASH);
	const char *row_hash = dm_name_quoted(names->dataset, DM_NAME_ROW_HASH);
	char *tracked = any_differs(names, shape->tracked, shape->ntracked);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "INSERT INTO %s (%s, %s, %s, %s) SELECT %s, s.%s, s.%s, ",
					 names->changes,
					 columns_list(names, "", NULL, shape->wanted->natts),
					 key_hash,
					 row_hash,
					 operation,
					 columns_list(names, "s.", NULL, shape->wanted->natts),
					 key_hash,
					 row_hash);
	appendStringInfo(&sql,
					 "CASE WHEN c.%s IS NULL THEN " OPERATION("I") " WHEN %s THEN " OPERATION(
						 "U") " ELSE " OPERATION("N") " END ",
					 operation,
					 tracked);
	appendStringInfo(&sql,
					 "FROM %s s LEFT JOIN %s c ON %s WHERE c.%s IS NULL OR %s OR %s",
					 names->stage,
					 names->dataset->name,
					 dm_keys_equal(names->dataset, "s.", "c.", false),
					 operation,
					 tracked,
					 any_differs(names, shape->untracked, shape->nuntracked));
	return sql.data;
}

/* Finds the keys of current, in the scope (a condition on it, or NULL), that the source lacks. */
char *
dm_citus_find_missing_sql(const DmCitusNames *names, const char *scope)
{
	const DmShape *shape = names->shape;
	const char *from = names->dataset->name;

	if (scope) /* a comment at its end goes as far as the line */
		from = psprintf("(SELECT %s FROM %s WHERE (%s\n))",
						columns_list(names, "", shape->keys, shape->nkeys),
						names->dataset->name,
						scope);
	return psprintf("INSERT INTO %s (%s, %s) SELECT %s, " OPERATION("D") " FROM %s c LEFT JOIN %s s ON %s "
																		 "WHERE s.%s IS NULL",
					names->changes,
					columns_list(names, "", shape->keys, shape->nkeys),
					dm_name_quoted(names->dataset, DM_NAME_OPERATION),
					columns_list(names, "c.", shape->keys, shape->nkeys),
					from,
					names->stage,
					dm_keys_equal(names->dataset, "c.", "s.", false),
					dm_name_quoted(names->dataset, DM_NAME_ROW_HASH));
}

/* Counts the changes of an operation; the rows of current for '\0'. */
char *
dm_citus_count_sql(const DmCitusNames *names, char operation)
{
	const char letter[] = {operation, '\0'};

	if (operation == '\0')
		return psprintf("SELECT pg_catalog.count(*) FROM %s c", names->dataset->name);
	return psprintf("SELECT pg_catalog.count(*) FROM %s p WHERE %s", names->changes, is_operation(names, letter));
}

/* Writes the versions that end to history. */
char *
dm_citus_close_sql(const DmCitusNames *names)
{
	const DmShape *shape = names->shape;
	TupleDesc desc = RelationGetDescr(names->history);
	StringInfoData columns;
	StringInfoData values;

	initStringInfo(&columns);
	initStringInfo(&values);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		AttrNumber from = shape->history_from[i];
		char *value;

		if (i + 1 == shape->history_end)
			value = unconstify(char *, names->start);
		else if (i + 1 == shape->history_ended_by)
			value = psprintf("p.%s", dm_name_quoted(names->dataset, DM_NAME_OPERATION));
		else if (i + 1 == shape->history_ended_merge)
			value = psprintf(INT64_FORMAT "::pg_catalog.int8", names->merge_id);
		else if (from != 0)
			value = psprintf(
				"c.%s",
				quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(names->current), from - 1)->attname)));
		else
			continue;
		appendStringInfo(
			&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(NameStr(attribute->attname)));
		appendStringInfo(&values, "%s%s", values.len > 0 ? ", " : "", value);
	}
	return psprintf("INSERT INTO %s (%s) SELECT %s FROM %s c JOIN %s p ON %s WHERE %s OR %s",
					dm_relation_name(RelationGetRelid(names->history)),
					columns.data,
					values.data,
					names->dataset->name,
					names->changes,
					dm_keys_equal(names->dataset, "c.", "p.", false),
					is_operation(names, "U"),
					is_operation(names, "D"));
}

/* Takes keys that are gone out of current. */
char *
dm_citus_delete_sql(const DmCitusNames *names)
{
	return psprintf("DELETE FROM %s c USING %s p WHERE %s AND %s",
					names->dataset->name,
					names->changes,
					dm_keys_equal(names->dataset, "c.", "p.", false),
					is_operation(names, "D"));
}

/* Writes changed rows to current. The key stays as it was spelt. */
char *
dm_citus_update_sql(const DmCitusNames *names)
{
	const DmDataset *dataset = names->dataset;
	const DmShape *shape = names->shape;
	const char *key_hash = dm_name_quoted(dataset, DM_NAME_KEY_HASH);
	const char *row_hash = dm_name_quoted(dataset, DM_NAME_ROW_HASH);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s c SET ", dataset->name);
	if (shape->ntracked > 0)
		appendStringInfo(&sql, "%s, ", assignments(names, shape->tracked, shape->ntracked));
	if (shape->nuntracked > 0)
		appendStringInfo(&sql, "%s, ", assignments(names, shape->untracked, shape->nuntracked));
	appendStringInfo(&sql,
					 "%s = " OPERATION("U") ", %s = %s, %s = " INT64_FORMAT
											"::pg_catalog.int8, %s = p.%s, %s = p.%s ",
					 dm_name_quoted(dataset, DM_NAME_OPERATION),
					 dm_name_quoted(dataset, DM_NAME_START),
					 names->start,
					 dm_name_quoted(dataset, DM_NAME_MERGE),
					 names->merge_id,
					 key_hash,
					 key_hash,
					 row_hash,
					 row_hash);
	appendStringInfo(&sql,
					 "FROM %s p WHERE %s AND %s",
					 names->changes,
					 dm_keys_equal(names->dataset, "c.", "p.", false),
					 is_operation(names, "U"));
	return sql.data;
}

/* Brings untracked columns of unchanged rows up to date. */
char *
dm_citus_refresh_sql(const DmCitusNames *names)
{
	return psprintf("UPDATE %s c SET %s FROM %s p WHERE %s AND %s",
					names->dataset->name,
					assignments(names, names->shape->untracked, names->shape->nuntracked),
					names->changes,
					dm_keys_equal(names->dataset, "c.", "p.", false),
					is_operation(names, "N"));
}

/* Writes new rows to current. */
char *
dm_citus_insert_sql(const DmCitusNames *names)
{
	const DmDataset *dataset = names->dataset;
	const char *key_hash = dm_name_quoted(dataset, DM_NAME_KEY_HASH);
	const char *row_hash = dm_name_quoted(dataset, DM_NAME_ROW_HASH);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "INSERT INTO %s (%s, %s, %s, %s, %s, %s) ",
					 dataset->name,
					 columns_list(names, "", NULL, names->shape->wanted->natts),
					 dm_name_quoted(dataset, DM_NAME_OPERATION),
					 dm_name_quoted(dataset, DM_NAME_START),
					 dm_name_quoted(dataset, DM_NAME_MERGE),
					 key_hash,
					 row_hash);
	appendStringInfo(&sql,
					 "SELECT %s, p.%s, %s, " INT64_FORMAT "::pg_catalog.int8, p.%s, p.%s FROM %s p WHERE %s",
					 columns_list(names, "p.", NULL, names->shape->wanted->natts),
					 dm_name_quoted(dataset, DM_NAME_OPERATION),
					 names->start,
					 names->merge_id,
					 key_hash,
					 row_hash,
					 names->changes,
					 is_operation(names, "I"));
	return sql.data;
}

/* Finds some of the keys of an operation, X for those that stay without being in the source, in their order. */
char *
dm_citus_sample_sql(const DmCitusNames *names, char operation, int limit)
{
	const DmShape *shape = names->shape;
	const char letter[] = {operation, '\0'};
	const char *alias = operation == 'N' ? "s" : operation == 'X' ? "c" : "p";
	char *keys = columns_list(names, psprintf("%s.", alias), shape->keys, shape->nkeys);
	const char *is_other = psprintf("p.%s IS NULL", dm_name_quoted(names->dataset, DM_NAME_OPERATION));
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM ", keys);
	if (operation == 'N')
		appendStringInfo(&sql,
						 "%s s LEFT JOIN %s p ON %s WHERE %s OR %s",
						 names->stage,
						 names->changes,
						 dm_keys_equal(names->dataset, "s.", "p.", false),
						 is_other,
						 is_operation(names, letter));
	else if (operation == 'X')
		appendStringInfo(&sql,
						 "%s c LEFT JOIN %s s ON %s LEFT JOIN %s p ON %s WHERE s.%s IS NULL AND %s",
						 names->dataset->name,
						 names->stage,
						 dm_keys_equal(names->dataset, "c.", "s.", false),
						 names->changes,
						 dm_keys_equal(names->dataset, "c.", "p.", false),
						 dm_name_quoted(names->dataset, DM_NAME_ROW_HASH),
						 is_other);
	else
		appendStringInfo(&sql, "%s p WHERE %s", names->changes, is_operation(names, letter));
	appendStringInfo(&sql, " ORDER BY %s LIMIT %d", keys, limit);
	return sql.data;
}

/* Reads the business columns of all rows of current. */
char *
dm_citus_rows_sql(const DmCitusNames *names)
{
	return psprintf(
		"SELECT %s FROM %s", columns_list(names, "", NULL, names->shape->wanted->natts), names->dataset->name);
}

/* Gives rows of current the hashes of the staged rows with their keys. */
char *
dm_citus_rehash_sql(const DmCitusNames *names)
{
	const char *key_hash = dm_name_quoted(names->dataset, DM_NAME_KEY_HASH);
	const char *row_hash = dm_name_quoted(names->dataset, DM_NAME_ROW_HASH);

	return psprintf("UPDATE %s c SET %s = s.%s, %s = s.%s FROM %s s WHERE %s",
					names->dataset->name,
					key_hash,
					key_hash,
					row_hash,
					row_hash,
					names->stage,
					dm_keys_equal(names->dataset, "c.", "s.", false));
}

/* Reads the business columns of the versions that the merge ended. */
char *
dm_citus_ended_sql(const DmCitusNames *names)
{
	return psprintf("SELECT %s FROM %s h WHERE %s",
					columns_list(names, "h.", NULL, names->shape->wanted->natts),
					dm_relation_name(RelationGetRelid(names->history)),
					is_of_merge(names, "h", DM_NAME_ENDED_MERGE));
}

/* Deletes or counts (what: DELETE, or SELECT and a list) the rows of current that the merge made. */
char *
dm_citus_made_sql(const DmCitusNames *names, const char *what)
{
	return psprintf("%s FROM %s c WHERE %s", what, names->dataset->name, is_of_merge(names, "c", DM_NAME_MERGE));
}

/* Writes the versions that the merge ended to current, with the hashes of the staged rows with their keys. */
char *
dm_citus_restore_sql(const DmCitusNames *names)
{
	const DmDataset *dataset = names->dataset;
	const char *operation = dm_name_quoted(dataset, DM_NAME_OPERATION);
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *merge = dm_name_quoted(dataset, DM_NAME_MERGE);
	const char *key_hash = dm_name_quoted(dataset, DM_NAME_KEY_HASH);
	const char *row_hash = dm_name_quoted(dataset, DM_NAME_ROW_HASH);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "INSERT INTO %s (%s, %s, %s, %s, %s, %s) ",
					 dataset->name,
					 columns_list(names, "", NULL, names->shape->wanted->natts),
					 operation,
					 start,
					 merge,
					 key_hash,
					 row_hash);
	appendStringInfo(&sql,
					 "SELECT %s, h.%s, h.%s, h.%s, s.%s, s.%s FROM %s h JOIN %s s ON %s WHERE %s",
					 columns_list(names, "h.", NULL, names->shape->wanted->natts),
					 operation,
					 start,
					 merge,
					 key_hash,
					 row_hash,
					 dm_relation_name(RelationGetRelid(names->history)),
					 names->stage,
					 dm_keys_equal(names->dataset, "h.", "s.", false),
					 is_of_merge(names, "h", DM_NAME_ENDED_MERGE));
	return sql.data;
}

/* Takes the versions that the merge ended out of history. */
char *
dm_citus_forget_sql(const DmCitusNames *names)
{
	return psprintf("DELETE FROM %s h WHERE %s",
					dm_relation_name(RelationGetRelid(names->history)),
					is_of_merge(names, "h", DM_NAME_ENDED_MERGE));
}

/* Returns the condition that a column of a row with this alias holds the merge. */
static char *
is_of_merge(const DmCitusNames *names, const char *alias, DmName name)
{
	return psprintf("%s.%s OPERATOR(pg_catalog.=) " INT64_FORMAT "::pg_catalog.int8",
					alias,
					dm_name_quoted(names->dataset, name),
					names->merge_id);
}

/* Returns the quoted name of a wanted column. */
static const char *
column_name(const DmCitusNames *names, int column)
{
	return quote_identifier(NameStr(TupleDescAttr(names->shape->wanted, column)->attname));
}

/* Returns the names of wanted columns (NULL: the first ones), a prefix before each, with commas between them. */
static char *
columns_list(const DmCitusNames *names, const char *prefix, const int *columns, int count)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < count; i++)
		appendStringInfo(&sql, "%s%s%s", i == 0 ? "" : ", ", prefix, column_name(names, columns ? columns[i] : i));
	return sql.data;
}

/* Returns assignments of columns of the changes to those of current. */
static char *
assignments(const DmCitusNames *names, const int *columns, int count)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < count; i++)
		appendStringInfo(&sql,
						 "%s%s = p.%s",
						 i == 0 ? "" : ", ",
						 column_name(names, columns[i]),
						 column_name(names, columns[i]));
	return sql.data;
}

/* Returns the condition that a row of the changes is of this operation. */
static char *
is_operation(const DmCitusNames *names, const char *operation)
{
	return psprintf("p.%s OPERATOR(pg_catalog.=) '%s'::pg_catalog.\"char\"",
					dm_name_quoted(names->dataset, DM_NAME_OPERATION),
					operation);
}

/*
 * Returns the condition that one of the columns differs between c and s: NULL equals NULL and nothing else, other values
 * are compared by the type's own `=`, those of types without one by their binary form. (IS DISTINCT FROM would look for
 * an operator `=` in the search_path, of the worker in the end; and a composite value of NULLs IS NULL.)
 */
static char *
any_differs(const DmCitusNames *names, const int *columns, int count)
{
	StringInfoData sql;

	if (count == 0)
		return "false";
	initStringInfo(&sql);
	appendStringInfoChar(&sql, '(');
	for (int i = 0; i < count; i++)
	{
		const char *name = column_name(names, columns[i]);
		Oid equal =
			lookup_type_cache(TupleDescAttr(names->shape->wanted, columns[i])->atttypid, TYPECACHE_EQ_OPR)->eq_opr;

		appendStringInfoString(&sql, i == 0 ? "" : " OR ");
		if (OidIsValid(equal))
			appendStringInfo(&sql,
							 "pg_catalog.num_nulls(c.%1$s, s.%1$s) OPERATOR(pg_catalog.=) 1 OR "
							 "NOT (c.%1$s %2$s s.%1$s)",
							 name,
							 dm_operator_quoted(equal));
		else
			appendStringInfo(&sql, "NOT pg_catalog.record_image_eq(ROW(c.%1$s), ROW(s.%1$s))", name);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
