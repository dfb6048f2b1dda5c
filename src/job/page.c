/*
 * page.c: the status page: one HTML document that needs nothing from elsewhere.
 *
 * 1. It tells what belongs to roles that the caller is a member of, and nothing else.
 * 2. What users wrote goes through dm_page_escaped().
 * 3. Of each job only the last runs are read, by the index of runs, so that the number of runs kept does not matter.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "job/health.h"
#include "job/page.h"
#include "job/states.h"

PG_FUNCTION_INFO_V1(dm_status_page_sql);

static void jobs_read(DmPage *page, const DmCatalogArgs *args);
static void runs_read(DmPage *page, const DmCatalogArgs *args);
static void edges_read(DmPage *page, const DmCatalogArgs *args);
static void job_judge(DmPageJob *job);
static void order_make(DmPage *page);
static void append_top(StringInfo out, const DmPage *page, const char *title);

/* The page whose jobs the comparison looks into; set for the time of a sort. */
static const DmPage *compared;

/* Reads everything that the page shows, for a caller. */
static void
page_read(DmPage *page, Oid caller)
{
	DmCatalogArgs args = {0};
	DmCatalogScope scope;

	dm_args_oid(&args, caller);
	page->now = GetCurrentTimestamp();
	page->context = CurrentMemoryContext;
	dm_catalog_begin(&scope);
	jobs_read(page, &args);
	runs_read(page, &args);
	edges_read(page, &args);
	dm_catalog_end(&scope);
	for (int i = 0; i < page->njobs; i++)
		job_judge(&page->jobs[i]);
	order_make(page);
}

/* Reads the jobs. */
static void
jobs_read(DmPage *page, const DmCatalogArgs *args)
{
	uint64 n = dm_catalog_run(
		"SELECT j.job_id, j.name, j.owner, j.state, j.state_reason, j.schedule, j.timezone, j.watch, "
		"GREATEST(j.next_due, j.not_before), j.failures::bigint, l.expected_at, l.why, (s.usual * "
		"1000000)::bigint, "
		"COALESCE((SELECT string_agg(u.name, ', ' ORDER BY u.name) FROM datamill.dependency_catalog d "
		"JOIN datamill.job_catalog u ON u.job_id = d.upstream_id WHERE d.job_id = j.job_id), '') "
		"FROM datamill.job_catalog j LEFT JOIN datamill.late_job_catalog l ON l.job_id = j.job_id "
		"CROSS JOIN LATERAL (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY date_part('epoch', o.finished_at - "
		"o.started_at)) "
		"AS usual FROM (SELECT * FROM datamill.run_catalog r WHERE r.job_id = j.job_id AND r.state = 'succeeded' "
		"AND r.trigger <> 'rehearsal' ORDER BY r.scheduled_time DESC LIMIT 20) o) s "
		"WHERE pg_has_role($1, j.owner, 'USAGE') ORDER BY j.job_id",
		args);

	/* each statement leaves us in a context that ends with the scope */
	MemoryContextSwitchTo(page->context);
	page->jobs = palloc0((n + 1) * sizeof(DmPageJob));
	page->njobs = (int) n;
	for (uint64 i = 0; i < n; i++)
	{
		bool is_null;

		page->jobs[i] = (DmPageJob){
			.job_id = dm_catalog_int8(i, 1),
			.name = dm_catalog_text(i, 2),
			.owner = dm_catalog_text(i, 3),
			.state = dm_catalog_text(i, 4),
			.state_reason = dm_catalog_text(i, 5),
			.schedule = dm_catalog_text(i, 6),
			.timezone = dm_catalog_text(i, 7),
			.watch = dm_catalog_text(i, 8),
			.next_due = dm_catalog_time(i, 9),
			.failures = dm_catalog_int8(i, 10),
			.expected_at = dm_catalog_time(i, 11),
			.why_late = dm_catalog_text(i, 12),
			.median_us = dm_catalog_int8(i, 13),
			.follows = dm_catalog_text(i, 14),
		};
		(void) dm_catalog_value(i, 13, &is_null);
		if (is_null)
			page->jobs[i].median_us = -1;
	}
}

