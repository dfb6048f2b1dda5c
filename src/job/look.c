/*
 * look.c: looks for new objects, and queues runs for them.
 *
 * 1. A version of an object is known by its uri, version, etag, size and time of modification. It is given to one run, or passed over, once: that it
 *    was seen, and the run, are stored in one transaction.
 * 2. Looking is done by a run's process, connected as the owner of the job: with his rights, and his user mapping.
 * 3. Of what is known already nothing is kept in memory; new objects are, up to MAX_NEW.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/columns.h"
#include "job/look.h"
#include "job/queue.h"
#include "notify/notify.h"
#include "source/source.h"
#include "store/store.h"

#define BATCH 5000
#define MAX_NEW 100000
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

typedef struct Looking
{
	const DmLook *look;
	const char *pattern;
	MemoryContext context; /* of what is found */
	MemoryContext batch;   /* of what was listed since it was last compared */
	List *listed;		   /* of DmObject*, in batch */
	List *found;		   /* of DmObject* */
} Looking;

static void list(Looking *looking, const DmWatch *watch);
static bool list_each(const DmObject *object, void *arg);
static void compare(Looking *looking);
static List *unknown(const DmLook *look, List *objects);
static char *version_of(const DmObject *object);
static int compare_age(const ListCell *a, const ListCell *b);
static void store(Looking *looking, DmWatchMode mode);
static bool lock_job(const DmLook *look);
static void queue_runs(const DmLook *look, List *found, DmWatchMode mode, DmColumn *runs);
static int64 queue_run(const DmLook *look, List *objects, int passed_over);
static char *objects_json(List *objects);
static void remember(const DmLook *look, List *found, const DmColumn *runs);
static void tell(const DmLook *look, List *objects, int64 run_id);
static void end_look(const DmLook *look, int found);

/* Looks for new objects. */
void
dm_look(const DmLook *look)
{
	MemoryContext context = CurrentMemoryContext;
	Looking looking = {.look = look};
	DmCatalogScope scope;
	DmWatch watch = {.kind = DM_WATCH_EVENT};

	StartTransactionCommand();
	/* whatever the owner's settings: what another look stored must be seen once its lock is got */
	XactReadOnly = false;
	XactIsoLevel = XACT_READ_COMMITTED;
	pgstat_report_activity(STATE_RUNNING, look->watch);
	MemoryContextSwitchTo(context);
	if (look->watch)
		dm_watch_parse(look->watch, &watch);
	looking.context = AllocSetContextCreate(context, "datamill look", ALLOCSET_DEFAULT_SIZES);
	looking.batch = AllocSetContextCreate(context, "datamill look batch", ALLOCSET_DEFAULT_SIZES);
	/* it may have been altered since the look was queued */
	if (watch.kind == DM_WATCH_OBJECTS)
		list(&looking, &watch);
	MemoryContextSwitchTo(looking.context);
	list_sort(looking.found, compare_age);
	dm_catalog_begin(&scope);
	MemoryContextSwitchTo(looking.context);
	if (looking.found != NIL)
		store(&looking, watch.mode);
	end_look(look, list_length(looking.found));
	dm_catalog_end(&scope);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Lists what is watched and keeps what is not known. */
static void
list(Looking *looking, const DmWatch *watch)
{
	const char *server = looking->look->server;
	const char *url;
	DmStore *store;
	char *bucket;
	char *pattern;

	PushActiveSnapshot(GetTransactionSnapshot());
	url = dm_source_url(watch->name, &server);
	dm_url_split(url, &bucket, &pattern);
	looking->pattern = pattern;
	store = dm_store_open(dm_source_server(server), GetUserId());
	dm_store_list(store, bucket, dm_glob_prefix(pattern), list_each, looking);
	compare(looking);
	PopActiveSnapshot();
}

/* Takes an object that is listed. Folder markers (empty, named dir/) are none. */
static bool
list_each(const DmObject *object, void *arg)
{
	Looking *looking = arg;
	Size len = strlen(object->key);
	MemoryContext caller;

	CHECK_FOR_INTERRUPTS();
	if (!dm_glob_match(looking->pattern, object->key) ||
		(object->size == 0 && len > 0 && object->key[len - 1] == '/'))
		return true;
	caller = MemoryContextSwitchTo(looking->batch);
	looking->listed = lappend(looking->listed, dm_object_copy(object));
	MemoryContextSwitchTo(caller);
	if (list_length(looking->listed) == BATCH)
		compare(looking);
	return true;
}

/* Keeps what is not known of what was listed since the last time. Raises 54000 if that is too much. */
static void
compare(Looking *looking)
{
	MemoryContext caller = MemoryContextSwitchTo(looking->batch);
	DmCatalogScope scope;
	List *objects;
	ListCell *cell;

	dm_catalog_begin(&scope);
	MemoryContextSwitchTo(looking->batch);
	objects = unknown(looking->look, looking->listed);
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(looking->context);
	foreach (cell, objects)
		looking->found = lappend(looking->found, dm_object_copy(lfirst(cell)));
	MemoryContextSwitchTo(caller);
	MemoryContextReset(looking->batch);
	looking->listed = NIL;
	if (list_length(looking->found) > MAX_NEW)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("job \"%s\" finds more than " TEXT(MAX_NEW) " new objects at once", looking->look->name),
				 errhint("Watch a narrower pattern, or several with a job each.")));
}

