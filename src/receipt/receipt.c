/*
 * receipt.c: collects what an operation reads and writes, and stores it as one row.
 *
 * Invariants:
 * 1. The innermost open receipt gets the inputs. It lives in its own context below the caller's; when ERROR deletes
 *    that context, a callback takes it off the stack, so no pointer outlives it.
 * 2. Nothing is stored before dm_receipt_write(), which inserts in the caller's transaction.
 * 3. The id is sha256 over the jsonb text of kind, definition, arguments and inputs sorted by uri and version. Rows,
 *    times and users do not enter it: the same work on the same bytes has the same id wherever it runs.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "receipt/receipt.h"

struct DmReceipt
{
	DmReceipt *outer; /* the one that was open before */
	MemoryContext context;
	const char *kind;
	const char *definition;
	const char *arguments;
	List *inputs;  /* of DmReceiptInput* */
	List *outputs; /* of DmReceiptOutput* */
	TimestampTz started_at;
	int64 rejected; /* rows that scans left out so far */
	int64 serial;	/* of the receipt in this backend, from 1 */
	bool has_rejects;
};

DmReceiptWritten dm_receipt_written_hook = NULL;

static DmReceipt *open_receipt = NULL;
static int64 last_serial = 0;
static int64 run_of_process = 0;

static void receipt_forget(void *arg);
static char *inputs_json(const DmReceipt *receipt, bool for_id);
static char *outputs_json(const DmReceipt *receipt);
static int input_compare(const ListCell *a, const ListCell *b);
static void json_member(StringInfo out, const char *name, const char *value, bool first);
static char *receipt_id(const DmReceipt *receipt);
static void own_rejects(const DmReceipt *receipt, const char *id);

/*
 * Opens a receipt in the current memory context. kind is the operation ("cdc_merge"), definition what it works on (the
 * target), arguments a JSON object text without secrets.
 */
DmReceipt *
dm_receipt_begin(const char *kind, const char *definition, const char *arguments)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "datamill receipt", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	DmReceipt *receipt = palloc0(sizeof(DmReceipt));
	MemoryContextCallback *forget = palloc0(sizeof(MemoryContextCallback));

	receipt->context = context;
	receipt->kind = pstrdup(kind);
	receipt->definition = pstrdup(definition);
	receipt->arguments = pstrdup(arguments);
	receipt->started_at = GetCurrentTimestamp();
	receipt->serial = ++last_serial;
	receipt->outer = open_receipt;
	forget->func = receipt_forget;
	forget->arg = receipt;
	MemoryContextRegisterResetCallback(context, forget);
	open_receipt = receipt;
	MemoryContextSwitchTo(caller);
	return receipt;
}

/* Adds an output; strings are copied. */
void
dm_receipt_output(DmReceipt *receipt, const DmReceiptOutput *output)
{
	MemoryContext caller = MemoryContextSwitchTo(receipt->context);
	DmReceiptOutput *copy = palloc(sizeof(DmReceiptOutput));

	*copy = *output;
	copy->uri = pstrdup(output->uri);
	copy->counts = pstrdup(output->counts);
	copy->etag = output->etag ? pstrdup(output->etag) : NULL;
	copy->sha256 = output->sha256 ? pstrdup(output->sha256) : NULL;
	receipt->outputs = lappend(receipt->outputs, copy);
	MemoryContextSwitchTo(caller);
}

/*
 * Stores the receipt in datamill.receipt_log, closes it and returns its id (64 hex digits), palloc'd in the current
 * memory context.
 */
