/*
 * metrics.c: what jobs do, as Prometheus reads it (text exposition format 0.0.4).
 *
 * Everything that is told belongs to roles that the caller is a member of; pools and the scheduler are everybody's. Label values are
 * escaped as the format says: backslash, double quote and line feed.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/catalog.h"
#include "job/health.h"

PG_FUNCTION_INFO_V1(dm_metrics_sql);

/* A metric whose samples are rows of a statement: labels in the columns before the value, NULL for no sample. */
typedef struct Metric
{
	const char *name;
	const char *type;
	const char *help;
	const char *labels[4]; /* names, in the order of columns; NULL ends them */
	int value;			   /* its column, counted from 1 */
} Metric;

/* Jobs of the caller's roles ($1 is the caller), and for each what is known of it without a look at all its runs. */
static const char job_sql[] =
	"SELECT j.owner, j.name, j.failures, extract(epoch FROM GREATEST(j.next_due, j.not_before)), "
	"extract(epoch FROM s.finished_at), extract(epoch FROM l.finished_at - l.started_at), l.cpu_seconds, "
	"l.peak_memory, "
	"extract(epoch FROM t.late_by), extract(epoch FROM l.finished_at) "
	"FROM datamill.job_catalog j "
	"LEFT JOIN LATERAL (SELECT r.finished_at FROM datamill.run_catalog r WHERE r.job_id = j.job_id "
	"AND r.state = 'succeeded' AND r.trigger <> 'rehearsal' ORDER BY r.scheduled_time DESC LIMIT 1) s ON true "
	"LEFT JOIN LATERAL (SELECT * FROM datamill.run_catalog r WHERE r.job_id = j.job_id AND r.trigger <> "
	"'rehearsal' "
	"AND r.started_at IS NOT NULL AND r.finished_at IS NOT NULL ORDER BY r.scheduled_time DESC, r.attempt DESC "
	"LIMIT 1) l "
	"ON true "
	"LEFT JOIN datamill.late_job_catalog t ON t.job_id = j.job_id AND t.state = 'active' "
	"WHERE pg_has_role($1, j.owner, 'USAGE') ORDER BY j.owner::text, j.name";

static const Metric job_metrics[] = {
	{"datamill_job_failures_in_row", "gauge", "Failures of the job since its last success.", {"owner", "job"}, 3},
	{"datamill_job_next_due_timestamp_seconds", "gauge", "When the job is next due.", {"owner", "job"}, 4},
	{"datamill_job_last_success_timestamp_seconds",
	 "gauge",
	 "When the job last succeeded; no sample if it never did.",
	 {"owner", "job"},
	 5},
	{"datamill_job_last_run_timestamp_seconds",
	 "gauge",
	 "When the last run of the job ended, whatever became of it.",
	 {"owner", "job"},
	 10},
	{"datamill_job_last_duration_seconds", "gauge", "How long the last run of the job took.", {"owner", "job"}, 6},
	{"datamill_job_last_cpu_seconds", "gauge", "CPU time of the last run of the job.", {"owner", "job"}, 7},
	{"datamill_job_last_peak_memory_bytes",
	 "gauge",
	 "Peak of resident memory of the last run of the job.",
	 {"owner", "job"},
	 8},
	{"datamill_job_late_seconds",
	 "gauge",
	 "How late the active job is; no sample if it is not (view late_jobs).",
	 {"owner", "job"},
	 9},
};

/* A sample for each state, so that a change shows as one that goes to 0. */
static const char state_sql[] =
	"SELECT j.owner, j.name, s.state, (j.state = s.state)::integer FROM datamill.job_catalog j "
	"CROSS JOIN (VALUES ('active'), ('paused'), ('suspended'), ('broken')) s(state) "
	"WHERE pg_has_role($1, j.owner, 'USAGE') ORDER BY j.owner::text, j.name, s.state";

static const Metric state_metrics[] = {
	{"datamill_job_state",
	 "gauge",
	 "1 for the state that the job is in, 0 for the others.",
	 {"owner", "job", "state"},
	 4},
};

/* By the index of ends: a day of runs, not all that are kept. */
static const char run_sql[] = "SELECT r.owner, r.name, r.state, count(*) FROM datamill.run_catalog r WHERE "
							  "r.finished_at > now() - interval '1 day' "
							  "AND r.trigger <> 'rehearsal' AND pg_has_role($1, r.owner, 'USAGE') "
							  "GROUP BY r.owner, r.name, r.state ORDER BY r.owner::text, r.name, r.state";

static const Metric run_metrics[] = {
	{"datamill_runs_last_day", "gauge", "Runs that ended within the last 24 hours.", {"owner", "job", "state"}, 4},
};

static const char late_sql[] = "SELECT count(*) FROM datamill.late_job_catalog l "
							   "WHERE l.state = 'active' AND pg_has_role($1, l.owner, 'USAGE')";