/* Returns those of the objects that the job has not seen, a list in the current memory context. In a catalog scope. */
static List *
unknown(const DmLook *look, List *objects)
{
	DmCatalogArgs args = {0};
	DmColumn uris = {0};
	DmColumn versions = {0};
	MemoryContext caller = CurrentMemoryContext;
	List *result = NIL;
	ListCell *cell;
	uint64 n;

	if (objects == NIL)
		return NIL;
	foreach (cell, objects)
	{
		dm_column_add_text(&uris, dm_object_uri(lfirst(cell)));
		dm_column_add_text(&versions, version_of(lfirst(cell)));
	}
	dm_args_int8(&args, look->job_id);
	dm_args_column(&args, &uris);
	dm_args_column(&args, &versions);
	n = dm_catalog_run(
		"SELECT i - 1 FROM unnest($2, $3) WITH ORDINALITY u(uri, version, i) WHERE NOT EXISTS "
		"(SELECT FROM datamill.watch_catalog w WHERE w.job_id = $1 AND w.uri = u.uri AND w.version = "
		"u.version) ORDER BY i",
		&args);
	/* from that of SPI, which ends with the scope */
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < n; i++)
		result = lappend(result, list_nth(objects, (int) dm_catalog_int8(i, 1)));
	return result;
}

/* Returns what tells a version of an object from another. */
static char *
version_of(const DmObject *object)
{
	return psprintf("%s%s%s " INT64_FORMAT " " INT64_FORMAT,
					object->version ? object->version : "",
					object->version ? " " : "",
					object->etag,
					object->size,
					object->modified);
}

/* Orders objects by time of modification, then key. */
static int
compare_age(const ListCell *a, const ListCell *b)
{
	const DmObject *left = lfirst(a);
	const DmObject *right = lfirst(b);

	if (left->modified != right->modified)
		return left->modified < right->modified ? -1 : 1;
	return strcmp(left->key, right->key);
}

/* Queues runs for what was found, oldest first, and remembers it. In a catalog scope. */
static void
store(Looking *looking, DmWatchMode mode)
{
	const DmLook *look = looking->look;
	DmColumn runs = {.type = INT8OID};

	/* another look may have been faster, and somebody may have pinned the job */
	looking->found = lock_job(look) ? unknown(look, looking->found) : NIL;
	if (looking->found == NIL)
		return;
	queue_runs(look, looking->found, mode, &runs);
	remember(look, looking->found, &runs);
}

/* Locks the job against other looks. False if it is not there any more or pinned. */
static bool
lock_job(const DmLook *look)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, look->job_id);
	return dm_catalog_run("SELECT FROM datamill.job_catalog WHERE job_id = $1 AND pinned IS NULL FOR NO KEY UPDATE",
						  &args) > 0;
}

/* Queues the runs; *runs gets the run of each object, NULL for those that are passed over. */
static void
queue_runs(const DmLook *look, List *found, DmWatchMode mode, DmColumn *runs)
{
	int64 run_id = 0;
	ListCell *cell;

	if (mode == DM_WATCH_ALL)
		run_id = queue_run(look, found, 0);
	foreach (cell, found)
	{
		bool is_last = foreach_current_index(cell) == list_length(found) - 1;

		CHECK_FOR_INTERRUPTS();
		if (mode == DM_WATCH_EACH || (mode == DM_WATCH_LATEST && is_last))
			run_id =
				queue_run(look, list_make1(lfirst(cell)), mode == DM_WATCH_LATEST ? list_length(found) - 1 : 0);
		dm_column_add(runs, Int64GetDatum(run_id), run_id == 0);
	}
	if (mode == DM_WATCH_LATEST)
		found = list_make1(llast(found));
	tell(look, found, mode == DM_WATCH_EACH ? 0 : run_id);
}

