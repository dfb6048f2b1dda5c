/*
 * s3_import.c: IMPORT FOREIGN SCHEMA "bucket/prefix": a foreign table for each folder of like objects.
 *
 * Keys below the prefix are listed once. Those of one folder and format are one table; below folders key=value the folder above is the
 * table's, with the keys as columns. Objects that lie right in the prefix are grouped by their names without the numbers at the end.
 * What cannot be a table gets a WARNING that says why, and no table; columns whose types are in doubt get a NOTICE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/options.h"
#include "fdw/s3_fdw.h"
#include "source/ddl.h"
#include "source/format_options.h"
#include "source/hive.h"
#include "source/infer.h"
#include "source/sniff.h"
#include "source/source.h"

/* Keys below the prefix at most. */
#define DM_IMPORT_MAX_KEYS 100000
#define DM_IMPORT_MAX_TABLES 1000
/* Objects that a URL names one by one at most. */
#define DM_IMPORT_MAX_NAMES 100

/* Objects that make one table. */
typedef struct ObjectGroup
{
	const char *folder;	   /* below the prefix, with a slash at its end, or "" */
	const char *pattern;   /* of the steps key=* below it, or "" */
	const char *stem;	   /* in the prefix itself: what the names have in common; else NULL */
	const char *ending;	   /* .csv and so on */
	int compressions;	   /* mask of those found behind the ending: 1 none, 2 .gz, 4 .zst */
	const char *format;	   /* csv, jsonl or json */
	const char *delimiter; /* or NULL */
	List *objects;		   /* of DmObject* */
} ObjectGroup;

typedef struct Import
{
	const char *bucket;
	const char *prefix; /* "" or with a slash at its end */
	Oid server;
	ImportForeignSchemaStmt *statement;
	List *options; /* of all tables */
	List *groups;
	int64 keys;
	int64 unknown; /* keys of no known format */
	List *names;   /* of tables so far */
} Import;

/* Endings of keys that tell a format. */
static const struct
{
	const char *ending;
	const char *format;
	const char *delimiter;
} formats[] = {{".csv", "csv", NULL},
			   {".tsv", "csv", "\t"},
			   {".jsonl", "jsonl", NULL},
			   {".ndjson", "jsonl", NULL},
			   {".json", "json", NULL}};

/* True if text ends so, whatever its case; *len is then how long it is without. */
static bool
ends_with(const char *text, Size *len, const char *ending)
{
	Size ending_len = strlen(ending);

	if (*len < ending_len || pg_strncasecmp(text + *len - ending_len, ending, ending_len) != 0)
		return false;
	*len -= ending_len;
	return true;
}

/* Finds the format of a key by its ending; false for none that is known. */
static bool
find_format(const char *key, ObjectGroup *group)
{
	Size len = strlen(key);
	Size plain;

	group->compressions = ends_with(key, &len, ".gz") ? 2 : ends_with(key, &len, ".zst") ? 4 : 1;
	for (int i = 0; i < lengthof(formats); i++)
	{
		plain = len;
		if (!ends_with(key, &plain, formats[i].ending))
			continue;
		group->ending = pnstrdup(key + plain, len - plain);
		group->format = formats[i].format;
		group->delimiter = formats[i].delimiter;
		return true;
	}
	return false;
}

/* Splits the folders of a key into those above and, all to the end, those that are key=value. */
static void
find_folder(const char *path, ObjectGroup *group)
{
	const char *hive = NULL;
	const char *end = strrchr(path, '/');
	StringInfoData pattern;

	initStringInfo(&pattern);
	for (const char *step = path; end && step <= end; step = strchr(step, '/') + 1)
	{
		Size name = strcspn(step, "=/");

		if (step[name] != '=' || name == 0)
		{
			hive = NULL;
			resetStringInfo(&pattern);
			continue;
		}
		if (!hive)
			hive = step;
		appendStringInfo(&pattern, "%.*s=*/", (int) name, step);
	}
	group->folder = pnstrdup(path, hive ? hive - path : end ? end + 1 - path : 0);
	group->pattern = pattern.data;
}

