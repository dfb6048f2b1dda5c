/*
 * source.c: opens, binds, runs and closes sources of any kind.
 *
 * 1. What a source offers and what its caller wants are matched by name and must be the same set: a column that is
 *    left over on either side is an error which names all of them, never a NULL or a loss in silence.
 * 2. A source belongs to a memory context of its own, a child of the one it was opened in. Closing it, or losing that
 *    context to an error, releases everything.
 * 3. Rows go to the caller one at a time; nothing is gathered here.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "source/format_options.h"
#include "source/kind.h"
#include "source/source.h"
#include "store/store.h"

static DmSource *source_open(const char *text, Jsonb *options, bool whole_records);
static void options_refuse(Jsonb *options);

/* Returns the options of a jsonb object as a list of DefElem with text values; a nested object stays JSON text. */
static List *
options_to_list(Jsonb *options)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	List *list = NIL;

	if (!options)
		return NIL;
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *name;
		char *text;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvString)
			text = pnstrdup(value.val.string.val, value.val.string.len);
		else
		{
			Jsonb *json = JsonbValueToJsonb(&value);

			text = JsonbToCString(NULL, &json->root, VARSIZE(json));
		}
		list = lappend(list, makeDefElem(name, (Node *) makeString(text), -1));
	}
	return list;
}

/* Returns a copy of text without white space around it. */
static char *
trim(const char *text)
{
	Size len;

	text += strspn(text, " \t\r\n\f");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r\n\f", text[len - 1]))
		len--;
	return pnstrdup(text, len);
}

/* Raises 42701 when two offered columns have one name, since columns are matched by it. */
static void
check_unique_names(TupleDesc offered)
{
	for (int i = 0; i < offered->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(offered, i);

		if (dm_source_attribute(offered, NameStr(attribute->attname)) != attribute)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("source has two columns named \"%s\"", NameStr(attribute->attname)),
					 errhint("Columns are matched by name: give each a name of its own.")));
	}
}

/*
 * Opens a source as the current user: a relation's name, one query, or a URL of objects. options is a jsonb object or
 * NULL. The source lives in the current memory context until dm_source_close(). Raises 22023 on options that are not
 * known, 42P01 on a relation that is not there, 42601 on text that is neither, and what its kind raises.
 */
DmSource *
dm_source_open(const char *text, Jsonb *options)
{
	return source_open(text, options, false);
}

/* As dm_source_open, but each JSON record of objects is the text of one column, DM_SOURCE_RECORD. */
DmSource *
dm_source_open_records(const char *text, Jsonb *options)
{
	return source_open(text, options, true);
}

/* Opens a source. */
static DmSource *
source_open(const char *text, Jsonb *options, bool whole_records)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "datamill source", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	DmSource *source = palloc0(sizeof(DmSource));

	dm_options_check_json(&dm_source_options, options);
	source->text = trim(text);
	if (dm_url_is_object(source->text))
		dm_source_objects_open(source, options_to_list(options), whole_records);
	else
	{
		options_refuse(options);
		dm_source_query_open(source);
	}
	((DmSourceState *) source->state)->context = context;
	check_unique_names(source->offered);
	MemoryContextSwitchTo(caller);
	return source;
}

/*
 * Raises 22023 for options that a relation or query cannot have: all but allow_empty, which is true of it without being
 * said.
 */
static void
options_refuse(Jsonb *options)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!options)
		return;
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_KEY || (value.val.string.len == strlen("allow_empty") &&
								 strncmp("allow_empty", value.val.string.val, value.val.string.len) == 0))
			continue;
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%.*s\" is for objects as source only", value.val.string.len, value.val.string.val),
			 errhint("It says how objects (s3://...) are read; this source is a relation or query.")));
	}
}

/* Is a source a URL of objects? */
bool
dm_source_is_url(const char *text)
{
	return dm_url_is_object(trim(text));
}

/* Fills in how to read the objects of a URL. */
List *
dm_source_objects_spec(const char *url, Jsonb *options, DmObjScanSpec *spec)
{
	List *list;
	char *bucket;
	char *key;

	dm_options_check_json(&dm_source_options, options);
	list = options_to_list(options);
	memset(spec, 0, sizeof(*spec));
	spec->url = trim(url);
	dm_url_split(spec->url, &bucket, &key);
	spec->user = GetUserId();
	spec->server = dm_source_server(dm_option_get(list, "server"));
	dm_format_read(spec, list);
	return list;
}

