/*
 * manifest.c: manifests and JSONPaths.
 *
 *     {"entries": [{"url": "s3://bucket/key", "mandatory": true, "meta": {"content_length": 123}}, ...]}
 *
 * Only the url is needed; other members are passed over. To learn the etags, what the keys of a bucket have in common is listed; where there is much
 * more below it than is wanted, the other keys are asked for one by one.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "source/manifest.h"

#define DM_MANIFEST_MAX_BYTES (64 * 1024 * 1024)
/* Keys that may be listed for each one that is wanted, and at least. */
#define DM_MANIFEST_KEYS_EACH 20
#define DM_MANIFEST_KEYS_MIN 1000

typedef struct Entry
{
	char *bucket;
	char *key;
	bool mandatory;
	int64 length;	  /* as the manifest says; -1: it does not */
	DmObject *object; /* NULL while it was not found */
} Entry;

/* A listing that looks for entries of one bucket. */
typedef struct Search
{
	Entry **entries; /* sorted by key */
	int count;
	int64 seen;
	int64 most;
} Search;

static void manifest_error(const char *url, const char *what) pg_attribute_noreturn();

/* Reads the text of a file; `what` is what messages call it. */
static char *
read_text(DmStore *store, const char *url, const char *what)
{
	StringInfoData text;
	const DmObject *object;
	DmFetch *fetch;
	DmStream *stream;
	char *bucket;
	char *key;

	dm_url_split(url, &bucket, &key);
	object = dm_store_find(store, bucket, key);
	if (!object)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("%s \"%s\" does not exist", what, url),
				 errhint("The URL is that of one object, without wildcards.")));
	if (object->size > DM_MANIFEST_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s \"%s\" has more than %d bytes", what, url, DM_MANIFEST_MAX_BYTES)));
	initStringInfo(&text);
	fetch = dm_fetch_open(store, list_make1((void *) object));
	stream = dm_fetch_next(fetch, &object);
	for (;;)
	{
		Size got;

		CHECK_FOR_INTERRUPTS();
		enlargeStringInfo(&text, 64 * 1024);
		got = dm_stream_read(stream, text.data + text.len, 64 * 1024);
		if (got == 0)
			break;
		text.len += (int) got;
	}
	text.data[text.len] = '\0';
	dm_fetch_close(fetch);
	return pg_any_to_server(text.data, text.len, PG_UTF8);
}

/* Raises for a manifest that is none. */
static void
manifest_error(const char *url, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("\"%s\" is no manifest: %s", url, what),
			 errhint("It must be like {\"entries\": [{\"url\": \"s3://bucket/key\", \"mandatory\": true}]}.")));
}

/* Finds a member of a JSON object; NULL if it is not there, or null. */
static JsonbValue *
member_of(JsonbValue *value, const char *name)
{
	JsonbValue *member = getKeyJsonValueFromContainer(value->val.binary.data, name, strlen(name), NULL);

	return member && member->type != jbvNull ? member : NULL;
}

/* True for a JSON object within another value. */
static bool
is_object(const JsonbValue *value)
{
	return value && value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

/* Reads one entry. */
static Entry *
read_entry(const char *manifest, JsonbValue *value)
{
	Entry *entry = palloc0(sizeof(Entry));
	JsonbValue *url = is_object(value) ? member_of(value, "url") : NULL;
	JsonbValue *mandatory;
	JsonbValue *meta;
	JsonbValue *length;

	if (url && url->type == jbvString)
		dm_url_split(pnstrdup(url->val.string.val, url->val.string.len), &entry->bucket, &entry->key);
	else
		manifest_error(manifest, "an entry has no url");
	mandatory = member_of(value, "mandatory");
	if (mandatory && mandatory->type != jbvBool)
		manifest_error(manifest, "mandatory is neither true nor false");
	entry->mandatory = mandatory && mandatory->val.boolean;
	entry->length = -1;
	meta = member_of(value, "meta");
	length = is_object(meta) ? member_of(meta, "content_length") : NULL;
	if (length && length->type != jbvNumeric)
		manifest_error(manifest, "content_length is no number");
	if (length)
		entry->length = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(length->val.numeric)));
	return entry;
}

/* Says which manifest an error came from. */
static void
manifest_error_context(void *arg)
{
	errcontext("%s", (const char *) arg);
}

/* Reads all entries, a list of Entry*. */
static List *
read_entries(DmStore *store, const char *url)
{
	ErrorContextCallback callback = {error_context_stack, manifest_error_context, unconstify(char *, url)};
	char *text = read_text(store, url, "manifest");
	List *entries = NIL;
	Jsonb *json;
	JsonbValue root;
	JsonbValue *list;
	uint32 count = 0;

	error_context_stack = &callback;
	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbToJsonbValue(json, &root);
	list = is_object(&root) ? member_of(&root, "entries") : NULL;
	if (list && list->type == jbvBinary && JsonContainerIsArray(list->val.binary.data))
		count = JsonContainerSize(list->val.binary.data);
	else
		manifest_error(url, "it has no list of entries");
	for (uint32 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		entries = lappend(entries, read_entry(url, getIthJsonbValueFromContainer(list->val.binary.data, i)));
	}
	error_context_stack = callback.previous;
	return entries;
}

