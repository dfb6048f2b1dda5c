/*
 * page_graph.c: the pipelines of the status page, as SVG: jobs as boxes from left to right, with an arc to what follows.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "job/page.h"

#define BOX_WIDTH 184
#define BOX_HEIGHT 46
#define LAYER_WIDTH 250
#define ROW_HEIGHT 60
#define NAME_CHARS 19
#define WORD_CHARS 22

/* Returns the text, or its beginning with an ellipsis. */
static char *
shortened(const char *text, int max_chars)
{
	int len = strlen(text);

	if (pg_mbstrlen_with_len(text, len) <= max_chars)
		return pstrdup(text);
	return pnstrdup(text, pg_mbcharcliplen(text, len, max_chars - 1));
}

/* Appends a text of a box; what is too long ends in an ellipsis. */
static void
append_text(StringInfo out, const char *class_name, int x, int y, const char *text, int max_chars)
{
	char *start = shortened(text, max_chars);

	appendStringInfo(out, "<text%s x=\"%d\" y=\"%d\">", class_name, x, y);
	dm_page_escaped(out, start);
	appendStringInfo(out, "%s</text>", strlen(start) < strlen(text) ? "&#8230;" : "");
}

/* Appends an edge: red and broken if what it comes from is red. */
static void
append_edge(StringInfo out, const DmPage *page, const DmLayout *layout, const DmPageEdge *edge, const int *sources)
{
	const DmLayoutNode *from = &layout->nodes[edge->from];
	const DmLayoutNode *to = &layout->nodes[edge->to];
	int x1 = from->layer * LAYER_WIDTH + BOX_WIDTH;
	int x2 = to->layer * LAYER_WIDTH;
	int y1 = (int) (from->y * ROW_HEIGHT) + BOX_HEIGHT / 2;
	int y2 = (int) (to->y * ROW_HEIGHT) + BOX_HEIGHT / 2;
	int bend = (x2 - x1) / 2;
	bool is_red = page->jobs[sources[edge->from]].health == DM_PAGE_RED;

	appendStringInfo(out,
					 "<path class=\"e%s\"%s d=\"M%d %dC%d %d %d %d %d %d%s\"/>\n",
					 is_red ? " red" : "",
					 to->job >= 0 ? (is_red ? " marker-end=\"url(#ar)\"" : " marker-end=\"url(#a)\"") : "",
					 x1,
					 y1,
					 x1 + bend,
					 y1,
					 x2 - bend,
					 y2,
					 to->job >= 0 ? x2 - 2 : x2,
					 y2,
					 to->job >= 0 ? "" : psprintf("h%d", BOX_WIDTH));
}

/* Appends a job's box. */
static void
append_box(StringInfo out, const DmPageJob *job, const DmLayoutNode *node)
{
	int x = node->layer * LAYER_WIDTH;
	int y = (int) (node->y * ROW_HEIGHT);

	appendStringInfo(
		out, "<a href=\"#j" INT64_FORMAT "\" class=\"%s\"><title>", job->job_id, dm_page_class(job->health));
	dm_page_escaped(out, job->name);
	appendStringInfoString(out, ": ");
	dm_page_escaped(out, job->word);
	appendStringInfo(
		out,
		"</title><rect class=\"box\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"9\"/>"
		"<circle class=\"m\" cx=\"%d\" cy=\"%d\" r=\"10\"/><text class=\"s\" x=\"%d\" y=\"%d\">%s</text>",
		x,
		y,
		BOX_WIDTH,
		BOX_HEIGHT,
		x + 20,
		y + BOX_HEIGHT / 2,
		x + 20,
		y + BOX_HEIGHT / 2 + 5,
		dm_page_sign(job->health));
	append_text(out, "", x + 38, y + 20, job->name, NAME_CHARS);
	append_text(out, " class=\"w\"", x + 38, y + 36, job->word, WORD_CHARS);
	appendStringInfoString(out, "</a>\n");
}

