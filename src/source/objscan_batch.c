/*
 * objscan_batch.c: rows of an object scan where a bad row is left out instead of ending the statement.
 *
 * What an input function does before it raises can be undone by rolling back a subtransaction only, and one around each row
 * is dear. So up to DM_BATCH_ROWS records are read and copied, then converted within one subtransaction. When a row raises,
 * the subtransaction is rolled back, the row is rejected, and another one goes on with the next row; the rows converted before
 * are plain values in memory that no rollback takes away.
 *
 * Invariants:
 * 1. Nothing is read within a subtransaction: files and connections belong to the statement.
 * 2. A batch never spans two objects, and its rejects are written before its first row is handed out.
 * 3. Only errors in the data are caught. Cancel, lack of memory, failed reads and the like end the statement.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "receipt/receipt.h"
#include "receipt/reject.h"
#include "source/objscan_internal.h"

#define DM_BATCH_ROWS 1000
#define DM_BATCH_FIRST_ROWS 32
#define DM_BATCH_BYTES (1024 * 1024)
/* Bytes of a rejected record that are kept. */
#define DM_MAX_RECORD_KEPT 1000

/*
 * Makes the batch of a scan, in the current memory context. Every column is needed, so that all queries get the same rows.
 * Raises where rows cannot be kept, or where there can be no subtransactions.
 */
DmObjBatch *
dm_objbatch_make(DmObjScan *scan)
{
	DmObjBatch *batch = palloc0(sizeof(DmObjBatch));

	if (scan->spec.on_error == DM_ON_ERROR_QUARANTINE)
		dm_rejects_check_writable();
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("bad rows cannot be ignored in a parallel query"),
				 errhint("SET max_parallel_workers_per_gather = 0; for this query, or use on_error 'stop'.")));
	scan->spec.all_needed = true;
	batch->context = AllocSetContextCreate(CurrentMemoryContext, "datamill batch", ALLOCSET_DEFAULT_SIZES);
	batch->records = palloc(DM_BATCH_ROWS * sizeof(DmObjRecord));
	batch->tuples = palloc(DM_BATCH_ROWS * sizeof(HeapTuple));
	batch->rows = palloc(DM_BATCH_ROWS * sizeof(int64));
	batch->wanted = DM_BATCH_FIRST_ROWS;
	return batch;
}

/* Copies the current record into the batch. Returns how many bytes it has. */
static Size
keep_record(DmObjScan *scan, DmObjBatch *batch)
{
	DmObjRecord *kept = &batch->records[batch->nrecords++];
	Size bytes = 0;
	char *data;

	*kept = scan->record;
	if (scan->json)
	{
		data = MemoryContextAllocHuge(batch->context, (Size) kept->len + 1);
		kept->text = memcpy(data, kept->text, kept->len);
		return kept->len;
	}
	for (int i = 0; i < kept->nfields; i++)
		bytes += kept->fields[i].len;
	kept->fields = palloc(kept->nfields * sizeof(DmCsvField));
	data = MemoryContextAllocHuge(batch->context, bytes + 1);
	for (int i = 0; i < kept->nfields; i++)
	{
		kept->fields[i] = scan->record.fields[i];
		kept->fields[i].data = memcpy(data, kept->fields[i].data, kept->fields[i].len);
		data += kept->fields[i].len;
	}
	return bytes + kept->nfields * sizeof(DmCsvField);
}

/* Reads records of the current object into the empty batch. */
static void
read_batch(DmObjScan *scan, DmObjBatch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	Size bytes = 0;

	while (batch->nrecords < batch->wanted && bytes < DM_BATCH_BYTES)
	{
		if (!dm_objscan_read_record(scan))
		{
			batch->object_ended = true;
			break;
		}
		bytes += keep_record(scan, batch);
	}
	batch->wanted = Min(batch->wanted * 2, DM_BATCH_ROWS);
	MemoryContextSwitchTo(caller);
}

/* Appends bytes to text as far as they are valid in the database's encoding; others as \xHH. */
static void
append_valid(StringInfo text, const char *data, int len)
{
	while (len > 0)
	{
		int valid = pg_encoding_verifymbchar(GetDatabaseEncoding(), data, len);

		if (valid > 0 && *data != '\0')
			appendBinaryStringInfo(text, data, valid);
		else
		{
			valid = 1;
			appendStringInfo(text, "\\x%02X", (unsigned char) *data);
		}
		data += valid;
		len -= valid;
	}
}

/* Appends a field as CSV has it, in quotes if it was in quotes; no more than what is kept of a record. */
static void
append_field(StringInfo text, const DmCsvOptions *csv, const DmCsvField *field)
{
	int len = Min(field->len, DM_MAX_RECORD_KEPT + MAX_MULTIBYTE_CHAR_LEN);

	if (!field->quoted)
	{
		append_valid(text, field->data, len);
		return;
	}
	appendStringInfoChar(text, csv->quote);
	for (int i = 0, start = 0; i <= len; i++)
	{
		if (i < len && field->data[i] != csv->quote && field->data[i] != csv->escape)
			continue;
		append_valid(text, field->data + start, i - start);
		start = i;
		if (i < len)
			appendStringInfoChar(text, csv->escape);
	}
	appendStringInfoChar(text, csv->quote);
}

