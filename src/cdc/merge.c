/*
 * merge.c: one merge of a source into a dataset, from arguments to receipt.
 *
 * Invariants of the folder:
 * 1. Everything a merge does (tables, rows, log, receipt) is done in the caller's transaction: all of it or nothing.
 * 2. Merges of one dataset queue: on a lock of its own (by name for the first merge, when there is no table yet) and
 *    on SHARE ROW EXCLUSIVE of the current table, which keeps other writers out and lets readers through.
 * 3. The caller needs the rights of any writer of the tables; only the log is written as the extension's owner.
 * 4. Versions of one key do not overlap: a version ends at the effective date of the merge that ended it, and effective
 *    dates do not go back. (Two merges at the same date leave versions of no length, which no as-of query finds.)
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "base/names.h"
#include "base/progress.h"
#include "cdc/cdc.h"
#include "cdc/citus.h"
#include "cdc/debezium.h"
#include "cdc/feed.h"
#include "cdc/feed_options.h"
#include "cdc/feed_rows.h"
#include "cdc/history.h"
#include "cdc/intake.h"
#include "cdc/match.h"
#include "cdc/target.h"
#include "receipt/receipt.h"
#include "rows/table_leaves.h"
#include "source/source.h"
#include "store/store.h"

typedef struct Merge
{
	const DmMergeSpec *spec;
	DmMergeOptions *options;
	DmFeedOptions *feed;  /* NULL in other modes */
	DmDebezium *debezium; /* the source's events, NULL if they are no Debezium ones */
	DmMergeMode mode;
	RangeVar *target;
	DmDataset dataset;
	bool is_new;
	bool dry_run;
	Datum effective; /* of the dataset's effective type */
	int64 merge_id;
	int64 live_rows; /* of current after the merge, -1 if not known */
	TimestampTz started_at;
	DmMergeCounts *counts;
} Merge;

static char *merge_make(Merge *merge, Jsonb *source_options);
static void spec_check(Merge *merge);
static void target_resolve(Merge *merge);
static List **plan_in_subtransaction(Merge *merge, Jsonb *source_options);
static List **plan_make(Merge *merge, Jsonb *source_options);
static DmSource *merge_source_open(Merge *merge, Jsonb *source_options);
static void dataset_open(Merge *merge, Oid current);
static void dataset_make(Merge *merge, DmSource *source);
static void feed_options_take(Merge *merge, Jsonb **source_options);
static TupleDesc feed_settings_make(Merge *merge, DmSource *source);
static void settings_check(const Merge *merge);
static void settings_override(Merge *merge);
static void effective_set(Merge *merge);
static List **rows_merge(Merge *merge, DmSource *source);
static List **matched_merge(Merge *merge, const DmMatcherSpec *spec, DmIntake *intake, const DmSource *source);
static List **shards_merge(Merge *merge, const DmMatcherSpec *spec, DmIntake *intake, const DmSource *source);
static List **events_merge(Merge *merge, DmSource *source);
static void spec_make(const Merge *merge, DmMatcherSpec *spec, EState *estate);
static DmShape *part_open(const Merge *merge, DmMatcherSpec *spec, int number, Oid current, Oid history);
static bool rejected_keep(const Merge *merge);
static void empty_check(const Merge *merge, int64 rows);
static char *receipt_finish(Merge *merge, DmReceipt *receipt);
static void merge_log(const Merge *merge, const char *receipt_id);
static char *arguments_json(const Merge *merge);

/*
 * Merges a source into a dataset, which it creates if there is none. Returns the receipt's id and fills *counts, in the
 * current memory context.
 */
char *
dm_cdc_merge(const DmMergeSpec *spec, DmMergeCounts *counts)
{
	Merge merge = {.spec = spec, .counts = counts, .started_at = GetCurrentTimestamp()};
	Jsonb *source_options;
	DmRunning running;
	char *volatile id = NULL;

	PreventCommandIfReadOnly("cdc_merge()");
	PreventCommandIfParallelMode("cdc_merge()");
	memset(counts, 0, sizeof(*counts));
	spec_check(&merge);
	merge.options = dm_merge_options_parse(spec->options, &source_options);
	target_resolve(&merge);
	feed_options_take(&merge, &source_options);
	dm_running_begin(&running, merge.target);
	PG_TRY();
	{
		id = merge_make(&merge, source_options);
	}
	PG_FINALLY();
	{
		dm_running_end(&running);
	}
	PG_END_TRY();
	return id;
}