char *
dm_receipt_write(DmReceipt *receipt)
{
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, OIDOID, INT8OID};
	Datum values[9];
	DmCatalogScope scope;
	char *id;

	list_sort(receipt->inputs, input_compare);
	id = receipt_id(receipt);
	values[0] = CStringGetTextDatum(id);
	values[1] = CStringGetTextDatum(receipt->kind);
	values[2] = CStringGetTextDatum(receipt->definition);
	values[3] = CStringGetTextDatum(receipt->arguments);
	values[4] = CStringGetTextDatum(inputs_json(receipt, false));
	values[5] = CStringGetTextDatum(outputs_json(receipt));
	values[6] = TimestampTzGetDatum(receipt->started_at);
	values[7] = ObjectIdGetDatum(GetUserId());
	values[8] = Int64GetDatum(run_of_process);
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"INSERT INTO datamill.receipt_log (id, kind, definition, arguments, inputs, outputs, started_at, "
		"finished_at, owner, run_id) VALUES ($1, $2, $3, $4::jsonb, $5::jsonb, $6::jsonb, $7, "
		"clock_timestamp(), $8::regrole, nullif($9, 0))",
		lengthof(types),
		types,
		values,
		NULL);
	if (receipt->has_rejects)
		own_rejects(receipt, id);
	if (dm_receipt_written_hook && receipt->outputs != NIL)
		dm_receipt_written_hook(id, outputs_json(receipt));
	dm_catalog_end(&scope);
	MemoryContextDelete(receipt->context);
	return id;
}

/* Has nothing been recorded? */
bool
dm_receipt_is_empty(const DmReceipt *receipt)
{
	return receipt->inputs == NIL && receipt->outputs == NIL;
}

/* Notes the run of a job that this process executes. */
void
dm_receipt_set_run(int64 run_id)
{
	run_of_process = run_id;
}

/* True while a receipt is open: scans then digest what they read. */
bool
dm_receipt_is_open(void)
{
	return open_receipt != NULL;
}

/* Counts a rejected row under the innermost open receipt; does nothing when none is open. */
void
dm_receipt_reject(void)
{
	if (open_receipt)
		open_receipt->rejected++;
}

/* Returns how many rows were rejected under the innermost open receipt; 0 when none is open. */
int64
dm_receipt_rejected(void)
{
	return open_receipt ? open_receipt->rejected : 0;
}

/* Number of the innermost open receipt, unique in this backend, for rows that are to be its own; 0 when none is open. */
int64
dm_receipt_reject_serial(void)
{
	if (!open_receipt)
		return 0;
	open_receipt->has_rejects = true;
	return open_receipt->serial;
}

/* Copies the input into the innermost open receipt; does nothing when none is open. */
void
dm_receipt_input(const DmReceiptInput *input)
{
	MemoryContext caller;
	DmReceiptInput *copy;

	if (!open_receipt)
		return;
	caller = MemoryContextSwitchTo(open_receipt->context);
	copy = palloc(sizeof(DmReceiptInput));
	*copy = *input;
	copy->uri = pstrdup(input->uri);
	copy->etag = input->etag ? pstrdup(input->etag) : NULL;
	copy->version = input->version ? pstrdup(input->version) : NULL;
	copy->sha256 = input->sha256 ? pstrdup(input->sha256) : NULL;
	open_receipt->inputs = lappend(open_receipt->inputs, copy);
	MemoryContextSwitchTo(caller);
}

/* Sets the receipt's id on the rows that were rejected under it. Other transactions' are told apart by their number. */
static void
own_rejects(const DmReceipt *receipt, const char *id)
{
	Oid types[] = {TEXTOID, INT8OID};
	Datum values[] = {CStringGetTextDatum(id), Int64GetDatum(receipt->serial)};

	dm_catalog_execute("UPDATE datamill.reject_log SET receipt = $1, receipt_serial = NULL, transaction = NULL "
					   "WHERE transaction = pg_current_xact_id() AND receipt_serial = $2",
					   lengthof(types),
					   types,
					   values,
					   NULL);
}

/* Context callback: takes the receipt, and any opened inside it, off the stack. */
static void
receipt_forget(void *arg)
{
	DmReceipt *gone = arg;

	for (DmReceipt *r = open_receipt; r; r = r->outer)
	{
		if (r == gone)
		{
			open_receipt = gone->outer;
			return;
		}
	}
}

