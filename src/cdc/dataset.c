/*
 * dataset.c: datasets in the catalog: finding, locking, storing, rights.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "base/catalog.h"
#include "base/names.h"
#include "cdc/cdc.h"
#include "cdc/citus.h"
#include "cdc/target.h"

/* What a lock on a dataset is of: the OID of a table, or the hash of a name. */
#define LOCK_OF_TABLE 1
#define LOCK_OF_NAME 2

/* By how much numbers of merges may be put on at once. */
#define MAX_MERGES_AHEAD INT64CONST(1000000000)

/* What of a dataset changes with merges and with its settings. */
typedef struct DatasetState
{
	int64 last_merge;
	TransactionId row; /* that wrote its row in the catalog */
} DatasetState;

static bool dataset_read(Oid current, DmDataset *dataset);
static void state_read(int64 dataset_id, bool latest, DatasetState *state);
static void table_check_rights(Oid relid, AclMode mode);

/*
 * Parses a target name, [schema.]table in SQL's spelling, into a RangeVar with its schema filled in: that of the
 * relation of this name on the search path, else the schema in which it would be created.
 */
RangeVar *
dm_dataset_parse(const char *target)
{
	RangeVar *name;
	List *parts;

	if (!SplitIdentifierString(pstrdup(target), '.', &parts) || parts == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("target \"%s\" is not the name of a table", target),
				 errhint("Write it as schema.table, as in SQL.")));
	name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(target)));
	if (name->catalogname)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("target \"%s\" has too many parts", target),
				 errhint("Write it as schema.table.")));
	if (!name->schemaname)
	{
		Oid relid = RangeVarGetRelid(name, NoLock, true);

		name->schemaname = OidIsValid(relid) ? get_namespace_name(get_rel_namespace(relid)) : NULL;
		/* not there, or dropped since */
		if (!name->schemaname)
			name->schemaname = get_namespace_name(RangeVarGetCreationNamespace(name));
	}
	if (strlen(name->relname) > NAMEDATALEN - 1 - strlen("_versions"))
		ereport(
			ERROR,
			(errcode(ERRCODE_NAME_TOO_LONG),
			 errmsg("target name \"%s\" is too long", name->relname),
			 errdetail("The history table and the views add up to 9 bytes to it, and names have at most %d bytes.",
					   NAMEDATALEN - 1)));
	return name;
}

/*
 * Locks the dataset of this name, existing or not, until the end of the transaction: merges of one dataset, first ones included, queue here.
 * A table that exists is locked by its OID, so that nobody who has other tables can stand in the way; a name that is not taken by its hash.
 * Raises 55006 if this session is merging it.
 */
void
dm_dataset_lock(const RangeVar *target)
{
	bool name_is_locked = false;

	dm_running_check(target);
	for (;;)
	{
		Oid relid = RangeVarGetRelid(target, NoLock, true);

		if (OidIsValid(relid))
		{
			Oid found;

			LockDatabaseObject(dm_catalog_extension(), relid, LOCK_OF_TABLE, AccessExclusiveLock);
			/* waits for somebody who is dropping it */
			found = RangeVarGetRelid(target, AccessShareLock, true);
			if (found == relid)
				return;
			/* locks are taken in this order only */
			if (OidIsValid(found))
				UnlockRelationOid(found, AccessShareLock);
			UnlockDatabaseObject(dm_catalog_extension(), relid, LOCK_OF_TABLE, AccessExclusiveLock);
		}
		else
		{
			char *qualified = psprintf("%s.%s", target->schemaname, target->relname);

			if (name_is_locked)
				return;
			LockDatabaseObject(dm_catalog_extension(),
							   hash_bytes((unsigned char *) qualified, strlen(qualified)),
							   LOCK_OF_NAME,
							   AccessExclusiveLock);
			name_is_locked = true;
		}
	}
}

/*
 * Fills *dataset (in the current memory context) and returns true if the relation is the current table of a dataset. The state read is the
 * latest committed one; raises 40001 if the transaction's own snapshot has another, since its view of the tables would be another, too.
 */