/* Makes the merge whose arguments were read. Returns the receipt's id. */
static char *
merge_make(Merge *merge, Jsonb *source_options)
{
	DmReceipt *receipt;
	DmSource *source;
	char *id;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	effective_set(merge);
	receipt = dm_receipt_begin("cdc_merge",
							   quote_qualified_identifier(merge->target->schemaname, merge->target->relname),
							   arguments_json(merge));
	source = merge_source_open(merge, source_options);
	if (merge->is_new)
		dataset_make(merge, source);
	dm_progress_begin(DM_PROGRESS_MERGE, merge->dataset.current);
	merge->merge_id = dm_dataset_next_merge();
	rows_merge(merge, source);
	dm_source_close(source);
	PopActiveSnapshot();
	CommandCounterIncrement();
	if (merge->is_new && merge->mode != DM_MODE_FEED)
		dm_dataset_add_key(&merge->dataset);
	id = receipt_finish(merge, receipt);
	merge_log(merge, id);
	dm_progress_end();
	return id;
}

/*
 * Counts what a merge would do, and what it would raise, without doing it. Fills *counts and returns where the examples
 * are. What it creates, a new dataset or tables to work in, is created in a subtransaction that is rolled back.
 */
List **
dm_cdc_plan(const DmMergeSpec *spec, DmMergeCounts *counts)
{
	Merge merge = {.spec = spec, .counts = counts, .dry_run = true};
	Jsonb *source_options;

	PreventCommandIfParallelMode("cdc_plan()");
	memset(counts, 0, sizeof(*counts));
	spec_check(&merge);
	merge.options = dm_merge_options_parse(spec->options, &source_options);
	target_resolve(&merge);
	feed_options_take(&merge, &source_options);
	/* where nothing may be written, altering a table is an error, and what need not be altered is planned */
	return merge.is_new || (dm_drift_may_alter(&merge.dataset) && !XactReadOnly) || merge.dataset.distributed_by
			   ? plan_in_subtransaction(&merge, source_options)
			   : plan_make(&merge, source_options);
}

/*
 * Makes the plan of a dataset for which it or other tables are created or altered; that goes with the subtransaction,
 * whether the plan succeeds or not.
 */
static List **
plan_in_subtransaction(Merge *merge, Jsonb *source_options)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	List **volatile samples = NULL;
	ErrorData *volatile error = NULL;

	PreventCommandIfReadOnly("cdc_plan() of a dataset that does not exist yet or is distributed");
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		samples = plan_make(merge, source_options);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error)
		ReThrowError(error);
	return samples;
}

/* Makes the plan. Returns what holds the examples. */
static List **
plan_make(Merge *merge, Jsonb *source_options)
{
	List **samples;
	DmSource *source;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	effective_set(merge);
	source = merge_source_open(merge, source_options);
	if (merge->is_new)
	{
		dataset_make(merge, source);
		if (merge->mode != DM_MODE_FEED)
			dm_dataset_add_key(&merge->dataset); /* by which the parts of rows are found */
	}
	samples = rows_merge(merge, source);
	dm_source_close(source);
	PopActiveSnapshot();
	return samples;
}

/* Opens the source, as Debezium events if it holds them. */
static DmSource *
merge_source_open(Merge *merge, Jsonb *source_options)
{
	DmSource *source;

	if (!merge->feed || !merge->feed->is_debezium)
		return dm_source_open(merge->spec->source, source_options);
	source = dm_source_open_records(merge->spec->source, source_options);
	merge->debezium = dm_debezium_open(merge->feed, source);
	return source;
}

/* Parses the target, and opens its dataset if there is one. A merge also locks it, existing or not; a plan if it is new. */
static void
target_resolve(Merge *merge)
{
	Oid current;

	merge->target = dm_dataset_parse(merge->spec->target);
	/* a plan makes the tables of a new dataset, too, and takes them back */
	if (!merge->dry_run || (!XactReadOnly && !OidIsValid(dm_target_find(merge->target, merge->spec->target))))
		dm_dataset_lock(merge->target);
	current = dm_target_find(merge->target, merge->spec->target);
	merge->is_new = !OidIsValid(current);
	merge->dataset.live_rows = -1;
	if (!merge->is_new)
		dataset_open(merge, current);
}

