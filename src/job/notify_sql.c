/*
 * notify_sql.c: the SQL functions of notifiers.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "job/shared.h"
#include "notify/notify.h"

PG_FUNCTION_INFO_V1(dm_create_notifier_sql);
PG_FUNCTION_INFO_V1(dm_alter_notifier_sql);
PG_FUNCTION_INFO_V1(dm_drop_notifier_sql);
PG_FUNCTION_INFO_V1(dm_notify_on_sql);
PG_FUNCTION_INFO_V1(dm_notify_off_sql);
PG_FUNCTION_INFO_V1(dm_test_notifier_sql);

static char *text_argument(FunctionCallInfo fcinfo, int i);

/* create_notifier(name, kind, config jsonb, secret jsonb). */
PGDLLEXPORT Datum
dm_create_notifier_sql(PG_FUNCTION_ARGS)
{
	dm_notifier_create(
		text_argument(fcinfo, 0), text_argument(fcinfo, 1), PG_GETARG_JSONB_P(2), PG_GETARG_JSONB_P(3));
	PG_RETURN_VOID();
}

/* alter_notifier(name, config jsonb, secret jsonb). */
PGDLLEXPORT Datum
dm_alter_notifier_sql(PG_FUNCTION_ARGS)
{
	dm_notifier_alter(text_argument(fcinfo, 0), PG_GETARG_JSONB_P(1), PG_GETARG_JSONB_P(2));
	dm_shared_wake_at_commit();
	PG_RETURN_VOID();
}

/* drop_notifier(name). */
PGDLLEXPORT Datum
dm_drop_notifier_sql(PG_FUNCTION_ARGS)
{
	dm_notifier_drop(text_argument(fcinfo, 0));
	PG_RETURN_VOID();
}

/* notify_on(job, event, notifier, template jsonb). */
PGDLLEXPORT Datum
dm_notify_on_sql(PG_FUNCTION_ARGS)
{
	dm_subscription_add(text_argument(fcinfo, 0),
						text_argument(fcinfo, 1),
						text_argument(fcinfo, 2),
						PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3));
	PG_RETURN_VOID();
}

/* notify_off(job, event, notifier) returns whether there was something to take back. */
PGDLLEXPORT Datum
dm_notify_off_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(
		dm_subscription_remove(text_argument(fcinfo, 0), text_argument(fcinfo, 1), text_argument(fcinfo, 2)));
}

/* test_notifier(name) returns the id of the notification. */
PGDLLEXPORT Datum
dm_test_notifier_sql(PG_FUNCTION_ARGS)
{
	int64 id = dm_notifier_test(text_argument(fcinfo, 0));

	dm_shared_wake_at_commit();
	PG_RETURN_INT64(id);
}

/* Returns a text argument, palloc'd; NULL for NULL. */
static char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}