/* Returns the id: see invariant 3. */
static char *
receipt_id(const DmReceipt *receipt)
{
	StringInfoData text;
	char *canonical;
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *hex = palloc(2 * PG_SHA256_DIGEST_LENGTH + 1);
	pg_cryptohash_ctx *sha256;

	initStringInfo(&text);
	json_member(&text, "kind", receipt->kind, true);
	json_member(&text, "definition", receipt->definition, false);
	appendStringInfo(&text, ", \"arguments\": %s, \"inputs\": %s}", receipt->arguments, inputs_json(receipt, true));
	/* through jsonb, whose output does not depend on the order or spacing of the text that made it */
	canonical =
		DatumGetCString(DirectFunctionCall1(jsonb_out, DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data))));
	sha256 = pg_cryptohash_create(PG_SHA256);
	if (!sha256 || pg_cryptohash_init(sha256) < 0 ||
		pg_cryptohash_update(sha256, (uint8 *) canonical, strlen(canonical)) < 0 ||
		pg_cryptohash_final(sha256, digest, sizeof(digest)) < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute the receipt's digest")));
	pg_cryptohash_free(sha256);
	hex_encode((char *) digest, sizeof(digest), hex);
	hex[2 * PG_SHA256_DIGEST_LENGTH] = '\0';
	return hex;
}

/*
 * Returns the inputs as a JSON array; for the id only what identifies their content: the digest of the bytes, or where
 * they were not read to the end, the etag and version.
 */
static char *
inputs_json(const DmReceipt *receipt, bool for_id)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	foreach (cell, receipt->inputs)
	{
		const DmReceiptInput *input = lfirst(cell);

		if (cell != list_head(receipt->inputs))
			appendStringInfoString(&out, ", ");
		json_member(&out, "uri", input->uri, true);
		if (!for_id || !input->sha256)
		{
			json_member(&out, "etag", input->etag, false);
			json_member(&out, "version", input->version, false);
		}
		json_member(&out, "sha256", input->sha256, false);
		if (input->size >= 0)
			appendStringInfo(&out, ", \"size\": " INT64_FORMAT, input->size);
		if (!for_id)
			appendStringInfo(&out, ", \"rows\": " INT64_FORMAT, input->rows);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

/* Returns the outputs as a JSON array. */
static char *
outputs_json(const DmReceipt *receipt)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	foreach (cell, receipt->outputs)
	{
		const DmReceiptOutput *output = lfirst(cell);

		if (cell != list_head(receipt->outputs))
			appendStringInfoString(&out, ", ");
		json_member(&out, "uri", output->uri, true);
		json_member(&out, "etag", output->etag, false);
		json_member(&out, "sha256", output->sha256, false);
		if (output->sha256)
			appendStringInfo(&out, ", \"size\": " INT64_FORMAT, output->size);
		appendStringInfo(&out, ", \"counts\": %s}", output->counts);
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

/* Appends a string member to a JSON object, opening the object when it is the first; nothing for a NULL value. */
static void
json_member(StringInfo out, const char *name, const char *value, bool first)
{
	if (!value)
		return;
	appendStringInfoString(out, first ? "{" : ", ");
	escape_json(out, name);
	appendStringInfoString(out, ": ");
	escape_json(out, value);
}

/* Orders inputs by uri, then version, then etag. */
static int
input_compare(const ListCell *a, const ListCell *b)
{
	const DmReceiptInput *left = lfirst(a);
	const DmReceiptInput *right = lfirst(b);
	int order = strcmp(left->uri, right->uri);

	if (order == 0)
		order = strcmp(left->version ? left->version : "", right->version ? right->version : "");
	if (order == 0)
		order = strcmp(left->etag ? left->etag : "", right->etag ? right->etag : "");
	return order;
}