/* What the names of like objects begin with: without the ending, and without numbers and what separates them before it. */
static char *
find_stem(const char *name, const ObjectGroup *group)
{
	Size len = strlen(name) - strlen(group->ending) -
			   (group->compressions == 2   ? 3
				: group->compressions == 4 ? 4
										   : 0);

	while (len > 1 && strchr("0123456789-_. ", name[len - 1]))
		len--;
	return pnstrdup(name, len);
}

/* Are the two the same table's? */
static bool
is_same(const ObjectGroup *a, const ObjectGroup *b)
{
	return strcmp(a->folder, b->folder) == 0 && strcmp(a->pattern, b->pattern) == 0 &&
		   strcmp(a->ending, b->ending) == 0 && (a->stem ? b->stem && strcmp(a->stem, b->stem) == 0 : !b->stem);
}

/* Puts an object into its group. */
static bool
sort_object(const DmObject *object, void *arg)
{
	Import *import = arg;
	const char *path = object->key + strlen(import->prefix);
	ObjectGroup found = {0};
	ListCell *cell;
	ObjectGroup *group;

	CHECK_FOR_INTERRUPTS();
	if (++import->keys > DM_IMPORT_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are more than %d objects below \"%s/%s\"",
						DM_IMPORT_MAX_KEYS,
						import->bucket,
						import->prefix),
				 errhint("Import a longer prefix, or create the foreign table: see datamill.foreign_table_ddl.")));
	if (!find_format(path, &found))
	{
		import->unknown++;
		return true;
	}
	find_folder(path, &found);
	if (found.folder[0] == '\0' && found.pattern[0] == '\0')
		found.stem = find_stem(path, &found);
	foreach (cell, import->groups)
	{
		group = lfirst(cell);
		if (!is_same(group, &found))
			continue;
		group->objects = lappend(group->objects, dm_object_copy(object));
		group->compressions |= found.compressions;
		return true;
	}
	if (list_length(import->groups) == DM_IMPORT_MAX_TABLES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are more than %d folders of objects below \"%s/%s\"",
						DM_IMPORT_MAX_TABLES,
						import->bucket,
						import->prefix),
				 errhint("Import a longer prefix.")));
	group = palloc(sizeof(ObjectGroup));
	*group = found;
	group->objects = list_make1(dm_object_copy(object));
	import->groups = lappend(import->groups, group);
	return true;
}

/* The endings of a group's keys as a pattern. */
static const char *
endings(const ObjectGroup *group)
{
	static const char *const behind[] = {"", "", ".gz", "{,.gz}", ".zst", "{,.zst}", "{.gz,.zst}", "{,.gz,.zst}"};

	return psprintf("%s%s", group->ending, behind[group->compressions]);
}

/* Says that a group becomes no table, and why. */
static void
warn_of_group(const Import *import, const ObjectGroup *group, const char *why)
{
	ereport(WARNING,
			(errmsg("no table for \"s3://%s/%s%s%s%s\": %s",
					import->bucket,
					import->prefix,
					group->folder,
					group->stem ? group->stem : group->pattern,
					psprintf("*%s", endings(group)),
					why)));
}

/* Does a pattern match other groups' objects? Names may begin alike: orders_1.csv and orders_items_1.csv. */
static bool
matches_others(const Import *import, const ObjectGroup *group, const char *pattern)
{
	for (int i = 0; i < list_length(import->groups); i++)
	{
		const ObjectGroup *other = list_nth(import->groups, i);
		ListCell *cell;

		foreach (cell, other == group ? NIL : other->objects)
		{
			CHECK_FOR_INTERRUPTS();
			if (dm_glob_match(pattern, ((DmObject *) lfirst(cell))->key))
				return true;
		}
	}
	return false;
}

/* A URL that lists the names of a group's objects, or NULL where that is too much or they have characters that mean something in a URL. */
static char *
list_url(const Import *import, const ObjectGroup *group)
{
	StringInfoData url;
	ListCell *cell;

	if (list_length(group->objects) > DM_IMPORT_MAX_NAMES)
		return NULL;
	initStringInfo(&url);
	appendStringInfo(&url, "s3://%s/%s{", import->bucket, import->prefix);
	foreach (cell, group->objects)
	{
		const char *name = ((DmObject *) lfirst(cell))->key + strlen(import->prefix);

		if (strpbrk(name, "*?[{},"))
			return NULL;
		appendStringInfo(&url, "%s%s", foreach_current_index(cell) > 0 ? "," : "", name);
	}
	appendStringInfoChar(&url, '}');
	return url.data;
}

