/*
 * dataset_views.c: the views of a dataset, made from the columns that its tables have.
 *
 * Columns that come later stand at the end of a view, so that it can be replaced in place and keeps its grants. Views are found by what the
 * catalog says they are, not by name: users may rename them, give them options, grants and comments, and drop them.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/catalog.h"
#include "base/names.h"
#include "cdc/cdc.h"

/* Names of business columns: those that stand before the added ones, and those that came later. */
typedef struct ViewColumns
{
	List *early;
	List *late;
} ViewColumns;

/* Creates one view: create is the statement up to AS. */
typedef void (*ViewCreate)(const DmDataset *dataset, const ViewColumns *columns, const char *create);

static const char *const suffixes[DM_VIEWS] = {"_versions", "_changes", "_sensitive_versions"};

static void views_make(DmDataset *dataset, const DmKeptViews *kept, const char *verb);
static char *options_read(Oid view);
static List *statements_read(Oid view, const char *name);
static List *texts_read(const char *sql, Oid relid, const char *name);
static void versions_create(const DmDataset *dataset, const ViewColumns *columns, const char *create);
static void changes_create(const DmDataset *dataset, const ViewColumns *columns, const char *create);
static void full_versions_create(const DmDataset *dataset, const ViewColumns *plain, const char *create);
static ViewColumns columns_read(const DmDataset *dataset, Oid current, Oid history);
static List *names_without(List *names, List *others);
static char *listed(const char *before, const char *prefix, List *names, const char *after);
static const char *made_by(const DmDataset *dataset);

/*
 * Creates the views of a dataset; kept: under the names, and with what else they had, from before they were dropped; NULL: beside the current
 * table. Sets dataset->views.
 */
void
dm_dataset_views_create(DmDataset *dataset, const DmKeptViews *kept)
{
	ListCell *cell;

	views_make(dataset, kept, "CREATE VIEW");
	if (!kept)
		return;
	foreach (cell, kept->statements)
		dm_dataset_execute(lfirst(cell));
	CommandCounterIncrement();
	dm_dataset_refresh_views(dataset);
}

/* Takes views that stand beside the current table, by their names, for those of the dataset, and makes those that are lacking. */
void
dm_dataset_views_find(DmDataset *dataset)
{
	for (int i = 0; i < DM_VIEWS; i++)
		dataset->views[i] = get_relname_relid(psprintf("%s%s", get_rel_name(dataset->current), suffixes[i]),
											  get_rel_namespace(dataset->current));
	dm_dataset_views_replace(dataset);
}

/* Locks the views before their tables are altered: who reads a view locks it before its tables, too. */
void
dm_dataset_views_lock(const DmDataset *dataset)
{
	for (int i = 0; i < DM_VIEWS; i++)
	{
		Oid view = dm_dataset_view(dataset, i);

		if (OidIsValid(view))
			LockRelationOid(view, AccessExclusiveLock);
	}
}

/* Gives the views of a dataset the columns that its tables have now, in place; those that others dropped are made again. */
void
dm_dataset_views_replace(DmDataset *dataset)
{
	DmKeptViews kept = {0};

	for (int i = 0; i < DM_VIEWS; i++)
	{
		Oid view = dm_dataset_view(dataset, i);

		if (!OidIsValid(view))
			continue;
		kept.names[i] = dm_relation_name(view);
		kept.options[i] = options_read(view);
	}
	views_make(dataset, &kept, "CREATE OR REPLACE VIEW");
	dm_dataset_refresh_views(dataset);
}

/* Drops the views. Returns what ones that are made in their place are to have. */
DmKeptViews *
dm_dataset_views_drop(const DmDataset *dataset)
{
	DmKeptViews *kept = palloc0(sizeof(DmKeptViews));

	for (int i = 0; i < DM_VIEWS; i++)
	{
		Oid view = dm_dataset_view(dataset, i);

		if (!OidIsValid(view))
			continue;
		kept->names[i] = dm_relation_name(view);
		kept->options[i] = options_read(view);
		kept->statements = list_concat(kept->statements, statements_read(view, kept->names[i]));
		dm_dataset_execute(psprintf("DROP VIEW %s", kept->names[i]));
	}
	return kept;
}

