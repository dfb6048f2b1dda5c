/*
 * ledger.c: which objects were loaded into which table, so that none is loaded twice.
 *
 * 1. An object is the same when bucket, key and etag (or version, where there is no etag) are. Its row in the ledger is
 *    written in the transaction of its rows, or not at all.
 * 2. Whoever looks an object up holds a lock on it until the end of the transaction, so of two loads of one object the
 *    second waits for the first and then sees what it wrote. Locks are by hash: a table has LOCK_SLOTS of them, so that a load
 *    of very many objects fits the lock table; two objects that share one only wait for each other. Slots are taken in
 *    order: loads do not deadlock.
 * 3. The server does not count: were it part of an object's identity, another name or endpoint of the same store would load
 *    everything twice. Two stores that have a bucket and a key of the same name meet the error on changed objects.
 * 4. A transaction whose snapshot is older than another's load of the same object fails with 40001: the primary key says so.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/catalog.h"
#include "load/load.h"

#define LOCK_SLOTS 64

typedef struct LedgerEntry
{
	const DmObject *object;
	int64 rows;
} LedgerEntry;

struct DmLedger
{
	Oid target;
	Oid type; /* of its rows: no later table with the same OID has it */
	MemoryContext context;
	List *entries; /* of LedgerEntry*: what this load has read */
};

/* Opens the ledger of a table, in the current memory context. */
DmLedger *
dm_ledger_open(Oid target)
{
	DmLedger *ledger = palloc0(sizeof(DmLedger));

	ledger->target = target;
	ledger->type = get_rel_type_id(target);
	ledger->context = CurrentMemoryContext;
	return ledger;
}

/* Returns what tells one content of an object from another. */
static const char *
object_identity(const DmObject *object)
{
	return object->etag ? object->etag : object->version ? object->version : "";
}

/* Returns the lock slot of an object. */
static int
lock_slot(const DmObject *object)
{
	uint32 hash = DatumGetUInt32(hash_any((unsigned char *) object->bucket, strlen(object->bucket)));

	hash = hash_combine(hash, DatumGetUInt32(hash_any((unsigned char *) object->key, strlen(object->key))));
	return (int) (hash % LOCK_SLOTS);
}

/* Locks the objects, as objects of this target, until the end of the transaction. */
static void
lock_objects(Oid target, List *objects)
{
	bool wanted[LOCK_SLOTS] = {false};
	ListCell *cell;

	foreach (cell, objects)
		wanted[lock_slot(lfirst(cell))] = true;
	for (int i = 0; i < LOCK_SLOTS; i++)
	{
		/* Nobody else locks pg_class entries as "objects": tables have locks of their own. */
		if (wanted[i])
			LockDatabaseObject(RelationRelationId, target, (uint16) (i + 1), ExclusiveLock);
	}
}

/* Returns a text[] of count texts. */
static Datum
text_array(Datum *elements, int count)
{
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Returns, for each object, 0 if the ledger does not have it, 1 if it has this content of it, 2 if it has another
 * one only; and for the last ones the row's etag in *etags. In the current memory context.
 */
static char *
look_up(const DmLedger *ledger, List *objects, char ***etags)
{
	int count = list_length(objects);
	char *found = palloc0(count + 1);
	Datum *buckets = palloc(count * sizeof(Datum));
	Datum *keys = palloc(count * sizeof(Datum));
	Datum *identities = palloc(count * sizeof(Datum));
	Oid types[] = {OIDOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, OIDOID};
	Datum values[lengthof(types)] = {ObjectIdGetDatum(ledger->target)};
	MemoryContext caller = CurrentMemoryContext;
	DmCatalogScope scope;
	ListCell *cell;

	foreach (cell, objects)
	{
		const DmObject *object = lfirst(cell);
		int i = foreach_current_index(cell);

		buckets[i] = CStringGetTextDatum(object->bucket);
		keys[i] = CStringGetTextDatum(object->key);
		identities[i] = CStringGetTextDatum(object_identity(object));
	}
	values[1] = text_array(buckets, count);
	values[2] = text_array(keys, count);
	values[3] = text_array(identities, count);
	values[4] = ObjectIdGetDatum(ledger->type);
	*etags = palloc0((count + 1) * sizeof(char *));
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"SELECT o.no, pg_catalog.bool_or(l.etag = o.etag), pg_catalog.max(l.etag) "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) WITH ORDINALITY "
		"AS o (bucket, key, etag, no) JOIN datamill.load_catalog l "
		"ON l.target = $1::regclass AND l.target_type = $5::regtype AND l.bucket = o.bucket AND l.key = o.key "
		"GROUP BY o.no",
		lengthof(types),
		types,
		values,
		NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		bool isnull;
		int64 no = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull)) - 1;

		found[no] = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull)) ? 1 : 2;
		if (found[no] == 2)
			(*etags)[no] = MemoryContextStrdup(caller, SPI_getvalue(row, SPI_tuptable->tupdesc, 3));
	}
	dm_catalog_end(&scope);
	return found;
}