bool
dm_dataset_find(Oid current, DmDataset *dataset)
{
	DatasetState latest;
	DatasetState seen;

	if (!IsolationUsesXactSnapshot())
		return dataset_read(current, dataset);
	PushActiveSnapshot(GetLatestSnapshot());
	if (!dataset_read(current, dataset))
	{
		PopActiveSnapshot();
		return false;
	}
	state_read(dataset->id, true, &latest);
	PopActiveSnapshot();
	state_read(dataset->id, false, &seen);
	if (latest.last_merge != seen.last_merge || latest.row != seen.row)
		ereport(
			ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access to dataset %s due to a concurrent merge or change", dataset->name),
			 errhint("Retry the transaction.")));
	return true;
}

/* As dm_dataset_find for a target's name; raises if there is no such dataset. */
void
dm_dataset_require(const char *target, const RangeVar *name, DmDataset *dataset)
{
	Oid current = RangeVarGetRelid(name, AccessShareLock, false);

	if (!dm_dataset_find(current, dataset))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a dataset", target),
				 errhint("datamill.datasets lists them.")));
}

/* Reads the dataset and its last merge under the active or a new snapshot. */
static bool
dataset_read(Oid current, DmDataset *dataset)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(current)};
	DmCatalogScope scope;
	bool found;

	dm_catalog_begin(&scope);
	SPI_execute_with_args(
		"SELECT d.dataset_id, d.history_table::oid, d.keys, d.untracked, d.deletes = 'close', "
		"d.effective_type, m.merge_id, m.effective, m.effective_day, m.live_rows, "
		"d.feed_table::oid, d.sequence_column, d.operation_column, d.delete_values, "
		"d.settings, d.sensitive_table::oid, d.sensitive_history_table::oid, d.pruned_through, "
		"d.versions_view::oid, d.changes_view::oid, coalesce(d.sensitive_versions_view::oid, 0) "
		"FROM datamill.dataset_catalog d LEFT JOIN LATERAL (SELECT * FROM datamill.merge_catalog m "
		"WHERE m.dataset_id = d.dataset_id ORDER BY m.merge_id DESC LIMIT 1) m ON true "
		"WHERE d.current_table = $1::regclass",
		1,
		types,
		values,
		NULL,
		IsolationUsesXactSnapshot(),
		1);
	found = SPI_processed == 1;
	if (found)
	{
		Datum row[21];
		bool nulls[21] = {false};

		for (int i = 0; i < lengthof(row); i++)
			row[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
		MemoryContextSwitchTo(caller);
		dataset->id = DatumGetInt64(row[0]);
		dataset->current = current;
		dataset->history = DatumGetObjectId(row[1]);
		dataset->name = dm_relation_name(current);
		dataset->keys = dm_names_from_array(row[2]);
		dataset->untracked = dm_names_from_array(row[3]);
		dataset->close_deletes = DatumGetBool(row[4]);
		dataset->effective_type = dm_effective_type_named(TextDatumGetCString(row[5]))->type;
		dataset->last_merge = nulls[6] ? 0 : DatumGetInt64(row[6]);
		dataset->live_rows = nulls[9] ? -1 : DatumGetInt64(row[9]);
		dataset->last_effective = nulls[6] ? (Datum) 0 : nulls[8] ? row[7] : row[8];
		dataset->feed = nulls[10] ? InvalidOid : DatumGetObjectId(row[10]);
		dataset->sequence_column = nulls[11] ? NULL : TextDatumGetCString(row[11]);
		dataset->operation_column = nulls[12] ? NULL : TextDatumGetCString(row[12]);
		dataset->delete_values = nulls[13] ? NIL : dm_names_from_array(row[13]);
		dataset->stored_settings = DatumGetJsonbPCopy(row[14]);
		dm_settings_parse(dataset->stored_settings, &dataset->settings);
		dataset->sensitive = nulls[15] ? InvalidOid : DatumGetObjectId(row[15]);
		dataset->sensitive_history = nulls[16] ? InvalidOid : DatumGetObjectId(row[16]);
		dataset->pruned_through = nulls[17] ? DT_NOBEGIN : DatumGetTimestampTz(row[17]);
		for (int i = 0; i < DM_VIEWS; i++)
			dataset->views[i] = DatumGetObjectId(row[18 + i]);
		dataset->absent = NIL;
		dataset->narrower = NULL;
		dataset->distributed_by = NULL;
	}
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(caller);
	return found;
}

