/*
 * probe.c: finds single rows of the current table by its key index, for deltas that are small beside the table.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "cdc/probe.h"

struct DmProbe
{
	MemoryContext context;
	Relation index;
	IndexScanDesc scan;
	int nkeys;
	ScanKeyData keys[INDEX_MAX_KEYS];
	int columns[INDEX_MAX_KEYS]; /* the wanted column of each key of the index */
};

static bool index_maps(Relation index, const DmShape *shape, int columns[INDEX_MAX_KEYS]);
static void keys_init(DmProbe *probe);

/*
 * Opens the primary key of current for probing under the snapshot, in the current memory context. Returns NULL if there
 * is none over exactly the dataset's keys.
 */
DmProbe *
dm_probe_begin(Relation current, const DmShape *shape, Snapshot snapshot)
{
	Oid index_oid = dm_primary_key_index(current);
	DmProbe *probe;

	if (!OidIsValid(index_oid))
		return NULL;
	probe = palloc0(sizeof(DmProbe));
	probe->context = CurrentMemoryContext;
	probe->index = index_open(index_oid, AccessShareLock);
	if (!index_maps(probe->index, shape, probe->columns))
	{
		index_close(probe->index, AccessShareLock);
		return NULL;
	}
	probe->nkeys = IndexRelationGetNumberOfKeyAttributes(probe->index);
	keys_init(probe);
	probe->scan = dm_index_beginscan(current, probe->index, snapshot, probe->nkeys);
	return probe;
}

/* Puts the row of current with the key in values (of the wanted columns, not NULL) into slot; false if there is none. */
bool
dm_probe_find(DmProbe *probe, const Datum *values, TupleTableSlot *slot)
{
	MemoryContext caller = MemoryContextSwitchTo(probe->context); /* the scan keeps what it allocates */
	bool found;

	for (int i = 0; i < probe->nkeys; i++)
		probe->keys[i].sk_argument = values[probe->columns[i]];
	index_rescan(probe->scan, probe->keys, probe->nkeys, NULL, 0);
	found = index_getnext_slot(probe->scan, ForwardScanDirection, slot);
	MemoryContextSwitchTo(caller);
	return found;
}

/* Closes the index. */
void
dm_probe_end(DmProbe *probe)
{
	index_endscan(probe->scan);
	index_close(probe->index, NoLock);
}

/* True if the index is a valid B-tree over exactly the dataset's keys; columns gets the wanted column of each. */
static bool
index_maps(Relation index, const DmShape *shape, int columns[INDEX_MAX_KEYS])
{
	int nkeys = IndexRelationGetNumberOfKeyAttributes(index);

	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid || !index->rd_index->indimmediate ||
		nkeys != shape->nkeys)
		return false;
	for (int i = 0; i < nkeys; i++)
	{
		columns[i] = -1;
		for (int k = 0; k < shape->nkeys; k++)
		{
			if (shape->current_attribute[shape->keys[k]] == index->rd_index->indkey.values[i])
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
