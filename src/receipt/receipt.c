/*
 * receipt.c: collects what an operation reads and writes, and stores it as one row.
 *
 * Invariants:
 * 1. The innermost open receipt gets the inputs. It lives in its own context below the caller's; when ERROR deletes
 *    that context, a callback takes it off the stack, so no pointer outlives it.
 * 2. Nothing is stored before dm_receipt_write(), which inserts in the caller's transaction.
 * 3. The id is sha256 over the jsonb text of kind, definition, code, arguments and inputs sorted by uri and version. Rows,
 *    times and users do not enter it: the same work on the same bytes has the same id wherever it runs.
 */
#include "postgres.h"

#include "access/xact.h"
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
	const char *code;		 /* sha256 of what is executed, or NULL */
	List *inputs;			 /* of DmReceiptInput* */
	List *outputs;			 /* of Output* */
	StringInfoData metadata; /* members of a JSON object, without its braces; no data: none */
	TimestampTz started_at;
	int64 rejected; /* rows that scans left out so far */
	int64 serial;	/* of the receipt in this backend, from 1 */
	bool has_rejects;
};

DmReceiptWritten dm_receipt_written_hook = NULL;

/* An output, and the subtransaction that it goes with. */
typedef struct Output
{
	DmReceiptOutput pub;
	SubTransactionId subtransaction;
} Output;

static DmReceipt *open_receipt = NULL;
static DmReceipt *run_receipt = NULL;
static int64 last_serial = 0;
static int64 run_of_process = 0;

static void receipt_forget(void *arg);
static void subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);
static const char *copy_of(const char *text);
static char *inputs_json(const DmReceipt *receipt, bool for_id);
static char *outputs_json(const DmReceipt *receipt, bool with_told);
static int input_compare(const ListCell *a, const ListCell *b);
static void json_member(StringInfo out, const char *name, const char *value, bool first);
static void json_value(StringInfo out, const char *name, const char *json);
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
	static bool is_registered = false;

	if (!is_registered)
	{
		RegisterSubXactCallback(subtransaction_end, NULL);
		is_registered = true;
	}
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

/* Sets the digest of the code that the receipt's operation executes: it is a part of the id. */
void
dm_receipt_set_code(DmReceipt *receipt, const char *sha256)
{
	receipt->code = MemoryContextStrdup(receipt->context, sha256);
}

/* Adds an output, gone if the current subtransaction is; strings are copied. */
void
dm_receipt_output(DmReceipt *receipt, const DmReceiptOutput *output)
{
	MemoryContext caller = MemoryContextSwitchTo(receipt->context);
	Output *copy = palloc(sizeof(Output));

	copy->pub = *output;
	copy->pub.uri = pstrdup(output->uri);
	copy->pub.counts = pstrdup(output->counts);
	copy->pub.etag = copy_of(output->etag);
	copy->pub.version = copy_of(output->version);
	copy->pub.sha256 = copy_of(output->sha256);
	copy->pub.server = copy_of(output->server);
	copy->pub.metadata = copy_of(output->metadata);
	copy->subtransaction = GetCurrentSubTransactionId();
	receipt->outputs = lappend(receipt->outputs, copy);
	MemoryContextSwitchTo(caller);
}

/* Adds a member to the receipt's metadata; value is a JSON text. Of a key that comes again the last value counts. */
void
dm_receipt_metadata(DmReceipt *receipt, const char *key, const char *value)
{
	MemoryContext caller = MemoryContextSwitchTo(receipt->context);

	if (!receipt->metadata.data)
		initStringInfo(&receipt->metadata);
	else
		appendStringInfoString(&receipt->metadata, ", ");
	escape_json(&receipt->metadata, key);
	appendStringInfo(&receipt->metadata, ": %s", value);
	MemoryContextSwitchTo(caller);
}

/*
 * Stores the receipt in datamill.receipt_log, closes it and returns its id (64 hex digits), palloc'd in the current
 * memory context.
 */