/* Is name an option that dm_source_open() takes? */
bool
dm_source_is_option(const char *name)
{
	return dm_option_find(&dm_source_options, name, DM_OPTION_FUNCTION) != NULL;
}

/* Returns the names of those options, comma-separated, in the current memory context. */
const char *
dm_source_option_names(void)
{
	return dm_option_names(&dm_source_options, DM_OPTION_FUNCTION);
}

/* Returns the attribute of that name, or NULL. Dropped attributes have no name. */
Form_pg_attribute
dm_source_attribute(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return attribute;
	}
	return NULL;
}

/* Is the attribute one that a source fills: not dropped and not generated? */
bool
dm_source_is_wanted(Form_pg_attribute attribute)
{
	return !attribute->attisdropped && !attribute->attgenerated;
}

/* Returns the names of from's columns that are not in among, as "a", "b"; *count is how many there are. */
static char *
names_missing(TupleDesc from, TupleDesc among, int *count)
{
	StringInfoData names;

	initStringInfo(&names);
	*count = 0;
	for (int i = 0; i < from->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(from, i);
		Form_pg_attribute other;

		if (!dm_source_is_wanted(attribute))
			continue;
		other = dm_source_attribute(among, NameStr(attribute->attname));
		if (other && dm_source_is_wanted(other))
			continue;
		appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", NameStr(attribute->attname));
		(*count)++;
	}
	return names.data;
}

/* Returns how a message calls a source: its URL or relation, or "a query". */
static const char *
source_name(const DmSource *source)
{
	return source->kind == DM_SOURCE_QUERY ? "a query" : source->text;
}

/* Raises 42703 unless the offered and the wanted columns are the same set of names. */
static void
check_same_names(const DmSource *source)
{
	int count;
	char *names = names_missing(source->wanted, source->offered, &count);

	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg_plural("source lacks column %s", "source lacks columns %s", count, names),
				 errdetail("The source is %s.", source_name(source)),
				 errhint("Columns are matched by name. A query as source can rename, add and leave out columns.")));
	names = names_missing(source->offered, source->wanted, &count);
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg_plural("source has column %s that is not wanted",
							   "source has columns %s that are not wanted",
							   count,
							   names),
				 errdetail("The source is %s.", source_name(source)),
				 errhint("Columns are matched by name. A query as source can rename, add and leave out columns.")));
}

/*
 * Fixes the wanted columns: those of wanted that are neither dropped nor generated. Copies wanted. Raises 42703 unless
 * they are the offered ones, and 42804 on a type that does not go by assignment.
 */
void
dm_source_bind(DmSource *source, TupleDesc wanted)
{
	DmSourceState *state = source->state;
	MemoryContext caller = MemoryContextSwitchTo(state->context);

	source->wanted = CreateTupleDescCopy(wanted);
	/* CreateTupleDescCopy() forgets which attributes are generated, and those are not wanted. */
	for (int i = 0; i < wanted->natts; i++)
	{
		TupleDescAttr(source->wanted, i)->attgenerated = TupleDescAttr(wanted, i)->attgenerated;
		dm_attribute_changed(source->wanted, i);
	}
	/* Nothing is offered where allow_empty let there be no object: no row will come. */
	if (source->offered->natts > 0)
		check_same_names(source);
	state->ops->bind(source);
	MemoryContextSwitchTo(caller);
}

/*
 * Calls each(slot, arg) for every row, in a memory context that is reset after each call, and returns how many there
 * were. The caller holds an active snapshot. What was read goes to the open receipt.
 */
int64
dm_source_run(DmSource *source, DmSourceEach each, void *arg)
{
	DmSourceState *state = source->state;
	MemoryContext caller = MemoryContextSwitchTo(state->context);
	int64 rows;

	if (!source->wanted)
		elog(ERROR, "source is not bound");
	rows = state->ops->run(source, each, arg);
	MemoryContextSwitchTo(caller);
	return rows;
}

/* Rows that the last run left out as bad. */
int64
dm_source_rejected(const DmSource *source)
{
	return source->rejected;
}

/* Releases the source and all it holds. */
void
dm_source_close(DmSource *source)
{
	DmSourceState *state = source->state;

	if (state->ops->close)
		state->ops->close(source);
	MemoryContextDelete(state->context);
}
