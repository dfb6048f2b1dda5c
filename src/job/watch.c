/*
 * watch.c: what jobs watch, and runs for relations that receipts name.
 *
 * 1. The run for a receipt is queued in the transaction of the receipt: it is there exactly if the rows are.
 * 2. What a run does starts neither its own job nor one that led to it (argument chain): there are no circles.
 * 3. A job hears only of relations that its owner may read.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/varlena.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "job/queue.h"
#include "job/watch.h"
#include "job/worker.h"
#include "receipt/receipt.h"
#include "store/store.h"

#define DEFAULT_SCHEDULE "every 1 minute"
#define MAX_EVENT_BYTES 200

typedef struct Started
{
	int64 job_id;
	Datum arguments;
} Started;

static bool take_word(const char **text, const char *word);
static char *parse_relation(const char *text, const char *relation);
static void check_url(const char *text, const char *url);
static void watch_error(const char *text) pg_attribute_noreturn();
static void check_relation(const DmJob *job, const char *relation);
static void receipt_written(const char *id, const char *outputs);

/* Reads what a job watches. */
void
dm_watch_parse(const char *text, DmWatch *watch)
{
	const char *at = text;

	memset(watch, 0, sizeof(*watch));
	if (strncmp(at, "event:", 6) == 0)
	{
		watch->kind = DM_WATCH_EVENT;
		watch->name = pstrdup(at + 6);
		if (watch->name[0] == '\0' || strlen(watch->name) > MAX_EVENT_BYTES)
			watch_error(text);
		return;
	}
	if (strncmp(at, "relation:", 9) == 0)
	{
		watch->kind = DM_WATCH_RELATION;
		watch->name = parse_relation(text, at + 9);
		return;
	}
	watch->kind = DM_WATCH_OBJECTS;
	watch->mode = take_word(&at, "each")	 ? DM_WATCH_EACH
				  : take_word(&at, "latest") ? DM_WATCH_LATEST
											 : DM_WATCH_ALL;
	check_url(text, at);
	watch->name = pstrdup(at);
}

/* Checks what the job watches, and completes the job. */
bool
dm_watch_prepare(DmJob *job)
{
	static const char *const modes[] = {
		[DM_WATCH_ALL] = "", [DM_WATCH_EACH] = "each ", [DM_WATCH_LATEST] = "latest "};
	DmWatch watch;

	if (!job->values[DM_JOB_WATCH])
		return false;
	dm_watch_parse(job->values[DM_JOB_WATCH], &watch);
	if (watch.kind == DM_WATCH_RELATION)
	{
		check_relation(job, watch.name);
		job->values[DM_JOB_WATCH] = psprintf("relation:%s", watch.name);
	}
	if (watch.kind != DM_WATCH_OBJECTS)
		return false;
	job->values[DM_JOB_WATCH] = psprintf("%s%s", modes[watch.mode], watch.name);
	if (job->values[DM_JOB_SCHEDULE])
		return false;
	job->values[DM_JOB_SCHEDULE] = pstrdup(DEFAULT_SCHEDULE);
	return true;
}

/* Sets the hook of receipts. */
void
dm_watch_init(void)
{
	dm_receipt_written_hook = receipt_written;
}

/* Takes a word and the blanks after it off the text's start. */
static bool
take_word(const char **text, const char *word)
{
	Size len = strlen(word);

	if (strncmp(*text, word, len) != 0 || (*text)[len] != ' ')
		return false;
	*text += len + strspn(*text + len, " ");
	return true;
}

/* Returns a qualified name as receipts write it. */
static char *
parse_relation(const char *text, const char *relation)
{
	char *copy = pstrdup(relation);
	List *names;

	if (!SplitIdentifierString(copy, '.', &names) || list_length(names) != 2)
		watch_error(text);
	return quote_qualified_identifier(linitial(names), lsecond(names));
}

/* Raises unless the URL names objects. */
static void
check_url(const char *text, const char *url)
{
	char *bucket;
	char *key;

	if (strncmp(url, "file:///", 8) == 0 && url[8] != '\0' && url[strlen(url) - 1] != '/')
		return;
	if (strncmp(url, "s3://", 5) != 0)
		watch_error(text);
	dm_url_split(url, &bucket, &key);
	if (key[0] == '\0')
		watch_error(text);
}

/* Raises for what cannot be watched. */
static void
watch_error(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("watch of a job cannot be \"%s\"", text),
			 errhint("It is event:NAME, relation:SCHEMA.TABLE, or a URL of objects such as s3://bucket/in/*.csv, "
					 "which each or latest may stand before.")));
}

/* Raises if the relation is there and the owner of the job may not read it. */
static void
check_relation(const DmJob *job, const char *relation)
{
	Oid owner = DatumGetObjectId(DirectFunctionCall1(regrolein, CStringGetDatum(job->values[DM_JOB_OWNER])));
	RangeVar *name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(relation)));
	Oid oid = RangeVarGetRelid(name, NoLock, true);

	if (OidIsValid(oid) && pg_class_aclcheck(oid, owner, ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s may not read %s, which the job is to watch", job->values[DM_JOB_OWNER], relation),
				 errhint("GRANT SELECT ON %s TO %s", relation, job->values[DM_JOB_OWNER])));
}

/* Hook of receipts, in a catalog scope: queues a run of each job that watches a relation which the receipt names as output. */
static void
receipt_written(const char *id, const char *outputs)
{
	const DmRun *run = dm_run_current();
	DmCatalogArgs args = {0};
	Started *started;
	uint64 n;

	dm_args_text(&args, id);
	dm_args_text(&args, outputs);
	dm_args_int8(&args, run ? run->run_id : 0);
	n = dm_catalog_run(
		"SELECT DISTINCT ON (j.job_id, o.uri) j.job_id, jsonb_build_object('relation', o.uri, 'receipt', $1, "
		"'counts', o.counts) || CASE WHEN c.chain IS NULL THEN '{}' ELSE jsonb_build_object('chain', c.chain) END "
		"FROM jsonb_to_recordset($2::jsonb) o(uri text, counts jsonb) "
		"JOIN datamill.job_catalog j ON j.watch = 'relation:' || o.uri "
		"LEFT JOIN LATERAL (SELECT coalesce(r.arguments -> 'chain', '[]') || to_jsonb(r.job_id) AS chain "
		"FROM datamill.run_catalog r WHERE r.run_id = $3) c ON true "
		"WHERE j.state = 'active' AND (c.chain IS NULL OR NOT c.chain @> to_jsonb(j.job_id)) "
		"AND has_table_privilege(j.owner::oid, to_regclass(o.uri), 'SELECT') ORDER BY j.job_id, o.uri",
		&args);
	started = palloc((n + 1) * sizeof(Started));
	for (uint64 i = 0; i < n; i++)
	{
		bool is_null;

		started[i].job_id = dm_catalog_int8(i, 1);
		started[i].arguments = PointerGetDatum(PG_DETOAST_DATUM_COPY(dm_catalog_value(i, 2, &is_null)));
	}
	for (uint64 i = 0; i < n; i++)
		dm_run_insert_now(started[i].job_id, "watch", started[i].arguments);
}