/* Raises on arguments that no merge can have, and sets the mode. */
static void
spec_check(Merge *merge)
{
	const DmMergeSpec *spec = merge->spec;

	if (strcmp(spec->mode, "full") == 0)
		merge->mode = DM_MODE_FULL;
	else if (strcmp(spec->mode, "delta") == 0)
		merge->mode = DM_MODE_DELTA;
	else if (strcmp(spec->mode, "feed") == 0)
		merge->mode = DM_MODE_FEED;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown mode \"%s\"", spec->mode),
				 errhint("Modes are full, delta and feed.")));
	if (TIMESTAMP_NOT_FINITE(spec->effective))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("the effective date must not be infinite")));
}

/* Looks up an existing dataset, checks rights and settings, and locks its tables until the end of the transaction. */
static void
dataset_open(Merge *merge, Oid current)
{
	if (!dm_dataset_find(current, &merge->dataset))
	{
		dm_target_check_kind(current, merge->spec->target);
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("\"%s\" exists and is not a dataset", merge->spec->target),
				 errdetail("cdc_merge keeps tables that it created or adopted."),
				 errhint("Adopt it, with its rows: SELECT datamill.create_dataset('%s', keys => ...).",
						 merge->spec->target)));
	}
	merge->dataset.distributed_by = dm_citus_column(current);
	dm_dataset_check_rights(&merge->dataset, merge->dry_run);
	dm_dataset_check_sensitive(&merge->dataset);
	settings_check(merge);
	settings_override(merge);
	if (merge->dataset.distributed_by)
		dm_citus_check(&merge->dataset);
	if (merge->options->has_deletes)
		merge->dataset.close_deletes = merge->options->close_deletes;
	dm_table_lock(merge->dataset.current, merge->dry_run ? AccessShareLock : ShareRowExclusiveLock);
	LockRelationOid(merge->dataset.history, merge->dry_run ? AccessShareLock : RowExclusiveLock);
	if (merge->dataset.distributed_by && !merge->dry_run)
		dm_citus_colocate(&merge->dataset);
	if (!OidIsValid(merge->dataset.sensitive))
		return;
	LockRelationOid(merge->dataset.sensitive, merge->dry_run ? AccessShareLock : ShareRowExclusiveLock);
	LockRelationOid(merge->dataset.sensitive_history, merge->dry_run ? AccessShareLock : RowExclusiveLock);
}

/* Settings that say how a batch is read hold for this merge where the call gives them. */
static void
settings_override(Merge *merge)
{
	Jsonb *both = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
													 JsonbPGetDatum(merge->dataset.stored_settings),
													 JsonbPGetDatum(merge->options->given_settings)));

	if (!OidIsValid(merge->dataset.feed))
		dm_settings_parse(both, &merge->dataset.settings);
}

/* Raises if the call gives keys or settings other than those the dataset was created with. */
static void
settings_check(const Merge *merge)
{
	const DmDataset *dataset = &merge->dataset;
	const char *setting;
	ListCell *cell;

	if (OidIsValid(dataset->feed) != (merge->mode == DM_MODE_FEED))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dataset %s %s", dataset->name, OidIsValid(dataset->feed) ? "is a feed" : "is not a feed"),
				 errdetail("Its first merge decided that; modes full and delta do not mix with mode feed."),
				 errhint("Use %s.",
						 OidIsValid(dataset->feed) ? "mode => 'feed'" : "mode full or delta, or another target")));
	foreach (cell, merge->spec->keys)
	{
		if (!dm_names_has(dataset->keys, lfirst(cell)) ||
			list_length(merge->spec->keys) != list_length(dataset->keys))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the keys are not those of dataset %s", dataset->name),
					 errdetail("Its keys are %s.", dm_names_join(dataset->keys)),
					 errhint("Leave keys out after the first merge.")));
	}
	if (merge->options->has_untracked &&
		!dm_names_same(list_concat_copy(merge->options->untracked, dataset->settings.overwritten),
					   dataset->untracked))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"untracked\" is not that of dataset %s", dataset->name),
				 errdetail("Its untracked columns: %s.",
						   dataset->untracked ? dm_names_join(dataset->untracked) : "none"),
				 OidIsValid(dataset->feed)
					 ? errhint("Leave it out after the first merge.")
					 : errhint("Leave it out after the first merge; alter_dataset changes it.")));
	if (OidIsValid(dataset->feed))
		dm_settings_check_feed(&merge->options->settings);
	setting = dm_settings_differing(merge->options->given_settings, dataset->stored_settings);
	if (setting)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" is not that of dataset %s", setting, dataset->name),
			 errhint(
				 "Leave it out after the first merge; datamill.datasets shows it, alter_dataset changes what can "
				 "be changed.")));
	if (OidIsValid(merge->options->effective_type) && merge->options->effective_type != dataset->effective_type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dataset %s keeps effective dates of type %s",
						dataset->name,
						format_type_be(dataset->effective_type)),
				 errhint("It is fixed by the first merge; leave it out after that.")));
}

