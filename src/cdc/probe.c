/*
 * probe.c: finds the rows of a key in a table of a dataset by its primary key, or by another unique index, of which the
 * dataset's keys are all columns or the first ones. In a partitioned table each partition is asked.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "cdc/probe.h"
#include "rows/table_leaves.h"

struct DmProbe
{
	MemoryContext context;
	Relation index;
	IndexScanDesc scan;
	int nkeys;
	ScanKeyData keys[INDEX_MAX_KEYS];
	int columns[INDEX_MAX_KEYS]; /* the wanted column of each key of the index */
	DmLeaves *leaves;			 /* of a partitioned table, which has none of the above; else NULL */
	DmProbe **probes;			 /* one a partition */
	int at;						 /* the one asked for the next row */
};

static DmProbe *partitions_begin(Relation rel, const DmShape *shape, Snapshot snapshot);
static bool index_maps(Relation rel, Relation index, const DmShape *shape, int columns[INDEX_MAX_KEYS]);
static void keys_init(DmProbe *probe);

/*
 * Opens the primary key of rel for probing under the snapshot, or another unique index, in the current memory context.
 * Returns NULL if there is none that starts with exactly the dataset's keys, be it in one partition.
 */
DmProbe *
dm_probe_begin(Relation rel, const DmShape *shape, Snapshot snapshot)
{
	DmProbe *probe;
	List *indexes;
	Oid primary;
	ListCell *cell;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return partitions_begin(rel, shape, snapshot);
	probe = palloc0(sizeof(DmProbe));
	indexes = RelationGetIndexList(rel);
	primary = dm_primary_key_index(rel);

	probe->context = CurrentMemoryContext;
	if (OidIsValid(primary))
		indexes = lcons_oid(primary, indexes);
	foreach (cell, indexes)
	{
		probe->index = index_open(lfirst_oid(cell), AccessShareLock);
		if (index_maps(rel, probe->index, shape, probe->columns))
			break;
		index_close(probe->index, AccessShareLock);
		probe->index = NULL;
	}
	if (!probe->index)
		return NULL;
	probe->nkeys = shape->nkeys;
	keys_init(probe);
	probe->scan = dm_index_beginscan(rel, probe->index, snapshot, probe->nkeys);
	return probe;
}

/* As dm_probe_begin, of a partitioned table. */
static DmProbe *
partitions_begin(Relation rel, const DmShape *shape, Snapshot snapshot)
{
	DmProbe *probe = palloc0(sizeof(DmProbe));
	int count;

	probe->context = CurrentMemoryContext;
	probe->leaves = dm_leaves_open(rel);
	count = dm_leaves_count(probe->leaves);
	probe->probes = palloc0(sizeof(DmProbe *) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		probe->probes[i] = dm_probe_begin(dm_leaves_relation(probe->leaves, i), shape, snapshot);
		if (probe->probes[i])
			continue;
		dm_probe_end(probe);
		return NULL;
	}
	return probe;
}

/*
 * Starts to look for the rows with the key in values (of the wanted columns), which must live until found. nulls: NULL if
 * none of them can be.
 */
void
dm_probe_start(DmProbe *probe, const Datum *values, const bool *nulls)
{
	MemoryContext caller;

	if (probe->leaves)
	{
		for (int i = 0; i < dm_leaves_count(probe->leaves); i++)
			dm_probe_start(probe->probes[i], values, nulls);
		probe->at = 0;
		return;
	}
	caller = MemoryContextSwitchTo(probe->context); /* the scan keeps what it allocates */
	for (int i = 0; i < probe->nkeys; i++)
	{
		bool isnull = nulls && nulls[probe->columns[i]];

		probe->keys[i].sk_argument = isnull ? (Datum) 0 : values[probe->columns[i]];
		probe->keys[i].sk_flags = isnull ? SK_ISNULL | SK_SEARCHNULL : 0;
	}
	index_rescan(probe->scan, probe->keys, probe->nkeys, NULL, 0);
	MemoryContextSwitchTo(caller);
}

/* Puts the next row of the key into slot; false after the last, slot cleared. */
bool
dm_probe_next(DmProbe *probe, TupleTableSlot *slot)
{
	MemoryContext caller;
	bool found;

	for (; probe->leaves && probe->at < dm_leaves_count(probe->leaves); probe->at++)
	{
		if (!dm_probe_next(probe->probes[probe->at], dm_leaves_slot(probe->leaves, probe->at)))
			continue;
		dm_leaves_take(probe->leaves, probe->at, slot);
		return true;
	}
	if (probe->leaves)
	{
		ExecClearTuple(slot);
		return false;
	}
	caller = MemoryContextSwitchTo(probe->context);
	found = index_getnext_slot(probe->scan, ForwardScanDirection, slot);
	MemoryContextSwitchTo(caller);
	return found;
}

/* Closes the index. */
void
dm_probe_end(DmProbe *probe)
{
	if (probe->leaves)
	{
		for (int i = 0; i < dm_leaves_count(probe->leaves) && probe->probes[i]; i++)
			dm_probe_end(probe->probes[i]);
		dm_leaves_close(probe->leaves);
		return;
	}
	index_endscan(probe->scan);
	index_close(probe->index, NoLock);
}

/* True if the index is a valid B-tree that starts with the dataset's keys; columns gets the wanted column of each. */
static bool
index_maps(Relation rel, Relation index, const DmShape *shape, int columns[INDEX_MAX_KEYS])
{
	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisunique || !index->rd_index->indisvalid ||
		!index->rd_index->indimmediate || RelationGetIndexPredicate(index) != NIL ||
		IndexRelationGetNumberOfKeyAttributes(index) < shape->nkeys)
		return false;
	for (int i = 0; i < shape->nkeys; i++)
	{
		AttrNumber attribute = index->rd_index->indkey.values[i];

		columns[i] = -1;
		if (attribute <= 0)
			return false; /* an expression */
		for (int k = 0; k < shape->nkeys; k++)
		{
			if (strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), attribute - 1)->attname),
					   NameStr(TupleDescAttr(shape->wanted, shape->keys[k])->attname)) == 0)
				columns[i] = shape->keys[k];
		}
		if (columns[i] < 0)
			return false;
	}
	return true;
}

/* Prepares the comparisons: `=` of the index's operator class for each of its keys. */
static void
keys_init(DmProbe *probe)
{
	for (int i = 0; i < probe->nkeys; i++)
	{
		Oid type = probe->index->rd_opcintype[i];
		Oid equal = get_opfamily_member(probe->index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		ScanKeyInit(&probe->keys[i], i + 1, BTEqualStrategyNumber, get_opcode(equal), (Datum) 0);
		probe->keys[i].sk_collation = probe->index->rd_indcollation[i];
	}
}