/* The URL of a group's objects and of no others, or NULL where no pattern says that. */
static char *
group_url(const Import *import, const ObjectGroup *group)
{
	char *key;
	bool is_one = list_length(group->objects) == 1;

	if (strpbrk(group->folder, "*?[{") || strpbrk(import->prefix, "*?[{") ||
		(group->stem && strpbrk(group->stem, "*?[{")))
		return NULL;
	if (group->stem && is_one)
		key = ((DmObject *) linitial(group->objects))->key;
	else
		key = psprintf("%s%s%s%s*%s",
					   import->prefix,
					   group->folder,
					   group->pattern,
					   group->stem ? group->stem : "",
					   endings(group));
	if (is_one && group->stem && strpbrk(key, "*?[{"))
		return NULL;
	if (group->stem && !is_one && matches_others(import, group, key))
		return list_url(import, group);
	return psprintf("s3://%s/%s", import->bucket, key);
}

/* The name of a group's table: of its folder, or what its objects' names begin with; made a plain identifier that no other table has. */
static pg_noinline char *
group_name(const Import *import, const ObjectGroup *group)
{
	/* part-00000.csv: the folder tells more */
	bool is_plain = group->stem && (strlen(group->stem) < 2 || pg_strcasecmp(group->stem, "part") == 0);
	const char *from = is_plain ? NULL : group->stem;
	char *name;
	char *unique;

	if (!from)
	{
		/* without the keys key=value: the folder's, else the prefix's, else the bucket's last step */
		char *path = psprintf("%s/%s%s", import->bucket, import->prefix, group->folder);
		Size len = strlen(path);

		if (path[len - 1] == '/')
			path[len - 1] = '\0';
		from = strrchr(path, '/');
		from = from ? from + 1 : path;
	}
	name = asc_tolower(from, strlen(from));
	for (char *p = name; *p; p++)
	{
		if (!IS_HIGHBIT_SET(*p) && !isalnum((unsigned char) *p))
			*p = '_';
	}
	if (isdigit((unsigned char) name[0]))
		name = psprintf("t_%s", name);
	name[pg_mbcliplen(name, strlen(name), NAMEDATALEN - 8)] = '\0';
	unique = name;
	for (int i = 2;; i++)
	{
		ListCell *cell;

		foreach (cell, import->names)
		{
			if (strcmp(lfirst(cell), unique) == 0)
				break;
		}
		if (!cell)
			break;
		unique = psprintf("%s_%d", name, i);
	}
	return unique;
}

/* Says which columns' types are in doubt. */
static void
notice_doubts(const char *name, const DmInferred *inferred)
{
	for (int i = 0; i < inferred->ncolumns; i++)
	{
		if (inferred->columns[i].doubt)
			ereport(NOTICE,
					(errmsg("column %s of table %s is %s: %s",
							quote_identifier(inferred->columns[i].name),
							quote_identifier(name),
							format_type_with_typemod(inferred->columns[i].type, inferred->columns[i].typmod),
							inferred->columns[i].doubt)));
	}
}

/* The options of a group's table: those given, and its format where none is. */
static List *
group_options(const Import *import, const ObjectGroup *group)
{
	List *options = list_copy(import->options);

	if (!dm_option_get(options, "format"))
		options = lappend(options, makeDefElem("format", (Node *) makeString(pstrdup(group->format)), -1));
	if (group->delimiter && !dm_option_get(options, "delimiter"))
		options = lappend(options, makeDefElem("delimiter", (Node *) makeString(pstrdup(group->delimiter)), -1));
	return options;
}

/*
 * Samples a group and returns the statement that creates its table, named name, or NULL after a WARNING. Raises for what its
 * objects hold.
 */