static const Metric late_metrics[] = {
	{"datamill_late_jobs", "gauge", "Active jobs that are late (view late_jobs).", {NULL}, 1},
};

static const char queue_sql[] =
	"SELECT q.pool, s.state, s.n FROM datamill.queue_depth q CROSS JOIN LATERAL (VALUES ('queued', q.queued), "
	"('waiting', q.waiting), ('starting', q.starting), ('running', q.running)) s(state, n) WHERE $1 IS NOT NULL "
	"ORDER BY 1, 2";

static const Metric queue_metrics[] = {
	{"datamill_queue_depth", "gauge", "Runs of the pool that are not over.", {"pool", "state"}, 3},
};

static const char pool_sql[] =
	"SELECT q.pool, q.slots, COALESCE(GREATEST(extract(epoch FROM now() - q.oldest_queued_at), 0), 0) "
	"FROM datamill.queue_depth q WHERE $1 IS NOT NULL ORDER BY 1";

static const Metric pool_metrics[] = {
	{"datamill_pool_slots", "gauge", "Runs of the pool that may go on at once.", {"pool"}, 2},
	{"datamill_queue_oldest_seconds",
	 "gauge",
	 "How long the oldest run that could start has been queued; 0 if there is none.",
	 {"pool"},
	 3},
};

static const char server_sql[] = "SELECT p.slots, p.used FROM datamill.process_slots() p WHERE $1 IS NOT NULL";

static const Metric server_metrics[] = {
	{"datamill_process_slots", "gauge", "Processes that runs may have at once in the server.", {NULL}, 1},
	{"datamill_process_slots_used", "gauge", "Processes that runs have in the server.", {NULL}, 2},
};

/* Appends a value of a label, escaped. */
static void
append_label(StringInfo out, const char *value)
{
	for (; value && *value; value++)
	{
		if (*value == '\n')
			appendStringInfoString(out, "\\n");
		else if (*value == '\\' || *value == '"')
			appendStringInfo(out, "\\%c", *value);
		else
			appendStringInfoChar(out, *value);
	}
}

/* Appends a metric with a sample a row of the last statement. */
static void
append_metric(StringInfo out, const Metric *metric, uint64 rows)
{
	appendStringInfo(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name, metric->type);
	for (uint64 row = 0; row < rows; row++)
	{
		char *value = dm_catalog_text(row, metric->value);

		if (!value || strcmp(value, "Infinity") == 0 || strcmp(value, "-Infinity") == 0)
			continue;
		appendStringInfoString(out, metric->name);
		for (int i = 0; i < lengthof(metric->labels) && metric->labels[i]; i++)
		{
			appendStringInfo(out, "%c%s=\"", i == 0 ? '{' : ',', metric->labels[i]);
			append_label(out, dm_catalog_text(row, i + 1));
			appendStringInfoChar(out, '"');
		}
		appendStringInfo(out, "%s %s\n", metric->labels[0] ? "}" : "", value);
	}
}

/* Appends the metrics that a statement gives. */
static void
append_metrics(StringInfo out, const char *sql, const Metric *metrics, int n, Oid caller)
{
	DmCatalogArgs args = {0};
	uint64 rows;

	dm_args_oid(&args, caller);
	rows = dm_catalog_run(sql, &args);
	for (int i = 0; i < n; i++)
		append_metric(out, &metrics[i], rows);
}

/* metrics() returns text. */
PGDLLEXPORT Datum
dm_metrics_sql(PG_FUNCTION_ARGS)
{
	MemoryContext caller_context = CurrentMemoryContext;
	Oid caller = GetUserId();
	DmCatalogScope scope;
	StringInfoData out;
	text *result;

	initStringInfo(&out);
	appendStringInfo(&out,
					 "# HELP datamill_scheduler_up Whether jobs of this database are started.\n"
					 "# TYPE datamill_scheduler_up gauge\ndatamill_scheduler_up %d\n",
					 strcmp(dm_scheduler_state(), "running") == 0);
	dm_catalog_begin(&scope);
	append_metrics(&out, job_sql, job_metrics, lengthof(job_metrics), caller);
	append_metrics(&out, state_sql, state_metrics, lengthof(state_metrics), caller);
	append_metrics(&out, run_sql, run_metrics, lengthof(run_metrics), caller);
	append_metrics(&out, late_sql, late_metrics, lengthof(late_metrics), caller);
	append_metrics(&out, queue_sql, queue_metrics, lengthof(queue_metrics), caller);
	append_metrics(&out, pool_sql, pool_metrics, lengthof(pool_metrics), caller);
	append_metrics(&out, server_sql, server_metrics, lengthof(server_metrics), caller);
	dm_catalog_end(&scope);
	MemoryContextSwitchTo(caller_context);
	result = cstring_to_text_with_len(out.data, out.len);
	pfree(out.data);
	PG_RETURN_TEXT_P(result);
}
