/*
 * health.c: whether there is what starts jobs, and how many processes runs take.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/guc.h"
#include "job/health.h"
#include "job/shared.h"

PG_FUNCTION_INFO_V1(dm_scheduler_state_sql);
PG_FUNCTION_INFO_V1(dm_process_slots_sql);

/* Returns the state of this database's scheduler, a constant. */
const char *
dm_scheduler_state(void)
{
	if (!dm_shared_is_there())
		return "not preloaded";
	if (RecoveryInProgress())
		return "standby";
	if (!dm_guc_scheduler)
		return "off";
	return dm_shared_scheduler_is_alive() ? "running" : "not running";
}

/* scheduler_state() returns text. */
PGDLLEXPORT Datum
dm_scheduler_state_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(dm_scheduler_state()));
}

/* Counts the slots of runs that are taken in the server, and in this database. */
void
dm_process_slots(int *used, int *used_here)
{
	DmRunSlot slot;

	*used = *used_here = 0;
	for (int i = 0; dm_shared_is_there() && dm_slot_copy(i, &slot); i++)
	{
		if (slot.phase != DM_SLOT_RESERVED && slot.phase != DM_SLOT_ALIVE)
			continue;
		++*used;
		*used_here += slot.database == MyDatabaseId;
	}
}

/* process_slots(OUT slots integer, OUT used integer, OUT used_here integer): slots are those that datamill.max_runs allows. */
PGDLLEXPORT Datum
dm_process_slots_sql(PG_FUNCTION_ARGS)
{
	TupleDesc descriptor;
	Datum values[3];
	bool nulls[3] = {false};
	int used;
	int used_here;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	dm_process_slots(&used, &used_here);
	values[0] = Int32GetDatum(dm_guc_max_runs);
	values[1] = Int32GetDatum(used);
	values[2] = Int32GetDatum(used_here);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