/* Returns a view of the dataset, whatever its name is now, or InvalidOid if it was dropped: another relation may have its OID since a restore. */
Oid
dm_dataset_view(const DmDataset *dataset, int which)
{
	Oid types[] = {OIDOID, OIDOID};
	Datum values[] = {ObjectIdGetDatum(dataset->views[which]), ObjectIdGetDatum(dataset->current)};
	DmCatalogScope scope;
	bool is_there;

	if (!OidIsValid(dataset->views[which]))
		return InvalidOid;
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"SELECT 1 FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid JOIN pg_depend d ON d.classid = "
		"'pg_rewrite'::regclass AND d.objid = r.oid WHERE v.oid = $1 AND v.relkind = 'v' AND "
		"d.refclassid = 'pg_class'::regclass AND d.refobjid = $2 LIMIT 1",
		lengthof(types),
		types,
		values,
		NULL);
	is_there = SPI_processed > 0;
	dm_catalog_end(&scope);
	return is_there ? dataset->views[which] : InvalidOid;
}

/* Creates all views, those that have a name in kept by the verb under that name, the others beside the current table. Sets dataset->views. */
static void
views_make(DmDataset *dataset, const DmKeptViews *kept, const char *verb)
{
	static const ViewCreate creates[DM_VIEWS] = {versions_create, changes_create, full_versions_create};
	static const char *const comments[DM_VIEWS] = {
		"All versions of a datamill dataset; as of a moment: WHERE valid @> moment.",
		"What changed in a datamill dataset at each effective date: I and U with the new values, D with the last "
		"ones.",
		"All versions of a datamill dataset with their sensitive columns."};
	ViewColumns columns = columns_read(dataset, dataset->current, dataset->history);

	for (int i = 0; i < DM_VIEWS; i++)
	{
		char *name = kept ? kept->names[i] : NULL;
		char *beside = psprintf("%s%s", get_rel_name(dataset->current), suffixes[i]);
		Oid schema = get_rel_namespace(dataset->current);

		if (i == 2 && !OidIsValid(dataset->sensitive))
			continue;
		if (name)
			creates[i](dataset, &columns, psprintf("%s %s %s", verb, name, kept->options[i]));
		else
		{
			name = quote_qualified_identifier(get_namespace_name(schema), beside);
			creates[i](dataset, &columns, psprintf("CREATE VIEW %s", name));
			dm_dataset_execute(psprintf("COMMENT ON VIEW %s IS %s", name, quote_literal_cstr(comments[i])));
		}
		CommandCounterIncrement();
		dataset->views[i] = DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(name)));
	}
}

/* Returns the options of a view as a statement sets them, or an empty text. */
static char *
options_read(Oid view)
{
	List *options =
		texts_read("SELECT pg_catalog.format('WITH (%s)', pg_catalog.array_to_string(c.reloptions, ', ')) "
				   "FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) $1 AND c.reloptions IS NOT NULL",
				   view,
				   NULL);

	return options ? linitial(options) : "";
}

