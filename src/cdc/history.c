/*
 * history.c: partitions of history, and taking old versions out of it.
 *
 * All versions that a merge ends have its effective date as their end, so a merge writes one partition, directly. It is
 * made when the merge needs it, as the owner of history: as a table of its own that is then attached, which, other
 * than CREATE TABLE ... PARTITION OF, lets readers of history go on.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/tablespace.h"
#include "common/int.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "cdc/history.h"

static void period_bounds(const DmDataset *dataset, Datum effective, struct pg_tm *from, struct pg_tm *to);
static char *bound_literal(const DmDataset *dataset, struct pg_tm *tm);
static char *partition_name(const DmDataset *dataset, Oid history, const struct pg_tm *from);
static void execute_as_owner(Oid relid, const char *sql);
static TimestampTz moment_of(const DmDataset *dataset, Datum effective);
static int64 partitions_drop(const DmDataset *dataset, Oid history, Datum older_than, DmPruned *pruned,
							 TimestampTz *through);
static int64 partition_drop(Oid history, Oid partition);
static int64 rows_delete(const DmDataset *dataset, Oid history, Datum older_than);
static uint64 ended_execute(const DmDataset *dataset, const char *statement, Oid history, Datum older_than);
static int64 rows_count(const char *table);
static void pruned_note(const DmDataset *dataset, TimestampTz through);

/*
 * Returns the table that holds versions that end at the effective date: history itself, or its partition; InvalidOid if
 * there is no such partition.
 */
Oid
dm_history_find(const DmDataset *dataset, Oid history, Datum effective)
{
	Relation rel = table_open(history, AccessShareLock);
	Oid found = history;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		PartitionKey key = RelationGetPartitionKey(rel);
		PartitionDesc desc = RelationGetPartitionDesc(rel, true);
		PartitionBoundInfo bounds = desc->boundinfo;
		bool is_equal = false;
		int index = -1;

		dm_history_check_partitions(dataset, rel);
		if (desc->nparts > 0)
			index = bounds->indexes[partition_range_datum_bsearch(
										key->partsupfunc, key->partcollation, bounds, 1, &effective, &is_equal) +
									1];
		if (index < 0 && desc->nparts > 0)
			index = bounds->default_index;
		found = index < 0 ? InvalidOid : desc->oids[index];
	}
	table_close(rel, NoLock);
	return found;
}

/* Raises 55000 unless a partitioned history is partitioned by ranges of the end of versions. */
void
dm_history_check_partitions(const DmDataset *dataset, Relation history)
{
	PartitionKey key = RelationGetPartitionKey(history);

	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 ||
		key->parttypid[0] != dataset->effective_type ||
		key->partattrs[0] != get_attnum(RelationGetRelid(history), dataset->settings.names[DM_NAME_END]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("history table \"%s\" is not partitioned by ranges of the end of versions",
						RelationGetRelationName(history))));
}

/* As dm_history_find, but makes the partition if there is none. The dataset is locked against other merges. */
Oid
dm_history_make(const DmDataset *dataset, Oid history, Datum effective)
{
	Oid found = dm_history_find(dataset, history, effective);
	struct pg_tm from;
	struct pg_tm to;
	Oid tablespace;
	char *table;
	StringInfoData sql;

	if (OidIsValid(found))
		return found;
	period_bounds(dataset, effective, &from, &to);
	table = partition_name(dataset, history, &from);
	tablespace = get_rel_tablespace(history);
	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED "
					 "INCLUDING STORAGE INCLUDING COMPRESSION)",
					 table,
					 dm_relation_name(history));
	if (OidIsValid(tablespace))
		appendStringInfo(&sql, " TABLESPACE %s", quote_identifier(get_tablespace_name(tablespace)));
	appendStringInfo(&sql,
					 "; ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)",
					 dm_relation_name(history),
					 table,
					 bound_literal(dataset, &from),
					 bound_literal(dataset, &to));
	execute_as_owner(history, sql.data);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	return dm_history_find(dataset, history, effective);
}

/*
 * Takes versions that ended at older_than or before out of history: whole partitions where it has any. Fills *pruned,
 * in the current memory context. For the owner of the dataset.
 */
