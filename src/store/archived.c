/*
 * archived.c: objects whose bytes come from an archive instead of from their own place.
 *
 * Such an object says where (DmArchived); for all who read it, it is the object that it was. Objects are read one after another, none ahead.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "store/kind.h"

typedef struct ArchivedStore
{
	DmStore store;
	DmStore *below; /* of objects that are not archived */
} ArchivedStore;

typedef struct ArchivedFetch
{
	DmFetch fetch;
	MemoryContext context;
	MemoryContext object; /* of the one that is open, or NULL */
	DmStore *below;
	DmFetch *inner; /* or NULL */
} ArchivedFetch;

static DmFetch *archived_open(DmStore *store);
static DmStream *archived_next(DmFetch *fetch, DmPiece *piece);
static void archived_wait(DmFetch *fetch, long max_ms);
static void archived_close(DmFetch *fetch);

static const DmStoreOps archived_ops = {.fetch_open = archived_open,
										.fetch_next = archived_next,
										.fetch_wait = archived_wait,
										.fetch_close = archived_close};

/* Returns a store that reads archived objects from their archive and others from the store given; in the current memory context. */
DmStore *
dm_archived_store(DmStore *below)
{
	ArchivedStore *archived = palloc0(sizeof(ArchivedStore));

	archived->store = *below;
	archived->store.ops = &archived_ops;
	archived->below = below;
	return &archived->store;
}

/* Starts a fetch. */
static DmFetch *
archived_open(DmStore *store)
{
	ArchivedFetch *archived = palloc0(sizeof(ArchivedFetch));

	archived->context = CurrentMemoryContext;
	archived->below = ((ArchivedStore *) store)->below;
	return &archived->fetch;
}

/* Closes the object that is open, and opens the next one. */
static DmStream *
archived_next(DmFetch *fetch, DmPiece *piece)
{
	ArchivedFetch *archived = (ArchivedFetch *) fetch;
	const DmArchived *blob;
	const DmObject *which;
	DmStream *stream;
	MemoryContext old;

	archived_close(fetch);
	if (!dm_fetch_pull(fetch, 0, piece))
		return NULL;
	archived->object = AllocSetContextCreate(archived->context, "datamill archived object", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(archived->object);
	blob = piece->object->archived;
	archived->inner = blob ? dm_fetch_open(blob->store, list_make1(blob->blob))
						   : dm_fetch_open(archived->below, list_make1(unconstify(DmObject *, piece->object)));
	stream = dm_fetch_next(archived->inner, &which);
	if (blob)
		stream = dm_stream_gunzip_open(stream);
	MemoryContextSwitchTo(old);
	return stream;
}

/* There is nothing under way that could be waited for. */
static void
archived_wait(DmFetch *fetch, long max_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, max_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Closes the object that is open. */
static void
archived_close(DmFetch *fetch)
{
	ArchivedFetch *archived = (ArchivedFetch *) fetch;

	if (archived->inner)
		dm_fetch_close(archived->inner);
	if (archived->object)
		MemoryContextDelete(archived->object);
	archived->inner = NULL;
	archived->object = NULL;
}
