/*
 * role_sql.c: input and output of type datamill.role, of the columns that say whose a row is.
 *
 * It is what regrole is, but for roles that are not there. A dump holds names, and may be restored where some of them are no roles; regrole
 * would fail then, and with it the whole table. And it takes a number for an OID, which elsewhere is another role's. Here any text that names
 * no role becomes an OID that no role has: one each, so that rows of two such roles stay apart.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/* Servers give OIDs from 16384 upwards: these come last. */
#define ABSENT_FIRST 0xC0000000U
#define ABSENT_MASK 0x3FFFFFFFU

PG_FUNCTION_INFO_V1(dm_role_in_sql);
PG_FUNCTION_INFO_V1(dm_role_out_sql);

/* role_in(cstring) returns datamill.role: a name as SQL writes it, or - for none. Raises 42602 unless it is one name. */
PGDLLEXPORT Datum
dm_role_in_sql(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	List *names;
	Oid role;

	if (strcmp(text, "-") == 0)
		PG_RETURN_OID(InvalidOid);
	if (!SplitIdentifierString(pstrdup(text), '.', &names) || list_length(names) != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid name of a role: \"%s\"", text)));
	role = get_role_oid(linitial(names), true);
	for (uint64 seed = 0; !OidIsValid(role); seed++)
	{
		uint64 hash = hash_bytes_extended((const unsigned char *) text, (int) strlen(text), seed);

		role = (Oid) (ABSENT_FIRST | (hash & ABSENT_MASK));
		if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
			role = InvalidOid;
	}
	PG_RETURN_OID(role);
}

/* role_out(datamill.role) returns cstring: the name as SQL writes it, the OID of a role that is not there, or - for none. */
PGDLLEXPORT Datum
dm_role_out_sql(PG_FUNCTION_ARGS)
{
	Oid role = PG_GETARG_OID(0);
	char *name = OidIsValid(role) ? GetUserNameFromId(role, true) : "-";

	if (!name)
		PG_RETURN_CSTRING(psprintf("%u", role));
	PG_RETURN_CSTRING(OidIsValid(role) ? pstrdup(quote_identifier(name)) : pstrdup(name));
}