void
dm_history_prune(const char *target, TimestampTz older_than, DmPruned *pruned)
{
	RangeVar *name = dm_dataset_parse(target);
	DmDataset dataset;
	TimestampTz through = DT_NOBEGIN;
	Datum moment;
	Oid tables[DM_PARTS];

	PreventCommandIfReadOnly("prune_history()");
	PreventCommandIfParallelMode("prune_history()");
	memset(pruned, 0, sizeof(*pruned));
	dm_dataset_lock(name);
	dm_dataset_require(target, name, &dataset);
	if (OidIsValid(dataset.feed))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("history of a feed cannot be pruned"),
				 errdetail("Late events need the versions that they fall into.")));
	if (!dm_relation_is_owned(dataset.current))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(dataset.current));
	dm_dataset_check_tables(&dataset);
	if (TIMESTAMP_NOT_FINITE(older_than))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("older_than must not be infinite")));
	LockRelationOid(dataset.current, ShareRowExclusiveLock);
	moment = dm_effective_make(dataset.effective_type, older_than);
	tables[0] = dataset.history;
	tables[1] = dataset.sensitive_history;
	for (int i = 0; i < DM_PARTS && OidIsValid(tables[i]); i++)
	{
		int64 removed;

		dm_dataset_check_policies(tables[i]);
		if (get_rel_relkind(tables[i]) == RELKIND_PARTITIONED_TABLE)
			removed = partitions_drop(&dataset, tables[i], moment, pruned, &through);
		else
		{
			removed = rows_delete(&dataset, tables[i], moment);
			through = moment_of(&dataset, moment);
		}
		pruned->rows += i == 0 ? removed : 0;
	}
	if (through > dataset.pruned_through)
		pruned_note(&dataset, through);
}

/* Finds the first moment of the month or year that the effective date lies in, and that of the next; in UTC. */
static void
period_bounds(const DmDataset *dataset, Datum effective, struct pg_tm *from, struct pg_tm *to)
{
	fsec_t fraction;

	memset(from, 0, sizeof(*from));
	if (dataset->effective_type == DATEOID)
		j2date(DatumGetDateADT(effective) + POSTGRES_EPOCH_JDATE, &from->tm_year, &from->tm_mon, &from->tm_mday);
	else if (timestamp2tm(DatumGetTimestampTz(effective), NULL, from, &fraction, NULL, NULL) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("effective date is out of range")));
	from->tm_hour = from->tm_min = from->tm_sec = 0;
	from->tm_isdst = 0; /* without it no zone is written */
	from->tm_mday = 1;
	if (dataset->settings.partition == DM_PERIOD_YEAR)
		from->tm_mon = 1;
	*to = *from;
	if (dataset->settings.partition == DM_PERIOD_YEAR || from->tm_mon == MONTHS_PER_YEAR)
	{
		to->tm_year++;
		to->tm_mon = 1;
	}
	else
		to->tm_mon++;
}

/* Returns a bound as a quoted literal that reads the same in every session. */
static char *
bound_literal(const DmDataset *dataset, struct pg_tm *tm)
{
	char text[MAXDATELEN + 1];

	if (dataset->effective_type == DATEOID)
		EncodeDateOnly(tm, USE_ISO_DATES, text);
	else
		EncodeDateTime(tm, 0, true, 0, NULL, USE_ISO_DATES, text);
	return quote_literal_cstr(text);
}

/* Returns the qualified, quoted name of a partition: history's, cut if need be, and year and month. */
static char *
partition_name(const DmDataset *dataset, Oid history, const struct pg_tm *from)
{
	char *name = get_rel_name(history);
	char *period = dataset->settings.partition == DM_PERIOD_YEAR
					   ? psprintf("_%04d", from->tm_year)
					   : psprintf("_%04d_%02d", from->tm_year, from->tm_mon);

	name = pnstrdup(name, pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - strlen(period)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(history)),
									  psprintf("%s%s", name, period));
}

