/*
 * page_rows.c: the status page's lists: jobs that are late, and all jobs with their last runs, durations, next times and reasons.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "job/page.h"
#include "job/states.h"

#define TICK 9 /* pixels from a run to the next */
#define TICKS_HEIGHT 28
#define BAR 110

static void append_row(StringInfo out, const DmPage *page, const DmPageJob *job);
static void append_ticks(StringInfo out, const DmPageJob *job);
static void append_duration(StringInfo out, const DmPageJob *job);
static void append_due(StringInfo out, const DmPage *page, const DmPageJob *job);
static void append_why(StringInfo out, const DmPageJob *job);

/* Appends the jobs that are late, most urgent first as the jobs are; nothing if there are none. */
void
dm_page_late(StringInfo out, const DmPage *page)
{
	bool is_first = true;

	for (int i = 0; i < page->njobs; i++)
	{
		const DmPageJob *job = &page->jobs[page->order[i]];

		if (TIMESTAMP_IS_NOEND(job->expected_at) || strcmp(job->state, DM_STATE_PAUSED) == 0)
			continue;
		if (is_first)
			appendStringInfoString(out, "<section><h2>Late</h2><div class=\"late\">\n");
		is_first = false;
		appendStringInfo(out,
						 "<a href=\"#j" INT64_FORMAT "\"><em>%s late</em><b>",
						 job->job_id,
						 dm_page_duration(page->now - job->expected_at));
		dm_page_escaped(out, job->name);
		appendStringInfoString(out, "</b><br><span class=\"meta\">due since ");
		dm_page_escaped(out, dm_page_time(job->expected_at, job->timezone));
		appendStringInfoString(out, ": ");
		dm_page_escaped(out, job->why_late);
		appendStringInfoString(out, "</span></a>\n");
	}
	if (!is_first)
		appendStringInfoString(out, "</div></section>\n");
}

/* Appends all jobs. */
void
dm_page_rows(StringInfo out, const DmPage *page)
{
	appendStringInfo(
		out,
		"<section><h2>Jobs</h2><div class=\"jobs\">\n<div class=\"cols\"><span>Job</span><span>Last %d runs"
		"</span><span>Last duration</span><span>Next due</span></div>\n",
		DM_PAGE_RUNS);
	for (int i = 0; i < page->njobs; i++)
		append_row(out, page, &page->jobs[page->order[i]]);
	if (page->njobs == 0)
		appendStringInfoString(out, "<p class=\"none\">There are no jobs that you may see.</p>\n");
	appendStringInfoString(out, "</div></section>\n");
}

/* Appends a job. */
static void
append_row(StringInfo out, const DmPage *page, const DmPageJob *job)
{
	appendStringInfo(out,
					 "<article class=\"job %s\" id=\"j" INT64_FORMAT "\"><div class=\"who\"><span class=\"sign\" "
					 "aria-hidden=\"true\">%s</span><div><div class=\"name\">",
					 dm_page_class(job->health),
					 job->job_id,
					 dm_page_sign(job->health));
	dm_page_escaped(out, job->name);
	appendStringInfoString(out, "</div><div class=\"meta\">");
	dm_page_escaped(out, job->word);
	appendStringInfoString(out, " &#183; ");
	dm_page_escaped(out, job->owner);
	appendStringInfoString(out, "</div></div></div>");
	append_ticks(out, job);
	append_duration(out, job);
	append_due(out, page, job);
	append_why(out, job);
	appendStringInfoString(out, "</article>\n");
}

