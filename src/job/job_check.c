/*
 * job_check.c: what can be stored as a job, and when it is next due.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "job/body.h"
#include "job/expect.h"
#include "job/job.h"
#include "job/schedule.h"

#define MAX_RETRIES 100
#define MAX_NAME_BYTES 200

static const char *const FIELD_NAMES[DM_JOB_FIELDS] = {
	"name",
	"body",
	"schedule",
	"timezone",
	"after",
	"watch",
	"when_sql",
	"overlap",
	"missed",
	"catchup",
	"timeout",
	"retries",
	"backoff",
	"suspend_after",
	"pool",
	"owner",
	"arguments",
	"expect",
};

static List *parse(const char *text);
static void point_into_text(void *arg);
static void check_body(const char *body);
static void check_query(const char *what, const char *query);
static void check_word(const DmJob *job, DmJobField field, const char *const *words);
static void check_interval(const DmJob *job, DmJobField field);
static void check_number(const DmJob *job, DmJobField field, int min, int max);
static void check_owner(const char *owner);

/* Returns the name of a field: of create_job's parameter, of alter_job's key, and of the column. */
const char *
dm_job_field_name(DmJobField field)
{
	return FIELD_NAMES[field];
}

/* Returns the field of a name, or -1. */
int
dm_job_field_find(const char *name)
{
	for (int i = 0; i < DM_JOB_FIELDS; i++)
	{
		if (strcmp(FIELD_NAMES[i], name) == 0)
			return i;
	}
	return -1;
}

/* May a job be without the field? */
bool
dm_job_field_may_be_null(DmJobField field)
{
	return field == DM_JOB_SCHEDULE || field == DM_JOB_FOLLOWS || field == DM_JOB_WATCH ||
		   field == DM_JOB_WHEN_SQL || field == DM_JOB_EXPECT;
}

/* Raises where a user's code runs with another's rights, as in an index expression. */
void
dm_job_check_context(void)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("jobs cannot be changed within a security-restricted operation")));
}

/* Raises unless the job can be stored by the current user. To be called outside a catalog scope. */
void
dm_job_check(const DmJob *job)
{
	static const char *const overlaps[] = {"skip", "queue", "cancel", "allow", NULL};
	static const char *const missed[] = {"skip", "once", "all", NULL};
	ListCell *cell;

	dm_job_check_context();
	for (int i = 0; i < DM_JOB_FIELDS; i++)
	{
		if (!job->values[i] && !dm_job_field_may_be_null(i))
			ereport(
				ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s of a job must not be NULL", FIELD_NAMES[i])));
	}
	if (job->values[DM_JOB_NAME][0] == '\0' || strlen(job->values[DM_JOB_NAME]) > MAX_NAME_BYTES)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_NAME), errmsg("the name of a job must have 1 to %d bytes", MAX_NAME_BYTES)));
	check_owner(job->values[DM_JOB_OWNER]);
	check_body(job->values[DM_JOB_BODY]);
	check_query("when_sql", job->values[DM_JOB_WHEN_SQL]);
	foreach (cell, dm_expect_list(job->values[DM_JOB_EXPECT]))
		check_query("expect", lfirst(cell));
	check_word(job, DM_JOB_OVERLAP, overlaps);
	check_word(job, DM_JOB_MISSED, missed);
	check_interval(job, DM_JOB_CATCHUP);
	check_interval(job, DM_JOB_TIMEOUT);
	check_interval(job, DM_JOB_BACKOFF);
	check_number(job, DM_JOB_RETRIES, 0, MAX_RETRIES);
	check_number(job, DM_JOB_SUSPEND_AFTER, 0, PG_INT32_MAX);
	if (!JB_ROOT_IS_OBJECT(
			DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(job->values[DM_JOB_ARGUMENTS])))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("arguments of a job must be a JSON object")));
}

/*
 * Returns the first time after `after` at which the job is due, with its anchor for intervals; DT_NOEND for never. Raises 22023 on an
 * invalid schedule or time zone.
 */
TimestampTz
dm_job_due(const DmJob *job, TimestampTz after)
{
	pg_tz *zone = dm_schedule_zone(job->values[DM_JOB_TIMEZONE]);
	DmSchedule schedule;

	if (!job->values[DM_JOB_SCHEDULE])
		return DT_NOEND;
	dm_schedule_parse(job->values[DM_JOB_SCHEDULE], &schedule);
	return dm_schedule_next(&schedule, zone, after, job->anchor);
}

/* Parses a text that is not the statement of the caller: errors point into the text. */
static List *
parse(const char *text)
{
	ErrorContextCallback callback = {.callback = point_into_text, .arg = unconstify(char *, text)};
	List *statements;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	statements = pg_parse_query(text);
	error_context_stack = callback.previous;
	return statements;
}

/* Error context callback: makes the position one in the text. */
static void
point_into_text(void *arg)
{
	int position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(arg);
}

/* Raises unless the body is made of SQL statements that a run can execute. */
static void
check_body(const char *body)
{
	List *statements = parse(body);
	ListCell *cell;

	if (statements == NIL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("the body of a job must hold a statement")));
	foreach (cell, statements)
		dm_body_check(lfirst_node(RawStmt, cell)->stmt);
}

/* Raises unless the text, if there is one, is one query. */
static void
check_query(const char *what, const char *query)
{
	List *statements;

	if (!query)
		return;
	statements = parse(query);
	if (list_length(statements) != 1 || !IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("%s of a job must be one query", what)));
}

/* Raises unless the field is one of the words, which end with NULL. */
static void
check_word(const DmJob *job, DmJobField field, const char *const *words)
{
	StringInfoData known;

	for (const char *const *word = words; *word; word++)
	{
		if (strcmp(*word, job->values[field]) == 0)
			return;
	}
	initStringInfo(&known);
	for (int i = 0; words[i]; i++)
		appendStringInfo(&known, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s of a job cannot be \"%s\"", FIELD_NAMES[field], job->values[field]),
			 errhint("It is %s.", known.data)));
}

/* Raises unless the field is an interval above zero. */
static void
check_interval(const DmJob *job, DmJobField field)
{
	Interval zero = {0};
	Datum value = DirectFunctionCall3(
		interval_in, CStringGetDatum(job->values[field]), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	if (!DatumGetBool(DirectFunctionCall2(interval_gt, value, IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a job must be above zero, not %s", FIELD_NAMES[field], job->values[field])));
}

/* Raises unless the field is a whole number within the bounds. */
static void
check_number(const DmJob *job, DmJobField field, int min, int max)
{
	int32 value = pg_strtoint32(job->values[field]);

	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a job must be between %d and %d, not %d", FIELD_NAMES[field], min, max, value)));
}

/* Raises unless the owner (as regrole prints it) can log in and the current user can become it. */
static void
check_owner(const char *owner)
{
	Oid role = DatumGetObjectId(DirectFunctionCall1(regrolein, CStringGetDatum(owner)));
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool can_login;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role %s does not exist", owner)));
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!dm_role_can_become(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a job of %s can be made or changed only by its members", owner)));
	if (!can_login)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role %s cannot own a job, since it cannot log in", owner),
				 errhint("ALTER ROLE %s LOGIN, or give another owner.", owner)));
}
