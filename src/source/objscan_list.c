/*
 * objscan_list.c: which objects a URL names, and how large they are.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "source/objscan_internal.h"

/* Keys that the planner looks at before it goes on with what it has seen. */
#define DM_MEASURE_MAX_LISTED 100000
/* What text is likely to grow to when it is decompressed. */
#define DM_COMPRESSION_RATIO 4
/* Smallest piece of an object that is worth a process's while. */
#define DM_PIECE_BYTES (1024 * 1024)

typedef struct ListState
{
	const char *pattern; /* of the whole key */
	bool keep;			 /* collect the objects, do not just count */
	int64 max_listed;	 /* stop after so many keys; 0: never */
	List *objects;
	DmObjScanStats *stats;
	int64 plain_bytes; /* likely sum of the sizes when decompressed */
	int64 pieces;
} ListState;

/* Does a key look compressed, by its ending? Its first bytes decide; this is a guess for estimates. */
bool
dm_objlist_looks_compressed(const char *key)
{
	Size len = strlen(key);

	return (len > 3 && strcmp(key + len - 3, ".gz") == 0) || (len > 4 && strcmp(key + len - 4, ".zst") == 0);
}

/* Counts an object, and keeps it if that is asked for. Folder markers (empty, named dir/) are no objects to read. */
static bool
list_each(const DmObject *object, void *arg)
{
	ListState *state = arg;
	Size len = strlen(object->key);

	CHECK_FOR_INTERRUPTS();
	state->stats->objects_listed++;
	if (dm_glob_match(state->pattern, object->key) &&
		!(object->size == 0 && len > 0 && object->key[len - 1] == '/'))
	{
		state->stats->objects_matched++;
		state->stats->bytes_matched += object->size;
		if (dm_objlist_looks_compressed(object->key))
		{
			state->plain_bytes += object->size * DM_COMPRESSION_RATIO;
			state->pieces++;
		}
		else
		{
			state->plain_bytes += object->size;
			state->pieces += 1 + object->size / (dm_guc_split_bytes > 0 ? dm_guc_split_bytes : DM_PIECE_BYTES);
		}
		if (state->keep)
			state->objects = lappend(state->objects, dm_object_copy(object));
	}
	return state->max_listed == 0 || state->stats->objects_listed < state->max_listed;
}

/* Lists what the URL names. */
static void
list_url(DmStore *store, const char *url, ListState *state)
{
	char *bucket;
	char *key;

	dm_url_split(url, &bucket, &key);
	state->pattern = key;
	dm_store_list(store, bucket, dm_glob_prefix(key), list_each, state);
}

/* Returns the matching objects, a list of DmObject* in the current memory context, and adds up stats. */
List *
dm_objlist_make(DmStore *store, const char *url, DmObjScanStats *stats)
{
	ListState state = {.keep = true, .stats = stats};

	list_url(store, url, &state);
	return state.objects;
}

/* Number and sizes of the objects that match url; an estimate from the first keys if there are very many. */
void
dm_objscan_measure(Oid server, Oid user, const char *url, DmObjMeasure *measure)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill object listing", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DmObjScanStats stats = {0};
	ListState state = {.max_listed = DM_MEASURE_MAX_LISTED, .stats = &stats};

	list_url(dm_store_open(server, user), url, &state);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	measure->objects = stats.objects_matched;
	measure->bytes = stats.bytes_matched;
	measure->plain_bytes = state.plain_bytes;
	measure->pieces = state.pieces;
}