/* Creates the dataset from the columns that the source offers. */
static void
dataset_make(Merge *merge, DmSource *source)
{
	TupleDesc columns = merge->mode == DM_MODE_FEED ? feed_settings_make(merge, source) : source->offered;

	dm_dataset_define(merge->target, columns, merge->spec->keys, merge->options, &merge->dataset);
	dm_dataset_create(merge->target, columns, &merge->dataset);
	if (merge->feed)
		dm_feed_options_store(&merge->dataset, merge->spec->options);
	/* the caller's default rights may have taken some away, and its snapshot must see the new tables' rows */
	dm_dataset_check_rights(&merge->dataset, false);
	LockRelationOid(merge->dataset.current, ShareRowExclusiveLock);
	if (OidIsValid(merge->dataset.sensitive))
		LockRelationOid(merge->dataset.sensitive, ShareRowExclusiveLock);
	UpdateActiveSnapshotCommandId();
}

/* Takes the options of mode feed, and what they leave to the source. Raises 22023 for options of other modes. */
static void
feed_options_take(Merge *merge, Jsonb **source_options)
{
	const DmMergeOptions *options = merge->options;

	if (merge->mode != DM_MODE_FEED)
	{
		dm_feed_options_refuse(merge->spec->options,
							   merge->spec->mode,
							   merge->is_new ? options->settings.last_wins : merge->dataset.settings.last_wins);
		return;
	}
	if (merge->spec->effective != GetCurrentTransactionStartTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument effective is not for mode feed"),
				 errdetail("Each event tells its place by its sequence."),
				 errhint("Leave it out.")));
	if (options->has_deletes || options->scope || OidIsValid(options->effective_type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options deletes, scope and effective_type are not for mode feed")));
	merge->feed =
		dm_feed_options_make(&merge->dataset,
							 merge->spec->options,
							 source_options,
							 dm_url_is_object(merge->spec->source + strspn(merge->spec->source, " \t\r\n")));
}

/*
 * Takes the settings of a new feed from the options and its source, and returns the columns that are not the feed's own:
 * the business columns.
 */
static TupleDesc
feed_settings_make(Merge *merge, DmSource *source)
{
	DmDataset *dataset = &merge->dataset;
	TupleDesc columns = merge->debezium
							? dm_debezium_columns(merge->debezium, &dataset->effective_type)
							: dm_feed_rows_columns(merge->feed, source->offered, &dataset->effective_type);

	dataset->sequence_column = merge->feed->sequence_column;
	dataset->operation_column = merge->feed->operation_column;
	dataset->delete_values = merge->feed->delete_values;
	if (dm_names_has(merge->spec->keys, dataset->sequence_column))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a feed's keys must not hold its sequence column")));
	return columns;
}

/* Sets the effective date in the dataset's type. Raises 22023 if it lies before that of the last merge. */
static void
effective_set(Merge *merge)
{
	DmDataset *dataset = &merge->dataset;
	bool is_before;
	Oid output;
	bool varlena;

	if (merge->mode == DM_MODE_FEED)
		return;
	if (merge->is_new)
		dataset->effective_type =
			OidIsValid(merge->options->effective_type) ? merge->options->effective_type : DATEOID;
	merge->effective = dm_effective_make(dataset->effective_type, merge->spec->effective);
	if (merge->is_new || dataset->last_merge == 0)
		return;
	if (dataset->effective_type == DATEOID)
		is_before = DatumGetDateADT(merge->effective) < DatumGetDateADT(dataset->last_effective);
	else
		is_before = DatumGetTimestampTz(merge->effective) < DatumGetTimestampTz(dataset->last_effective);
	if (!is_before)
		return;
	getTypeOutputInfo(dataset->effective_type, &output, &varlena);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("effective date %s lies before the last merge of %s",
					OidOutputFunctionCall(output, merge->effective),
					dataset->name),
			 errdetail("The last effective date is %s.", OidOutputFunctionCall(output, dataset->last_effective)),
			 errhint("Merge batches in the order of their dates.")));
}