/* Executes statements as the owner of a relation, who may be another than the one who merges. */
static void
execute_as_owner(Oid relid, const char *sql)
{
	Relation rel = table_open(relid, AccessShareLock);
	Oid owner = rel->rd_rel->relowner;
	Oid user;
	int context;
	int guc_level;

	table_close(rel, NoLock);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	(void) set_config_option(
		"search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	dm_dataset_execute(sql);
	AtEOXact_GUC(true, guc_level);
	SetUserIdAndSecContext(user, context);
}

/* Returns an effective date as a moment that two sessions agree on: a date as its midnight in UTC. */
static TimestampTz
moment_of(const DmDataset *dataset, Datum effective)
{
	int64 moment;

	if (dataset->effective_type != DATEOID)
		return DatumGetTimestampTz(effective);
	if (pg_mul_s64_overflow(DatumGetDateADT(effective), USECS_PER_DAY, &moment))
		return DatumGetDateADT(effective) < 0 ? DT_NOBEGIN : DT_NOEND;
	return moment;
}

/* Drops the partitions that end at older_than or before. Returns the rows dropped; *through: the last moment of them. */
static int64
partitions_drop(const DmDataset *dataset, Oid history, Datum older_than, DmPruned *pruned, TimestampTz *through)
{
	Relation rel = table_open(history, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	List *due = NIL;
	ListCell *cell;
	int64 rows = 0;

	dm_history_check_partitions(dataset, rel);
	for (int i = 0; desc->nparts > 0 && i < bounds->ndatums; i++)
	{
		TimestampTz end;

		if (bounds->indexes[i] < 0 || bounds->kind[i][0] != PARTITION_RANGE_DATUM_VALUE)
			continue;
		end = moment_of(dataset, bounds->datums[i][0]);
		if (end > moment_of(dataset, older_than))
			continue;
		due = lappend_oid(due, desc->oids[bounds->indexes[i]]);
		*through = Max(*through, end - 1);
	}
	table_close(rel, NoLock);
	foreach (cell, due)
	{
		pruned->partitions = lappend(pruned->partitions, dm_relation_name(lfirst_oid(cell)));
		rows += partition_drop(history, lfirst_oid(cell));
	}
	return rows;
}

/* Drops a partition and returns how many rows it held. A foreign one is detached, and its rows are not counted. */
static int64
partition_drop(Oid history, Oid partition)
{
	char *name = dm_relation_name(partition);
	int64 rows;

	if (get_rel_relkind(partition) == RELKIND_FOREIGN_TABLE)
	{
		ereport(NOTICE,
				(errmsg("partition %s is a foreign table: it is detached from history, not dropped", name)));
		dm_dataset_execute(psprintf("ALTER TABLE %s DETACH PARTITION %s", dm_relation_name(history), name));
		return 0;
	}
	rows = rows_count(name);
	dm_dataset_execute(psprintf("DROP TABLE %s", name));
	return rows;
}

/* Deletes the versions that ended at older_than or before. Returns how many there were. Raises 09000 if some stay. */
static int64
rows_delete(const DmDataset *dataset, Oid history, Datum older_than)
{
	int64 rows = (int64) ended_execute(dataset, "DELETE FROM", history, older_than);
	Relation rel = table_open(history, NoLock);
	bool may_stay = rel->trigdesc && rel->trigdesc->trig_delete_before_row;

	table_close(rel, NoLock);
	if (may_stay && ended_execute(dataset, "SELECT FROM", history, older_than) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a BEFORE trigger of table \"%s\" kept versions that are to be taken out",
						get_rel_name(history)),
				 errhint("Disable it: ALTER TABLE ... DISABLE TRIGGER ...")));
	return rows;
}

/* Executes a statement for the versions that ended at older_than or before. Returns how many rows it went through. */
static uint64
ended_execute(const DmDataset *dataset, const char *statement, Oid history, Datum older_than)
{
	Oid types[] = {dataset->effective_type};
	uint64 rows;

	SPI_connect();
	SPI_execute_with_args(
		psprintf(
			"%s %s WHERE %s <= $1", statement, dm_relation_name(history), dm_name_quoted(dataset, DM_NAME_END)),
		1,
		types,
		&older_than,
		NULL,
		false,
		0);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

/* Returns the number of rows in a table. */
static int64
rows_count(const char *table)
{
	bool isnull;
	int64 rows;

	SPI_connect();
	SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM %s", table), false, 0);
	rows = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return rows;
}

/* Notes that history lacks versions that ended up to a moment. */
static void
pruned_note(const DmDataset *dataset, TimestampTz through)
{
	Oid types[] = {INT8OID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(dataset->id), TimestampTzGetDatum(through)};
	DmCatalogScope scope;

	dm_catalog_begin(&scope);
	dm_catalog_execute("UPDATE datamill.dataset_catalog SET pruned_through = $2 WHERE dataset_id = $1",
					   lengthof(types),
					   types,
					   values,
					   NULL);
	dm_catalog_end(&scope);
}
