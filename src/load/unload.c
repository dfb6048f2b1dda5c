/*
 * unload.c: rows to objects: records to files, files of a size, partitions in folders, and all of them published at the end.
 *
 * 1. No object appears before the last row was written: each file is brought to the store as it ends, unseen, and all
 *    are published together at the end, the manifest after the others. Whatever fails before that leaves nothing behind.
 * 2. One file is open at a time: rows of a partitioned unload are sorted first, by the folder they go to and then in the
 *    order in which they came, so that names and contents follow from the rows alone.
 * 3. A file is never larger than it may be, but for one that has a single row.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/progress.h"
#include "load/unload.h"
#include "rows/format.h"
#include "rows/row_sort.h"
#include "source/hive.h"
#include "source/source.h"

/* Records are gathered up to this size before they go on. */
#define DM_UNLOAD_CHUNK (128 * 1024)
/* A compressed file with less room than this share of it is full. */
#define DM_UNLOAD_FULL 64

/* A column that makes folders. */
typedef struct Partition
{
	int attribute; /* index in the row, from 0 */
	bool is_bool;
	const char *name;
	DmFormatter formatter;
} Partition;

struct DmUnload
{
	DmUnloadOptions options;
	DmUnloadNames *names;
	MemoryContext context;
	TupleDesc columns; /* of the rows; those that are not in the files as if dropped */
	DmRecordWriter *writer;
	List *existing; /* of DmObject*: what stood there before */
	List *files;	/* of DmUnloadFile*: all that have ended */
	DmUnloadFile *manifest;
	int64 rows;
	int64 bytes;
	int64 row; /* that is being written, as it came, from 1; for error contexts */

	/* The open file. */
	DmUnloadFile *file; /* NULL: none */
	const char *folder; /* of its partition */
	int number;			/* of the next file in it */
	StringInfoData chunk;

	/* Partitions. */
	Partition *partitions;
	int npartitions;
	Tuplesortstate *sort;
	TupleTableSlot *unsorted; /* the columns, the folder and the number of the row */

	bool is_quiet; /* the source reports bytes already */
	DmProgress reported;
};

static void put_record(DmUnload *unload, const Datum *values, const bool *nulls);
static void partitions_make(DmUnload *unload, TupleDesc columns);
static void put_unsorted(DmUnload *unload, TupleTableSlot *slot);
static void drain_sorted(DmUnload *unload);
static void file_begin(DmUnload *unload);
static void file_end(DmUnload *unload, bool is_only);
static void publish(DmUnload *unload);

/* Returns the index of a column by its name; raises 42703 if there is none. */
static int
column_index(TupleDesc columns, const char *name, const char *option)
{
	for (int i = 0; i < columns->natts; i++)
	{
		if (!TupleDescAttr(columns, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(columns, i)->attname), name) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of option \"%s\" is not among the columns written", name, option)));
}

/* Sets the columns that are always in quotes. */
static void
force_quote_make(DmUnload *unload, TupleDesc columns)
{
	DmCsvWriteOptions *csv = &unload->options.csv;
	ListCell *cell;

	if (unload->options.force_quote_all)
		csv->force_quote = bms_add_range(NULL, 1, columns->natts);
	else
	{
		foreach (cell, unload->options.force_quote)
			csv->force_quote =
				bms_add_member(csv->force_quote, column_index(columns, lfirst(cell), "force_quote") + 1);
	}
}

/* Makes the writer of the format. */
static void
writer_make(DmUnload *unload)
{
	const DmUnloadOptions *options = &unload->options;

	if (options->format == DM_FORMAT_CSV)
		unload->writer = dm_csv_writer_make(unload->columns, &options->csv);
	else
		unload->writer =
			dm_json_writer_make(unload->columns, options->format == DM_FORMAT_JSON, options->csv.encoding);
}

/* Takes the compression of a single object from its name, where none was given. */
static void
compression_by_key(DmUnloadOptions *options, const char *url)
{
	Size len = strlen(url);

	if (options->has_compression)
		return;
	if (len > 3 && strcmp(url + len - 3, ".gz") == 0)
		options->compression = DM_COMPRESSION_GZIP;
	else if (len > 4 && strcmp(url + len - 4, ".zst") == 0)
		options->compression = DM_COMPRESSION_ZSTD;
}