/* Finds the job that each node's edge comes from; jobs are their own. */
static int *
sources_find(const DmLayout *layout)
{
	int *sources = palloc0((layout->nnodes + 1) * sizeof(int));

	for (int i = 0; i < layout->nnodes; i++)
		sources[i] = Max(layout->nodes[i].job, 0);
	/* an edge's nodes were made in the order of its layers */
	for (int i = 0; i < layout->nedges; i++)
	{
		if (layout->nodes[layout->edges[i].to].job < 0)
			sources[layout->edges[i].to] = sources[layout->edges[i].from];
	}
	return sources;
}

/* Returns for each job the least position of those that it is connected with. */
static int *
groups_find(const DmPage *page)
{
	int *groups = palloc((page->njobs + 1) * sizeof(int));
	bool changed = true;

	for (int i = 0; i < page->njobs; i++)
		groups[i] = i;
	while (changed)
	{
		CHECK_FOR_INTERRUPTS();
		changed = false;
		for (int i = 0; i < page->nedges; i++)
		{
			int *from = &groups[page->edges[i].from];
			int *to = &groups[page->edges[i].to];

			changed = changed || *from != *to;
			*from = *to = Min(*from, *to);
		}
	}
	return groups;
}

/* Makes the layout of one group, which begins in a row; false if it has no edges. */
static bool
group_layout(DmLayout *layout, const DmPage *page, const int *groups, int group, double row)
{
	DmPageEdge *edges = palloc((page->nedges + 1) * sizeof(DmPageEdge));
	int nedges = 0;

	for (int i = 0; i < page->nedges; i++)
	{
		if (groups[page->edges[i].from] == group)
			edges[nedges++] = page->edges[i];
	}
	if (nedges == 0)
		return false;
	dm_layout_make(layout, page->njobs, edges, nedges);
	for (int i = 0; i < layout->nnodes; i++)
		layout->nodes[i].y += row;
	return true;
}

/* Appends one group. */
static void
append_group(StringInfo out, const DmPage *page, const DmLayout *layout)
{
	int *sources = sources_find(layout);

	for (int i = 0; i < layout->nedges; i++)
		append_edge(out, page, layout, &layout->edges[i], sources);
	for (int i = 0; i < page->njobs; i++)
	{
		if (layout->nodes[i].layer >= 0)
			append_box(out, &page->jobs[i], &layout->nodes[i]);
	}
}

/* Appends the graph of all jobs that follow others, or are followed, a group below the other; nothing if there are none. */
void
dm_page_graph(StringInfo out, const DmPage *page)
{
	int *groups = groups_find(page);
	StringInfoData body;
	double rows = 0;
	int nlayers = 1;
	int width;
	int height;

	if (page->nedges == 0)
		return;
	initStringInfo(&body);
	for (int i = 0; i < page->njobs; i++)
	{
		DmLayout layout = {0};

		if (groups[i] != i || !group_layout(&layout, page, groups, i, rows))
			continue;
		append_group(&body, page, &layout);
		rows += layout.rows;
		nlayers = Max(nlayers, layout.nlayers);
	}
	width = (nlayers - 1) * LAYER_WIDTH + BOX_WIDTH + 8;
	height = (int) ((rows - 1) * ROW_HEIGHT) + BOX_HEIGHT + 8;
	appendStringInfo(
		out,
		"<section><h2>Pipelines</h2><div class=\"graph\" tabindex=\"0\" role=\"group\" aria-label=\"Pipelines\">"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"-4 -4 %d %d\">\n"
		"<defs>",
		width,
		height,
		width,
		height);
	for (int i = 0; i < 2; i++)
		appendStringInfo(
			out,
			"<marker id=\"%s\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" "
			"orient=\"auto\"><path fill=\"%s\" d=\"M0 0l8 4-8 4z\"/></marker>",
			i == 0 ? "a" : "ar",
			i == 0 ? "var(--edge)" : "var(--bad)");
	appendStringInfo(out, "</defs>\n%s</svg></div></section>\n", body.data);
}
