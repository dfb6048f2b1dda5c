/*
 * objscan_list.c: which objects a URL names, and how large they are.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "source/exact.h"
#include "source/listing.h"
#include "source/manifest.h"
#include "source/objfilter.h"
#include "source/objscan_internal.h"
#include "source/pins.h"

/* Keys that the planner looks at before it goes on with what it has seen. */
#define DM_MEASURE_MAX_LISTED 100000
/* Keys that a store lists at once. */
#define DM_PAGE_KEYS 1000
/* What text is likely to grow to when it is decompressed. */
#define DM_COMPRESSION_RATIO 4
/* Smallest piece of an object that is worth a process's while. */
#define DM_PIECE_BYTES (1024 * 1024)

typedef struct ListState
{
	DmStore *store;
	const DmObjScanSpec *spec;
	DmObjFilter *filter; /* or NULL */
	const char *bucket;
	const char *pattern; /* of the whole key; NULL: any */
	int64 max_listed;	 /* stop after so many keys; 0: never */
	bool stopped;		 /* that was done */
	List *objects;
	DmObjScanStats *stats;
	int64 plain_bytes; /* likely sum of the sizes when decompressed */
	int64 pieces;
} ListState;

static void list_matching(ListState *state, const char *url);
static bool find_archived(ListState *state, const char *url);
static void take_objects(ListState *state, List *objects);

/* Does a key look compressed, by its ending? Its first bytes decide; this is a guess for estimates. */
bool
dm_objlist_looks_compressed(const char *key)
{
	Size len = strlen(key);

	return (len > 3 && strcmp(key + len - 3, ".gz") == 0) || (len > 4 && strcmp(key + len - 4, ".zst") == 0);
}

/* Counts an object that is wanted. */
static void
count_object(ListState *state, const DmObject *object)
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
}

/* Takes an object that is listed. Folder markers (empty, named dir/) are no objects to read. */
static bool
list_each(const DmObject *object, void *arg)
{
	ListState *state = arg;
	Size len = strlen(object->key);

	CHECK_FOR_INTERRUPTS();
	state->stats->objects_listed++;
	if ((state->pattern && !dm_glob_match(state->pattern, object->key)) ||
		(object->size == 0 && len > 0 && object->key[len - 1] == '/'))
		;
	else if (state->filter && !dm_objfilter_object(state->filter, object, false))
		state->stats->objects_pruned++;
	else
	{
		count_object(state, object);
		state->objects = lappend(state->objects, dm_object_copy(object));
	}
	state->stopped = state->max_listed > 0 && state->stats->objects_listed >= state->max_listed;
	return !state->stopped;
}

/* Lists all keys below a literal prefix that can match the rest of the pattern. */
static void
list_below(ListState *state, const char *prefix, const char *rest)
{
	char *below = psprintf("%s%s", prefix, dm_glob_prefix(rest));

	if (state->spec->has_as_of)
		dm_store_list_as_of(state->store, state->bucket, below, state->spec->as_of, list_each, state);
	else
		dm_store_list(state->store, state->bucket, below, list_each, state);
}

/* Folders that a level of a listing goes on with. */
typedef struct Level
{
	ListState *state;
	const char *prefix; /* of all folders */
	const char *step;	/* pattern of their last step */
	List *folders;		/* of char*, those wanted */
	bool pruned;		/* there are others */
} Level;

/* Takes a folder of a level. */
static bool
level_each(const char *folder, void *arg)
{
	Level *level = arg;
	ListState *state = level->state;
	Size prefix_len = strlen(level->prefix);
	char *step = pnstrdup(folder + prefix_len, strlen(folder) - prefix_len - 1);

	CHECK_FOR_INTERRUPTS();
	if (!dm_glob_match(level->step, step))
		level->pruned = true;
	else if (dm_objfilter_folder(state->filter, state->bucket, folder))
		level->folders = lappend(level->folders, pstrdup(folder));
	else
	{
		level->pruned = true;
		state->stats->folders_pruned++;
	}
	pfree(step);
	return true;
}

/*
 * Lists what matches a pattern whose start, up to a step, is the literal prefix. As long as conditions look at partitions of further
 * steps, the folders of the next step with a wildcard are listed first, and only those that may hold wanted objects are
 * entered; where none was left out and no condition looks further, all of them are listed at once.
 */
static void
list_level(ListState *state, const char *prefix, const char *rest)
{
	Level level = {state, prefix};
	const char *slash;
	ListCell *cell;

	check_stack_depth();
	while ((slash = strchr(rest, '/')) != NULL && strcspn(rest, "*?[{") > (Size) (slash - rest))
	{
		prefix = psprintf("%s%.*s", prefix, (int) (slash + 1 - rest), rest);
		rest = slash + 1;
	}
	/* ** and braces may go over several steps */
	if (!slash || strchr(rest, '{') || memmem(rest, slash - rest, "**", 2) ||
		!dm_objfilter_looks_at(state->filter, rest))
	{
		list_below(state, prefix, rest);
		return;
	}
	level.prefix = prefix;
	level.step = pnstrdup(rest, slash - rest);
	dm_store_list_folders(
		state->store, state->bucket, psprintf("%s%s", prefix, dm_glob_prefix(level.step)), level_each, &level);
	if (!level.pruned && !dm_objfilter_looks_at(state->filter, slash + 1))
	{
		list_below(state, prefix, rest);
		return;
	}
	foreach (cell, level.folders)
	{
		if (state->stopped)
			return;
		list_level(state, lfirst(cell), slash + 1);
	}
}

