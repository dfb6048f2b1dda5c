/*
 * dataset_views.c: the views of a dataset, made from the columns that its tables have.
 *
 * Columns that come later stand at the end of a view, so that it can be replaced in place and keeps its grants.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/names.h"
#include "cdc/cdc.h"

/* Names of business columns: those that stand before the added ones, and those that came later. */
typedef struct ViewColumns
{
	List *early;
	List *late;
} ViewColumns;

static void versions_create(const DmDataset *dataset, const ViewColumns *columns, const char *verb);
static void changes_create(const DmDataset *dataset, const ViewColumns *columns, const char *verb);
static void full_versions_create(const DmDataset *dataset, const ViewColumns *plain, const char *verb);
static List *grants_read(Oid relid, const char *view);
static ViewColumns columns_read(const DmDataset *dataset, Oid current, Oid history);
static List *names_without(List *names, List *others);
static char *listed(const char *before, const char *prefix, List *names, const char *after);
static const char *made_by(const DmDataset *dataset);
static char *view_name(const DmDataset *dataset, const char *suffix);

/* Creates the views of a dataset, or replaces them by ones with the columns that its tables have now. */
void
dm_dataset_views_create(const DmDataset *dataset, bool replace)
{
	const char *verb = replace ? "CREATE OR REPLACE VIEW" : "CREATE VIEW";
	ViewColumns columns = columns_read(dataset, dataset->current, dataset->history);

	versions_create(dataset, &columns, verb);
	changes_create(dataset, &columns, verb);
	if (OidIsValid(dataset->sensitive))
		full_versions_create(dataset, &columns, verb);
}

/*
 * Drops the views. Returns statements that give ones of the same names the same owner and the same grants.
 */
List *
dm_dataset_views_drop(const DmDataset *dataset)
{
	static const char *const suffixes[] = {"_versions", "_changes", "_sensitive_versions"};
	List *grants = NIL;

	for (int i = 0; i < lengthof(suffixes); i++)
	{
		char *view = view_name(dataset, suffixes[i]);
		Oid relid = get_relname_relid(psprintf("%s%s", get_rel_name(dataset->current), suffixes[i]),
									  get_rel_namespace(dataset->current));

		if (!OidIsValid(relid) || (i == 2 && !OidIsValid(dataset->sensitive)))
			continue;
		grants = list_concat(grants, grants_read(relid, view));
		dm_dataset_execute(psprintf("DROP VIEW %s", view));
	}
	return grants;
}

/* Returns statements that give a view of this name the owner and the grants that relid has. */
static List *
grants_read(Oid relid, const char *view)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(relid), CStringGetTextDatum(view)};
	List *grants = NIL;

	SPI_connect();
	SPI_execute_with_args(
		"SELECT pg_catalog.format('ALTER VIEW %s OWNER TO %I', $2, pg_catalog.pg_get_userbyid(c.relowner)) "
		"FROM pg_catalog.pg_class c WHERE c.oid = $1 AND pg_catalog.pg_get_userbyid(c.relowner) <> current_user "
		"UNION ALL SELECT pg_catalog.format('GRANT %s ON %s TO %s%s', a.privilege_type, $2, "
		"CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) "
		"END, "
		"CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) "
		"FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid = $1 AND a.grantee <> "
		"c.relowner",
		lengthof(types),
		types,
		values,
		NULL,
		false,
		0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *grant = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		grants = lappend(grants, pstrdup(grant));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return grants;
}

