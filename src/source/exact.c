/*
 * exact.c: reads lists of objects in fixed versions.
 *
 * Nothing is asked of the store here: the etag goes with each request for bytes, and an object that has another one by then is an error.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "source/exact.h"
#include "store/store.h"

static void exact_error(const char *what) pg_attribute_noreturn();
static DmObject *read_object(JsonbContainer *container);
static char *text_of(JsonbContainer *container, const char *name);
static void check_named(const DmObject *object, const char *url);

/* Reads the list. */
List *
dm_exact_list(const char *json, const char *url)
{
	Jsonb *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	List *objects = NIL;
	ListCell *cell;

	if (JB_ROOT_IS_SCALAR(jsonb))
		exact_error("it is neither an array nor an object");
	if (JB_ROOT_IS_OBJECT(jsonb))
		objects = list_make1(read_object(&jsonb->root));
	for (uint32 i = 0; JB_ROOT_IS_ARRAY(jsonb) && i < JB_ROOT_COUNT(jsonb); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&jsonb->root, i);

		if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			exact_error("an element is no object");
		objects = lappend(objects, read_object(element->val.binary.data));
	}
	foreach (cell, objects)
	{
		if (url)
			check_named(lfirst(cell), url);
	}
	return objects;
}

/* Raises for what is no list of objects. */
static void
exact_error(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid list of objects: %s", what),
			 errhint("It must be like [{\"uri\": \"s3://bucket/key\", \"etag\": \"9b2c\", \"size\": 12}], as "
					 "datamill.arguments() -> 'objects' is in the run of a job that watches objects.")));
}

/* Reads one object. */
static DmObject *
read_object(JsonbContainer *container)
{
	DmObject *object = palloc0(sizeof(DmObject));
	char *uri = text_of(container, "uri");
	JsonbValue *size = getKeyJsonValueFromContainer(container, "size", strlen("size"), NULL);

	object->etag = text_of(container, "etag");
	object->version = text_of(container, "version");
	if (!uri || !object->etag)
		exact_error("an object has no uri or no etag");
	object->size = size && size->type == jbvNumeric
					   ? DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(size->val.numeric)))
					   : -1;
	if (object->size < 0)
		exact_error(psprintf("%s has no size", uri));
	dm_url_split(uri, &object->bucket, &object->key);
	if (object->key[0] == '\0')
		exact_error(psprintf("%s is a bucket", uri));
	return object;
}

/* Returns the string that is a member; NULL if there is none. */
static char *
text_of(JsonbContainer *container, const char *name)
{
	JsonbValue *value = getKeyJsonValueFromContainer(container, name, strlen(name), NULL);

	return value && value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

/* Raises unless the URL names the object. */
static void
check_named(const DmObject *object, const char *url)
{
	char *bucket;
	char *key;

	dm_url_split(url, &bucket, &key);
	if (strcmp(bucket, object->bucket) != 0 || !dm_glob_match(key, object->key))
		exact_error(psprintf("\"%s\" does not name %s", url, dm_object_uri(object)));
}
