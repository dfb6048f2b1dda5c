/*
 * citus.c: keeps merges away from tables whose rows Citus keeps elsewhere.
 *
 * On the coordinator a distributed or reference table is an empty shell: a merge would find no rows in it and write rows
 * that no query sees. Citus is looked up at run time, by its catalog; nothing of it is linked.
 */
#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/lsyscache.h"

#include "cdc/cdc.h"

/* Raises 0A000 if the table is one of Citus. */
void
dm_citus_refuse(Oid relid)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(relid)};
	bool found;

	if (!OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE)))
		return;
	SPI_connect();
	SPI_execute_with_args("SELECT 1 FROM pg_catalog.pg_dist_partition WHERE logicalrelid OPERATOR(pg_catalog.=) "
						  "$1::pg_catalog.regclass",
						  lengthof(types),
						  types,
						  values,
						  NULL,
						  false,
						  1);
	found = SPI_processed > 0;
	SPI_finish();
	if (!found)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("\"%s\" is distributed by Citus", get_rel_name(relid)),
		 errdetail("A dataset's rows are read and written in tables of this node; those of \"%s\" are in shards.",
				   get_rel_name(relid)),
		 errhint("Merge into a table of this node, and apply what changed to the distributed one in the same "
				 "transaction: docs/operations.md shows how.")));
}