/* Reads which state of the dataset the active snapshot (the latest one) or the transaction's own sees: zeros if it sees none. */
static void
state_read(int64 dataset_id, bool latest, DatasetState *state)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(dataset_id)};
	DmCatalogScope scope;
	bool is_null[2] = {false};
	Datum row[2];

	dm_catalog_begin(&scope);
	SPI_execute_with_args("SELECT (SELECT max(m.merge_id) FROM datamill.merge_catalog m WHERE m.dataset_id = $1), "
						  "(SELECT d.xmin FROM datamill.dataset_catalog d WHERE d.dataset_id = $1)",
						  1,
						  types,
						  values,
						  NULL,
						  latest,
						  1);
	for (int i = 0; i < lengthof(row); i++)
		row[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &is_null[i]);
	state->last_merge = is_null[0] ? 0 : DatumGetInt64(row[0]);
	state->row = is_null[1] ? InvalidTransactionId : DatumGetTransactionId(row[1]);
	dm_catalog_end(&scope);
}

/* Stores a new dataset, whose tables and views exist, and sets its id. */
void
dm_dataset_store(DmDataset *dataset)
{
	Oid types[] = {OIDOID,
				   OIDOID,
				   OIDOID,
				   OIDOID,
				   TEXTARRAYOID,
				   TEXTARRAYOID,
				   TEXTOID,
				   TEXTOID,
				   OIDOID,
				   TEXTOID,
				   TEXTOID,
				   TEXTARRAYOID,
				   JSONBOID,
				   OIDOID,
				   OIDOID,
				   OIDOID};
	Datum values[16] = {0};
	char nulls[] = "                ";
	DmCatalogScope scope;
	bool isnull;

	values[0] = ObjectIdGetDatum(dataset->current);
	values[1] = ObjectIdGetDatum(dataset->history);
	values[2] = ObjectIdGetDatum(dataset->views[0]);
	values[3] = ObjectIdGetDatum(dataset->views[1]);
	values[4] = dm_names_to_array(dataset->keys);
	values[5] = dm_names_to_array(dataset->untracked);
	values[6] = CStringGetTextDatum(dataset->close_deletes ? "close" : "ignore");
	values[7] = CStringGetTextDatum(dm_effective_type(dataset->effective_type)->name);
	if (OidIsValid(dataset->feed))
	{
		values[8] = ObjectIdGetDatum(dataset->feed);
		values[9] = CStringGetTextDatum(dataset->sequence_column);
		values[10] = dataset->operation_column ? CStringGetTextDatum(dataset->operation_column) : (Datum) 0;
		values[11] = dm_names_to_array(dataset->delete_values);
		nulls[10] = dataset->operation_column ? ' ' : 'n';
	}
	else
		memset(nulls + 8, 'n', 4);
	values[12] = JsonbPGetDatum(dataset->stored_settings);
	values[13] = ObjectIdGetDatum(dataset->sensitive);
	values[14] = ObjectIdGetDatum(dataset->sensitive_history);
	values[15] = ObjectIdGetDatum(dataset->views[2]);
	if (!OidIsValid(dataset->sensitive))
		memset(nulls + 13, 'n', 3);
	dm_catalog_begin(&scope);
	/* datasets whose table was dropped by itself */
	if (!IsolationUsesXactSnapshot())
		dm_catalog_execute("DELETE FROM datamill.dataset_catalog WHERE dataset_id IN (SELECT dataset_id FROM "
						   "datamill.dataset_catalog d WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = "
						   "d.current_table) FOR UPDATE SKIP LOCKED)",
						   0,
						   NULL,
						   NULL,
						   NULL);
	dm_catalog_execute("INSERT INTO datamill.dataset_catalog (current_table, history_table, versions_view, "
					   "changes_view, keys, untracked, deletes, effective_type, feed_table, sequence_column, "
					   "operation_column, delete_values, settings, sensitive_table, sensitive_history_table, "
					   "sensitive_versions_view) VALUES ($1::regclass, $2::regclass, $3::regclass, $4::regclass, "
					   "$5, $6, $7, $8, $9::regclass, $10, $11, $12, $13, $14::regclass, $15::regclass, "
					   "$16::regclass) RETURNING dataset_id",
					   lengthof(types),
					   types,
					   values,
					   nulls);
	dataset->id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	dm_catalog_end(&scope);
}