/* Queues a run for objects and returns its id. */
static int64
queue_run(const DmLook *look, List *objects, int passed_over)
{
	DmCatalogArgs args = {0};
	bool is_null;

	dm_args_text(&args, objects_json(objects));
	dm_args_int4(&args, passed_over);
	dm_catalog_run("SELECT jsonb_build_object('objects', $1::jsonb) || CASE WHEN $2 > 0 THEN "
				   "jsonb_build_object('passed_over', $2) ELSE '{}' END",
				   &args);
	return dm_run_insert_now(look->job_id, "watch", dm_catalog_value(0, 1, &is_null));
}

/* Returns objects as a JSON array, as dm_exact_list() reads it. */
static char *
objects_json(List *objects)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	foreach (cell, objects)
	{
		const DmObject *object = lfirst(cell);
		char modified[MAXDATELEN + 1];
		int utc = 0;

		appendStringInfoString(&out, foreach_current_index(cell) == 0 ? "{\"uri\": " : ", {\"uri\": ");
		escape_json(&out, dm_object_uri(object));
		appendStringInfoString(&out, ", \"etag\": ");
		escape_json(&out, object->etag);
		if (object->version)
		{
			appendStringInfoString(&out, ", \"version\": ");
			escape_json(&out, object->version);
		}
		JsonEncodeDateTime(modified, TimestampTzGetDatum(object->modified), TIMESTAMPTZOID, &utc);
		appendStringInfo(&out, ", \"size\": " INT64_FORMAT ", \"modified\": \"%s\"}", object->size, modified);
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

/* Stores that the objects were seen, with their runs. */
static void
remember(const DmLook *look, List *found, const DmColumn *runs)
{
	DmCatalogArgs args = {0};
	DmColumn uris = {0};
	DmColumn versions = {0};
	ListCell *cell;

	foreach (cell, found)
	{
		dm_column_add_text(&uris, dm_object_uri(lfirst(cell)));
		dm_column_add_text(&versions, version_of(lfirst(cell)));
	}
	dm_args_int8(&args, look->job_id);
	dm_args_column(&args, &uris);
	dm_args_column(&args, &versions);
	dm_args_column(&args, runs);
	dm_catalog_run("INSERT INTO datamill.watch_catalog (job_id, uri, version, run_id) "
				   "SELECT $1, uri, version, run_id FROM unnest($2, $3, $4) u(uri, version, run_id)",
				   &args);
}

/* Stores the event, with the news of it; run_id 0 for several. */
static void
tell(const DmLook *look, List *objects, int64 run_id)
{
	DmColumn event_nos = {.type = INT8OID};
	DmCatalogArgs args = {0};

	dm_args_int8(&args, look->job_id);
	dm_args_int8(&args, run_id);
	dm_args_text(&args, objects_json(objects));
	if (dm_catalog_run(
			"INSERT INTO datamill.event_log (event, owner, job_id, run_id, payload) "
			"SELECT 'new_objects', owner, job_id, nullif($2, 0), jsonb_build_object('objects', $3::jsonb) "
			"FROM datamill.job_catalog WHERE job_id = $1 RETURNING event_no",
			&args) == 0)
		return;
	dm_column_add_int8(&event_nos, dm_catalog_int8(0, 1));
	dm_outbox_add(&event_nos);
}

/* Ends the run that looks. Raises if others did that. */
static void
end_look(const DmLook *look, int found)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, look->run_id);
	dm_args_int8(&args, look->job_id);
	/* one that makes up for a failure stays, so that the failure counts no more */
	if (dm_catalog_run(
			"SELECT FROM (SELECT trigger, state FROM datamill.run_catalog WHERE job_id = $2 AND run_id <> $1 "
			"AND finished_at IS NOT NULL ORDER BY scheduled_time DESC, attempt DESC LIMIT 1) r "
			"WHERE trigger = 'look' AND state IN ('failed', 'crashed', 'timed_out')",
			&args) > 0)
	{
		args.n = 1;
		dm_args_text(&args, psprintf("new objects: %d", found));
		if (dm_catalog_run("UPDATE datamill.run_catalog SET state = 'succeeded', reason = $2, "
						   "finished_at = clock_timestamp() WHERE run_id = $1 AND state = 'running'",
						   &args) > 0)
			return;
	}
	else
	{
		args.n = 1;
		if (dm_catalog_run("DELETE FROM datamill.run_catalog WHERE run_id = $1 AND state = 'running'", &args) > 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("run " INT64_FORMAT " was ended by others: what it found is left for the next look",
					look->run_id)));
}
