/*
 * page_layout.c: lays a graph of jobs out in layers.
 *
 * A job's layer is the length of the longest way to it. An edge that passes layers gets a node in each, so that it bends around
 * what is there. The order in a layer follows the middle of its neighbours (barycenters), swept to and fro. No graph can
 * make it fail: what is too large for this gets straight edges.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "job/page.h"

#define MAX_PASSING 4000 /* nodes for edges that pass layers */
#define SWEEPS 8

static int layers_find(DmLayout *layout, int njobs, const DmPageEdge *edges, int nedges);
static void edges_split(DmLayout *layout, const DmPageEdge *edges, int nedges);
static void sweep(DmLayout *layout, int **rows, int *counts, bool is_down);
static void rows_place(DmLayout *layout, int **rows, const int *counts);

/* The nodes that the comparison looks into; set for the time of a sort. */
static const DmLayoutNode *compared;

/* Makes the layout. Jobs without edges are left out (layer -1). */
void
dm_layout_make(DmLayout *layout, int njobs, const DmPageEdge *edges, int nedges)
{
	int passing = layers_find(layout, njobs, edges, nedges);
	int **rows;
	int *counts;

	layout->nodes = repalloc(layout->nodes, (njobs + Min(passing, MAX_PASSING) + 1) * sizeof(DmLayoutNode));
	layout->edges = palloc((nedges + Min(passing, MAX_PASSING) + 1) * sizeof(DmPageEdge));
	if (passing <= MAX_PASSING)
		edges_split(layout, edges, nedges);
	else
	{
		memcpy(layout->edges, edges, nedges * sizeof(DmPageEdge));
		layout->nedges = nedges;
	}
	rows = palloc((layout->nlayers + 1) * sizeof(int *));
	counts = palloc0((layout->nlayers + 1) * sizeof(int));
	for (int i = 0; i < layout->nlayers; i++)
		rows[i] = palloc(layout->nnodes * sizeof(int));
	for (int i = 0; i < layout->nnodes; i++)
	{
		DmLayoutNode *node = &layout->nodes[i];

		if (node->layer < 0)
			continue;
		node->y = counts[node->layer];
		rows[node->layer][counts[node->layer]++] = i;
	}
	for (int i = 0; i < SWEEPS; i++)
		sweep(layout, rows, counts, i % 2 == 0);
	rows_place(layout, rows, counts);
}

/* Sets the layers of jobs; returns how many nodes edges that pass layers want. Ends for circles, too, which cannot be. */
static int
layers_find(DmLayout *layout, int njobs, const DmPageEdge *edges, int nedges)
{
	bool changed = true;
	int passing = 0;

	layout->nnodes = njobs;
	layout->nlayers = 0;
	layout->nodes = palloc0((njobs + 1) * sizeof(DmLayoutNode));
	for (int i = 0; i < njobs; i++)
	{
		layout->nodes[i].job = i;
		layout->nodes[i].layer = -1;
	}
	for (int i = 0; i < nedges; i++)
		layout->nodes[edges[i].from].layer = layout->nodes[edges[i].to].layer = 0;
	for (int round = 0; changed && round < njobs; round++)
	{
		changed = false;
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nedges; i++)
		{
			int layer = layout->nodes[edges[i].from].layer + 1;

			if (layout->nodes[edges[i].to].layer >= layer || layer >= njobs)
				continue;
			layout->nodes[edges[i].to].layer = layer;
			changed = true;
		}
	}
	for (int i = 0; i < njobs; i++)
		layout->nlayers = Max(layout->nlayers, layout->nodes[i].layer + 1);
	for (int i = 0; i < nedges && passing <= MAX_PASSING; i++)
		passing += Max(layout->nodes[edges[i].to].layer - layout->nodes[edges[i].from].layer - 1, 0);
	return passing;
}

/* Makes edges that go from a layer to the next, with nodes where they pass one. */
static void
edges_split(DmLayout *layout, const DmPageEdge *edges, int nedges)
{
	layout->nedges = 0;
	for (int i = 0; i < nedges; i++)
	{
		int at = edges[i].from;

		for (int layer = layout->nodes[at].layer + 1; layer < layout->nodes[edges[i].to].layer; layer++)
		{
			layout->nodes[layout->nnodes] = (DmLayoutNode){.job = -1, .layer = layer};
			layout->edges[layout->nedges++] = (DmPageEdge){at, layout->nnodes};
			at = layout->nnodes++;
		}
		layout->edges[layout->nedges++] = (DmPageEdge){at, edges[i].to};
	}
}