/*
 * Begins to write rows of `columns` under a URL, in the current memory context; with is_exact to the one object of that
 * URL. What options point to must outlive it. Raises what is wrong with the URL, options and columns, and 42710 if an object stands in the way.
 */
DmUnload *
dm_unload_begin(const char *url, const DmUnloadOptions *options, TupleDesc columns, bool is_exact)
{
	DmUnload *unload = palloc0(sizeof(DmUnload));

	unload->options = *options;
	unload->context = CurrentMemoryContext;
	unload->folder = "";
	if (is_exact)
		compression_by_key(&unload->options, url);
	dm_unload_options_level(&unload->options);
	unload->names = dm_unload_names_make(url, &unload->options, is_exact);
	unload->columns = CreateTupleDescCopy(columns);
	force_quote_make(unload, columns);
	if (options->partition_by != NIL)
		partitions_make(unload, columns);
	writer_make(unload);
	unload->existing = dm_unload_names_existing(unload->names, &unload->options);
	initStringInfo(&unload->chunk);
	return unload;
}

/* Writes a row of the columns; its values need not outlive the call. Scratch goes to the current memory context. */
void
dm_unload_put(DmUnload *unload, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	unload->row = ++unload->rows;
	if (unload->sort)
		put_unsorted(unload, slot);
	else
		put_record(unload, slot->tts_values, slot->tts_isnull);
}

/* Hands the first bytes of the chunk to the file. */
static void
chunk_write(DmUnload *unload, int len)
{
	StringInfo chunk = &unload->chunk;

	dm_unload_file_write(unload->file, chunk->data, len);
	memmove(chunk->data, chunk->data + len, chunk->len - len);
	chunk->len -= len;
	chunk->data[chunk->len] = '\0';
}

/*
 * Is there room in the file for the record that begins at *start in the chunk, and for all before it? May bring what is
 * before it to the file; *start is moved then.
 */
static bool
record_fits(DmUnload *unload, int *start)
{
	DmUnloadFile *file = unload->file;
	uint64 max = (uint64) unload->options.max_file_bytes;

	if (dm_unload_file_fits(file, &unload->options, unload->chunk.len))
		return true;
	if (unload->options.compression == DM_COMPRESSION_NONE)
		return false;
	chunk_write(unload, *start);
	*start = 0;
	dm_unload_file_flush(file);
	return file->flushed + max / DM_UNLOAD_FULL <= max &&
		   dm_unload_file_fits(file, &unload->options, unload->chunk.len);
}

/* Says which value of which row could not be written. */
static void
record_error_context(void *arg)
{
	const DmUnload *unload = arg;
	int attribute = unload->writer->attribute;

	if (attribute < 0)
		errcontext("row %lld of the unload", (long long) unload->row);
	else
		errcontext("row %lld of the unload, column %s",
				   (long long) unload->row,
				   NameStr(TupleDescAttr(unload->columns, attribute)->attname));
}

/* Appends a record to the chunk. */
static void
append_record(DmUnload *unload, const Datum *values, const bool *nulls)
{
	ErrorContextCallback callback = {error_context_stack, record_error_context, unload};

	error_context_stack = &callback;
	unload->writer->record(unload->writer, values, nulls, &unload->chunk);
	error_context_stack = callback.previous;
}

/* Tells how much was written so far, for whoever watches. */
static void
report_progress(DmUnload *unload)
{
	DmProgress done = {.objects = list_length(unload->files),
					   .bytes = unload->bytes + (unload->file ? (int64) unload->file->stored->bytes_in : 0),
					   .retries = dm_store_stats(unload->names->store)->retries};

	if (!unload->is_quiet)
		dm_progress_advance(&unload->reported, &done);
}

/* Adds a record to the open file, or to a new one where that is full. */
static void
put_record(DmUnload *unload, const Datum *values, const bool *nulls)
{
	int start;

	if (!unload->file)
		file_begin(unload);
	start = unload->chunk.len;
	append_record(unload, values, nulls);
	if (unload->options.max_file_bytes > 0 && unload->file->rows > 0 && !record_fits(unload, &start))
	{
		unload->chunk.len = start;
		file_end(unload, false);
		file_begin(unload);
		append_record(unload, values, nulls);
	}
	unload->file->rows++;
	if (unload->chunk.len >= DM_UNLOAD_CHUNK)
	{
		chunk_write(unload, unload->chunk.len);
		report_progress(unload);
	}
}

