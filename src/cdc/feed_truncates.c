/*
 * feed_truncates.c: the truncates of a feed, which are stored with the dataset.
 *
 * Sequences are kept as text that no setting of the session changes: dates and times in ISO 8601, all others as their
 * output function has them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "base/catalog.h"
#include "cdc/feed_truncates.h"

/* Returns a sequence as text. */
static char *
sequence_text(Oid type, Datum sequence)
{
	char *out = palloc0(MAXDATELEN + 1);
	Oid output;
	bool varlena;

	if (type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		return JsonEncodeDateTime(out, sequence, type, NULL);
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, sequence);
}

/* Returns the stored truncates of a dataset (DmFeedTruncate*), in the current memory context. */
List *
dm_truncates_read(const DmDataset *dataset)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(dataset->id)};
	DmCatalogScope scope;
	List *truncates = NIL;
	Oid input;
	Oid param;

	getTypeInputInfo(dataset->effective_type, &input, &param);
	dm_catalog_begin(&scope);
	/* as of the active snapshot, as the tables: a check without locks must not see a merge in the one and not in the other */
	if (SPI_execute_with_args("SELECT sequence, merge_id FROM datamill.feed_truncate_catalog WHERE dataset_id = $1",
							  lengthof(types),
							  types,
							  values,
							  NULL,
							  true,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the truncates of a feed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		MemoryContext spi = MemoryContextSwitchTo(caller);
		DmFeedTruncate *truncate = palloc0(sizeof(DmFeedTruncate));
		bool isnull;

		truncate->sequence = OidInputFunctionCall(input, SPI_getvalue(row, SPI_tuptable->tupdesc, 1), param, -1);
		truncate->merge_id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		truncates = lappend(truncates, truncate);
		MemoryContextSwitchTo(spi);
	}
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(caller);
	return truncates;
}

/* Stores a truncate. */
void
dm_truncates_store(const DmDataset *dataset, const DmFeedTruncate *truncate)
{
	Oid types[] = {INT8OID, TEXTOID, INT8OID};
	Datum values[] = {Int64GetDatum(dataset->id),
					  CStringGetTextDatum(sequence_text(dataset->effective_type, truncate->sequence)),
					  Int64GetDatum(truncate->merge_id)};
	DmCatalogScope scope;

	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"INSERT INTO datamill.feed_truncate_catalog (dataset_id, sequence, merge_id) VALUES ($1, $2, $3)",
		lengthof(types),
		types,
		values,
		NULL);
	dm_catalog_end(&scope);
}

/* Forgets the truncates that a merge brought. */
void
dm_truncates_forget(const DmDataset *dataset, int64 merge_id)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(dataset->id), Int64GetDatum(merge_id)};
	DmCatalogScope scope;

	dm_catalog_begin(&scope);
	dm_catalog_execute("DELETE FROM datamill.feed_truncate_catalog WHERE dataset_id = $1 AND merge_id = $2",
					   lengthof(types),
					   types,
					   values,
					   NULL);
	dm_catalog_end(&scope);
}
