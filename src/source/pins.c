/*
 * pins.c: objects as receipts know them, found again: for replays, which read what was read, and for those who check.
 *
 * 1. A pin is an object's URI with the etag that it had. While pins are set, no scan of this process reads anything else.
 * 2. What was replaced since is the same if its bytes have the same SHA-256. Otherwise, and if it was removed, it is looked for among the versions
 *    of its bucket, by its etag.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "base/errors.h"
#include "source/archive.h"
#include "source/pins.h"
#include "stream/stream.h"

#define BUFFER_BYTES (64 * 1024)

#define READ_PINS                                                                                                  \
	"SELECT x.value ->> 'uri', x.value ->> 'server', x.value ->> 'etag', x.value ->> 'sha256', "                   \
	"coalesce((x.value ->> 'size')::bigint, -1), coalesce((x.value ->> 'rows')::bigint, -1), r.started_at, "       \
	"r.finished_at, is_output, x.value ->> 'version' FROM datamill.receipt_log r CROSS JOIN LATERAL "              \
	"(SELECT value, false AS is_output FROM jsonb_array_elements(r.inputs) UNION ALL "                             \
	"SELECT value, true FROM jsonb_array_elements(r.outputs)) x "                                                  \
	"WHERE left(x.value ->> 'uri', 5) = 's3://' AND (x.value ? 'etag' OR x.value ? 'sha256') AND "

static List *pins_set = NIL; /* sorted by URI */
static bool are_set = false;
static DmArchive *archive_set = NULL;

static List *pins_read(const char *sql, int64 number);
static DmObject *find_as_of(DmStore *store, const DmPin *pin, TimestampTz as_of);
static int pin_compare(const ListCell *a, const ListCell *b);
static int first_of(const char *uri);
static bool is_through(const DmPin *pin, const char *server);
static List *pins_matching(const char *server, const char *bucket, const char *pattern);
static DmObject *as_pinned(DmStore *store, const char *server, const DmObject *object, bool *is_pinned);
static void raise_gone(const DmPin *pin) pg_attribute_noreturn();
static List *add_missing(DmStore *store, const char *server, const char *bucket, const char *pattern,
						 List *objects);
static bool has_key(List *objects, int n, const char *key);
static int object_compare(const ListCell *a, const ListCell *b);

/* Pins of the inputs and outputs of the receipts of a run. */
List *
dm_pins_of_run(int64 run_id)
{
	return pins_read(READ_PINS "r.run_id = $1 ORDER BY r.receipt_no, 1", run_id);
}

/* Pins of one receipt. */
List *
dm_pins_of_receipt(int64 receipt_no)
{
	return pins_read(READ_PINS "r.receipt_no = $1 ORDER BY is_output, 1", receipt_no);
}

/* Reads pins. */
static List *
pins_read(const char *sql, int64 number)
{
	MemoryContext caller = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	List *pins = NIL;
	uint64 n;

	dm_args_int8(&args, number);
	dm_catalog_begin(&scope);
	n = dm_catalog_run(sql, &args);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < n; i++)
	{
		DmPin *pin = palloc0(sizeof(DmPin));
		bool is_null;

		CHECK_FOR_INTERRUPTS();
		pin->uri = dm_catalog_text(i, 1);
		pin->server = dm_catalog_text(i, 2);
		pin->etag = dm_catalog_text(i, 3);
		pin->sha256 = dm_catalog_text(i, 4);
		pin->size = dm_catalog_int8(i, 5);
		pin->rows = dm_catalog_int8(i, 6);
		pin->from = dm_catalog_time(i, 7);
		pin->until = dm_catalog_time(i, 8);
		pin->is_output = DatumGetBool(dm_catalog_value(i, 9, &is_null));
		pin->version = dm_catalog_text(i, 10);
		pins = lappend(pins, pin);
	}
	dm_catalog_end(&scope);
	return pins;
}

/* Finds the object of a pin. */
DmObject *
dm_pin_now(DmStore *store, const DmPin *pin)
{
	char *bucket;
	char *key;

	dm_url_split(pin->uri, &bucket, &key);
	return dm_store_find(store, bucket, key);
}