/* Stores the settings that may change: settings, untracked columns and deletes. */
void
dm_dataset_set(const DmDataset *dataset)
{
	Oid types[] = {INT8OID, JSONBOID, TEXTARRAYOID, TEXTOID};
	Datum values[] = {Int64GetDatum(dataset->id),
					  JsonbPGetDatum(dataset->stored_settings),
					  dm_names_to_array(dataset->untracked),
					  CStringGetTextDatum(dataset->close_deletes ? "close" : "ignore")};
	DmCatalogScope scope;

	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"UPDATE datamill.dataset_catalog SET settings = $2, untracked = $3, deletes = $4 WHERE dataset_id = $1",
		lengthof(types),
		types,
		values,
		NULL);
	dm_catalog_end(&scope);
}

/* Stores which relations the views of the dataset are, after they were made anew. */
void
dm_dataset_refresh_views(const DmDataset *dataset)
{
	Oid types[] = {INT8OID, OIDOID, OIDOID, OIDOID};
	Datum values[4] = {Int64GetDatum(dataset->id)};
	DmCatalogScope scope;

	for (int i = 0; i < DM_VIEWS; i++)
		values[i + 1] = ObjectIdGetDatum(dataset->views[i]);
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"UPDATE datamill.dataset_catalog SET versions_view = $2::regclass, changes_view = $3::regclass, "
		"sensitive_versions_view = CASE WHEN sensitive_table IS NOT NULL THEN $4::regclass END "
		"WHERE dataset_id = $1",
		lengthof(types),
		types,
		values,
		NULL);
	dm_catalog_end(&scope);
}

/* Returns the name of a column that the dataset adds, quoted for a statement. */
const char *
dm_name_quoted(const DmDataset *dataset, DmName name)
{
	return quote_identifier(dataset->settings.names[name]);
}

/* True for the columns that a dataset adds to its current tables, but not for those of values before. */
bool
dm_name_is_added(const DmDataset *dataset, const char *name)
{
	static const DmName added[] = {
		DM_NAME_OPERATION, DM_NAME_START, DM_NAME_MERGE, DM_NAME_KEY_HASH, DM_NAME_ROW_HASH, DM_NAME_MADE_BY};

	for (int i = 0; i < lengthof(added); i++)
	{
		if (strcmp(name, dataset->settings.names[added[i]]) == 0)
			return added[i] != DM_NAME_MADE_BY || dataset->settings.stamp;
	}
	return false;
}

/* Returns the qualified, quoted name of a relation. Raises 42P01 if it was dropped. */
char *
dm_relation_name(Oid relid)
{
	char *name = get_rel_name(relid);
	char *schema = name ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	if (!schema)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("a table of the dataset does not exist any more")));
	return quote_qualified_identifier(schema, name);
}

/*
 * Returns the condition that the key columns (or, numbered, k1, k2 and so on) behind two prefixes are equal: by the types' own `=`, whatever
 * the search_path; where keys may be NULL as records, to which NULL equals NULL.
 */