/* Returns what the files are, for those who fetch them. */
static const char *
content_type(const DmUnloadOptions *options)
{
	static const char *const formats[] = {"text/csv", "application/x-ndjson", "application/json"};
	static const char *const compressions[] = {NULL, "application/gzip", "application/zstd"};

	return options->compression == DM_COMPRESSION_NONE ? formats[options->format]
													   : compressions[options->compression];
}

/* Starts the next file of the folder. */
static void
file_begin(DmUnload *unload)
{
	MemoryContext caller = MemoryContextSwitchTo(unload->context);
	char *key = dm_unload_names_key(unload->names, unload->folder, unload->number++);

	unload->file = dm_unload_file_open(
		unload->names->store, unload->names->bucket, key, &unload->options, content_type(&unload->options));
	resetStringInfo(&unload->chunk);
	unload->writer->begin(unload->writer, &unload->chunk);
	pfree(key);
	MemoryContextSwitchTo(caller);
}

/* Ends the open file. The only one that there will be is not sealed: to publish it at once is fewer requests. */
static void
file_end(DmUnload *unload, bool is_only)
{
	MemoryContext caller = MemoryContextSwitchTo(unload->context);

	unload->writer->end(unload->writer, &unload->chunk);
	chunk_write(unload, unload->chunk.len);
	dm_unload_file_end(unload->file);
	if (!is_only)
		dm_unload_file_seal(unload->file);
	unload->files = lappend(unload->files, unload->file);
	unload->bytes += unload->file->bytes;
	unload->file = NULL;
	report_progress(unload);
	MemoryContextSwitchTo(caller);
}

/* Prepares the columns that make folders, and the sort. */
static void
partitions_make(DmUnload *unload, TupleDesc columns)
{
	int natts = columns->natts;
	TupleDesc desc = CreateTemplateTupleDesc(natts + 2);
	AttrNumber order[2] = {(AttrNumber) (natts + 1), (AttrNumber) (natts + 2)};
	ListCell *cell;

	unload->partitions = palloc0(sizeof(Partition) * list_length(unload->options.partition_by));
	foreach (cell, unload->options.partition_by)
	{
		Partition *partition = &unload->partitions[unload->npartitions++];
		Form_pg_attribute attribute;

		partition->attribute = column_index(columns, lfirst(cell), "partition_by");
		attribute = TupleDescAttr(unload->columns, partition->attribute);
		partition->name = lfirst(cell);
		partition->is_bool = getBaseType(attribute->atttypid) == BOOLOID;
		dm_formatter_init(&partition->formatter, attribute->atttypid);
		partition->formatter.iso = true;
		if (unload->options.include)
			continue;
		attribute->attisdropped = true;
		dm_attribute_changed(unload->columns, partition->attribute);
	}
	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, columns, i);
	TupleDescInitEntry(desc, order[0], "folder", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, order[0], C_COLLATION_OID);
	TupleDescInitEntry(desc, order[1], "row", INT8OID, -1, 0);
	unload->unsorted = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	unload->sort = dm_row_sort_begin(desc, order, lengthof(order));
}

/* Returns the folder of a row, "column=value/" for each column, in the current memory context. */
static char *
row_folder(DmUnload *unload, const TupleTableSlot *slot)
{
	char *folder = "";

	for (int i = 0; i < unload->npartitions; i++)
	{
		Partition *partition = &unload->partitions[i];
		Datum value = slot->tts_values[partition->attribute];
		const char *text = NULL;
		int len;

		if (!slot->tts_isnull[partition->attribute] && partition->is_bool)
			text = DatumGetBool(value) ? "true" : "false";
		else if (!slot->tts_isnull[partition->attribute])
		{
			text = partition->formatter.format(&partition->formatter, value, &len);
			text = pnstrdup(text, len);
		}
		folder = psprintf("%s%s", folder, dm_hive_step(partition->name, text));
	}
	return folder;
}