/* Finds the version that a pin means, by when it was read. */
DmObject *
dm_pin_version(DmStore *store, const DmPin *pin)
{
	DmObject *object;

	if (!pin->etag || !dm_store_keeps_versions(store))
		return NULL;
	object = find_as_of(store, pin, pin->until);
	return object ? object : find_as_of(store, pin, pin->from);
}

/* Finds the object of a pin as it was at a time, if it had the pin's etag then. */
static DmObject *
find_as_of(DmStore *store, const DmPin *pin, TimestampTz as_of)
{
	DmObject *object;
	char *bucket;
	char *key;

	dm_url_split(pin->uri, &bucket, &key);
	object = dm_store_find_as_of(store, bucket, key, as_of);
	return object && strcmp(object->etag, pin->etag) == 0 ? object : NULL;
}

/* Returns the SHA-256 of an object's bytes. */
char *
dm_pin_digest(DmStore *store, DmObject *object)
{
	DmFetch *fetch = dm_fetch_open(store, list_make1(object));
	const DmObject *which;
	DmStream *digest = dm_stream_digest_open(dm_fetch_next(fetch, &which));
	char *buffer = palloc(BUFFER_BYTES);
	char *hex;

	while (dm_stream_read(digest, buffer, BUFFER_BYTES) > 0)
		CHECK_FOR_INTERRUPTS();
	hex = dm_stream_digest_hex(digest);
	dm_fetch_close(fetch);
	pfree(buffer);
	return hex;
}

/* Sets the pins of this process. */
void
dm_pins_set(List *pins)
{
	ListCell *cell;

	pins_set = NIL;
	foreach (cell, pins)
	{
		DmPin *pin = lfirst(cell);

		if (!pin->is_output && pin->etag)
			pins_set = lappend(pins_set, pin);
	}
	list_sort(pins_set, pin_compare);
	are_set = true;
}

/* Does this process read pinned objects only? */
bool
dm_pins_are_set(void)
{
	return are_set;
}

/* Sets the archive of the pinned objects. */
void
dm_pins_set_archive(DmArchive *archive)
{
	archive_set = archive;
}

/* Finds pinned objects in the archive. What they were modified at is not known: the run's start is given. */
bool
dm_pins_archived(const char *server, const char *bucket, const char *pattern, List **objects)
{
	DmStore *store;
	ListCell *cell;

	*objects = NIL;
	if (!archive_set)
		return false;
	store = dm_archive_open(archive_set);
	foreach (cell, pins_matching(server, bucket, pattern))
	{
		const DmPin *pin = lfirst(cell);
		DmObject *object = palloc0(sizeof(DmObject));

		CHECK_FOR_INTERRUPTS();
		dm_url_split(pin->uri, &object->bucket, &object->key);
		object->etag = pin->etag;
		object->version = pin->version;
		object->size = pin->size;
		object->modified = pin->from;
		object->archived = pin->sha256 ? dm_archive_find(store, archive_set, pin->sha256) : NULL;
		if (!object->archived)
			return false;
		*objects = lappend(*objects, object);
	}
	return *objects != NIL;
}

/* Returns what is to be read instead of what was listed. */
List *
dm_pins_apply(DmStore *store, const char *server, const char *bucket, const char *pattern, List *objects)
{
	List *pinned = NIL;
	ListCell *cell;

	foreach (cell, objects)
	{
		bool is_pinned;
		DmObject *object = as_pinned(store, server, lfirst(cell), &is_pinned);

		CHECK_FOR_INTERRUPTS();
		if (is_pinned)
			pinned = lappend(pinned, object);
	}
	return pattern ? add_missing(store, server, bucket, pattern, pinned) : pinned;
}

/* Orders pins by URI. */
static int
pin_compare(const ListCell *a, const ListCell *b)
{
	return strcmp(((const DmPin *) lfirst(a))->uri, ((const DmPin *) lfirst(b))->uri);
}