char *
dm_keys_equal(const DmDataset *dataset, const char *a, const char *b, bool numbered)
{
	StringInfoData columns[2];
	StringInfoData equal;

	initStringInfo(&equal);
	initStringInfo(&columns[0]);
	initStringInfo(&columns[1]);
	for (int i = 0; i < list_length(dataset->keys); i++)
	{
		const char *name = list_nth(dataset->keys, i);
		const char *column = numbered ? psprintf("k%d", i + 1) : quote_identifier(name);
		Oid type = get_atttype(dataset->current, get_attnum(dataset->current, name));

		appendStringInfo(&columns[0], "%s%s%s", i == 0 ? "" : ", ", a, column);
		appendStringInfo(&columns[1], "%s%s%s", i == 0 ? "" : ", ", b, column);
		appendStringInfo(&equal,
						 "%s%s%s %s %s%s",
						 i == 0 ? "" : " AND ",
						 a,
						 column,
						 dm_operator_quoted(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr),
						 b,
						 column);
	}
	if (!dataset->settings.null_keys)
		return equal.data;
	return psprintf("ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.=) ROW(%s)::pg_catalog.record",
					columns[0].data,
					columns[1].data);
}

/*
 * Returns a new merge id that is higher than one that rows bear, which came from another database. Raises 22003 if that is higher than a merge can
 * have had: the numbers are everybody's.
 */
int64
dm_dataset_next_merge_above(int64 least)
{
	int64 id = dm_dataset_next_merge();
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(least)};
	DmCatalogScope scope;

	if (id > least)
		return id;
	if (least - id > MAX_MERGES_AHEAD)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("rows bear the number " INT64_FORMAT " of a merge, which none can have had", least)));
	dm_catalog_begin(&scope);
	dm_catalog_execute("SELECT setval('datamill.merge_catalog_merge_id_seq', greatest($1, last_value)) FROM "
					   "datamill.merge_catalog_merge_id_seq",
					   1,
					   types,
					   values,
					   NULL);
	dm_catalog_end(&scope);
	return dm_dataset_next_merge();
}

/* Returns a new merge id. */
int64
dm_dataset_next_merge(void)
{
	DmCatalogScope scope;
	bool isnull;
	int64 id;

	dm_catalog_begin(&scope);
	dm_catalog_execute("SELECT nextval('datamill.merge_catalog_merge_id_seq')", 0, NULL, NULL, NULL);
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	dm_catalog_end(&scope);
	return id;
}

/*
 * Raises unless the current user may do to both tables what a merge does (or, read_only, what a plan does), no
 * row-level security stands between, and the tables are of this node or, of a merge that knows it, distributed.
 */
void
dm_dataset_check_rights(const DmDataset *dataset, bool read_only)
{
	const Oid tables[] = {
		dataset->current, dataset->history, dataset->sensitive, dataset->sensitive_history, dataset->feed};

	dm_dataset_check_tables(dataset);
	for (int i = 0; i < lengthof(tables); i++)
	{
		if (OidIsValid(tables[i]) && !dataset->distributed_by)
			dm_citus_refuse(tables[i]);
	}
	if (read_only)
	{
		table_check_rights(dataset->current, ACL_SELECT);
		if (OidIsValid(dataset->feed))
		{
			table_check_rights(dataset->history, ACL_SELECT);
			table_check_rights(dataset->feed, ACL_SELECT);
		}
		return;
	}
	table_check_rights(dataset->current, ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE);
	if (OidIsValid(dataset->sensitive))
	{
		table_check_rights(dataset->sensitive, ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE);
		table_check_rights(dataset->sensitive_history, ACL_INSERT);
	}
	if (OidIsValid(dataset->feed))
	{
		table_check_rights(dataset->history, ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE);
		table_check_rights(dataset->feed, ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE);
	}
	else
		table_check_rights(dataset->history, ACL_INSERT);
}

