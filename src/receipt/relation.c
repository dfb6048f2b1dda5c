/*
 * relation.c: which relations receipts speak of, and how they call them.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "receipt/receipt.h"

/*
 * Returns the name of a table, quoted and with its schema, palloc'd. NULL for what receipts leave out: what is no table (a view stands for the tables
 * below it), catalogs, tables of datamill, temporary ones, and foreign tables of objects, whose objects are recorded.
 */
char *
dm_receipt_relation_name(Oid oid)
{
	char kind = get_rel_relkind(oid);
	char *schema = get_namespace_name(get_rel_namespace(oid));
	char *relation = get_rel_name(oid);

	if (!schema || !relation || get_rel_persistence(oid) == RELPERSISTENCE_TEMP || strncmp(schema, "pg_", 3) == 0 ||
		strcmp(schema, "information_schema") == 0 || strcmp(schema, "datamill") == 0)
		return NULL;
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_MATVIEW &&
		kind != RELKIND_FOREIGN_TABLE)
		return NULL;
	if (kind == RELKIND_FOREIGN_TABLE)
	{
		ForeignServer *server = GetForeignServer(GetForeignTable(oid)->serverid);

		if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "datamill_s3") == 0)
			return NULL;
	}
	return quote_qualified_identifier(schema, relation);
}
