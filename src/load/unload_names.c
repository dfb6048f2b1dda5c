/*
 * unload_names.c: the keys of an unload's files, and the objects that are there already.
 *
 * A file is called PREFIX00000.csv.gz, with five digits or more; partitioned, DIR/column=value/BASE00000.csv.gz, where DIR
 * and BASE are the prefix before and after its last slash. Whatever stands where such a file could stand would be read
 * back together with ours, and is an error unless it may be replaced or removed.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "miscadmin.h"

#include "load/unload.h"
#include "source/source.h"

/* Returns the end of the files' names. */
static const char *
extension_of(const DmUnloadOptions *options)
{
	static const char *const formats[] = {".csv", ".jsonl", ".json"};
	static const char *const compressions[] = {"", ".gz", ".zst"};

	if (options->extension)
		return options->extension;
	return psprintf("%s%s", formats[options->format], compressions[options->compression]);
}

/* Raises 22023 unless the key is one that an object can be given. */
static void
check_key(const char *url, const DmUnloadNames *names)
{
	Size len = strlen(names->prefix);

	if (strpbrk(names->prefix, "*?[]{}"))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot write to \"%s\": its key has wildcards", url),
			 errhint(
				 "Wildcards are for reading. The URL to write to is a prefix, such as s3://bucket/out/orders_.")));
	if (names->is_exact && (len == 0 || names->prefix[len - 1] == '/'))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot write to \"%s\": it is not the URL of one object", url),
				 errhint("Name the object after the bucket: s3://bucket/folder/name.csv. With option max_file_size "
						 "the URL is a prefix of several.")));
}

/* Finds out where an unload to url writes, in the current memory context. Raises 22023 on a URL that is none of an object. */
DmUnloadNames *
dm_unload_names_make(const char *url, const DmUnloadOptions *options, bool is_exact)
{
	DmUnloadNames *names = palloc0(sizeof(DmUnloadNames));
	Oid server;
	const char *slash;

	if (!dm_url_is_object(url))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a URL that rows can be written to", url),
				 errhint("Such a URL is s3://bucket/prefix.")));
	dm_url_split(url, &names->bucket, &names->prefix);
	names->is_exact = is_exact;
	names->is_partitioned = options->partition_by != NIL;
	check_key(url, names);
	slash = strrchr(names->prefix, '/');
	names->base = slash ? slash + 1 : names->prefix;
	names->dir = pnstrdup(names->prefix, names->base - names->prefix);
	names->extension = extension_of(options);
	if (options->overwrite == DM_OVERWRITE_CLEAN && names->prefix[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot clean a whole bucket"),
				 errdetail("The URL is \"%s\", without a prefix.", url),
				 errhint("Write to a folder of the bucket: s3://bucket/folder/.")));
	server = dm_source_server(options->server);
	names->server = GetForeignServer(server)->servername;
	names->store = dm_store_open(server, GetUserId());
	return names;
}

/* Returns the key of a file: `folder` is its partition's, "" without one, number counts from 0. */
char *
dm_unload_names_key(const DmUnloadNames *names, const char *folder, int number)
{
	if (names->is_exact)
		return pstrdup(names->prefix);
	return psprintf("%s%s%s%05d%s", names->dir, folder, names->base, number, names->extension);
}

/* Returns the key of the manifest, which is where Redshift puts it. */
char *
dm_unload_names_manifest(const DmUnloadNames *names)
{
	return psprintf("%smanifest", names->prefix);
}

typedef struct Existing
{
	const DmUnloadNames *names;
	bool only_first;
	List *objects; /* of DmObject* */
} Existing;

/* Takes an object that is listed if it stands where a file of the unload could stand. */
static bool
take_existing(const DmObject *object, void *arg)
{
	Existing *existing = arg;
	const DmUnloadNames *names = existing->names;
	const char *slash = strrchr(object->key, '/');
	const char *last = slash ? slash + 1 : object->key;

	/* In the order of keys a prefix comes before all that it begins. */
	if (names->is_exact && strcmp(object->key, names->prefix) != 0)
		return false;
	if (names->is_partitioned && strncmp(last, names->base, strlen(names->base)) != 0)
		return true;
	existing->objects = lappend(existing->objects, dm_object_copy(object));
	return !existing->only_first;
}

/*
 * Returns the objects (DmObject*) that stand in the way, in the current memory context; nothing where they may be replaced
 * and the others stay. Raises 42710 on one where it may be neither replaced nor removed.
 */
List *
dm_unload_names_existing(const DmUnloadNames *names, const DmUnloadOptions *options)
{
	Existing existing = {names, options->overwrite == DM_OVERWRITE_REFUSE, NIL};

	if (options->overwrite == DM_OVERWRITE_REPLACE)
		return NIL;
	dm_store_list(
		names->store, names->bucket, names->is_partitioned ? names->dir : names->prefix, take_existing, &existing);
	if (existing.objects != NIL && options->overwrite == DM_OVERWRITE_REFUSE)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("object \"%s\" exists already", dm_object_uri(linitial(existing.objects))),
				 names->is_exact ? 0 : errdetail("It would be read together with what is written now."),
				 errhint("Write elsewhere, or with option overwrite: true replaces objects of the same name, "
						 "\"clean\" removes all others under the prefix, too.")));
	return existing.objects;
}