/* Raises 55000 for an object that was loaded with another content. */
static void
changed_error(const DmObject *object, const char *etag)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("object \"%s\" has changed since it was loaded", dm_object_uri(object)),
			 errdetail("Its etag is \"%s\"; loaded was \"%s\".", object_identity(object), etag),
			 errhint("Say what to do with changed objects: option on_changed 'load' or 'skip'.")));
}

/*
 * Locks the objects and returns those to load, in the current memory context: without the ones that the ledger has (unless
 * forced), changed ones as told. Raises 55000 for a changed one if that is an error.
 */
List *
dm_ledger_pick(DmLedger *ledger, List *objects, const DmLoadOptions *options)
{
	List *picked = NIL;
	char **etags;
	char *found;
	ListCell *cell;

	lock_objects(ledger->target, objects);
	if (options->force)
		return objects;
	found = look_up(ledger, objects, &etags);
	foreach (cell, objects)
	{
		int i = foreach_current_index(cell);

		if (found[i] == 2 && options->on_changed == DM_CHANGED_ERROR)
			changed_error(lfirst(cell), etags[i]);
		if (found[i] == 0 || (found[i] == 2 && options->on_changed == DM_CHANGED_LOAD))
			picked = lappend(picked, lfirst(cell));
	}
	return picked;
}

/* Puts bucket and key of the ledger's entries that a URL names into arrays, in the current memory context. */
static void
find_entries(const DmLedger *ledger, const char *url, Datum *arrays)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {OIDOID, OIDOID, TEXTOID, TEXTOID};
	Datum values[lengthof(types)] = {ObjectIdGetDatum(ledger->target), ObjectIdGetDatum(ledger->type)};
	DmCatalogScope scope;
	ArrayBuildState *keys = initArrayResult(TEXTOID, caller, false);
	char *bucket;
	char *pattern;

	dm_url_split(url, &bucket, &pattern);
	values[2] = CStringGetTextDatum(bucket);
	values[3] = CStringGetTextDatum(dm_glob_prefix(pattern));
	arrays[0] = values[2];
	dm_catalog_begin(&scope);
	dm_catalog_execute("SELECT DISTINCT l.key FROM datamill.load_catalog l WHERE l.target = $1::regclass "
					   "AND l.target_type = $2::regtype AND l.bucket = $3 AND pg_catalog.starts_with(l.key, $4)",
					   lengthof(types),
					   types,
					   values,
					   NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		const char *key = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		CHECK_FOR_INTERRUPTS();
		if (dm_glob_match(pattern, key))
			(void) accumArrayResult(keys, CStringGetTextDatum(key), false, TEXTOID, caller);
	}
	dm_catalog_end(&scope);
	arrays[1] = makeArrayResult(keys, caller);
}

/*
 * Removes what the ledger says of its table, or of the objects among them that a URL names; NULL: all. Returns the number
 * of entries.
 */
int64
dm_ledger_forget(DmLedger *ledger, const char *url)
{
	Oid types[] = {OIDOID, OIDOID, TEXTOID, TEXTARRAYOID};
	Datum values[lengthof(types)] = {ObjectIdGetDatum(ledger->target), ObjectIdGetDatum(ledger->type)};
	DmCatalogScope scope;
	int64 removed;

	if (url)
		find_entries(ledger, url, &values[2]);
	dm_catalog_begin(&scope);
	removed =
		dm_catalog_execute("DELETE FROM datamill.load_catalog l WHERE l.target = $1::regclass "
						   "AND l.target_type = $2::regtype AND ($4 IS NULL OR l.bucket = $3 AND l.key = ANY ($4))",
						   lengthof(types),
						   types,
						   values,
						   url ? NULL : "  nn");
	dm_catalog_end(&scope);
	return removed;
}