/* Adds a row, with its folder and its number, to the sort. */
static void
put_unsorted(DmUnload *unload, TupleTableSlot *slot)
{
	TupleTableSlot *to = unload->unsorted;
	int natts = unload->columns->natts;

	ExecClearTuple(to);
	memcpy(to->tts_values, slot->tts_values, sizeof(Datum) * natts);
	memcpy(to->tts_isnull, slot->tts_isnull, sizeof(bool) * natts);
	to->tts_values[natts] = CStringGetTextDatum(row_folder(unload, slot));
	to->tts_values[natts + 1] = Int64GetDatum(unload->row);
	to->tts_isnull[natts] = false;
	to->tts_isnull[natts + 1] = false;
	ExecStoreVirtualTuple(to);
	tuplesort_puttupleslot(unload->sort, to);
}

/* Goes on to another folder, if it is another. */
static void
enter_folder(DmUnload *unload, Datum folder)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(folder);
	int len = (int) VARSIZE_ANY_EXHDR(text);

	if (unload->file && (int) strlen(unload->folder) == len && memcmp(unload->folder, VARDATA_ANY(text), len) == 0)
		return;
	if (unload->file)
		file_end(unload, false);
	unload->folder = MemoryContextStrdup(unload->context, pnstrdup(VARDATA_ANY(text), len));
	unload->number = 0;
}

/* Writes the sorted rows. */
static void
drain_sorted(DmUnload *unload)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(unload->unsorted->tts_tupleDescriptor, &TTSOpsMinimalTuple);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "datamill unload row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;

	tuplesort_performsort(unload->sort);
	while (tuplesort_gettupleslot(unload->sort, true, false, slot, NULL))
	{
		slot_getallattrs(slot);
		MemoryContextSwitchTo(row);
		enter_folder(unload, slot->tts_values[unload->columns->natts]);
		unload->row = DatumGetInt64(slot->tts_values[unload->columns->natts + 1]);
		put_record(unload, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
	}
	tuplesort_end(unload->sort);
	unload->sort = NULL;
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(unload->unsorted);
	MemoryContextDelete(row);
}

/* Brings the manifest to the store. */
static void
manifest_write(DmUnload *unload)
{
	DmUnloadOptions options = {.overwrite = unload->options.overwrite};
	char *text = dm_unload_manifest_make(
		unload->names, unload->columns, unload->files, unload->options.manifest == DM_MANIFEST_VERBOSE);
	char *utf8 = pg_server_to_any(text, (int) strlen(text), PG_UTF8);

	unload->manifest = dm_unload_file_open(unload->names->store,
										   unload->names->bucket,
										   dm_unload_names_manifest(unload->names),
										   &options,
										   "application/json");
	dm_unload_file_write(unload->manifest, utf8, strlen(utf8));
	dm_unload_file_end(unload->manifest);
	dm_unload_file_seal(unload->manifest);
}

/* Writes what waits, makes all objects appear, and counts them. */
void
dm_unload_finish(DmUnload *unload, DmUnloadResult *result)
{
	MemoryContext caller = MemoryContextSwitchTo(unload->context);

	if (unload->sort)
		drain_sorted(unload);
	if (!unload->file && unload->files == NIL && unload->npartitions == 0 && !unload->options.no_empty_file)
		file_begin(unload);
	if (unload->file)
		file_end(unload, unload->files == NIL && unload->options.manifest == DM_MANIFEST_NONE);
	if (unload->options.manifest != DM_MANIFEST_NONE)
		manifest_write(unload);
	publish(unload);
	MemoryContextSwitchTo(caller);
	result->files = list_length(unload->files);
	result->rows = unload->rows;
	result->bytes = unload->bytes;
}

typedef struct Publishing
{
	int done;
	int all;
} Publishing;

/* Says how many objects are there where publishing fails in the middle. */
static void
publish_error_context(void *arg)
{
	const Publishing *publishing = arg;

	errcontext("publishing object %d of %d; those before it are there", publishing->done + 1, publishing->all);
}

/* Orders keys by their bytes. */
static int
compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Removes the objects that stood there before, but for those that were replaced. */
static void
remove_existing(const DmUnload *unload)
{
	int count = 0;
	const char **keys = palloc(sizeof(char *) * (list_length(unload->files) + 1));
	List *others = NIL;
	ListCell *cell;

	foreach (cell, unload->files)
		keys[count++] = ((DmUnloadFile *) lfirst(cell))->key;
	if (unload->manifest)
		keys[count++] = unload->manifest->key;
	qsort(keys, count, sizeof(char *), compare_keys);
	foreach (cell, unload->existing)
	{
		DmObject *object = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (!bsearch(&object->key, keys, count, sizeof(char *), compare_keys))
			others = lappend(others, object);
	}
	dm_store_delete(unload->names->store, others);
}

