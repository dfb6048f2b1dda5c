/*
 * ledger_sql.c: the ledger's function as SQL calls it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "catalog/objectaddress.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "load/load.h"

PG_FUNCTION_INFO_V1(dm_forget_loads_sql);

/* forget_loads(target regclass, url text) returns how many entries of the ledger it removed. */
PGDLLEXPORT Datum
dm_forget_loads_sql(PG_FUNCTION_ARGS)
{
	Oid target;

	if (PG_ARGISNULL(0))
		ereport(
			ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument target of forget_loads must not be NULL")));
	target = PG_GETARG_OID(0);
	if (!get_rel_name(target))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", target)));
	if (!dm_relation_is_owned(target))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(target)), get_rel_name(target));
	PreventCommandIfReadOnly("forget_loads()");
	PG_RETURN_INT64(
		dm_ledger_forget(dm_ledger_open(target), PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1))));
}