/* Returns the position of a job, or -1. */
static int
job_position(const DmPage *page, int64 job_id)
{
	int low = 0;
	int high = page->njobs - 1;

	while (low <= high)
	{
		int middle = (low + high) / 2;

		if (page->jobs[middle].job_id == job_id)
			return middle;
		if (page->jobs[middle].job_id < job_id)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}

/* Reads the last runs of the jobs. */
static void
runs_read(DmPage *page, const DmCatalogArgs *args)
{
	uint64 n = dm_catalog_run(
		"SELECT j.job_id, r.run_id, r.state, r.scheduled_time, r.started_at, r.finished_at, left(r.reason, 400), "
		"r.sqlstate, "
		"left(r.message, 400), left(r.detail, 600) FROM datamill.job_catalog j CROSS JOIN LATERAL "
		"(SELECT * FROM datamill.run_catalog o WHERE o.job_id = j.job_id AND o.trigger <> 'rehearsal' "
		"ORDER BY o.scheduled_time DESC, o.attempt DESC LIMIT " DM_PAGE_RUNS_SQL ") r "
		"WHERE pg_has_role($1, j.owner, 'USAGE') ORDER BY j.job_id, r.scheduled_time, r.attempt",
		args);

	MemoryContextSwitchTo(page->context);
	for (uint64 i = 0; i < n; i++)
	{
		int position = job_position(page, dm_catalog_int8(i, 1));
		DmPageJob *job = position >= 0 ? &page->jobs[position] : NULL;

		if (!job || job->nruns == DM_PAGE_RUNS)
			continue;
		if (!job->runs)
			job->runs = palloc0(DM_PAGE_RUNS * sizeof(DmPageRun));
		job->runs[job->nruns++] = (DmPageRun){
			.run_id = dm_catalog_int8(i, 2),
			.state = dm_catalog_text(i, 3),
			.scheduled_time = dm_catalog_time(i, 4),
			.started_at = dm_catalog_time(i, 5),
			.finished_at = dm_catalog_time(i, 6),
			.reason = dm_catalog_text(i, 7),
			.sqlstate = dm_catalog_text(i, 8),
			.message = dm_catalog_text(i, 9),
			.detail = dm_catalog_text(i, 10),
		};
	}
}

/* Reads which jobs follow which, of those that the page shows. */
static void
edges_read(DmPage *page, const DmCatalogArgs *args)
{
	uint64 n =
		dm_catalog_run("SELECT d.upstream_id, d.job_id FROM datamill.dependency_catalog d "
					   "JOIN datamill.job_catalog j ON j.job_id = d.job_id WHERE pg_has_role($1, j.owner, 'USAGE') "
					   "ORDER BY 1, 2",
					   args);

	MemoryContextSwitchTo(page->context);
	page->edges = palloc((n + 1) * sizeof(DmPageEdge));
	for (uint64 i = 0; i < n; i++)
	{
		DmPageEdge edge = {job_position(page, dm_catalog_int8(i, 1)), job_position(page, dm_catalog_int8(i, 2))};

		if (edge.from >= 0 && edge.to >= 0)
			page->edges[page->nedges++] = edge;
	}
}

/* Sets a job's colour, and the word for it. */
static void
job_judge(DmPageJob *job)
{
	const DmPageRun *last = job->nruns > 0 ? &job->runs[job->nruns - 1] : NULL;
	const DmPageRun *decided = NULL; /* the last that was executed to its end */
	bool is_active = strcmp(job->state, DM_STATE_ACTIVE) == 0;
	bool is_late = !TIMESTAMP_IS_NOEND(job->expected_at);

	for (int i = job->nruns - 1; job->runs && i >= 0 && !decided; i--)
	{
		if (dm_page_run_is_bad(&job->runs[i]) || strcmp(job->runs[i].state, DM_RUN_SUCCEEDED) == 0)
			decided = &job->runs[i];
	}
	if (!is_active && strcmp(job->state, DM_STATE_PAUSED) != 0)
	{
		job->health = DM_PAGE_RED;
		job->word = job->state;
	}
	else if (last && decided && dm_page_run_is_bad(decided))
	{
		job->health = DM_PAGE_RED;
		job->word = psprintf(
			"%s%s", dm_page_run_word(decided), TIMESTAMP_IS_NOEND(last->finished_at) ? ", trying again" : "");
	}
	else if (!is_active || (!last && !is_late))
	{
		job->health = DM_PAGE_GREY;
		job->word = is_active ? "never ran" : job->state;
	}
	else if (last && TIMESTAMP_IS_NOEND(last->finished_at))
	{
		job->health = DM_PAGE_AMBER;
		job->word = psprintf("%s%s", last->state, is_late ? ", late" : "");
	}
	else if (is_late || last != decided)
	{
		job->health = DM_PAGE_AMBER;
		job->word = is_late ? "late" : last->state;
	}
	else
	{
		job->health = DM_PAGE_GREEN;
		job->word = psprintf("well, %s", dm_page_time(last->finished_at, job->timezone));
	}
}

/* qsort comparator: by colour, then by name. */
static int
compare_jobs(const void *a, const void *b)
{
	const DmPageJob *left = &compared->jobs[*(const int *) a];
	const DmPageJob *right = &compared->jobs[*(const int *) b];
	int result = (int) left->health - (int) right->health;

	if (result == 0)
		result = strcmp(left->name, right->name);
	return result != 0 ? result : *(const int *) a - *(const int *) b;
}

/* Sets the order in which jobs are listed. */
static void
order_make(DmPage *page)
{
	page->order = palloc((page->njobs + 1) * sizeof(int));
	for (int i = 0; i < page->njobs; i++)
		page->order[i] = i;
	compared = page;
	qsort(page->order, page->njobs, sizeof(int), compare_jobs);
	compared = NULL;
}

/* Appends what holds all jobs back, if anything does. */
static void
append_scheduler(StringInfo out)
{
	const char *state = dm_scheduler_state();

	if (strcmp(state, "running") == 0)
		return;
	appendStringInfo(out,
					 "<p class=\"note\"><b>Nothing starts jobs here.</b> %s</p>\n",
					 strcmp(state, "off") == 0			   ? "The setting datamill.scheduler is off."
					 : strcmp(state, "not preloaded") == 0 ? "datamill is not in shared_preload_libraries."
					 : strcmp(state, "standby") == 0
						 ? "This server is a standby."
						 : "This database has no scheduler; the server's log says why.");
}

/* Appends the beginning of the body: title, numbers, filters. */
static void
append_top(StringInfo out, const DmPage *page, const char *title)
{
	static const char *const words[] = {"Failing", "Attention", "Well", "Idle"};
	int counts[lengthof(words)] = {0};

	for (int i = 0; i < page->njobs; i++)
		counts[page->jobs[i].health]++;
	appendStringInfoString(
		out,
		"<body>\n<input class=\"filter\" type=\"radio\" name=\"f\" id=\"f-all\" aria-label=\"All\" checked>\n");
	for (int i = 0; i < lengthof(words); i++)
		appendStringInfo(out,
						 "<input class=\"filter\" type=\"radio\" name=\"f\" id=\"f-%s\" aria-label=\"%s\">\n",
						 dm_page_class(i),
						 words[i]);
	appendStringInfoString(out, "<div class=\"wrap\">\n<header><h1>");
	dm_page_escaped(out, title);
	appendStringInfoString(out, "</h1><p class=\"sub\">database ");
	dm_page_escaped(out, get_database_name(MyDatabaseId));
	appendStringInfo(out, ", as of %s UTC</p>\n", dm_page_time(page->now, "UTC"));
	append_scheduler(out);
	appendStringInfo(out, "<nav aria-label=\"Filter\"><label for=\"f-all\">All <b>%d</b></label>", page->njobs);
	for (int i = 0; i < lengthof(words); i++)
		appendStringInfo(
			out,
			"<label for=\"f-%s\"><span class=\"sign %s\" aria-hidden=\"true\">%s</span>%s <b>%d</b></label>",
			dm_page_class(i),
			dm_page_class(i),
			dm_page_sign(i),
			words[i],
			counts[i]);
	appendStringInfoString(out, "</nav></header>\n<main>\n");
}

/* status_page(title text) returns text. */
PGDLLEXPORT Datum
dm_status_page_sql(PG_FUNCTION_ARGS)
{
	const char *title = PG_ARGISNULL(0) ? "Jobs" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	DmPage page = {0};
	StringInfoData out;

	page_read(&page, GetUserId());
	initStringInfo(&out);
	dm_page_head(&out, title);
	append_top(&out, &page, title);
	dm_page_late(&out, &page);
	dm_page_graph(&out, &page);
	dm_page_rows(&out, &page);
	appendStringInfo(&out,
					 "</main>\n<p class=\"foot\">A bar is a run: the higher, the longer it took. Full red with a "
					 "cross: it failed. "
					 "Low grey: skipped or cancelled. Outlined: not over. Times are those of each job's zone.</p>\n"
					 "</div>\n</body>\n</html>\n");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
