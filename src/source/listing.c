/*
 * listing.c: what the planner listed, handed on to the scan.
 *
 * A listing is of one plan and is taken once: a plan that runs again lists anew. It serves the statement in which it was made and no
 * other, and not after this backend wrote an object. Between its making and the reading of an object, the object may change; that is
 * found out by its etag, as always.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "source/listing.h"

/* A listing is not handed on after this time. */
#define DM_LISTING_MAX_AGE_MS 10000
/* Listings that nobody has taken yet, at most: plans that are made and never run must not pile them up. */
#define DM_LISTING_MAX_KEPT 64

typedef struct Kept
{
	int64 number;
	TimestampTz statement; /* when the statement came */
	TimestampTz made;
	uint64 writes; /* of objects, by then */
	DmListing listing;
} Kept;

static List *kept = NIL; /* of Kept*, each in its listing's context; the list is in TopMemoryContext */
static int64 last_number = 0;

/* Forgets all listings when a transaction ends: their memory goes with it. */
static void
forget_all(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE ||
		event == XACT_EVENT_PARALLEL_COMMIT || event == XACT_EVENT_PARALLEL_ABORT)
	{
		list_free(kept);
		kept = NIL;
	}
}

/* Deletes the listings of earlier statements, and the oldest of this one if there are very many. */
static void
delete_old(void)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	int surplus = list_length(kept) - DM_LISTING_MAX_KEPT;
	ListCell *cell;

	foreach (cell, kept)
	{
		Kept *entry = lfirst(cell);

		if (entry->statement == statement && surplus-- < 0)
			continue;
		kept = foreach_delete_current(kept, cell);
		MemoryContextDelete(entry->listing.context);
	}
}

/* Keeps a listing. */
int64
dm_listing_keep(const DmListing *listing)
{
	static bool registered = false;
	Kept *entry = MemoryContextAlloc(listing->context, sizeof(Kept));
	MemoryContext old;

	if (!registered)
	{
		RegisterXactCallback(forget_all, NULL);
		registered = true;
	}
	delete_old();
	entry->number = ++last_number;
	entry->statement = GetCurrentStatementStartTimestamp();
	entry->made = GetCurrentTimestamp();
	entry->writes = dm_store_writes();
	entry->listing = *listing;
	MemoryContextSetParent(listing->context, TopTransactionContext);
	old = MemoryContextSwitchTo(TopMemoryContext);
	kept = lappend(kept, entry);
	MemoryContextSwitchTo(old);
	return entry->number;
}

/* Takes a listing that was kept. */
bool
dm_listing_take(int64 number, DmListing *listing)
{
	ListCell *cell;

	foreach (cell, kept)
	{
		Kept *entry = lfirst(cell);
		bool good;

		if (entry->number != number)
			continue;
		good = entry->statement == GetCurrentStatementStartTimestamp() && entry->writes == dm_store_writes() &&
			   !TimestampDifferenceExceeds(entry->made, GetCurrentTimestamp(), DM_LISTING_MAX_AGE_MS);
		kept = foreach_delete_current(kept, cell);
		*listing = entry->listing;
		if (good)
			MemoryContextSetParent(listing->context, CurrentMemoryContext);
		else
			MemoryContextDelete(listing->context);
		return good;
	}
	return false;
}