/* Appends what stands for a run: as high as it took long, in the colour and shape of its end, with a tip. */
static void
append_tick(StringInfo out, const DmPageJob *job, const DmPageRun *run, int x, int64 longest)
{
	bool is_over = !TIMESTAMP_IS_NOEND(run->finished_at);
	bool has_run = is_over && !TIMESTAMP_IS_NOEND(run->started_at);
	int64 took = has_run ? run->finished_at - run->started_at : 0;
	int height = 8 + (int) (Max(took, 0) * 18.0 / Max(longest, 1));

	appendStringInfo(out, "<g><title>Run " INT64_FORMAT " for ", run->run_id);
	dm_page_escaped(out, dm_page_time(run->scheduled_time, job->timezone));
	appendStringInfo(out, ": %s", dm_page_run_word(run));
	if (has_run)
		appendStringInfo(out, " after %s", dm_page_duration(took));
	for (int i = 0; i < 2; i++)
	{
		const char *text = i == 0 ? run->reason : run->message;

		appendStringInfoString(out, text ? ". " : "");
		dm_page_escaped(out, text);
	}
	appendStringInfoString(out, "</title>");
	if (!is_over)
		appendStringInfo(out, "<rect class=\"go\" x=\"%d.75\" y=\"10\" width=\"5.5\" height=\"16\" rx=\"2\"/>", x);
	else if (dm_page_run_is_bad(run))
		appendStringInfo(out,
						 "<rect class=\"bad\" x=\"%d\" y=\"2\" width=\"7\" height=\"25\" rx=\"1.5\"/>"
						 "<path class=\"x\" d=\"M%d.5 5.5l4 4m0-4l-4 4\"/>",
						 x,
						 x + 1);
	else if (strcmp(run->state, DM_RUN_SUCCEEDED) == 0)
		appendStringInfo(out,
						 "<rect class=\"ok\" x=\"%d\" y=\"%d\" width=\"7\" height=\"%d\" rx=\"1.5\"/>",
						 x,
						 27 - Min(height, 26),
						 Min(height, 26));
	else
		appendStringInfo(out, "<rect class=\"off\" x=\"%d\" y=\"23\" width=\"7\" height=\"4\" rx=\"1.5\"/>", x);
	appendStringInfoString(out, "</g>");
}

/* Appends the last runs. */
static void
append_ticks(StringInfo out, const DmPageJob *job)
{
	int64 longest = 1;
	int bad = 0;

	for (int i = 0; i < job->nruns; i++)
	{
		const DmPageRun *run = &job->runs[i];

		bad += dm_page_run_is_bad(run);
		if (!TIMESTAMP_IS_NOEND(run->finished_at) && !TIMESTAMP_IS_NOEND(run->started_at) &&
			!dm_page_run_is_bad(run))
			longest = Max(longest, run->finished_at - run->started_at);
	}
	appendStringInfo(out,
					 "<div class=\"ticks-cell\"><svg class=\"ticks\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
					 "%d\" role=\"img\" "
					 "aria-label=\"runs: %d, failed: %d\"><path class=\"base\" d=\"M0 27.5h%d\"/>",
					 DM_PAGE_RUNS * TICK,
					 TICKS_HEIGHT,
					 DM_PAGE_RUNS * TICK,
					 TICKS_HEIGHT,
					 job->nruns,
					 bad,
					 DM_PAGE_RUNS * TICK);
	for (int i = 0; i < job->nruns; i++)
		append_tick(out, job, &job->runs[i], (DM_PAGE_RUNS - job->nruns + i) * TICK + 1, longest);
	appendStringInfoString(out, "</svg></div>");
}

/* Appends how long the last run took, and a bar with the median in its middle. */
static void
append_duration(StringInfo out, const DmPageJob *job)
{
	int64 last = -1;
	int width;

	for (int i = job->nruns - 1; i >= 0 && last < 0; i--)
	{
		if (!TIMESTAMP_IS_NOEND(job->runs[i].started_at) && !TIMESTAMP_IS_NOEND(job->runs[i].finished_at))
			last = Max(job->runs[i].finished_at - job->runs[i].started_at, 0);
	}
	if (last < 0)
	{
		appendStringInfoString(out, "<div class=\"num\">&#8211;</div>");
		return;
	}
	appendStringInfo(out, "<div class=\"num\">%s", dm_page_duration(last));
	if (job->median_us >= 0)
	{
		width = (int) Min(BAR, last * (BAR / 2.0) / Max(job->median_us, 1));
		appendStringInfo(out,
						 "<svg class=\"bar\" width=\"%d\" height=\"6\" viewBox=\"0 0 %d 6\" "
						 "aria-hidden=\"true\"><rect class=\"t\" "
						 "y=\"1\" width=\"%d\" height=\"4\" rx=\"2\"/><rect class=\"%s\" y=\"1\" width=\"%d\" "
						 "height=\"4\" rx=\"2\"/>"
						 "<rect class=\"m\" x=\"%d\" width=\"1.5\" height=\"6\"/></svg><small>median %s</small>",
						 BAR,
						 BAR,
						 BAR,
						 width > BAR * 3 / 4 ? "h" : "f",
						 Max(width, 2),
						 BAR / 2,
						 dm_page_duration(job->median_us));
	}
	appendStringInfoString(out, "</div>");
}

