/*
 * verify_sql.c: verify_receipt(): are the objects of a receipt still what they were?
 *
 * Each is looked up and, where the receipt has a digest, read from its first byte to its last, as the caller, through the server that the receipt
 * names. What cannot be read is a row and no error, so that one bad object does not hide the others.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/catalog.h"
#include "base/errors.h"
#include "source/pins.h"
#include "source/source.h"

#define VERIFY_COLUMNS 5

PG_FUNCTION_INFO_V1(dm_verify_receipt_sql);

/* What was found of a pin. */
typedef struct Finding
{
	const char *status;
	const char *found;
} Finding;

static int64 find_receipt(Datum id, Datum receipt_no, bool is_last);
static void verify(const DmPin *pin, Finding *finding);
static void verify_now(const DmPin *pin, Finding *finding);
static const char *describe(const char *etag, const char *sha256, int64 size);

/* verify_receipt(id text, receipt_no bigint) returns a row an object. */
PGDLLEXPORT Datum
dm_verify_receipt_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext each;
	MemoryContext caller;
	List *pins;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	pins = dm_pins_of_receipt(find_receipt(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_ARGISNULL(1)));
	each = AllocSetContextCreate(CurrentMemoryContext, "datamill verified object", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(each);
	foreach (cell, pins)
	{
		const DmPin *pin = lfirst(cell);
		Finding finding = {0};
		Datum values[VERIFY_COLUMNS];
		bool nulls[VERIFY_COLUMNS] = {0};

		CHECK_FOR_INTERRUPTS();
		verify(pin, &finding);
		values[0] = CStringGetTextDatum(pin->uri);
		values[1] = CStringGetTextDatum(pin->is_output ? "output" : "input");
		values[2] = CStringGetTextDatum(finding.status);
		values[3] = CStringGetTextDatum(describe(pin->etag, pin->sha256, pin->size));
		nulls[4] = finding.found == NULL;
		values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(finding.found);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}

/* Returns the number of a receipt that the caller may see, the last of its id unless another is asked for. Raises 42704. */
static int64
find_receipt(Datum id, Datum receipt_no, bool is_last)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	int64 found;

	dm_args_oid(&args, GetUserId());
	dm_args_add(&args, TEXTOID, id, false);
	dm_args_add(&args, INT8OID, receipt_no, is_last);
	dm_catalog_begin(&scope);
	if (dm_catalog_run(
			"SELECT r.receipt_no FROM datamill.receipt_log r WHERE r.id = $2 AND r.receipt_no = "
			"coalesce($3, r.receipt_no) AND pg_has_role($1, r.owner, 'USAGE') ORDER BY r.receipt_no DESC LIMIT 1",
			&args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("receipt \"%s\" does not exist", TextDatumGetCString(id)),
				 errhint("See datamill.receipts.")));
	found = dm_catalog_int8(0, 1);
	dm_catalog_end(&scope);
	return found;
}

/* Verifies one object in a subtransaction. */
static void
verify(const DmPin *pin, Finding *finding)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		verify_now(pin, finding);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		/* who wants to stop is not to be held up */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		finding->status = error->sqlerrcode == DM_ERRCODE_OBJECT_CHANGED ? "changed" : "not readable";
		finding->found = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* Looks an object up and reads it; an older version, where it is not what it was. */
static void
verify_now(const DmPin *pin, Finding *finding)
{
	DmStore *store = dm_store_open(dm_source_server(pin->server), GetUserId());
	DmObject *object = dm_pin_now(store, pin);
	const char *sha256 = object && pin->sha256 ? dm_pin_digest(store, object) : NULL;

	if (!object)
		finding->status = "gone";
	else if (pin->sha256 ? strcmp(sha256, pin->sha256) == 0 : strcmp(object->etag, pin->etag) == 0)
		finding->status = "same";
	else
		finding->status = "changed";
	finding->found = object ? describe(object->etag, sha256, object->size) : NULL;
	if (strcmp(finding->status, "same") == 0 || !(object = dm_pin_version(store, pin)))
		return;
	sha256 = pin->sha256 ? dm_pin_digest(store, object) : NULL;
	if (sha256 && strcmp(sha256, pin->sha256) != 0)
		return;
	finding->status = "older version";
	finding->found = psprintf("%s version %s", describe(object->etag, sha256, object->size), object->version);
}

/* Returns what is known of an object in words. */
static const char *
describe(const char *etag, const char *sha256, int64 size)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "etag %s", etag ? etag : "unknown");
	if (sha256)
		appendStringInfo(&out, " sha256 %s", sha256);
	if (size >= 0)
		appendStringInfo(&out, " size " INT64_FORMAT, size);
	return out.data;
}
