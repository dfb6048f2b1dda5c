/*
 * page.h: what the status page shows of a job, and the parts that write it.
 */
#ifndef DM_PAGE_H
#define DM_PAGE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#define DM_PAGE_RUNS 20 /* the last ones that are shown of a job */
#define DM_PAGE_RUNS_SQL "20"

/* What a job's colour tells; in the order in which jobs are listed. */
typedef enum DmPageHealth
{
	DM_PAGE_RED,   /* broken, suspended, or its last run failed */
	DM_PAGE_AMBER, /* late, going on, or left out */
	DM_PAGE_GREEN, /* its last run succeeded */
	DM_PAGE_GREY   /* paused, or it never ran */
} DmPageHealth;

typedef struct DmPageRun
{
	int64 run_id;
	char *state;
	TimestampTz scheduled_time;
	TimestampTz started_at;	 /* DT_NOEND for never */
	TimestampTz finished_at; /* DT_NOEND if it is not over */
	char *reason;			 /* or NULL */
	char *sqlstate;
	char *message;
	char *detail;
} DmPageRun;

typedef struct DmPageJob
{
	int64 job_id;
	char *name;
	char *owner;
	char *state;
	char *state_reason; /* or NULL */
	char *schedule;
	char *timezone;
	char *watch;
	char *follows; /* names, with commas between */
	TimestampTz next_due;
	int64 failures;
	TimestampTz expected_at; /* if it is late, else DT_NOEND */
	char *why_late;
	int64 median_us; /* of its last successes; -1 if there are none */
	int nruns;
	DmPageRun *runs; /* oldest first */
	DmPageHealth health;
	char *word; /* what it is, in a word or two */
} DmPageJob;

typedef struct DmPageEdge
{
	int from; /* positions of jobs */
	int to;
} DmPageEdge;

typedef struct DmPage
{
	MemoryContext context; /* of all that it points to */
	TimestampTz now;
	int njobs;
	DmPageJob *jobs; /* by job_id */
	int *order;		 /* positions of jobs as they are listed */
	int nedges;
	DmPageEdge *edges;
} DmPage;

/* page_text.c: all that a user wrote goes through the first of these. */
extern void dm_page_escaped(StringInfo out, const char *text);
extern void dm_page_head(StringInfo out, const char *title);
extern const char *dm_page_class(DmPageHealth health);
extern const char *dm_page_sign(DmPageHealth health);
extern char *dm_page_time(TimestampTz time, const char *zone);
extern char *dm_page_duration(int64 us);
extern bool dm_page_run_is_bad(const DmPageRun *run);
extern const char *dm_page_run_word(const DmPageRun *run);

/* page_rows.c */
extern void dm_page_late(StringInfo out, const DmPage *page);
extern void dm_page_rows(StringInfo out, const DmPage *page);

/* page_graph.c, and page_layout.c: where things go */
extern void dm_page_graph(StringInfo out, const DmPage *page);

typedef struct DmLayoutNode
{
	int job; /* its position, or -1 where an edge passes a layer */
	int layer;
	double y;	   /* in rows; rows of a layer are 1 apart at least */
	double weight; /* for sorting */
} DmLayoutNode;

typedef struct DmLayout
{
	int nnodes;
	DmLayoutNode *nodes; /* those of jobs first, as many as there are jobs; layer -1: not in the graph */
	int nedges;
	DmPageEdge *edges; /* between nodes, from a layer to the next */
	int nlayers;
	double rows;
} DmLayout;

extern void dm_layout_make(DmLayout *layout, int njobs, const DmPageEdge *edges, int nedges);

#endif
