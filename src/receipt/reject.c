/*
 * reject.c: writes rows that could not be read to datamill.reject_log.
 *
 * They are written in the transaction of the statement that met them: when it rolls back, they are gone with the good
 * rows, and a load that is repeated does not list them twice.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/catalog.h"
#include "receipt/receipt.h"
#include "receipt/reject.h"

/* Raises 25006 in a read-only transaction and 0A000 in a parallel query. */
void
dm_rejects_check_writable(void)
{
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("rows cannot be quarantined in a read-only transaction"),
				 errhint("Use a transaction that may write, or on_error 'ignore' or 'stop'.")));
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows cannot be quarantined in a parallel query"),
				 errhint("SET max_parallel_workers_per_gather = 0; for this query, or use on_error 'stop'.")));
}

/* Writes one row in an open scope. */
static void
write_reject(const DmReject *reject, Oid owner, int64 serial)
{
	static const char sql[] = "INSERT INTO datamill.reject_log (object, row_no, line_no, byte_offset, column_name, "
							  "sqlstate, message, record, "
							  "record_cut, owner, receipt_serial, transaction) VALUES ($1, $2, $3, $4, $5, $6, $7, "
							  "$8, $9, $10::regrole, $11, "
							  "CASE WHEN $11 IS NOT NULL THEN pg_current_xact_id() END)";
	Oid types[] = {
		TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, OIDOID, INT8OID};
	Datum values[lengthof(types)] = {CStringGetTextDatum(reject->object),
									 Int64GetDatum(reject->row),
									 Int64GetDatum(reject->line),
									 Int64GetDatum(reject->offset),
									 reject->column ? CStringGetTextDatum(reject->column) : (Datum) 0,
									 CStringGetTextDatum(unpack_sql_state(reject->sqlstate)),
									 CStringGetTextDatum(reject->message),
									 CStringGetTextDatum(reject->record),
									 BoolGetDatum(reject->cut),
									 ObjectIdGetDatum(owner),
									 Int64GetDatum(serial)};
	char nulls[] = "           ";

	nulls[4] = reject->column ? ' ' : 'n';
	nulls[10] = serial > 0 ? ' ' : 'n';
	dm_catalog_execute(sql, lengthof(types), types, values, nulls);
}

/* Keeps a list of DmReject* as the current user's. They go to the open receipt when that is written. */
void
dm_rejects_write(List *rejects)
{
	Oid owner = GetUserId();
	DmCatalogScope scope;
	ListCell *cell;

	if (rejects == NIL)
		return;
	dm_catalog_begin(&scope);
	foreach (cell, rejects)
		write_reject(lfirst(cell), owner, dm_receipt_reject_serial());
	dm_catalog_end(&scope);
}