/* Streams the source's rows through the matcher. Returns, of a plan, the examples of each operation. */
static List **
rows_merge(Merge *merge, DmSource *source)
{
	DmMatcherSpec spec;
	EState *estate;
	List **samples;
	DmIntake *intake;

	if (merge->mode == DM_MODE_FEED)
		return events_merge(merge, source);
	estate = CreateExecutorState();
	dm_drift_settle(&merge->dataset, source);
	spec_make(merge, &spec, estate);
	intake = dm_intake_bind(&merge->dataset, spec.apply.shape, source);
	samples = merge->dataset.distributed_by ? shards_merge(merge, &spec, intake, source)
											: matched_merge(merge, &spec, intake, source);
	FreeExecutorState(estate);
	for (int i = 0; i < spec.apply.shape->nparts; i++)
	{
		table_close(spec.apply.history[i], NoLock);
		table_close(spec.apply.current[i], NoLock);
	}
	return samples;
}

/* Matches the source's rows with those of this node, and writes what changed. Returns, of a plan, the examples. */
static List **
matched_merge(Merge *merge, const DmMatcherSpec *spec, DmIntake *intake, const DmSource *source)
{
	DmMatcher *matcher = dm_matcher_begin(spec);

	empty_check(merge, dm_intake_run(intake, dm_matcher_row, matcher));
	merge->counts->rejected = dm_source_rejected(source);
	if (rejected_keep(merge))
		dm_matcher_keep_missing(matcher);
	merge->live_rows = dm_matcher_finish(matcher);
	return dm_matcher_samples(matcher);
}

/* Does the same by SQL on the shards that Citus keeps the rows in. */
static List **
shards_merge(Merge *merge, const DmMatcherSpec *spec, DmIntake *intake, const DmSource *source)
{
	DmCitusMerge *shards = dm_citus_merge_begin(spec, merge->options->scope);

	empty_check(merge, dm_intake_run(intake, dm_citus_merge_row, shards));
	merge->counts->rejected = dm_source_rejected(source);
	if (rejected_keep(merge))
		dm_citus_merge_keep_missing(shards);
	merge->live_rows = dm_citus_merge_finish(shards);
	return dm_citus_merge_samples(shards);
}

/* Streams the source's events through the feed. Returns, of a plan, the examples of each operation. */
static List **
events_merge(Merge *merge, DmSource *source)
{
	LOCKMODE lock = merge->dry_run ? AccessShareLock : RowExclusiveLock;
	DmFeedChanges changes = {0};
	DmFeedSpec spec = {.dataset = &merge->dataset,
					   .merge_id = merge->merge_id,
					   .is_empty = merge->is_new,
					   .dry_run = merge->dry_run,
					   .live_rows = merge->is_new ? 0 : merge->dataset.live_rows,
					   .max_delete_percent = merge->options->max_delete_percent,
					   .counts = merge->counts,
					   .changes = &changes};
	DmFeed *feed;

	spec.current = table_open(merge->dataset.current, NoLock);
	spec.history = table_open(merge->dataset.history, lock);
	spec.points = table_open(merge->dataset.feed, lock);
	spec.shape = dm_shape_make(&merge->dataset, spec.current, spec.history);
	feed = dm_feed_begin(&spec);
	if (merge->debezium)
		dm_debezium_run(merge->debezium, feed, &merge->dataset, spec.shape);
	else
	{
		DmFeedRows *rows = dm_feed_rows_begin(feed, merge->feed, spec.shape, source);

		dm_source_bind(source, dm_feed_rows_wanted(merge->feed, spec.shape, merge->dataset.effective_type));
		dm_source_run(source, dm_feed_rows_row, rows);
	}
	merge->counts->rejected = dm_source_rejected(source);
	dm_feed_finish(feed);
	merge->live_rows = changes.live_rows;
	table_close(spec.points, NoLock);
	table_close(spec.history, NoLock);
	table_close(spec.current, NoLock);
	return dm_feed_samples(feed);
}