/* Returns the place of the first pin of a URI, or of the one before which it would stand. */
static int
first_of(const char *uri)
{
	int low = 0;
	int high = list_length(pins_set);

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (strcmp(((const DmPin *) list_nth(pins_set, middle))->uri, uri) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Was the object read through the server, as far as is known? */
static bool
is_through(const DmPin *pin, const char *server)
{
	return !pin->server || strcmp(pin->server, server) == 0;
}

/* Returns the pins of objects that a pattern may list, the first one of each URI. */
static List *
pins_matching(const char *server, const char *bucket, const char *pattern)
{
	const char *previous = "";
	List *matching = NIL;
	ListCell *cell;

	foreach (cell, pins_set)
	{
		DmPin *pin = lfirst(cell);
		char *pin_bucket;
		char *key;

		CHECK_FOR_INTERRUPTS();
		dm_url_split(pin->uri, &pin_bucket, &key);
		if (strcmp(pin_bucket, bucket) != 0 || !dm_glob_match(pattern, key) || !is_through(pin, server) ||
			strcmp(pin->uri, previous) == 0)
			continue;
		previous = pin->uri;
		matching = lappend(matching, pin);
	}
	return matching;
}

/* Returns an object as it is pinned, itself or an older version. Raises DM001 if there is none such any more. */
static DmObject *
as_pinned(DmStore *store, const char *server, const DmObject *object, bool *is_pinned)
{
	char *uri = dm_object_uri(object);
	const DmPin *last = NULL;

	*is_pinned = false;
	for (int i = first_of(uri); i < list_length(pins_set); i++)
	{
		const DmPin *pin = list_nth(pins_set, i);

		if (strcmp(pin->uri, uri) != 0)
			break;
		if (!is_through(pin, server))
			continue;
		*is_pinned = true;
		if (strcmp(pin->etag, object->etag) == 0)
			return unconstify(DmObject *, object);
		last = pin;
	}
	if (last)
	{
		DmObject *version;

		/* the same bytes may have been written anew */
		if (last->sha256 && last->size == object->size &&
			strcmp(dm_pin_digest(store, unconstify(DmObject *, object)), last->sha256) == 0)
			return unconstify(DmObject *, object);
		version = dm_pin_version(store, last);
		if (!version)
			raise_gone(last);
		return version;
	}
	return NULL;
}

/* Raises DM001. */
static void
raise_gone(const DmPin *pin)
{
	ereport(ERROR,
			(errcode(DM_ERRCODE_OBJECT_CHANGED),
			 errmsg("object \"%s\" is not there any more as it was read", pin->uri),
			 errdetail("The receipt has etag \"%s\".", pin->etag),
			 errhint("A replay needs it unchanged, or a bucket that keeps versions and has that one still. See "
					 "datamill.verify_receipt().")));
}

/* Adds pinned objects that a listing lacks because they were removed. Others it lacks because conditions leave them out. */
static List *
add_missing(DmStore *store, const char *server, const char *bucket, const char *pattern, List *objects)
{
	int nlisted = list_length(objects);
	ListCell *cell;

	foreach (cell, pins_matching(server, bucket, pattern))
	{
		const DmPin *pin = lfirst(cell);
		DmObject *version;
		char *pin_bucket;
		char *key;

		CHECK_FOR_INTERRUPTS();
		dm_url_split(pin->uri, &pin_bucket, &key);
		if (has_key(objects, nlisted, key) || dm_pin_now(store, pin))
			continue;
		version = dm_pin_version(store, pin);
		if (!version)
			raise_gone(pin);
		objects = lappend(objects, version);
	}
	if (list_length(objects) > nlisted)
		list_sort(objects, object_compare);
	return objects;
}

/* Is the key among the first n objects, which are in the order of their keys? */
static bool
has_key(List *objects, int n, const char *key)
{
	int low = 0;
	int high = n;

	while (low < high)
	{
		int middle = (low + high) / 2;
		int order = strcmp(((const DmObject *) list_nth(objects, middle))->key, key);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Orders objects by key. */
static int
object_compare(const ListCell *a, const ListCell *b)
{
	return strcmp(((const DmObject *) lfirst(a))->key, ((const DmObject *) lfirst(b))->key);
}
