/*
 * rehearsal.c: executes a job in a transaction that is taken back, twice, and tells what it would do.
 *
 * 1. The second time must change nothing: neither by statements that find nothing to do, nor by doing the same work again with an equal result.
 *    So tables that the second time wrote are compared by their contents, before and after it.
 * 2. Objects that would be written go nowhere (store/dry.c); COPY to files and programs is refused (database_hook.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "job/expect.h"
#include "job/rehearsal.h"
#include "store/store.h"

/* What was written to a table since the transaction began. */
typedef struct Writes
{
	Oid table;
	Oid file;	/* changes by TRUNCATE and the like */
	char *name; /* quoted, with its schema */
	int64 inserted;
	int64 updated;
	int64 deleted;
	char *contents; /* digest, where asked for */
} Writes;

#define READ_WRITES                                                                                                \
	"SELECT c.oid, pg_catalog.pg_relation_filenode(c.oid), pg_catalog.format('%I.%I', n.nspname, c.relname), "     \
	"pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), pg_catalog.pg_stat_get_xact_tuples_updated(c.oid), "      \
	"pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) FROM pg_catalog.pg_class c "                                \
	"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "                               \
	"WHERE c.relkind OPERATOR(pg_catalog.=) 'r'::\"char\" "                                                        \
	"AND n.nspname OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_catalog', 'information_schema', 'datamill']::name[]) "   \
	"ORDER BY 3"

static void second_time(DmRehearsal *rehearsal, List *before, StringInfo out);
static void compare(DmRehearsal *rehearsal, List *before, List *after);
static List *read_writes(MemoryContext context);
static const Writes *find(List *writes, Oid table);
static char *digest(const char *table, MemoryContext context);
static void write_changes(StringInfo out, List *before, List *after);
static void check_expectations(DmRehearsal *rehearsal, StringInfo out);
static void complain(DmRehearsal *rehearsal, const char *complaint);

/* Executes the body twice. */
void
dm_rehearse(DmRehearsal *rehearsal)
{
	MemoryContext context = rehearsal->body->context;
	StringInfoData out;
	List *before;
	List *after;
	instr_time started;
	instr_time taken;

	MemoryContextSwitchTo(context);
	initStringInfo(&out);
	rehearsal->is_ok = true;
	dm_store_set_dry();
	StartTransactionCommand();
	before = read_writes(context);
	INSTR_TIME_SET_CURRENT(started);
	dm_body_execute_inside(rehearsal->body);
	INSTR_TIME_SET_CURRENT(taken);
	INSTR_TIME_SUBTRACT(taken, started);
	after = read_writes(context);
	MemoryContextSwitchTo(context);
	appendStringInfo(&out, "{\"first\": {\"seconds\": %.3f, \"tables\": ", INSTR_TIME_GET_DOUBLE(taken));
	write_changes(&out, before, after);
	appendStringInfoString(&out, "}, ");
	check_expectations(rehearsal, &out);
	second_time(rehearsal, after, &out);
	AbortCurrentTransaction();
	MemoryContextSwitchTo(context);
	appendStringInfo(&out, ", \"ok\": %s}", rehearsal->is_ok ? "true" : "false");
	rehearsal->report = out.data;
}

/* Executes the body once more in a subtransaction and tells what it changed. */
static void
second_time(DmRehearsal *rehearsal, List *before, StringInfo out)
{
	MemoryContext context = rehearsal->body->context;
	ResourceOwner owner = CurrentResourceOwner;
	List *volatile changed = NIL;
	List *volatile after = NIL;
	char *volatile problem = NULL;
	ListCell *cell;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		dm_body_execute_inside(rehearsal->body);
		after = read_writes(context);
		compare(rehearsal, before, after);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		/* a cancel or timeout ends the rehearsal */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		problem = error->message;
		after = NIL;
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	/* the tables as the first time left them */
	foreach (cell, after)
	{
		Writes *one = lfirst(cell);

		if (one->contents && (!find(before, one->table) || strcmp(one->contents, digest(one->name, context)) != 0))
			changed = lappend(changed, one);
	}
	MemoryContextSwitchTo(context);
	appendStringInfoString(out, "\"second\": {\"tables\": ");
	write_changes(out, before, after);
	if (problem)
	{
		appendStringInfoString(out, ", \"error\": ");
		escape_json(out, problem);
		complain(rehearsal, psprintf("a second run fails: %s", problem));
	}
	appendStringInfoString(out, ", \"changed\": [");
	foreach (cell, changed)
	{
		appendStringInfoString(out, cell == list_head(changed) ? "" : ", ");
		escape_json(out, ((Writes *) lfirst(cell))->name);
	}
	appendStringInfo(out, "]}, \"idempotent\": %s", problem || changed != NIL ? "false" : "true");
	if (changed != NIL)
		complain(rehearsal, psprintf("a second run changes %s again", ((Writes *) linitial(changed))->name));
}