/* Opens the tables and says what the matcher is to do. estate holds the scope's condition. */
static void
spec_make(const Merge *merge, DmMatcherSpec *spec, EState *estate)
{
	DmShape *shape;

	memset(spec, 0, sizeof(*spec));
	spec->apply.dataset = &merge->dataset;
	shape = part_open(merge, spec, 0, merge->dataset.current, merge->dataset.history);
	if (OidIsValid(merge->dataset.sensitive))
		shape = dm_shape_join(
			shape, part_open(merge, spec, 1, merge->dataset.sensitive, merge->dataset.sensitive_history));
	spec->apply.shape = shape;
	spec->apply.effective = merge->effective;
	spec->apply.merge_id = merge->merge_id;
	spec->apply.new_dataset = merge->is_new && !merge->dry_run;
	spec->apply.dry_run = merge->dry_run;
	spec->apply.counts = merge->counts;
	spec->mode = merge->mode;
	spec->close_deletes = merge->dataset.close_deletes;
	spec->max_delete_percent = merge->options->max_delete_percent;
	spec->live_rows = merge->dataset.live_rows;
	spec->null_keys = merge->dataset.settings.null_keys;
	spec->stamp = merge->dataset.settings.stamp;
	if (!merge->options->scope)
		return;
	if (merge->mode != DM_MODE_FULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"scope\" is for mode full"),
				 errdetail("Mode %s closes no version of a key that does not come.", merge->spec->mode)));
	spec->scope = dm_scope_prepare(merge->options->scope, spec->apply.current[0], estate);
	spec->scope_context = CreateExprContext(estate);
}

/* Opens the tables of one part; of history, the partition that the merge writes. Returns the part's shape. */
static DmShape *
part_open(const Merge *merge, DmMatcherSpec *spec, int number, Oid current, Oid history)
{
	LOCKMODE mode = merge->dry_run ? AccessShareLock : RowExclusiveLock;

	if (!merge->dry_run && !merge->is_new)
		history = dm_history_make(&merge->dataset, history, merge->effective);
	spec->apply.current[number] = table_open(current, NoLock);
	spec->apply.history[number] = table_open(history, mode);
	return dm_shape_make(&merge->dataset, spec->apply.current[number], spec->apply.history[number]);
}

/*
 * After rows were rejected, a key that did not come may be one of theirs: then no version ends for want of its key. The
 * next merge of a clean source ends those that are really gone. Returns whether that is so.
 */
static bool
rejected_keep(const Merge *merge)
{
	if (merge->counts->rejected == 0 || merge->is_new || merge->mode != DM_MODE_FULL ||
		!merge->dataset.close_deletes)
		return false;
	ereport(
		WARNING,
		(errmsg(INT64_FORMAT " rows of the source were rejected, so no key was deleted", merge->counts->rejected),
		 errdetail("A key that did not come may be that of a rejected row; such keys are counted as missing."),
		 errhint("Merge again when the source is clean.")));
	return true;
}

/* Raises 02000 for a source without rows, unless the caller allows it or it does no harm. */
static void
empty_check(const Merge *merge, int64 rows)
{
	if (rows > 0 || merge->options->allow_empty || merge->mode == DM_MODE_DELTA)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA),
			 errmsg("the source has no rows"),
			 merge->is_new
				 ? 0
				 : errdetail("In mode full that would close the versions of all keys of %s.", merge->dataset.name),
			 errhint("If it is meant: options => '{\"allow_empty\": true}'.")));
}