/* Called by the scan at the end of each object: remembers it for dm_ledger_write(). */
void
dm_ledger_note(const DmObject *object, int64 rows, void *arg)
{
	DmLedger *ledger = arg;
	MemoryContext caller = MemoryContextSwitchTo(ledger->context);
	LedgerEntry *entry = palloc(sizeof(LedgerEntry));

	entry->object = object;
	entry->rows = rows;
	ledger->entries = lappend(ledger->entries, entry);
	MemoryContextSwitchTo(caller);
}

/* Fills arrays with the columns of the entries: bucket, key, etag, version, size, rows. */
static void
entry_arrays(const DmLedger *ledger, Datum *arrays)
{
	int count = list_length(ledger->entries);
	Datum *columns[6];
	bool *no_version = palloc0(count * sizeof(bool));
	int lower = 1;
	ListCell *cell;

	for (int i = 0; i < 6; i++)
		columns[i] = palloc0(count * sizeof(Datum));
	foreach (cell, ledger->entries)
	{
		const LedgerEntry *entry = lfirst(cell);
		int i = foreach_current_index(cell);

		columns[0][i] = CStringGetTextDatum(entry->object->bucket);
		columns[1][i] = CStringGetTextDatum(entry->object->key);
		columns[2][i] = CStringGetTextDatum(object_identity(entry->object));
		no_version[i] = entry->object->version == NULL;
		columns[3][i] = no_version[i] ? (Datum) 0 : CStringGetTextDatum(entry->object->version);
		columns[4][i] = Int64GetDatum(entry->object->size);
		columns[5][i] = Int64GetDatum(entry->rows);
	}
	for (int i = 0; i < 3; i++)
		arrays[i] = text_array(columns[i], count);
	arrays[3] = PointerGetDatum(
		construct_md_array(columns[3], no_version, 1, &count, &lower, TEXTOID, -1, false, TYPALIGN_INT));
	for (int i = 4; i < 6; i++)
		arrays[i] = PointerGetDatum(
			construct_array(columns[i], count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Enters what this load has read; an object that was loaded again by force counts its rows again. */
void
dm_ledger_write(DmLedger *ledger, const char *receipt)
{
	Oid types[] = {OIDOID,
				   TEXTARRAYOID,
				   TEXTARRAYOID,
				   TEXTARRAYOID,
				   TEXTARRAYOID,
				   INT8ARRAYOID,
				   INT8ARRAYOID,
				   TEXTOID,
				   OIDOID,
				   OIDOID};
	Datum values[lengthof(types)];
	DmCatalogScope scope;

	if (ledger->entries == NIL)
		return;
	values[0] = ObjectIdGetDatum(ledger->target);
	entry_arrays(ledger, &values[1]);
	values[7] = CStringGetTextDatum(receipt);
	values[8] = ObjectIdGetDatum(GetUserId());
	values[9] = ObjectIdGetDatum(ledger->type);
	dm_catalog_begin(&scope);
	dm_catalog_execute(
		"INSERT INTO datamill.load_catalog AS l (target, target_type, bucket, key, etag, version, size, rows, "
		"loaded_at, receipt, loaded_by) "
		"SELECT $1::regclass, $10::regtype, o.*, pg_catalog.clock_timestamp(), $8, $9::regrole FROM ROWS FROM "
		"(pg_catalog.unnest($2), "
		"pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		"pg_catalog.unnest($7)) o "
		"ON CONFLICT (target, target_type, bucket, key, etag) DO UPDATE SET version = excluded.version, size = "
		"excluded.size, "
		"rows = l.rows + excluded.rows, loaded_at = excluded.loaded_at, receipt = excluded.receipt, "
		"loaded_by = excluded.loaded_by",
		lengthof(types),
		types,
		values,
		NULL);
	dm_catalog_end(&scope);
}
