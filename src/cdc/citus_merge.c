/*
 * citus_merge.c: one merge into a current table that Citus distributes by the hash of a key.
 *
 * Invariants:
 * 1. The rows of the source go, with the hashes that any merge gives them, to a table of this node, which Citus then
 *    distributes as current is. From then on all is SQL on colocated tables (citus_sql.c), a task a shard.
 * 2. What is to be done is found first, in a second such table, and checked; only then is current or history written.
 * 3. All of it is in the caller's transaction, of which Citus makes one over its nodes. Nothing that opens connections of
 *    its own (run_command_on_...) is used. Both tables are gone at its end.
 * 4. Counts and rows are those of a merge on tables of this node, whose rules (match.c, apply.c) hold here, too.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "cdc/apply.h"
#include "cdc/citus.h"
#include "rows/table_writer.h"
#include "source/source.h"

struct DmCitusMerge
{
	DmMatcherSpec spec;
	const char *scope;
	DmCitusNames names;
	Relation stage;
	DmTableWriter *writer;
	MemoryContext row_context; /* reset for each row */
	int64 rows;				   /* of the source */
	List *samples[DM_FATES];   /* of a plan, of char*: JSON objects of key columns */
};

static DmCitusMerge *rows_begin(const DmDataset *dataset, Datum effective, int64 merge_id);
static void rows_stage(DmCitusMerge *merge, const char *query);
static void rows_end(const DmCitusMerge *merge);
static void table_drop(const char *table);
static char *effective_literal(const DmApplySpec *spec);
static Relation stage_create(const DmCitusMerge *merge);
static void stage_distribute(DmCitusMerge *merge);
static void table_distribute(const DmCitusMerge *merge, const char *kind);
static char *local_name(const DmCitusMerge *merge, const char *kind);
static char *table_name(const DmCitusMerge *merge, const char *kind);
static Oid table_oid(const DmCitusMerge *merge, const char *kind);
static void duplicates_check(DmCitusMerge *merge);
static void changes_find(DmCitusMerge *merge, int64 live_rows);
static void changes_write(DmCitusMerge *merge);
static void samples_take(DmCitusMerge *merge);
static int64 rows_count(const DmCitusMerge *merge, char operation);
static int64 count_get(const char *sql);

/*
 * Begins a merge in the current memory context. The settings were checked with dm_citus_check(); scope is the text of the
 * spec's condition, or NULL. The active snapshot must stay until dm_citus_merge_finish().
 */
DmCitusMerge *
dm_citus_merge_begin(const DmMatcherSpec *spec, const char *scope)
{
	DmCitusMerge *merge = palloc0(sizeof(DmCitusMerge));

	merge->spec = *spec;
	merge->scope = scope;
	merge->row_context = AllocSetContextCreate(CurrentMemoryContext, "datamill staged row", ALLOCSET_DEFAULT_SIZES);
	merge->names.dataset = spec->apply.dataset;
	merge->names.shape = spec->apply.shape;
	merge->names.current = spec->apply.current[0];
	merge->names.history = spec->apply.history[0];
	merge->names.start = effective_literal(&spec->apply);
	merge->names.merge_id = spec->apply.merge_id;
	merge->names.stage = table_name(merge, "stage");
	merge->names.changes = table_name(merge, "changes");
	merge->stage = stage_create(merge);
	dm_writers_begin();
	merge->writer = dm_writer_open(merge->stage, NULL, true);
	return merge;
}

/* Takes one source row, of the shape's wanted columns. A DmSourceEach; arg is the merge. */
void
dm_citus_merge_row(TupleTableSlot *slot, void *arg)
{
	DmCitusMerge *merge = arg;
	const DmShape *shape = merge->names.shape;
	int natts = shape->wanted->natts;
	TupleTableSlot *row;
	MemoryContext caller;
	pg_uuid_t hashes[2];

	merge->rows++;
	slot_getallattrs(slot);
	dm_keys_check_null(shape, slot->tts_isnull, merge->rows);
	MemoryContextReset(merge->row_context);
	caller = MemoryContextSwitchTo(merge->row_context);
	row = dm_writer_slot(merge->writer);
	memcpy(row->tts_values, slot->tts_values, sizeof(Datum) * natts);
	memcpy(row->tts_isnull, slot->tts_isnull, sizeof(bool) * natts);
	dm_row_hash(shape->ops, slot->tts_values, slot->tts_isnull, shape->keys, shape->nkeys, hashes[0].data);
	dm_row_hash(shape->ops, slot->tts_values, slot->tts_isnull, shape->hashed, shape->nhashed, hashes[1].data);
	for (int i = 0; i < lengthof(hashes); i++)
	{
		row->tts_values[natts + i] = UUIDPGetDatum(&hashes[i]);
		row->tts_isnull[natts + i] = false;
	}
	ExecStoreVirtualTuple(row);
	dm_writer_insert(merge->writer, row);
	MemoryContextSwitchTo(caller);
}

