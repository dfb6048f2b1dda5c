/*
 * load.c: one load of a source into a table, from arguments to receipt.
 *
 * Invariants of the folder:
 * 1. All that a load does (rows, ledger, receipt) is done in the caller's transaction: all of it or nothing.
 * 2. Objects are listed once; only those that the ledger lacks are read, each with If-Match on the etag listed.
 * 3. Columns are found by name, or by position where there is no header or COPY's column list. The first header says which columns the
 *    source gives; all other objects must have the same.
 * 4. The caller needs the rights of any writer of the table; only ledger and receipt are written as the extension's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/options.h"
#include "base/progress.h"
#include "load/load.h"
#include "receipt/receipt.h"
#include "source/format_options.h"
#include "source/objscan.h"
#include "source/source.h"

typedef struct Load
{
	const DmLoadSpec *spec;
	DmLoadOptions options;
	DmLoadTarget *target;
	DmLedger *ledger; /* NULL: none is kept */
	DmLoadResult *result;
} Load;

static void load_objects(Load *load);
static void load_relation(Load *load);
static char *arguments_json(const Load *load);
static void notice_summary(const Load *load, bool has_files);

/*
 * Loads a source and fills *result, in the current memory context. Raises what reading and writing raise, and leaves
 * nothing behind then.
 */
void
dm_load(const DmLoadSpec *spec, DmLoadResult *result)
{
	Load load = {.spec = spec, .result = result};
	bool is_objects;
	DmReceipt *receipt;
	DmReceiptOutput output = {0};

	PreventCommandIfParallelMode(spec->is_copy ? "COPY FROM" : "load()");
	memset(result, 0, sizeof(*result));
	dm_load_options_parse(spec->options, &load.options);
	load.target = dm_load_target_open(spec);
	is_objects = dm_url_is_object(spec->source);
	dm_progress_begin(spec->is_copy ? DM_PROGRESS_COPY_FROM : DM_PROGRESS_LOAD, spec->target);
	if (is_objects && !spec->no_ledger)
		load.ledger = dm_ledger_open(spec->target);
	receipt =
		dm_receipt_begin(spec->is_copy ? "copy" : "load", dm_load_target_name(load.target), arguments_json(&load));
	if (is_objects)
		load_objects(&load);
	else
		load_relation(&load);
	CommandCounterIncrement();
	output.uri = dm_load_target_name(load.target);
	output.counts = psprintf(
		"{\"%s\": " INT64_FORMAT "}", spec->mode == DM_LOAD_UPSERT ? "upserted" : "inserted", result->rows);
	dm_receipt_output(receipt, &output);
	result->receipt = dm_receipt_write(receipt);
	if (load.ledger)
		dm_ledger_write(load.ledger, result->receipt);
	dm_load_target_close(load.target);
	dm_progress_end();
	notice_summary(&load, is_objects);
}

/* Adds the attnums in `wanted` of the named columns to a set. Raises 42703 on a name that is not among them. */
static Bitmapset *
attributes_of(TupleDesc wanted, List *names)
{
	Bitmapset *set = NULL;
	ListCell *cell;

	foreach (cell, names)
	{
		int found = 0;

		for (int i = 0; i < wanted->natts; i++)
		{
			if (strcmp(NameStr(TupleDescAttr(wanted, i)->attname), lfirst(cell)) == 0)
				found = i + 1;
		}
		if (found == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("column \"%s\" is not one of those that are loaded", (char *) lfirst(cell))));
		set = bms_add_member(set, found);
	}
	return set;
}

/* Says how the objects are to be read: into the wanted columns of the target. */
static void
scan_spec(const Load *load, DmObjScanSpec *scan)
{
	TupleDesc wanted = dm_load_target_wanted(load->target);

	memset(scan, 0, sizeof(*scan));
	scan->url = load->spec->source;
	scan->user = GetUserId();
	scan->server = dm_source_server(dm_option_get(load->options.format, "server"));
	dm_format_read(scan, load->options.format);
	scan->desc = wanted;
	scan->all_needed = true;
	/* Every column is named outright: none is taken for one of the special ones, _file and the like. */
	scan->field_names = palloc(sizeof(char *) * (wanted->natts + 1));
	for (int i = 0; i < wanted->natts; i++)
		scan->field_names[i] = NameStr(TupleDescAttr(wanted, i)->attname);
	/* COPY's users know where each column comes from. */
	if (load->spec->is_copy && !dm_option_get(load->options.format, "hive"))
		scan->no_hive = true;
	dm_objscan_find_hive(scan);
	scan->allow_missing = load->spec->columns == NIL && !load->spec->is_copy;
	scan->force_null = attributes_of(wanted, load->spec->force_null);
	scan->force_not_null = attributes_of(wanted, load->spec->force_not_null);
	if (load->ledger)
	{
		scan->object_done = dm_ledger_note;
		scan->object_arg = load->ledger;
	}
}

/* Warns that objects are skipped whose rows are gone. */
static void
warn_of_empty_target(const Load *load)
{
	const char *name = dm_load_target_name(load->target);

	ereport(WARNING,
			(errmsg("%lld objects are skipped since they were loaded before, but %s is empty",
					(long long) load->result->files_skipped,
					name),
			 errhint("If their rows were removed and are wanted again: SELECT datamill.forget_loads(%s), or load "
					 "with the option force.",
					 quote_literal_cstr(name))));
}