/* Orders entries by bucket and key. */
static int
compare_entries(const void *a, const void *b)
{
	const Entry *left = *(Entry *const *) a;
	const Entry *right = *(Entry *const *) b;
	int order = strcmp(left->bucket, right->bucket);

	return order != 0 ? order : strcmp(left->key, right->key);
}

/* Takes an object of a listing if an entry names it. */
static bool
take_listed(const DmObject *object, void *arg)
{
	Search *search = arg;
	Entry probe = {.bucket = object->bucket, .key = object->key};
	Entry *key = &probe;
	Entry **found = bsearch(&key, search->entries, search->count, sizeof(Entry *), compare_entries);

	CHECK_FOR_INTERRUPTS();
	if (found)
		(*found)->object = dm_object_copy(object);
	return ++search->seen < search->most;
}

/* Finds the objects of entries of one bucket, sorted by key. */
static void
find_in_bucket(DmStore *store, Entry **entries, int count)
{
	Search search = {entries, count, 0, Max(DM_MANIFEST_KEYS_MIN, (int64) count * DM_MANIFEST_KEYS_EACH)};
	const char *first = entries[0]->key;
	const char *last = entries[count - 1]->key;
	Size common = 0;

	while (first[common] != '\0' && first[common] == last[common])
		common++;
	/* whole characters only */
	common = pg_mbcliplen(first, (int) strlen(first), (int) common);
	dm_store_list(store, entries[0]->bucket, pnstrdup(first, common), take_listed, &search);
	if (search.seen < search.most)
		return;
	for (int i = 0; i < count; i++)
	{
		if (!entries[i]->object)
			entries[i]->object = dm_store_find(store, entries[i]->bucket, entries[i]->key);
	}
}

/* Finds the objects of all entries. Raises 22023 for one that comes twice. */
static void
find_objects(DmStore *store, const char *url, List *entries)
{
	int count = list_length(entries);
	Entry **sorted = palloc(Max(count, 1) * sizeof(Entry *));
	ListCell *cell;
	int from = 0;

	foreach (cell, entries)
		sorted[foreach_current_index(cell)] = lfirst(cell);
	qsort(sorted, count, sizeof(Entry *), compare_entries);
	for (int i = 1; i <= count; i++)
	{
		if (i < count && compare_entries(&sorted[i - 1], &sorted[i]) == 0)
			manifest_error(url, psprintf("\"s3://%s/%s\" comes twice", sorted[i]->bucket, sorted[i]->key));
		if (i < count && strcmp(sorted[i]->bucket, sorted[from]->bucket) == 0)
			continue;
		find_in_bucket(store, sorted + from, i - from);
		from = i;
	}
	pfree(sorted);
}

/* Reads a manifest; see manifest.h. */
List *
dm_manifest_list(DmStore *store, const char *url)
{
	List *entries = read_entries(store, url);
	List *objects = NIL;
	ListCell *cell;

	find_objects(store, url, entries);
	foreach (cell, entries)
	{
		const Entry *entry = lfirst(cell);

		if (!entry->object)
		{
			ereport(entry->mandatory ? ERROR : NOTICE,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("object \"s3://%s/%s\" does not exist", entry->bucket, entry->key),
					 errdetail("Manifest \"%s\" names it%s.", url, entry->mandatory ? " as mandatory" : "")));
			continue;
		}
		if (entry->length >= 0 && entry->length != entry->object->size)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("object \"%s\" has %lld bytes, not %lld",
							dm_object_uri(entry->object),
							(long long) entry->object->size,
							(long long) entry->length),
					 errdetail("Manifest \"%s\" gives its content_length.", url),
					 errhint("It was written anew since the manifest was made, or is not all there yet.")));
		objects = lappend(objects, entry->object);
	}
	return objects;
}

/* Reads a file of JSONPaths; see manifest.h. */
List *
dm_jsonpaths_read(DmStore *store, const char *url)
{
	ErrorContextCallback callback = {error_context_stack, manifest_error_context, unconstify(char *, url)};
	char *text = read_text(store, url, "jsonpaths file");
	List *paths = NIL;
	Jsonb *json;
	JsonbValue root;
	JsonbValue *list;
	uint32 count = 0;

	error_context_stack = &callback;
	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbToJsonbValue(json, &root);
	list = is_object(&root) ? member_of(&root, "jsonpaths") : NULL;
	if (list && list->type == jbvBinary && JsonContainerIsArray(list->val.binary.data))
		count = JsonContainerSize(list->val.binary.data);
	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *path = getIthJsonbValueFromContainer(list->val.binary.data, i);

		if (path->type == jbvString)
			paths = lappend(paths, pnstrdup(path->val.string.val, path->val.string.len));
	}
	if (count == 0 || list_length(paths) != count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("\"%s\" is no file of JSON paths", url),
				 errhint("It must be like {\"jsonpaths\": [\"$.id\", \"$.user.name\"]}.")));
	error_context_stack = callback.previous;
	return paths;
}