/* qsort comparator: by weight, then as they were. */
static int
compare_weights(const void *a, const void *b)
{
	const DmLayoutNode *left = &compared[*(const int *) a];
	const DmLayoutNode *right = &compared[*(const int *) b];

	if (left->weight != right->weight)
		return left->weight < right->weight ? -1 : 1;
	if (left->y != right->y)
		return left->y < right->y ? -1 : 1;
	return *(const int *) a - *(const int *) b;
}

/* Sets the weights of a layer's nodes to the middle of their neighbours in the layer before (or after it). */
static void
weigh(DmLayout *layout, const int *row, int count, int layer, bool is_down)
{
	int *n = palloc0(layout->nnodes * sizeof(int));

	for (int i = 0; i < count; i++)
		layout->nodes[row[i]].weight = 0;
	for (int i = 0; i < layout->nedges; i++)
	{
		int node = is_down ? layout->edges[i].to : layout->edges[i].from;
		int other = is_down ? layout->edges[i].from : layout->edges[i].to;

		if (layout->nodes[node].layer != layer)
			continue;
		layout->nodes[node].weight += layout->nodes[other].y;
		n[node]++;
	}
	for (int i = 0; i < count; i++)
	{
		DmLayoutNode *node = &layout->nodes[row[i]];

		node->weight = n[row[i]] > 0 ? node->weight / n[row[i]] : node->y;
	}
	pfree(n);
}

/* Orders each layer by the middle of the neighbours: from the first layer on, or from the last. */
static void
sweep(DmLayout *layout, int **rows, int *counts, bool is_down)
{
	for (int i = 1; i < layout->nlayers; i++)
	{
		int layer = is_down ? i : layout->nlayers - 1 - i;

		CHECK_FOR_INTERRUPTS();
		weigh(layout, rows[layer], counts[layer], layer, is_down);
		compared = layout->nodes;
		qsort(rows[layer], counts[layer], sizeof(int), compare_weights);
		compared = NULL;
		for (int k = 0; k < counts[layer]; k++)
			layout->nodes[rows[layer][k]].y = k;
	}
}

/*
 * Moves the nodes of a layer as near to their weights as a row between them allows, in the order in which they are: the least sum of squares,
 * by pooling adjacent nodes that would come too close (isotonic regression of weight less position).
 */
static void
row_settle(DmLayout *layout, const int *row, int count)
{
	double *sums = palloc((count + 1) * sizeof(double));
	int *sizes = palloc((count + 1) * sizeof(int));
	int blocks = 0;

	for (int k = 0; k < count; k++)
	{
		sums[blocks] = layout->nodes[row[k]].weight - k;
		sizes[blocks++] = 1;
		while (blocks > 1 && sums[blocks - 2] / sizes[blocks - 2] > sums[blocks - 1] / sizes[blocks - 1])
		{
			sums[blocks - 2] += sums[blocks - 1];
			sizes[blocks - 2] += sizes[blocks - 1];
			blocks--;
		}
	}
	for (int block = 0, k = 0; block < blocks; block++)
	{
		for (int i = 0; i < sizes[block]; i++, k++)
			layout->nodes[row[k]].y = sums[block] / sizes[block] + k;
	}
	pfree(sums);
	pfree(sizes);
}

/* Sets y of all nodes, from 0 on. */
static void
rows_place(DmLayout *layout, int **rows, const int *counts)
{
	double least = 0;
	double most = 0;
	bool is_first = true;

	for (int i = 0; i < SWEEPS; i++)
	{
		for (int k = 0; k < layout->nlayers; k++)
		{
			int layer = i % 2 == 0 ? k : layout->nlayers - 1 - k;

			if (layout->nlayers < 2)
				continue;
			weigh(layout, rows[layer], counts[layer], layer, i % 2 == 0);
			row_settle(layout, rows[layer], counts[layer]);
		}
	}
	for (int i = 0; i < layout->nnodes; i++)
	{
		if (layout->nodes[i].layer < 0)
			continue;
		least = is_first ? layout->nodes[i].y : Min(least, layout->nodes[i].y);
		most = is_first ? layout->nodes[i].y : Max(most, layout->nodes[i].y);
		is_first = false;
	}
	for (int i = 0; i < layout->nnodes; i++)
		layout->nodes[i].y -= least;
	layout->rows = is_first ? 0 : most - least + 1;
}