/* The view of open and closed versions. */
static void
versions_create(const DmDataset *dataset, const ViewColumns *columns, const char *verb)
{
	const DmEffectiveType *type = dm_effective_type(dataset->effective_type);
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *end = dm_name_quoted(dataset, DM_NAME_END);
	const char *early = listed("", "", columns->early, ", ");
	const char *late = listed(", ", "", columns->late, "");
	char *view = view_name(dataset, "_versions");

	dm_dataset_execute(psprintf("%s %s AS SELECT %s%s AS %s, %s, NULL::%s AS %s, %s(%s, NULL) AS %s, %s%s FROM %s "
								"UNION ALL SELECT %s%s, %s, %s, %s(%s, %s), %s%s FROM %s",
								verb,
								view,
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
	dm_dataset_execute(psprintf(
		"COMMENT ON VIEW %s IS 'All versions of a datamill dataset; as of a moment: WHERE valid @> moment.'",
		view));
}

/* The view of the changes of each effective date. */
static void
changes_create(const DmDataset *dataset, const ViewColumns *columns, const char *verb)
{
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *operation = dm_name_quoted(dataset, DM_NAME_OPERATION);
	const char *names = listed("", "", list_concat_copy(columns->early, columns->late), "");
	const char *history = dm_relation_name(dataset->history);
	char *view = view_name(dataset, "_changes");

	dm_dataset_execute(
		psprintf("%s %s AS SELECT %s AS %s, %s AS %s, %s FROM %s UNION ALL SELECT %s, %s, %s FROM %s "
				 "UNION ALL SELECT %s, 'D'::pg_catalog.\"char\", %s FROM %s WHERE %s <> 'U'",
				 verb,
				 view,
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
	dm_dataset_execute(psprintf(
		"COMMENT ON VIEW %s IS 'What changed in a datamill dataset at each effective date: I and U with the "
		"new values, D with the last ones.'",
		view));
}

/*
 * The view of versions with the sensitive columns. The two tables hold the same versions; where keys may be NULL they
 * are compared as records, to which NULL equals NULL.
 */
static void
full_versions_create(const DmDataset *dataset, const ViewColumns *plain, const char *verb)
{
	const DmEffectiveType *type = dm_effective_type(dataset->effective_type);
	ViewColumns other = columns_read(dataset, dataset->sensitive, dataset->sensitive_history);
	const char *start = dm_name_quoted(dataset, DM_NAME_START);
	const char *end = dm_name_quoted(dataset, DM_NAME_END);
	const char *merge = dm_name_quoted(dataset, DM_NAME_MERGE);
	const char *early = listed("", "p.", plain->early, ", ");
	const char *late;
	const char *same;
	char *view = view_name(dataset, "_sensitive_versions");

	other.early = names_without(other.early, dataset->keys);
	late = psprintf("%s%s%s",
					listed(", ", "s.", other.early, ""),
					listed(", ", "p.", plain->late, ""),
					listed(", ", "s.", other.late, ""));
	same = psprintf("ROW(%s)::record = ROW(%s)::record",
					listed("", "p.", dataset->keys, ""),
					listed("", "s.", dataset->keys, ""));
	if (!dataset->settings.null_keys)
		same = psprintf("(%s) = (%s)", listed("", "p.", dataset->keys, ""), listed("", "s.", dataset->keys, ""));
	dm_dataset_execute(
		psprintf("%1$s %2$s AS SELECT %3$sp.%4$s AS %5$s, p.%6$s, NULL::%7$s AS %8$s, %9$s(p.%6$s, NULL) AS %10$s, "
				 "p.%11$s%12$s FROM %13$s p JOIN %14$s s ON %15$s "
				 "UNION ALL SELECT %3$sp.%5$s, p.%6$s, p.%8$s, %9$s(p.%6$s, p.%8$s), p.%11$s%12$s "
				 "FROM %16$s p JOIN %17$s s ON %15$s AND p.%11$s = s.%11$s",
				 verb,
				 view,
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
	dm_dataset_execute(
		psprintf("COMMENT ON VIEW %s IS 'All versions of a datamill dataset with their sensitive columns.'", view));
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

/* Returns the qualified, quoted name of a view beside the current table. */
static char *
view_name(const DmDataset *dataset, const char *suffix)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(dataset->current)),
									  psprintf("%s%s", get_rel_name(dataset->current), suffix));
}