/* Lists all keys if one page holds them, which takes fewer requests than to go from folder to folder. False, and nothing listed, if not. */
static bool
list_one_page(ListState *state, const char *key)
{
	int64 max_listed = state->max_listed;

	state->max_listed = DM_PAGE_KEYS;
	list_below(state, "", key);
	state->max_listed = max_listed;
	if (!state->stopped)
		return true;
	state->stopped = false;
	state->objects = NIL;
	state->plain_bytes = state->pieces = 0;
	memset(state->stats, 0, sizeof(*state->stats));
	return false;
}

/* Takes the objects that a manifest names, in its order. */
static void
list_manifest(ListState *state, const char *url)
{
	ListCell *cell;

	if (state->spec->has_as_of)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options manifest and as_of do not go together")));
	state->max_listed = 0;
	foreach (cell, dm_manifest_list(state->store, url))
		(void) list_each(lfirst(cell), state);
}

/* Takes the objects that are given. */
static void
list_exact(ListState *state, const char *url)
{
	ListCell *cell;

	if (state->spec->has_as_of || state->spec->manifest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option objects does not go together with manifest or as_of")));
	state->max_listed = 0;
	foreach (cell, dm_exact_list(state->spec->exact, url))
		(void) list_each(lfirst(cell), state);
}

/* In a replay: takes the objects that the receipt has, as they were, instead of those that were listed. */
static void
pin_objects(ListState *state)
{
	take_objects(state,
				 dm_pins_apply(state->store,
							   GetForeignServer(state->spec->server)->servername,
							   state->bucket,
							   state->pattern,
							   state->objects));
}

/* Takes what the filter wants of objects instead of those that were listed. */
static void
take_objects(ListState *state, List *objects)
{
	ListCell *cell;

	state->objects = NIL;
	state->plain_bytes = state->pieces = 0;
	state->stats->objects_matched = state->stats->bytes_matched = 0;
	foreach (cell, objects)
	{
		DmObject *object = lfirst(cell);

		if (state->filter && !dm_objfilter_object(state->filter, object, false))
		{
			state->stats->objects_pruned++;
			continue;
		}
		count_object(state, object);
		state->objects = lappend(state->objects, object);
	}
}

/* Lists what the URL names and the filter wants. */
static void
list_url(ListState *state, const char *url)
{
	if (dm_pins_are_set() && find_archived(state, url))
		return;
	list_matching(state, url);
	if (dm_pins_are_set() && !state->stopped)
		pin_objects(state);
}

/* In a replay: takes the objects that the receipt has from its archive. False if they are not all there. */
static bool
find_archived(ListState *state, const char *url)
{
	List *objects;
	char *bucket;
	char *key;

	if (state->spec->exact || state->spec->manifest)
		return false;
	dm_url_split(url, &bucket, &key);
	if (!dm_pins_archived(GetForeignServer(state->spec->server)->servername, bucket, key, &objects))
		return false;
	take_objects(state, objects);
	return true;
}

/* Lists what there is of it. */
static void
list_matching(ListState *state, const char *url)
{
	char *bucket;
	char *key;

	if (state->spec->exact)
	{
		list_exact(state, url);
		return;
	}
	if (state->spec->manifest)
	{
		list_manifest(state, url);
		return;
	}
	dm_url_split(url, &bucket, &key);
	state->bucket = bucket;
	state->pattern = key;
	/* folders are known as they are now only */
	if (!state->filter || state->spec->has_as_of || !dm_objfilter_looks_at(state->filter, key))
		list_below(state, "", key);
	else if (!list_one_page(state, key))
		list_level(state, "", key);
}

/* Returns the objects to read, a list of DmObject* in the current memory context, and adds up stats. */
List *
dm_objlist_make(DmStore *store, const DmObjScanSpec *spec, DmObjScanStats *stats)
{
	ListState state = {.store = store, .spec = spec, .filter = spec->filter, .stats = stats};

	list_url(&state, spec->url);
	return state.objects;
}

/*
 * Number and sizes of the objects to read, an estimate from the first keys if there are very many. What was listed is kept for
 * the scan, if it is all.
 */
void
dm_objscan_measure(const DmObjScanSpec *spec, DmObjMeasure *measure)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "datamill listing", ALLOCSET_DEFAULT_SIZES);
	DmListing listing = {.context = context};
	DmStore *store = dm_store_open(spec->server, spec->user);
	MemoryContext old = MemoryContextSwitchTo(context);
	ListState state = {.store = store,
					   .spec = spec,
					   .filter = spec->filter,
					   .max_listed = DM_MEASURE_MAX_LISTED,
					   .stats = &listing.stats};

	list_url(&state, spec->url);
	MemoryContextSwitchTo(old);
	measure->objects = listing.stats.objects_matched;
	measure->listed = listing.stats.objects_listed;
	measure->folders_pruned = listing.stats.folders_pruned;
	measure->objects_pruned = listing.stats.objects_pruned;
	measure->bytes = listing.stats.bytes_matched;
	measure->plain_bytes = state.plain_bytes;
	measure->pieces = state.pieces;
	listing.objects = state.objects;
	listing.requests = dm_store_stats(store)->list_requests;
	listing.retries = dm_store_stats(store)->retries;
	if (!state.stopped)
		measure->listing = dm_listing_keep(&listing);
	else
	{
		MemoryContextDelete(context);
		measure->listing = 0;
	}
}