/* Lists the objects and leaves out those that were loaded already. */
static void
pick_objects(Load *load, DmObjScanSpec *scan)
{
	List *listed = dm_objscan_list(scan);

	scan->objects = listed;
	scan->listed = true;
	if (load->ledger && load->spec->mode == DM_LOAD_REPLACE)
		(void) dm_ledger_forget(load->ledger, NULL);
	if (load->ledger)
		scan->objects = dm_ledger_pick(load->ledger, listed, &load->options);
	load->result->files_skipped = list_length(listed) - list_length(scan->objects);
	if (load->result->files_skipped > 0 && dm_load_target_is_bare(load->target))
		warn_of_empty_target(load);
}

/* Adds where in the objects a row that could not be written is: rows are written in batches, so it may be an earlier one. */
static void
write_error_context(void *arg)
{
	const char *uri;
	int64 row;

	if (dm_objscan_place(arg, &uri, &row))
		errcontext("%s, row %lld or one shortly before it", uri, (long long) row);
}

/* Reads all rows of the scan into the target. */
static void
copy_rows(Load *load, DmObjScan *scan)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(dm_load_target_wanted(load->target), &TTSOpsVirtual);
	ErrorContextCallback callback = {.callback = write_error_context, .arg = scan};

	callback.previous = error_context_stack;
	while (dm_objscan_next(scan, slot))
	{
		error_context_stack = &callback;
		dm_load_target_put(load->target, slot);
		error_context_stack = callback.previous;
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Loads objects: lists them, picks what is new, reads it. */
static void
load_objects(Load *load)
{
	DmObjScanSpec spec;
	DmObjScan *scan;

	scan_spec(load, &spec);
	pick_objects(load, &spec);
	/* What others committed while this load waited for them must be seen. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	scan = dm_objscan_begin(&spec);
	/* A record of JSON may leave out any member. */
	dm_load_target_begin(load->target, dm_objscan_present(scan), spec.format != DM_FORMAT_CSV);
	copy_rows(load, scan);
	load->result->files = dm_objscan_stats(scan)->objects_read;
	load->result->rejected = dm_objscan_stats(scan)->rejected;
	load->result->bytes = dm_objscan_stats(scan)->bytes_read;
	dm_objscan_end(scan);
	load->result->rows = dm_load_target_finish(load->target);
	PopActiveSnapshot();
}

/* Puts one row of a relation or query into the target. */
static void
put_row(TupleTableSlot *slot, void *arg)
{
	dm_load_target_put(arg, slot);
}

/* Returns the wanted columns, of which the ones that the source does not offer are as if dropped; *present are the others. */
static TupleDesc
offered_columns(const DmSource *source, TupleDesc wanted, Bitmapset **present)
{
	TupleDesc desc = CreateTupleDescCopy(wanted);

	*present = NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		bool offered = false;

		for (int j = 0; j < source->offered->natts && !offered; j++)
			offered = namestrcmp(&TupleDescAttr(source->offered, j)->attname, NameStr(attribute->attname)) == 0;
		if (offered)
			*present = bms_add_member(*present, i + 1);
		else
		{
			attribute->attisdropped = true;
			dm_attribute_changed(desc, i);
		}
	}
	return desc;
}

/* Raises for an option of the load's own that is for objects; the source does for its options. */
static void
check_no_objects(const Load *load)
{
	const char *option = load->options.force							? "force"
						 : load->options.on_changed != DM_CHANGED_ERROR ? "on_changed"
																		: NULL;

	if (option)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is for objects as source only", option),
				 errhint("It says which objects (s3://...) are loaded; this source is a relation or query.")));
}

/* Loads the rows of a relation or query. */
static void
load_relation(Load *load)
{
	DmSource *source;
	Bitmapset *present;

	check_no_objects(load);
	PushActiveSnapshot(GetTransactionSnapshot());
	source = dm_source_open(load->spec->source, load->options.source);
	dm_source_bind(source, offered_columns(source, dm_load_target_wanted(load->target), &present));
	dm_load_target_begin(load->target, present, false);
	(void) dm_source_run(source, put_row, load->target);
	load->result->rows = dm_load_target_finish(load->target);
	dm_source_close(source);
	PopActiveSnapshot();
}

/* Returns the arguments of the load as a JSON object, for the receipt. */
static char *
arguments_json(const Load *load)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"source\": ");
	escape_json(&out, load->spec->source);
	appendStringInfo(&out, ", \"mode\": \"%s\"", dm_load_mode_name(load->spec->mode));
	if (load->spec->keys != NIL)
	{
		appendStringInfoString(&out, ", \"keys\": ");
		escape_json(&out, dm_names_join(load->spec->keys));
	}
	appendStringInfo(
		&out, ", \"options\": %s}", JsonbToCString(NULL, &load->spec->options->root, VARSIZE(load->spec->options)));
	return out.data;
}

/* Tells the user what was done. */
static void
notice_summary(const Load *load, bool has_files)
{
	const DmLoadResult *result = load->result;
	const char *name = dm_load_target_name(load->target);

	if (has_files)
		ereport(NOTICE,
				(errmsg("loaded into %s: %lld rows, %lld bytes of %lld objects (%lld skipped)",
						name,
						(long long) result->rows,
						(long long) result->bytes,
						(long long) result->files,
						(long long) result->files_skipped)));
	else
		ereport(NOTICE, (errmsg("loaded into %s: %lld rows", name, (long long) result->rows)));
	if (result->rejected > 0)
		ereport(NOTICE, (errmsg("%lld bad rows were left out", (long long) result->rejected)));
}