/* Returns statements that give a view of this name the owner, the grants and the comments that another has. */
static List *
statements_read(Oid view, const char *name)
{
	static const char grantee[] = "CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE "
								  "pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, "
								  "CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)";

	return texts_read(
		psprintf(
			"SELECT pg_catalog.format('ALTER VIEW %%s OWNER TO %%I', $2, pg_catalog.pg_get_userbyid(c.relowner)) "
			"FROM pg_catalog.pg_class c WHERE c.oid = $1 AND pg_catalog.pg_get_userbyid(c.relowner) <> "
			"current_user "
			"UNION ALL SELECT pg_catalog.format('GRANT %%s ON %%s TO %%s%%s', a.privilege_type, $2, %1$s "
			"FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid = $1 AND a.grantee <> "
			"c.relowner "
			"UNION ALL SELECT pg_catalog.format('GRANT %%s (%%I) ON %%s TO %%s%%s', a.privilege_type, t.attname, "
			"$2, %1$s "
			"FROM pg_catalog.pg_class c, pg_catalog.pg_attribute t, pg_catalog.aclexplode(t.attacl) a "
			"WHERE c.oid = $1 AND t.attrelid = c.oid AND a.grantee <> c.relowner "
			"UNION ALL SELECT pg_catalog.format('COMMENT ON VIEW %%s IS %%L', $2, d.description) "
			"FROM pg_catalog.pg_description d WHERE d.objoid = $1 AND d.objsubid = 0 AND "
			"d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass "
			"UNION ALL SELECT pg_catalog.format('COMMENT ON COLUMN %%s.%%I IS %%L', $2, t.attname, d.description) "
			"FROM pg_catalog.pg_description d, pg_catalog.pg_attribute t WHERE d.objoid = $1 AND "
			"d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.attrelid = d.objoid AND t.attnum = "
			"d.objsubid",
			grantee),
		view,
		name);
}

/* Returns the rows (char*) of a query of one column, whose parameters are a relation and a name; all its types are of pg_catalog. */
static List *
texts_read(const char *sql, Oid relid, const char *name)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(relid), name ? CStringGetTextDatum(name) : (Datum) 0};
	List *texts = NIL;

	SPI_connect();
	SPI_execute_with_args(sql, name ? 2 : 1, types, values, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *text = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		texts = lappend(texts, pstrdup(text));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return texts;
}

/* The view of open and closed versions. */
static void
versions_create(const DmDataset *dataset, const ViewColumns *columns, const char *create)
{
	const DmEffectiveType *type = dm_effective_type(dataset->effective_type);
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *end = dm_name_quoted(dataset, DM_NAME_END);
	const char *early = listed("", "", columns->early, ", ");
	const char *late = listed(", ", "", columns->late, "");

	dm_dataset_execute(psprintf("%s AS SELECT %s%s AS %s, %s, NULL::%s AS %s, %s(%s, NULL) AS %s, %s%s FROM %s "
								"UNION ALL SELECT %s%s, %s, %s, %s(%s, %s), %s%s FROM %s",
								create,
								early,
								made_by(dataset),
								dm_name_quoted(dataset, DM_NAME_OPERATION),
								start,
								type->sql_type,
								end,
								type->sql_range,
								start,
								dm_name_quoted(dataset, DM_NAME_VALID),
								dm_name_quoted(dataset, DM_NAME_MERGE),
								late,
								dataset->name,
								early,
								dm_name_quoted(dataset, DM_NAME_OPERATION),
								start,
								end,
								type->sql_range,
								start,
								end,
								dm_name_quoted(dataset, DM_NAME_MERGE),
								late,
								dm_relation_name(dataset->history)));
}

/* The view of the changes of each effective date. */
static void
changes_create(const DmDataset *dataset, const ViewColumns *columns, const char *create)
{
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *operation = dm_name_quoted(dataset, DM_NAME_OPERATION);
	const char *names = listed("", "", list_concat_copy(columns->early, columns->late), "");
	const char *history = dm_relation_name(dataset->history);

	dm_dataset_execute(
		psprintf("%s AS SELECT %s AS %s, %s AS %s, %s FROM %s UNION ALL SELECT %s, %s, %s FROM %s "
				 "UNION ALL SELECT %s, 'D'::pg_catalog.\"char\", %s FROM %s WHERE %s OPERATOR(pg_catalog.<>) 'U'",
				 create,
				 start,
				 dm_name_quoted(dataset, DM_NAME_EFFECTIVE),
				 made_by(dataset),
				 operation,
				 names,
				 dataset->name,
				 start,
				 operation,
				 names,
				 history,
				 dm_name_quoted(dataset, DM_NAME_END),
				 names,
				 history,
				 dm_name_quoted(dataset, DM_NAME_ENDED_BY)));
}