/* Has keys that do not come left alone and counted, whatever the spec says. */
void
dm_citus_merge_keep_missing(DmCitusMerge *merge)
{
	merge->spec.close_deletes = false;
}

/* Distributes the staged rows, finds and writes what changed, and fills the counts. Returns how many rows current has now. */
int64
dm_citus_merge_finish(DmCitusMerge *merge)
{
	const DmMergeCounts *counts = merge->spec.apply.counts;
	int64 live_rows;

	stage_distribute(merge);
	duplicates_check(merge);
	dm_dataset_execute(dm_citus_changes_sql(&merge->names));
	CommandCounterIncrement();
	table_distribute(merge, "changes");
	live_rows = rows_count(merge, '\0');
	changes_find(merge, live_rows);
	if (merge->spec.apply.dry_run)
		samples_take(merge);
	else
		changes_write(merge);
	table_drop(merge->names.changes);
	table_drop(merge->names.stage);
	return live_rows + counts->inserted - counts->deleted;
}

/* Returns, for each fate, the keys that are examples of it. */
List **
dm_citus_merge_samples(DmCitusMerge *merge)
{
	return merge->samples;
}

/*
 * Gives the rows of an adopted table, which the merge of that id made versions of, the hashes that belong to their values:
 * they are read, staged and distributed as the rows of a source are. Returns how many there are.
 */
int64
dm_citus_rehash(const DmDataset *dataset, Datum effective, int64 merge_id)
{
	DmCitusMerge *merge = rows_begin(dataset, effective, merge_id);

	rows_stage(merge, dm_citus_rows_sql(&merge->names));
	dm_dataset_execute(dm_citus_rehash_sql(&merge->names));
	rows_end(merge);
	return merge->rows;
}

/* Takes the last merge of the dataset back. Fills *counts other than merge_id. No receipt is open. */
void
dm_citus_undo(const DmDataset *dataset, DmUndoCounts *counts)
{
	DmCitusMerge *merge = rows_begin(dataset, dataset->last_effective, dataset->last_merge);

	rows_stage(merge, dm_citus_ended_sql(&merge->names));
	counts->removed = count_get(dm_citus_made_sql(&merge->names, "SELECT pg_catalog.count(*)"));
	counts->restored = merge->rows;
	dm_dataset_execute(dm_citus_made_sql(&merge->names, "DELETE"));
	dm_dataset_execute(dm_citus_restore_sql(&merge->names));
	dm_dataset_execute(dm_citus_forget_sql(&merge->names));
	rows_end(merge);
}

/* Begins to stage rows of the dataset itself. */
static DmCitusMerge *
rows_begin(const DmDataset *dataset, Datum effective, int64 merge_id)
{
	DmMatcherSpec spec = {.apply = {.dataset = dataset, .effective = effective, .merge_id = merge_id}};

	spec.apply.current[0] = table_open(dataset->current, NoLock);
	spec.apply.history[0] = table_open(dataset->history, RowExclusiveLock);
	spec.apply.shape = dm_shape_make(dataset, spec.apply.current[0], spec.apply.history[0]);
	return dm_citus_merge_begin(&spec, NULL);
}

/* Stages the rows of a query, and distributes them. */
static void
rows_stage(DmCitusMerge *merge, const char *query)
{
	DmSource *source = dm_source_open(query, NULL);

	dm_source_bind(source, merge->names.shape->wanted);
	dm_source_run(source, dm_citus_merge_row, merge);
	dm_source_close(source);
	stage_distribute(merge);
}

/* Drops the staged rows. */
static void
rows_end(const DmCitusMerge *merge)
{
	table_drop(merge->names.stage);
	table_close(merge->names.history, NoLock);
	table_close(merge->names.current, NoLock);
}

/* Drops a table of this merge. */
static void
table_drop(const char *table)
{
	dm_dataset_execute(psprintf("DROP TABLE %s", table));
	CommandCounterIncrement();
}

/* Returns the effective date as a literal that any DateStyle reads alike. */
static char *
effective_literal(const DmApplySpec *spec)
{
	Oid type = spec->dataset->effective_type;
	char text[MAXDATELEN + 1];

	return psprintf(
		"'%s'::%s", JsonEncodeDateTime(text, spec->effective, type, NULL), dm_effective_type(type)->sql_type);
}

/* Creates the table of the source's rows beside current, on this node so far, and opens it. */
static Relation
stage_create(const DmCitusMerge *merge)
{
	dm_dataset_execute(dm_citus_stage_sql(&merge->names));
	CommandCounterIncrement();
	return table_open(table_oid(merge, "stage"), RowExclusiveLock);
}

/* Ends writing to that table and has it distributed. */
static void
stage_distribute(DmCitusMerge *merge)
{
	dm_writer_close(merge->writer);
	dm_writers_end();
	table_close(merge->stage, NoLock);
	CommandCounterIncrement();
	table_distribute(merge, "stage");
}

