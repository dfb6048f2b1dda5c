/*
 * s3_delete.c: removes objects, several at once. One call an object: not all stores have DeleteObjects.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "store/s3.h"

typedef struct DeleteSlot
{
	DmS3Call *call;
	bool busy;
} DeleteSlot;

/* Raises unless the call of a slot has removed its object, or there was none. */
static void
check_slot(const DeleteSlot *slot)
{
	const DmHttpRequest *http = slot->call->http;

	if (http->state != DM_HTTP_DONE || http->status != 404)
		dm_s3_call_check(slot->call, "could not remove");
}

/* Starts to remove an object. */
static void
start_slot(DeleteSlot *slot, DmStore *store, const DmObject *object)
{
	if (!slot->call)
	{
		slot->call = dm_s3_call_make((DmS3Store *) store, "DELETE", &store->stats.put_requests);
		slot->call->http->body_max = DM_HTTP_ERROR_BODY_BYTES;
	}
	slot->call->bucket = object->bucket;
	slot->call->key = object->key;
	slot->busy = true;
	dm_http_start(slot->call->http);
}

/* Removes a list of DmObject*, up to max_concurrency at once; those that are not there are no error. */
void
dm_s3_delete(DmStore *store, List *objects)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill s3 delete", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int nslots = Min(store->settings->max_concurrency, list_length(objects));
	DeleteSlot *slots = palloc0(sizeof(DeleteSlot) * Max(nslots, 1));
	int next = 0;
	int busy = 0;

	while (next < list_length(objects) || busy > 0)
	{
		long wait_ms = -1;

		for (int i = 0; i < nslots; i++)
		{
			long slot_ms;

			if (slots[i].busy && dm_http_advance(slots[i].call->http))
			{
				check_slot(&slots[i]);
				slots[i].busy = false;
				busy--;
			}
			if (!slots[i].busy && next < list_length(objects))
			{
				start_slot(&slots[i], store, list_nth(objects, next++));
				busy++;
			}
			slot_ms = slots[i].busy ? dm_http_wait_ms(slots[i].call->http) : -1;
			if (slot_ms >= 0 && (wait_ms < 0 || slot_ms < wait_ms))
				wait_ms = slot_ms;
		}
		if (busy > 0)
			dm_http_pump(wait_ms);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