/* Locks the tables of the dataset against being dropped until the end of the transaction. Raises 42P01 if one was. */
void
dm_dataset_check_tables(const DmDataset *dataset)
{
	const struct
	{
		Oid table;
		const char *what;
	} tables[] = {{dataset->history, "history table"},
				  {dataset->feed, "table of points"},
				  {dataset->sensitive, "table of sensitive columns"},
				  {dataset->sensitive_history, "history of the sensitive columns"}};

	for (int i = 0; i < lengthof(tables); i++)
	{
		if (!OidIsValid(tables[i].table))
			continue;
		LockRelationOid(tables[i].table, AccessShareLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(tables[i].table)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("the %s of dataset %s does not exist any more", tables[i].what, dataset->name)));
	}
}

/* Raises unless the current user may also take versions out of history, as an undo does. */
void
dm_dataset_check_undo_rights(const DmDataset *dataset)
{
	table_check_rights(dataset->history, ACL_SELECT | ACL_INSERT | ACL_DELETE);
	if (OidIsValid(dataset->sensitive))
		table_check_rights(dataset->sensitive_history, ACL_SELECT | ACL_INSERT | ACL_DELETE);
}

/* Raises unless the current user may read the sensitive columns, which a plan compares, too. */
void
dm_dataset_check_sensitive(const DmDataset *dataset)
{
	if (OidIsValid(dataset->sensitive))
		table_check_rights(dataset->sensitive, ACL_SELECT);
}

/* Raises 42501 unless the current user has all the rights of mode on the table. */
static void
table_check_rights(Oid relid, AclMode mode)
{
	if (pg_class_aclmask(relid, GetUserId(), mode, ACLMASK_ALL) != mode)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
	dm_dataset_check_policies(relid);
}

/* Raises 0A000 if row-level security hides rows of a dataset's table from the current user. */
void
dm_dataset_check_policies(Oid relid)
{
	if (check_enable_rls(relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security of table %s applies to the current user", dm_relation_name(relid)),
				 errdetail("Who sees only part of a dataset's rows would take the others for deleted."),
				 errhint("Do this as the table's owner or as a role with BYPASSRLS.")));
}

static const DmEffectiveType effective_types[] = {
	{DATEOID, "date", "pg_catalog.date", "pg_catalog.daterange"},
	{TIMESTAMPTZOID, "timestamptz", "pg_catalog.timestamptz", "pg_catalog.tstzrange"},
	{TIMESTAMPOID, "timestamp", "pg_catalog.timestamp", "pg_catalog.tsrange"},
	{INT8OID, "bigint", "pg_catalog.int8", "pg_catalog.int8range"},
	{NUMERICOID, "numeric", "pg_catalog.\"numeric\"", "pg_catalog.numrange"},
	{PG_LSNOID, "pg_lsn", "pg_catalog.pg_lsn", "datamill.pg_lsn_range"},
	{TEXTOID, "text", "pg_catalog.text COLLATE pg_catalog.\"C\"", "datamill.text_range"},
};

/* Returns what is known of a type of bounds, or NULL if it cannot be one. */
const DmEffectiveType *
dm_effective_type(Oid type)
{
	for (int i = 0; i < lengthof(effective_types); i++)
	{
		if (effective_types[i].type == type)
			return &effective_types[i];
	}
	return NULL;
}

/* Returns the names of these types, for a message. */
const char *
dm_effective_type_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(effective_types); i++)
		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", effective_types[i].name);
	return names.data;
}

/* As dm_effective_type, by name. */
const DmEffectiveType *
dm_effective_type_named(const char *name)
{
	for (int i = 0; i < lengthof(effective_types); i++)
	{
		if (strcmp(effective_types[i].name, name) == 0)
			return &effective_types[i];
	}
	return NULL;
}

/* Returns a moment as the effective date of a dataset: a date in the session's time zone, or as it is. */
Datum
dm_effective_make(Oid type, TimestampTz moment)
{
	switch (type)
	{
		case DATEOID: return DirectFunctionCall1(timestamptz_date, TimestampTzGetDatum(moment));
		case TIMESTAMPOID: return DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(moment));
		case TIMESTAMPTZOID: return TimestampTzGetDatum(moment);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("bounds of type %s are not moments", format_type_be(type)),
					 errhint("The versions view has the versions at any bound: WHERE valid @> ...")));
	}
}