/*
 * The view of versions with the sensitive columns. The two tables hold the same versions; where keys may be NULL they
 * are compared as records, to which NULL equals NULL.
 */
static void
full_versions_create(const DmDataset *dataset, const ViewColumns *plain, const char *create)
{
	const DmEffectiveType *type = dm_effective_type(dataset->effective_type);
	ViewColumns other = columns_read(dataset, dataset->sensitive, dataset->sensitive_history);
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *end = dm_name_quoted(dataset, DM_NAME_END);
	const char *merge = dm_name_quoted(dataset, DM_NAME_MERGE);
	const char *early = listed("", "p.", plain->early, ", ");
	const char *late;
	const char *same;

	other.early = names_without(other.early, dataset->keys);
	late = psprintf("%s%s%s",
					listed(", ", "s.", other.early, ""),
					listed(", ", "p.", plain->late, ""),
					listed(", ", "s.", other.late, ""));
	same = dm_keys_equal(dataset, "p.", "s.", false);
	dm_dataset_execute(
		psprintf("%1$s AS SELECT %2$sp.%3$s AS %4$s, p.%5$s, NULL::%6$s AS %7$s, %8$s(p.%5$s, NULL) AS %9$s, "
				 "p.%10$s%11$s FROM %12$s p JOIN %13$s s ON %14$s "
				 "UNION ALL SELECT %2$sp.%4$s, p.%5$s, p.%7$s, %8$s(p.%5$s, p.%7$s), p.%10$s%11$s "
				 "FROM %15$s p JOIN %16$s s ON %14$s AND p.%10$s OPERATOR(pg_catalog.=) s.%10$s",
				 create,
				 early,
				 made_by(dataset),
				 dm_name_quoted(dataset, DM_NAME_OPERATION),
				 start,
				 type->sql_type,
				 end,
				 type->sql_range,
				 dm_name_quoted(dataset, DM_NAME_VALID),
				 merge,
				 late,
				 dataset->name,
				 dm_relation_name(dataset->sensitive),
				 same,
				 dm_relation_name(dataset->history),
				 dm_relation_name(dataset->sensitive_history)));
}

/* Returns the business columns that both tables of a part have. */
static ViewColumns
columns_read(const DmDataset *dataset, Oid current, Oid history)
{
	Relation rel = table_open(current, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	AttrNumber operation = get_attnum(current, dataset->settings.names[DM_NAME_OPERATION]);
	ViewColumns columns = {NIL, NIL};

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char *name = pstrdup(NameStr(attribute->attname));

		if (attribute->attisdropped || dm_name_is_added(dataset, name) || get_attnum(history, name) <= 0)
			continue;
		if (i + 1 < operation)
			columns.early = lappend(columns.early, name);
		else
			columns.late = lappend(columns.late, name);
	}
	table_close(rel, AccessShareLock);
	return columns;
}

/* Returns the names that are not among others. */
static List *
names_without(List *names, List *others)
{
	List *left = NIL;
	ListCell *cell;

	foreach (cell, names)
	{
		if (!dm_names_has(others, lfirst(cell)))
			left = lappend(left, lfirst(cell));
	}
	return left;
}

/* Returns the names quoted, each with a prefix, with commas between; with before and after around them if there are any. */
static char *
listed(const char *before, const char *prefix, List *names, const char *after)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, names)
		appendStringInfo(
			&out, "%s%s%s", cell == list_head(names) ? before : ", ", prefix, quote_identifier(lfirst(cell)));
	if (names)
		appendStringInfoString(&out, after);
	return out.data;
}

/* Returns the column of current that tells what made the version. */
static const char *
made_by(const DmDataset *dataset)
{
	return dm_name_quoted(dataset, dataset->settings.stamp ? DM_NAME_MADE_BY : DM_NAME_OPERATION);
}
