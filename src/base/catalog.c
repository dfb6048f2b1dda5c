/*
 * catalog.c: runs statements on the extension's own tables.
 *
 * A scope switches to the owner of the extension with search_path pinned to pg_catalog, so that neither the caller's
 * lack of rights nor the caller's objects matter; ERROR undoes both with the transaction. Inside a scope only texts
 * fixed in this library are executed, with all values as parameters.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"

#include "base/catalog.h"

static Form_pg_extension extension_read(FormData_pg_extension *form);

/*
 * Opens a scope: SPI connected, user = owner of the extension. Every begin needs its end, in the same function where
 * possible; results in SPI_tuptable are gone after the end.
 */
void
dm_catalog_begin(DmCatalogScope *scope)
{
	FormData_pg_extension extension;

	extension_read(&extension);
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(extension.extowner, scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option(
		"search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
}

/* Closes a scope: back to the user and settings before it. */
void
dm_catalog_end(DmCatalogScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/*
 * Executes one statement in the open scope and returns the number of rows processed; a query's rows are in
 * SPI_tuptable. nulls is as for SPI (one character an argument, 'n' for NULL) or NULL.
 */
uint64
dm_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	int code = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);

	if (code < 0)
		elog(ERROR, "catalog statement failed: %s: %s", SPI_result_code_string(code), sql);
	return SPI_processed;
}

/* Returns the OID of the extension; raises when it is not installed in this database. */
Oid
dm_catalog_extension(void)
{
	FormData_pg_extension extension;

	return extension_read(&extension)->oid;
}

/* Reads the extension's row of pg_extension into form and returns it. */
static Form_pg_extension
extension_read(FormData_pg_extension *form)
{
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key,
				Anum_pg_extension_extname,
				BTEqualStrategyNumber,
				F_NAMEEQ,
				DirectFunctionCall1(namein, CStringGetDatum("datamill")));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"datamill\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION datamill.")));
	memcpy(form, GETSTRUCT(tuple), sizeof(FormData_pg_extension));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return form;
}