/* Adds the outputs to the receipt and stores it. Returns its id. */
static char *
receipt_finish(Merge *merge, DmReceipt *receipt)
{
	const DmMergeCounts *counts = merge->counts;
	DmReceiptOutput output = {0};

	output.uri = merge->dataset.name;
	output.counts =
		psprintf("{\"inserted\": " INT64_FORMAT ", \"updated\": " INT64_FORMAT ", \"deleted\": " INT64_FORMAT
				 ", \"unchanged\": " INT64_FORMAT ", \"refreshed\": " INT64_FORMAT "}",
				 counts->inserted,
				 counts->updated,
				 counts->deleted,
				 counts->unchanged,
				 counts->refreshed);
	dm_receipt_output(receipt, &output);
	output.uri = quote_qualified_identifier(get_namespace_name(get_rel_namespace(merge->dataset.history)),
											get_rel_name(merge->dataset.history));
	output.counts = psprintf("{\"inserted\": " INT64_FORMAT "}", counts->updated + counts->deleted);
	dm_receipt_output(receipt, &output);
	return dm_receipt_write(receipt);
}

/* Writes the merge's row of the log. */
static void
merge_log(const Merge *merge, const char *receipt_id)
{
	const DmMergeCounts *counts = merge->counts;
	bool is_date = merge->mode != DM_MODE_FEED && merge->dataset.effective_type == DATEOID;
	Oid types[] = {INT8OID,
				   INT8OID,
				   TIMESTAMPTZOID,
				   DATEOID,
				   TEXTOID,
				   TEXTOID,
				   INT8OID,
				   INT8OID,
				   INT8OID,
				   INT8OID,
				   INT8OID,
				   INT8OID,
				   INT8OID,
				   INT8OID,
				   TEXTOID,
				   TIMESTAMPTZOID,
				   OIDOID};
	Datum values[] = {Int64GetDatum(merge->merge_id),
					  Int64GetDatum(merge->dataset.id),
					  TimestampTzGetDatum(merge->spec->effective),
					  is_date ? merge->effective : (Datum) 0,
					  CStringGetTextDatum(merge->spec->mode),
					  CStringGetTextDatum(merge->spec->source),
					  Int64GetDatum(counts->inserted),
					  Int64GetDatum(counts->updated),
					  Int64GetDatum(counts->deleted),
					  Int64GetDatum(counts->unchanged),
					  Int64GetDatum(counts->missing),
					  Int64GetDatum(counts->rejected),
					  Int64GetDatum(counts->refreshed),
					  Int64GetDatum(merge->live_rows),
					  CStringGetTextDatum(receipt_id),
					  TimestampTzGetDatum(merge->started_at),
					  ObjectIdGetDatum(GetUserId())};
	char nulls[] = "                 ";
	DmCatalogScope scope;

	StaticAssertStmt(lengthof(types) == lengthof(values) && sizeof(nulls) == lengthof(values) + 1, "one of each");
	nulls[3] = is_date ? ' ' : 'n';
	nulls[13] = merge->live_rows >= 0 ? ' ' : 'n';
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"INSERT INTO datamill.merge_catalog (merge_id, dataset_id, effective, effective_day, mode, source, "
		"inserted, updated, deleted, unchanged, missing, rejected, refreshed, live_rows, receipt, "
		"started_at, finished_at, merged_by) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, "
		"$8, $9, $10, $11, $12, $13, $14, $15, $16, clock_timestamp(), $17::regrole)",
		lengthof(types),
		types,
		values,
		nulls);
	dm_catalog_end(&scope);
}

/* Returns the arguments as a JSON object for the receipt: what decides the result. */
static char *
arguments_json(const Merge *merge)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"source\": ");
	escape_json(&out, merge->spec->source);
	appendStringInfoString(&out, ", \"mode\": ");
	escape_json(&out, merge->spec->mode);
	if (merge->mode != DM_MODE_FEED)
	{
		Oid output;
		bool varlena;

		getTypeOutputInfo(merge->dataset.effective_type, &output, &varlena);
		appendStringInfoString(&out, ", \"effective\": ");
		escape_json(&out, OidOutputFunctionCall(output, merge->effective));
	}
	appendStringInfo(&out,
					 ", \"options\": %s}",
					 JsonbToCString(NULL, &merge->spec->options->root, VARSIZE(merge->spec->options)));
	return out.data;
}