static char *
describe_group(const Import *import, const ObjectGroup *group, const char *name)
{
	DmObjScanSpec spec = {0};
	List *options = group_options(import, group);
	DmInferred *inferred;
	char *doubt;

	spec.url = group_url(import, group);
	if (!spec.url)
	{
		warn_of_group(import, group, "no URL names its objects and no others");
		return NULL;
	}
	spec.server = import->server;
	spec.user = GetUserId();
	dm_format_read(&spec, options);
	spec.listed = true;
	spec.objects = group->objects;
	spec.allow_empty = true;
	doubt = dm_sniff(&spec, options, group->objects);
	if (doubt)
		ereport(NOTICE,
				(errmsg("the first record of table %s is taken for a header", quote_identifier(name)),
				 errdetail("It cannot be told: %s.", doubt)));
	inferred = dm_infer(&spec, NULL);
	if (!inferred || inferred->unlike)
	{
		warn_of_group(import,
					  group,
					  !inferred ? "its objects are empty"
								: psprintf("\"%s\" does not have the same columns as \"%s\"",
										   inferred->unlike,
										   dm_object_uri(linitial(group->objects))));
		return NULL;
	}
	notice_doubts(name, inferred);
	return dm_ddl_make(&spec, inferred, quote_identifier(name), options);
}

/* The same in a subtransaction: objects that cannot be read are no tables, with a WARNING; other errors end the statement. */
static char *
try_group(Import *import, const ObjectGroup *group)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context; /* of files and connections, too */
	char *name = group_name(import, group);
	char *volatile statement = NULL;

	if (!IsImportableForeignTable(name, import->statement))
		return NULL;
	context = AllocSetContextCreate(caller, "datamill import", ALLOCSET_DEFAULT_SIZES);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		statement = describe_group(import, group, name);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *error;
		int category;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_DATA_EXCEPTION && error->sqlerrcode != ERRCODE_AMBIGUOUS_COLUMN &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_NAME_TOO_LONG))
			ReThrowError(error);
		warn_of_group(import, group, error->message);
	}
	PG_END_TRY();
	if (statement)
	{
		statement = pstrdup(statement);
		import->names = lappend(import->names, name);
	}
	MemoryContextDelete(context);
	return statement;
}

/* Splits "bucket/prefix"; the prefix ends in a slash unless it is empty. */
static void
split_schema(const char *schema, Import *import)
{
	char *bucket;
	char *key;

	dm_url_split(dm_url_is_object(schema) ? schema : psprintf("s3://%s", schema), &bucket, &key);
	import->bucket = bucket;
	import->prefix = key[0] == '\0' || key[strlen(key) - 1] == '/' ? key : psprintf("%s/", key);
}

/* Returns the statements that create the tables of "bucket/prefix". */
static List *
import_schema(ImportForeignSchemaStmt *statement, Oid server)
{
	Import import = {.server = server, .statement = statement, .options = statement->options};
	List *commands = NIL;
	ListCell *cell;

	dm_options_check(&dm_format_options, DM_OPTION_TABLE, statement->options);
	dm_source_check_usage(server, GetUserId());
	split_schema(statement->remote_schema, &import);
	dm_store_list(dm_store_open(server, GetUserId()), import.bucket, import.prefix, sort_object, &import);
	if (import.unknown > 0)
		ereport(WARNING,
				(errmsg("%lld of %lld objects below \"%s/%s\" have no known format",
						(long long) import.unknown,
						(long long) import.keys,
						import.bucket,
						import.prefix),
				 errhint("Known are .csv, .tsv, .jsonl, .ndjson and .json, also with .gz or .zst behind.")));
	if (import.keys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_SCHEMA_NOT_FOUND),
				 errmsg("there is no object below \"%s/%s\"", import.bucket, import.prefix),
				 errhint("The remote schema is a bucket and a folder: \"bucket/folder\".")));
	foreach (cell, import.groups)
	{
		char *command = try_group(&import, lfirst(cell));

		if (command)
			commands = lappend(commands, command);
	}
	return commands;
}

/* Sets the callback of IMPORT FOREIGN SCHEMA. */
void
dm_s3_import_routine(FdwRoutine *routine)
{
	routine->ImportForeignSchema = import_schema;
}