/* Sets a reject's text: a JSON record; the fields of a CSV one, since the reader has changed the bytes they were read from. */
static void
set_record_text(const DmObjScan *scan, DmReject *reject)
{
	const DmObjRecord *record = &scan->record;
	StringInfoData text;

	initStringInfo(&text);
	if (scan->json)
		append_valid(&text, record->text, Min(record->len, DM_MAX_RECORD_KEPT + MAX_MULTIBYTE_CHAR_LEN));
	for (int i = 0; i < record->nfields && text.len <= DM_MAX_RECORD_KEPT; i++)
	{
		if (i > 0)
			appendStringInfoChar(&text, scan->spec.csv.delimiter);
		append_field(&text, &scan->spec.csv, &record->fields[i]);
	}
	reject->cut = text.len > DM_MAX_RECORD_KEPT;
	if (reject->cut)
		text.data[pg_mbcliplen(text.data, text.len, DM_MAX_RECORD_KEPT)] = '\0';
	reject->record = text.data;
}

/* Raises when more rows were rejected than may be. */
static void
check_limit(const DmObjScan *scan, const ErrorData *error)
{
	if (scan->spec.reject_limit < 0 || scan->stats.rejected <= scan->spec.reject_limit)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("more than %lld rows were rejected", (long long) scan->spec.reject_limit),
			 errdetail("The last one: %s", error->message),
			 errhint("Look at the objects, or raise option reject_limit, or maxerror.")));
}

/* Rejects the current record for an error: counts it and, in a quarantine, keeps it. Runs in the batch's context. */
static void
reject_record(DmObjScan *scan, DmObjBatch *batch, const ErrorData *error)
{
	const DmObjTarget *target = scan->target;
	DmReject *reject;

	scan->target = NULL;
	batch->object_rejected++;
	if (scan->position < batch->seen_position ||
		(scan->position == batch->seen_position && scan->record.row <= batch->seen_row))
		return;
	batch->seen_position = scan->position;
	batch->seen_row = scan->record.row;
	scan->stats.rejected++;
	dm_receipt_reject();
	check_limit(scan, error);
	if (scan->spec.on_error != DM_ON_ERROR_QUARANTINE)
		return;
	reject = palloc0(sizeof(DmReject));
	reject->object = scan->uri;
	reject->row = scan->record.row;
	reject->line = scan->record.line;
	reject->offset = (int64) scan->record.offset;
	if (target)
		reject->column = NameStr(TupleDescAttr(scan->map->desc, target->attribute)->attname);
	reject->sqlstate = error->sqlerrcode;
	reject->message = error->message;
	set_record_text(scan, reject);
	batch->rejects = lappend(batch->rejects, reject);
}

/* Is an error about the data, and not about the server's state: classes 22 and 23, and limits of values? */
static bool
is_data_error(const ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
		   category == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/* Converts records from *at on into tuples, moving *at. */
static void
convert_records(DmObjScan *scan, DmObjBatch *batch, volatile int *at)
{
	TupleDesc desc = scan->map->desc;
	Datum *values = MemoryContextAlloc(batch->context, (desc->natts + 1) * sizeof(Datum));
	bool *isnull = MemoryContextAlloc(batch->context, (desc->natts + 1) * sizeof(bool));

	for (; *at < batch->nrecords; (*at)++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scan->row_context);
		MemoryContextSwitchTo(scan->row_context);
		scan->record = batch->records[*at];
		memset(values, 0, desc->natts * sizeof(Datum));
		dm_objscan_convert(scan, values, isnull);
		MemoryContextSwitchTo(batch->context);
		batch->rows[batch->ntuples] = scan->record.row;
		batch->tuples[batch->ntuples++] = heap_form_tuple(desc, values, isnull);
	}
}

/* Converts records from *at on in one subtransaction, up to and including the first bad one, which is rejected. */
static void
convert_until_bad(DmObjScan *scan, DmObjBatch *batch, volatile int *at)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		convert_records(scan, batch, at);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *error;
		DmProgressState progress;

		MemoryContextSwitchTo(batch->context);
		error = CopyErrorData();
		FlushErrorState();
		dm_progress_save(&progress);
		RollbackAndReleaseCurrentSubTransaction();
		dm_progress_restore(&progress);
		MemoryContextSwitchTo(batch->context);
		CurrentResourceOwner = owner;
		if (!is_data_error(error))
			ReThrowError(error);
		reject_record(scan, batch, error);
		(*at)++;
		MemoryContextSwitchTo(caller);
	}
	PG_END_TRY();
}

/* Makes the next batch of at least one row. Returns false after the last one. */
static bool
fill_batch(DmObjScan *scan, DmObjBatch *batch)
{
	volatile int at = 0;

	MemoryContextReset(batch->context);
	batch->nrecords = batch->ntuples = batch->next = 0;
	batch->rejects = NIL;
	if (batch->object_ended)
	{
		dm_objscan_finish_object(scan);
		batch->object_ended = false;
	}
	if (!scan->object)
	{
		batch->object_rejected = 0;
		if (!dm_objscan_open_object(scan))
			return false;
	}
	read_batch(scan, batch);
	while (at < batch->nrecords)
		convert_until_bad(scan, batch, &at);
	dm_rejects_write(batch->rejects);
	return true;
}

/* Stores the next good row in slot and returns true; false at the end. The row lives until the next batch. */
bool
dm_objbatch_next(DmObjScan *scan, TupleTableSlot *slot)
{
	DmObjBatch *batch = scan->batch;

	while (batch->next >= batch->ntuples)
	{
		if (!fill_batch(scan, batch))
			return false;
	}
	heap_deform_tuple(batch->tuples[batch->next++], scan->map->desc, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	return true;
}

/* Forgets the batch at hand. What was rejected is not rejected again in another pass. */
void
dm_objbatch_rescan(DmObjScan *scan)
{
	DmObjBatch *batch = scan->batch;

	MemoryContextReset(batch->context);
	batch->nrecords = batch->ntuples = batch->next = 0;
	batch->rejects = NIL;
	batch->object_ended = false;
}
