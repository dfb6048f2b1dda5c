/*
 * credentials_cache.c: temporary keys that a backend remembers for its next stores, so that not every statement asks for new ones.
 *
 * 1. An entry is found by a text that names the server, the user and every option the keys depend on: no user and no role
 *    ever gets another's keys.
 * 2. Any change of a server or a user mapping empties the cache; keys that were asked for before it are not put in after it.
 * 3. Keys are wiped before their memory is given back.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "store/credentials.h"

/* More entries than this are not worth remembering: the oldest goes. */
#define DM_KEYS_CACHE_MAX 64

typedef struct CacheEntry
{
	dlist_node node;
	char *what;
	DmCachedKeys cached;
} CacheEntry;

static dlist_head entries = DLIST_STATIC_INIT(entries); /* newest first */
static int nentries = 0;
static uint64 state = 0;
static MemoryContext cache_context = NULL;

/* Takes an entry out and wipes it. Raises nothing. */
static void
drop_entry(CacheEntry *entry)
{
	dlist_delete(&entry->node);
	nentries--;
	dm_keys_wipe(&entry->cached.keys);
	dm_keys_wipe_text(entry->what);
	pfree(entry->what);
	pfree(entry);
}

/* Called when a server or a user mapping may have changed. */
static void
forget_all(Datum arg, int cache_id, uint32 hash)
{
	dlist_mutable_iter iter;

	state++;
	dlist_foreach_modify (iter, &entries)
	{
		drop_entry(dlist_container(CacheEntry, node, iter.cur));
	}
}

/* Prepares the cache, once a backend. */
static void
init_cache(void)
{
	if (cache_context)
		return;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, forget_all, (Datum) 0);
	cache_context = AllocSetContextCreate(TopMemoryContext, "datamill keys", ALLOCSET_SMALL_SIZES);
}

/* The keys under this text, if they still last; NULL if there are none. They live until the next change of the cache. */
const DmCachedKeys *
dm_keys_cache_find(const char *what)
{
	dlist_mutable_iter iter;
	TimestampTz now = GetCurrentTimestamp();

	dlist_foreach_modify (iter, &entries)
	{
		CacheEntry *entry = dlist_container(CacheEntry, node, iter.cur);

		if (entry->cached.keys.expires <= now)
			drop_entry(entry);
		else if (strcmp(entry->what, what) == 0)
			return &entry->cached;
	}
	return NULL;
}

/* The state of the cache; see credentials.h. */
uint64
dm_keys_cache_state(void)
{
	init_cache();
	return state;
}

/* Remembers a copy of keys under a text, unless the cache was emptied since it had that state. */
void
dm_keys_cache_put(const char *what, uint64 as_of, const DmCachedKeys *cached)
{
	MemoryContext old;
	CacheEntry *entry;
	dlist_mutable_iter iter;

	init_cache();
	if (state != as_of)
		return;
	dlist_foreach_modify (iter, &entries)
	{
		entry = dlist_container(CacheEntry, node, iter.cur);
		if (strcmp(entry->what, what) == 0)
			drop_entry(entry);
	}
	if (nentries >= DM_KEYS_CACHE_MAX)
		drop_entry(dlist_container(CacheEntry, node, dlist_tail_node(&entries)));
	old = MemoryContextSwitchTo(cache_context);
	entry = palloc0(sizeof(CacheEntry));
	entry->what = pstrdup(what);
	entry->cached = *cached;
	dm_keys_copy(&entry->cached.keys, &cached->keys);
	dlist_push_head(&entries, &entry->node);
	nentries++;
	MemoryContextSwitchTo(old);
}

/* Forgets the keys of a serial number: a store has refused them. */
void
dm_keys_cache_drop(uint64 serial)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify (iter, &entries)
	{
		CacheEntry *entry = dlist_container(CacheEntry, node, iter.cur);

		if (entry->cached.serial == serial)
			drop_entry(entry);
	}
}