/* Distributes one of the two as current is. */
static void
table_distribute(const DmCitusMerge *merge, const char *kind)
{
	dm_citus_distribute(table_oid(merge, kind), merge->names.dataset);
	CommandCounterIncrement();
}

/* Returns the name of a table of this merge, or of a plan of this process. */
static char *
local_name(const DmCitusMerge *merge, const char *kind)
{
	return merge->spec.apply.dry_run ? psprintf("datamill_%s_of_plan_%d", kind, MyProcPid)
									 : psprintf("datamill_%s_" INT64_FORMAT, kind, merge->names.merge_id);
}

/* Returns its qualified name, in the schema of current. */
static char *
table_name(const DmCitusMerge *merge, const char *kind)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(merge->names.current)),
									  local_name(merge, kind));
}

/* Returns its OID. */
static Oid
table_oid(const DmCitusMerge *merge, const char *kind)
{
	return get_relname_relid(local_name(merge, kind), RelationGetNamespace(merge->names.current));
}

/* Raises 21000 if a key stands in the source more than once. */
static void
duplicates_check(DmCitusMerge *merge)
{
	const DmShape *shape = merge->names.shape;
	Datum *values = palloc0(sizeof(Datum) * shape->wanted->natts);
	bool *nulls = palloc0(sizeof(bool) * shape->wanted->natts);

	SPI_connect();
	SPI_execute(dm_citus_duplicate_sql(&merge->names), false, 1);
	for (int i = 0; i < shape->nkeys && SPI_processed > 0; i++)
		values[shape->keys[i]] =
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[shape->keys[i]]);
	if (SPI_processed > 0)
		dm_raise_duplicate_key(shape, values, nulls);
	SPI_finish();
}

/* Finds what is to be done and fills the counts. Raises 54000 if more would be deleted than the caller allows. */
static void
changes_find(DmCitusMerge *merge, int64 live_rows)
{
	DmMergeCounts *counts = merge->spec.apply.counts;

	dm_dataset_execute(dm_citus_find_changed_sql(&merge->names));
	if (merge->spec.mode == DM_MODE_FULL && merge->spec.close_deletes)
		dm_dataset_execute(dm_citus_find_missing_sql(&merge->names, merge->scope));
	counts->inserted = rows_count(merge, 'I');
	counts->updated = rows_count(merge, 'U');
	counts->deleted = rows_count(merge, 'D');
	counts->refreshed = rows_count(merge, 'N');
	counts->unchanged = merge->rows - counts->inserted - counts->updated;
	counts->missing = live_rows - counts->updated - counts->unchanged - counts->deleted;
	dm_deletes_check(&merge->spec, live_rows);
}

/* Writes what changed: ended versions to history before their rows go, or get new values. */
static void
changes_write(DmCitusMerge *merge)
{
	const DmMergeCounts *counts = merge->spec.apply.counts;

	if (counts->updated + counts->deleted > 0)
		dm_dataset_execute(dm_citus_close_sql(&merge->names));
	if (counts->deleted > 0)
		dm_dataset_execute(dm_citus_delete_sql(&merge->names));
	if (counts->updated > 0)
		dm_dataset_execute(dm_citus_update_sql(&merge->names));
	if (counts->refreshed > 0)
		dm_dataset_execute(dm_citus_refresh_sql(&merge->names));
	if (counts->inserted > 0)
		dm_dataset_execute(dm_citus_insert_sql(&merge->names));
}

/* Takes keys that are examples of each operation. */
static void
samples_take(DmCitusMerge *merge)
{
	static const char operations[DM_FATES] = {'I', 'U', 'D', 'N', 'X'};
	const DmShape *shape = merge->names.shape;
	MemoryContext caller = CurrentMemoryContext;
	Datum *values = palloc0(sizeof(Datum) * shape->wanted->natts);

	for (int fate = 0; fate < DM_FATES; fate++)
	{
		MemoryContext spi;

		SPI_connect();
		SPI_execute(dm_citus_sample_sql(&merge->names, operations[fate], DM_PLAN_SAMPLES), false, 0);
		spi = MemoryContextSwitchTo(caller);
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool isnull; /* never: keys are not */

			for (int i = 0; i < shape->nkeys; i++)
				values[shape->keys[i]] =
					SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1, &isnull);
			merge->samples[fate] = lappend(merge->samples[fate], dm_shape_key_json(shape, values, NULL));
		}
		MemoryContextSwitchTo(spi);
		SPI_finish();
	}
}

/* Counts the changes of an operation, or the rows of current ('\0'). */
static int64
rows_count(const DmCitusMerge *merge, char operation)
{
	return count_get(dm_citus_count_sql(&merge->names, operation));
}

/* Returns the count that a query gives. */
static int64
count_get(const char *sql)
{
	bool isnull;
	int64 count;

	SPI_connect();
	SPI_execute(sql, false, 1);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return count;
}
