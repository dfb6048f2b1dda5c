/*
 * record_sql.c: record_input(), record_output() and record_metadata(): what the body of a job says of itself.
 *
 * It goes to the receipt of the run. Texts are freed of what signs or lets in, and bounded.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/errors.h"
#include "receipt/receipt.h"

#define MAX_RECORDED_BYTES (16 * 1024 * 1024)
#define MAX_URI_BYTES 8192
#define SHA256_DIGITS 64

PG_FUNCTION_INFO_V1(dm_record_input_sql);
PG_FUNCTION_INFO_V1(dm_record_output_sql);
PG_FUNCTION_INFO_V1(dm_record_metadata_sql);

static Size recorded_bytes = 0; /* in the receipt of the run, of which a process has one */

static DmReceipt *receipt_of_run(const char *function);
static char *take_text(FunctionCallInfo fcinfo, int argument);
static char *take_uri(FunctionCallInfo fcinfo, const char *what);
static char *take_digest(FunctionCallInfo fcinfo, int argument);
static int64 take_count(FunctionCallInfo fcinfo, int argument, const char *what);
static char *take_json(Datum value);
static char *take_object(FunctionCallInfo fcinfo, int argument, const char *what);
static void check_counts(Datum counts);
static void check_room(Size bytes);

/* record_input(uri, version, sha256, size, rows, metadata). */
PGDLLEXPORT Datum
dm_record_input_sql(PG_FUNCTION_ARGS)
{
	DmReceipt *receipt = receipt_of_run("record_input");
	DmReceiptInput input = {.uri = take_uri(fcinfo, "an input"),
							.version = take_text(fcinfo, 1),
							.sha256 = take_digest(fcinfo, 2),
							.size = take_count(fcinfo, 3, "size"),
							.rows = take_count(fcinfo, 4, "rows"),
							.metadata = take_object(fcinfo, 5, "metadata of an input")};

	dm_receipt_add_input(receipt, &input);
	PG_RETURN_VOID();
}

/* record_output(uri, counts, version, sha256, size, metadata). */
PGDLLEXPORT Datum
dm_record_output_sql(PG_FUNCTION_ARGS)
{
	DmReceipt *receipt = receipt_of_run("record_output");
	DmReceiptOutput output = {.is_told = true,
							  .uri = take_uri(fcinfo, "an output"),
							  .version = take_text(fcinfo, 2),
							  .sha256 = take_digest(fcinfo, 3),
							  .size = take_count(fcinfo, 4, "size"),
							  .metadata = take_object(fcinfo, 5, "metadata of an output")};

	output.counts = take_object(fcinfo, 1, "counts of an output");
	if (output.counts)
		check_counts(PG_GETARG_DATUM(1));
	else
		output.counts = "{}";
	dm_receipt_output(receipt, &output);
	PG_RETURN_VOID();
}

/* record_metadata(key, value). */
PGDLLEXPORT Datum
dm_record_metadata_sql(PG_FUNCTION_ARGS)
{
	DmReceipt *receipt = receipt_of_run("record_metadata");
	char *key = take_text(fcinfo, 0);

	if (!key || key[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("metadata needs a key that is not empty")));
	dm_receipt_metadata(receipt, key, PG_ARGISNULL(1) ? "null" : take_json(PG_GETARG_DATUM(1)));
	PG_RETURN_VOID();
}

/* Returns the receipt of the run that goes on in this process. Raises 55000 if there is none. */
static DmReceipt *
receipt_of_run(const char *function)
{
	DmReceipt *receipt = dm_receipt_of_run();

	if (!receipt)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s() can be called in the run of a job only", function),
				 errhint("Put the statements into a job with datamill.create_job(), and datamill.run() it.")));
	return receipt;
}

/* Returns a text argument without secrets; NULL of NULL. */
static char *
take_text(FunctionCallInfo fcinfo, int argument)
{
	char *value;

	if (PG_ARGISNULL(argument))
		return NULL;
	value = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	check_room(strlen(value));
	dm_redact_urls(value);
	return value;
}

/* Returns the first argument, where something is. */
static char *
take_uri(FunctionCallInfo fcinfo, const char *what)
{
	char *uri = take_text(fcinfo, 0);

	if (!uri || uri[0] == '\0' || strlen(uri) > MAX_URI_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the URI of %s must have 1 to %d bytes", what, MAX_URI_BYTES)));
	return uri;
}

/* Returns a digest in lower case; NULL of NULL. */
static char *
take_digest(FunctionCallInfo fcinfo, int argument)
{
	char *digest = take_text(fcinfo, argument);

	if (!digest)
		return NULL;
	for (char *p = digest; *p; p++)
		*p = (char) pg_ascii_tolower((unsigned char) *p);
	if (strlen(digest) != SHA256_DIGITS || strspn(digest, "0123456789abcdef") != SHA256_DIGITS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sha256 must be %d hexadecimal digits", SHA256_DIGITS),
				 errhint("Write encode(sha256(bytes), 'hex').")));
	return digest;
}

/* Returns a number that is not below zero; -1 of NULL. */
static int64
take_count(FunctionCallInfo fcinfo, int argument, const char *what)
{
	int64 count;

	if (PG_ARGISNULL(argument))
		return -1;
	count = PG_GETARG_INT64(argument);
	if (count < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be below zero", what)));
	return count;
}

/* Returns a jsonb as text without secrets. */
static char *
take_json(Datum value)
{
	Jsonb *jsonb = DatumGetJsonbP(value);
	char *json;

	check_room(VARSIZE(jsonb));
	json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	dm_redact_urls(json);
	return json;
}

/* Returns an object as text; NULL of NULL and of an empty one. Raises 22023 if it is no object. */
static char *
take_object(FunctionCallInfo fcinfo, int argument, const char *what)
{
	Jsonb *jsonb;

	if (PG_ARGISNULL(argument))
		return NULL;
	jsonb = PG_GETARG_JSONB_P(argument);
	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be a JSON object", what)));
	return JB_ROOT_COUNT(jsonb) > 0 ? take_json(PG_GETARG_DATUM(argument)) : NULL;
}

/* Raises 22023 unless each member of an object is a number. */
static void
check_counts(Datum counts)
{
	JsonbIterator *iterator = JsonbIteratorInit(&DatumGetJsonbP(counts)->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_VALUE && value.type != jbvNumeric)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("counts of an output must be numbers, as in {\"inserted\": 3}")));
	}
}

/* Counts bytes that are recorded. Raises 54000 if they become too many. */
static void
check_room(Size bytes)
{
	if (recorded_bytes + bytes > MAX_RECORDED_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a run can record %d bytes at most", MAX_RECORDED_BYTES),
				 errhint("Record one input for many that belong together.")));
	recorded_bytes += bytes;
}