/* Appends when the job is next due, in its zone, or what starts it instead. */
static void
append_due(StringInfo out, const DmPage *page, const DmPageJob *job)
{
	appendStringInfoString(out, "<div class=\"due\">");
	if (strcmp(job->state, DM_STATE_ACTIVE) != 0)
		appendStringInfo(out, "not while %s<small>", job->state);
	else if (!TIMESTAMP_NOT_FINITE(job->next_due))
	{
		dm_page_escaped(out, dm_page_time(job->next_due, job->timezone));
		appendStringInfo(out,
						 "<small>%s%s%s, ",
						 job->next_due > page->now ? "in " : "since ",
						 dm_page_duration(Max(job->next_due, page->now) - Min(job->next_due, page->now)),
						 "");
		dm_page_escaped(out, job->timezone);
	}
	else if (job->follows[0])
	{
		appendStringInfoString(out, "after what it follows<small>");
		dm_page_escaped(out, job->follows);
	}
	else if (job->watch)
	{
		appendStringInfoString(out, "when something comes<small>");
		dm_page_escaped(out, job->watch);
	}
	else
		appendStringInfoString(out, "by hand<small>");
	if (job->schedule && strcmp(job->state, DM_STATE_ACTIVE) != 0)
		dm_page_escaped(out, job->schedule);
	appendStringInfoString(out, "</small></div>");
}

/* Appends what became of the run that gave a job its colour. */
static void
append_run_why(StringInfo out, const DmPageJob *job, const DmPageRun *run)
{
	appendStringInfo(out, "Run " INT64_FORMAT ", for ", run->run_id);
	dm_page_escaped(out, dm_page_time(run->scheduled_time, job->timezone));
	appendStringInfo(out, ", %s%s", dm_page_run_is_bad(run) ? "" : "was ", dm_page_run_word(run));
	if (!TIMESTAMP_IS_NOEND(run->finished_at) && !TIMESTAMP_IS_NOEND(run->started_at))
		appendStringInfo(out, " after %s", dm_page_duration(run->finished_at - run->started_at));
	appendStringInfoString(out, run->message || run->reason ? ": " : ".");
	dm_page_escaped(out, run->reason);
	appendStringInfoString(out, run->message && run->reason ? ". " : "");
	dm_page_escaped(out, run->message);
	if (run->sqlstate)
	{
		appendStringInfoString(out, " <code>");
		dm_page_escaped(out, run->sqlstate);
		appendStringInfoString(out, "</code>");
	}
	if (run->detail)
	{
		appendStringInfoString(out, "\n<code>");
		dm_page_escaped(out, run->detail);
		appendStringInfoString(out, "</code>");
	}
	if (job->failures > 1)
		appendStringInfo(out, "\nIt has failed " INT64_FORMAT " times in a row.", job->failures);
}

/* Appends why a job is red or amber, in words; nothing for the others. */
static void
append_why(StringInfo out, const DmPageJob *job)
{
	const DmPageRun *run = NULL;
	bool is_held = strcmp(job->state, DM_STATE_SUSPENDED) == 0 || strcmp(job->state, DM_STATE_BROKEN) == 0;

	if (job->health == DM_PAGE_GREEN || (job->health == DM_PAGE_GREY && !job->state_reason))
		return;
	for (int i = job->nruns - 1; i >= 0 && !run && job->health != DM_PAGE_GREY; i--)
	{
		bool is_wanted = job->health == DM_PAGE_RED ? dm_page_run_is_bad(&job->runs[i])
													: strcmp(job->runs[i].state, DM_RUN_SUCCEEDED) != 0;

		if (is_wanted)
			run = &job->runs[i];
		else if (strcmp(job->runs[i].state, DM_RUN_SUCCEEDED) == 0)
			break;
	}
	appendStringInfoString(out, "<div class=\"why\">");
	if (is_held || job->health == DM_PAGE_GREY)
	{
		appendStringInfo(out, "The job is %s", job->state);
		appendStringInfoString(out, job->state_reason ? ": " : "");
		dm_page_escaped(out, job->state_reason);
		appendStringInfo(out, ". resume() starts it again.%s", run ? "\n" : "");
	}
	if (run)
		append_run_why(out, job, run);
	else if (!TIMESTAMP_IS_NOEND(job->expected_at) && !is_held)
	{
		appendStringInfoString(out, "It is late: ");
		dm_page_escaped(out, job->why_late);
		appendStringInfoChar(out, '.');
	}
	appendStringInfoString(out, "</div>");
}