/* Makes all objects appear, the manifest last, then removes those that are to go. */
static void
publish(DmUnload *unload)
{
	Publishing publishing = {0, list_length(unload->files) + (unload->manifest ? 1 : 0)};
	ErrorContextCallback callback = {error_context_stack, publish_error_context, &publishing};
	ListCell *cell;

	/* What has come in the meantime is found before the first object appears, not after some. */
	if (publishing.all > 1 && unload->options.overwrite == DM_OVERWRITE_REFUSE)
		(void) dm_unload_names_existing(unload->names, &unload->options);
	error_context_stack = &callback;
	foreach (cell, unload->files)
	{
		DmUnloadFile *file = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		dm_unload_file_publish(file);
		publishing.done++;
	}
	if (unload->manifest)
		dm_unload_file_publish(unload->manifest);
	error_context_stack = callback.previous;
	remove_existing(unload);
}

/* Adds one file to the receipt. */
static void
output_file(DmReceipt *receipt, const DmUnload *unload, const DmUnloadFile *file, bool has_rows)
{
	DmReceiptOutput output = {.uri = dm_object_uri(file->object),
							  .counts = has_rows ? psprintf("{\"rows\": " INT64_FORMAT "}", file->rows) : "{}",
							  .etag = file->object->etag,
							  .sha256 = file->sha256,
							  .size = file->bytes,
							  .server = unload->names->server};

	dm_receipt_output(receipt, &output);
}

/* Adds what was written to a receipt. */
void
dm_unload_outputs(const DmUnload *unload, DmReceipt *receipt)
{
	ListCell *cell;

	foreach (cell, unload->files)
		output_file(receipt, unload, lfirst(cell), true);
	if (unload->manifest)
		output_file(receipt, unload, unload->manifest, false);
}

/* Writes one row of a source. */
static void
put_row(TupleTableSlot *slot, void *arg)
{
	dm_unload_put(arg, slot);
}

/* Returns the arguments of an unload as a JSON object, for the receipt. */
static char *
arguments_json(const char *source, const Jsonb *options)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"source\": ");
	escape_json(&out, source);
	appendStringInfo(
		&out, ", \"options\": %s}", JsonbToCString(NULL, &unconstify(Jsonb *, options)->root, VARSIZE(options)));
	return out.data;
}

/*
 * Writes the rows of a source under a URL and fills *result, in the current memory context. In a transaction that may not
 * write there is no receipt: it is NULL then.
 */
void
dm_unload(const char *source_text, const char *url, Jsonb *options, DmUnloadResult *result)
{
	DmUnloadOptions parsed;
	DmReceipt *receipt = NULL;
	DmSource *source;
	DmUnload *unload;

	PreventCommandIfParallelMode("unload()");
	memset(result, 0, sizeof(*result));
	dm_unload_options_parse(options, false, &parsed);
	if (parsed.source && !dm_url_is_object(source_text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"source\" is for objects as source only"),
				 errhint("It says how objects (s3://...) are read.")));
	dm_progress_begin(DM_PROGRESS_UNLOAD, InvalidOid);
	if (!XactReadOnly)
		receipt = dm_receipt_begin("unload", url, arguments_json(source_text, options));
	PushActiveSnapshot(GetTransactionSnapshot());
	source = dm_source_open(source_text, parsed.source);
	dm_source_bind(source, source->offered);
	unload = dm_unload_begin(url, &parsed, source->offered, false);
	unload->is_quiet = source->kind == DM_SOURCE_OBJECTS;
	(void) dm_source_run(source, put_row, unload);
	dm_unload_finish(unload, result);
	dm_source_close(source);
	PopActiveSnapshot();
	if (receipt)
	{
		dm_unload_outputs(unload, receipt);
		result->receipt = dm_receipt_write(receipt);
	}
	dm_progress_end();
	ereport(NOTICE,
			(errmsg("unloaded %lld rows into %lld objects of %lld bytes",
					(long long) result->rows,
					(long long) result->files,
					(long long) result->bytes)));
}