char *
dm_receipt_write(DmReceipt *receipt)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	char *id;

	list_sort(receipt->inputs, input_compare);
	id = receipt_id(receipt);
	dm_args_text(&args, id);
	dm_args_text(&args, receipt->kind);
	dm_args_text(&args, receipt->definition);
	dm_args_text(&args, receipt->arguments);
	dm_args_text(&args, inputs_json(receipt, false));
	dm_args_text(&args, outputs_json(receipt, true));
	dm_args_time(&args, receipt->started_at);
	dm_args_oid(&args, GetUserId());
	dm_args_int8(&args, run_of_process);
	dm_args_text(&args, receipt->code);
	dm_args_text(&args, psprintf("{%s}", receipt->metadata.data ? receipt->metadata.data : ""));
	dm_catalog_begin(&scope);
	dm_catalog_run(
		"INSERT INTO datamill.receipt_log (id, kind, definition, arguments, inputs, outputs, started_at, "
		"finished_at, owner, run_id, code, metadata) VALUES ($1, $2, $3, $4::jsonb, $5::jsonb, "
		"$6::jsonb, $7, clock_timestamp(), $8::regrole, nullif($9, 0), $10, $11::jsonb)",
		&args);
	if (receipt->has_rejects)
		own_rejects(receipt, id);
	if (dm_receipt_written_hook && receipt->outputs != NIL)
		dm_receipt_written_hook(id, outputs_json(receipt, false));
	dm_catalog_end(&scope);
	MemoryContextDelete(receipt->context);
	return id;
}

/* Has nothing been recorded? */
bool
dm_receipt_is_empty(const DmReceipt *receipt)
{
	return receipt->inputs == NIL && receipt->outputs == NIL && !receipt->metadata.data;
}

/* Makes the receipt that of the run which this process executes. */
void
dm_receipt_set_run_receipt(DmReceipt *receipt)
{
	run_receipt = receipt;
}

/* The receipt of the run that goes on in this process; NULL if there is none. */
DmReceipt *
dm_receipt_of_run(void)
{
	return run_receipt;
}

/* Is the receipt of the run the innermost one, so that nothing else records what is done? */
bool
dm_receipt_run_records(void)
{
	return run_receipt && open_receipt == run_receipt;
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
	if (open_receipt)
		dm_receipt_add_input(open_receipt, input);
}

/* Copies the input into a receipt. */
void
dm_receipt_add_input(DmReceipt *receipt, const DmReceiptInput *input)
{
	MemoryContext caller = MemoryContextSwitchTo(receipt->context);
	DmReceiptInput *copy = palloc(sizeof(DmReceiptInput));

	*copy = *input;
	copy->uri = pstrdup(input->uri);
	copy->etag = copy_of(input->etag);
	copy->version = copy_of(input->version);
	copy->sha256 = copy_of(input->sha256);
	copy->server = copy_of(input->server);
	copy->metadata = copy_of(input->metadata);
	receipt->inputs = lappend(receipt->inputs, copy);
	MemoryContextSwitchTo(caller);
}

/* Returns a copy of a text; NULL of NULL. */
static const char *
copy_of(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

/* Subtransaction callback: outputs of one that is taken back were never written. */
static void
subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (DmReceipt *receipt = open_receipt; receipt; receipt = receipt->outer)
	{
		ListCell *cell;

		foreach (cell, receipt->outputs)
		{
			Output *output = lfirst(cell);

			if (output->subtransaction != mine)
				continue;
			if (event == SUBXACT_EVENT_COMMIT_SUB)
				output->subtransaction = parent;
			else
				receipt->outputs = foreach_delete_current(receipt->outputs, cell);
		}
	}
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

	if (run_receipt == gone)
		run_receipt = NULL;

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
	json_member(&text, "code", receipt->code, false);
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
		{
			if (input->rows >= 0)
				appendStringInfo(&out, ", \"rows\": " INT64_FORMAT, input->rows);
			json_member(&out, "server", input->server, false);
			json_value(&out, "metadata", input->metadata);
		}
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

/* Returns the outputs as a JSON array, with those that the user told of or without. */
static char *
outputs_json(const DmReceipt *receipt, bool with_told)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	foreach (cell, receipt->outputs)
	{
		const DmReceiptOutput *output = &((Output *) lfirst(cell))->pub;

		if (output->is_told && !with_told)
			continue;
		if (out.len > 1)
			appendStringInfoString(&out, ", ");
		json_member(&out, "uri", output->uri, true);
		json_member(&out, "etag", output->etag, false);
		json_member(&out, "version", output->version, false);
		json_member(&out, "sha256", output->sha256, false);
		if (output->sha256 || output->size > 0)
			appendStringInfo(&out, ", \"size\": " INT64_FORMAT, output->size);
		json_member(&out, "server", output->server, false);
		json_value(&out, "metadata", output->metadata);
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

/* Appends a member whose value is JSON already; nothing for a NULL value. */
static void
json_value(StringInfo out, const char *name, const char *json)
{
	if (json)
		appendStringInfo(out, ", \"%s\": %s", name, json);
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