/* Digests the tables that were written since `before`. */
static void
compare(DmRehearsal *rehearsal, List *before, List *after)
{
	ListCell *cell;

	foreach (cell, after)
	{
		Writes *one = lfirst(cell);
		const Writes *was = find(before, one->table);

		if (!was || was->file != one->file || was->inserted != one->inserted || was->updated != one->updated ||
			was->deleted != one->deleted)
			one->contents = digest(one->name, rehearsal->body->context);
	}
}

/* Reads what was written to each table: a list of Writes* in the context. */
static List *
read_writes(MemoryContext context)
{
	List *writes = NIL;

	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute(READ_WRITES, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "statistics of the transaction could not be read");
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Writes *one = palloc0(sizeof(Writes));
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool is_null;

		one->table = DatumGetObjectId(SPI_getbinval(row, desc, 1, &is_null));
		one->file = DatumGetObjectId(SPI_getbinval(row, desc, 2, &is_null));
		one->name = SPI_getvalue(row, desc, 3);
		one->inserted = DatumGetInt64(SPI_getbinval(row, desc, 4, &is_null));
		one->updated = DatumGetInt64(SPI_getbinval(row, desc, 5, &is_null));
		one->deleted = DatumGetInt64(SPI_getbinval(row, desc, 6, &is_null));
		writes = lappend(writes, one);
	}
	SPI_finish();
	PopActiveSnapshot();
	MemoryContextSwitchTo(context);
	return writes;
}

/* Finds a table's entry. */
static const Writes *
find(List *writes, Oid table)
{
	ListCell *cell;

	foreach (cell, writes)
	{
		if (((Writes *) lfirst(cell))->table == table)
			return lfirst(cell);
	}
	return NULL;
}

/* Returns the number of rows of a table and the sum of their hashes. */
static char *
digest(const char *table, MemoryContext context)
{
	char *text;

	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	/* the name is quoted by format('%I.%I') */
	if (SPI_execute(
			psprintf("SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*), "
					 "pg_catalog.sum(pg_catalog.hashtextextended(ROW(t.*)::pg_catalog.text, 0))) FROM ONLY %s t",
					 table),
			true,
			0) != SPI_OK_SELECT)
		elog(ERROR, "table %s could not be read", table);
	MemoryContextSwitchTo(context);
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_finish();
	PopActiveSnapshot();
	MemoryContextSwitchTo(context);
	return text;
}

/* Appends what changed from one reading to the next, as a JSON array. */
static void
write_changes(StringInfo out, List *before, List *after)
{
	bool is_first = true;
	ListCell *cell;

	appendStringInfoChar(out, '[');
	foreach (cell, after)
	{
		static const Writes none = {0};
		const Writes *now = lfirst(cell);
		const Writes *was = find(before, now->table);

		was = was ? was : &none;
		if (was->inserted == now->inserted && was->updated == now->updated && was->deleted == now->deleted)
			continue;
		appendStringInfoString(out, is_first ? "{\"table\": " : ", {\"table\": ");
		is_first = false;
		escape_json(out, now->name);
		appendStringInfo(out,
						 ", \"inserted\": " INT64_FORMAT ", \"updated\": " INT64_FORMAT
						 ", \"deleted\": " INT64_FORMAT "}",
						 now->inserted - was->inserted,
						 now->updated - was->updated,
						 now->deleted - was->deleted);
	}
	appendStringInfoChar(out, ']');
}

/* Asks all that the job expects, and appends the answers. */
static void
check_expectations(DmRehearsal *rehearsal, StringInfo out)
{
	ListCell *cell;

	appendStringInfoString(out, "\"expect\": [");
	foreach (cell, rehearsal->expect)
	{
		bool is_true = dm_expect_is_true(lfirst(cell), "expect", rehearsal->job);

		appendStringInfoString(out, cell == list_head(rehearsal->expect) ? "{\"query\": " : ", {\"query\": ");
		escape_json(out, lfirst(cell));
		appendStringInfo(out, ", \"ok\": %s}", is_true ? "true" : "false");
		if (!is_true)
			complain(rehearsal, psprintf("this is not true: %s", (char *) lfirst(cell)));
	}
	appendStringInfoString(out, "], ");
}

/* Notes what is wrong; the first complaint stays. */
static void
complain(DmRehearsal *rehearsal, const char *complaint)
{
	if (rehearsal->is_ok)
		rehearsal->complaint = pstrdup(complaint);
	rehearsal->is_ok = false;
}
