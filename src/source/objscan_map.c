/*
 * objscan_map.c: which field of an object goes to which column.
 *
 * Each object has its own order of fields, so its header is matched anew. All columns but the special ones must have
 * a field, needed or not: whether an object fits the table does not depend on the query.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "source/hive.h"
#include "source/objscan_internal.h"

/* Names in one list of an error message. */
#define DM_MAX_NAMES_SHOWN 20

typedef struct SpecialColumn
{
	const char *name;
	DmObjColumn kind;
	Oid type;
} SpecialColumn;

static const SpecialColumn special_columns[] = {{"_file", DM_OBJ_FILE, TEXTOID},
												{"_row", DM_OBJ_ROW, INT8OID},
												{"_etag", DM_OBJ_ETAG, TEXTOID},
												{"_size", DM_OBJ_SIZE, INT8OID},
												{"_modified", DM_OBJ_MODIFIED, TIMESTAMPTZOID}};

/* Is it the name of a special column? */
bool
dm_objmap_is_special(const char *name)
{
	for (int i = 0; i < lengthof(special_columns); i++)
	{
		if (strcmp(name, special_columns[i].name) == 0)
			return true;
	}
	return false;
}

/* Tells whether a column is one of the special ones. Raises 42804 if it is, but of another type. */
static DmObjColumn
column_kind(Form_pg_attribute attribute)
{
	for (int i = 0; i < lengthof(special_columns); i++)
	{
		if (strcmp(NameStr(attribute->attname), special_columns[i].name) != 0)
			continue;
		if (attribute->atttypid != special_columns[i].type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" must be of type %s",
							special_columns[i].name,
							format_type_be(special_columns[i].type)),
					 errdetail("It tells about the object that a row comes from.")));
		return special_columns[i].kind;
	}
	return DM_OBJ_FIELD;
}

/* What an attribute (from 0) is. A column whose field is named outright is that field's, whatever the column's own name. */
DmObjColumn
dm_objmap_kind(const DmObjScanSpec *spec, int attribute)
{
	if (bms_is_member(attribute + 1, spec->hive))
		return DM_OBJ_HIVE;
	if ((spec->field_names && spec->field_names[attribute]) || (spec->paths && spec->paths[attribute]))
		return DM_OBJ_FIELD;
	return column_kind(TupleDescAttr(spec->desc, attribute));
}

/* Has the converter of a date or time read it in the format that the options give. */
static void
set_format(DmConverter *converter, Form_pg_attribute attribute, const DmCsvTweaks *tweaks)
{
	Oid base = getBaseType(attribute->atttypid);
	const char *format = base == DATEOID								  ? tweaks->date_format
						 : base == TIMESTAMPOID || base == TIMESTAMPTZOID ? tweaks->time_format
																		  : NULL;

	if (!format)
		return;
	if (base != attribute->atttypid)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" is of a domain, which dateformat and timeformat do not go with",
						NameStr(attribute->attname))));
	dm_converter_set_format(converter, attribute, format);
}

/* Enters attribute number i (from 0): its kind, its header name, and its converter if it is needed. */
static void
map_attribute(DmObjMap *map, const DmObjScanSpec *spec, int i)
{
	Form_pg_attribute attribute = TupleDescAttr(map->desc, i);
	const char *name = spec->field_names ? spec->field_names[i] : NULL;
	bool needed = spec->all_needed || bms_is_member(i + 1, spec->needed);

	if (attribute->attisdropped)
		return;
	map->kinds[i] = dm_objmap_kind(spec, i);
	if (map->kinds[i] != DM_OBJ_FIELD)
	{
		if (needed)
			map->specials[map->nspecials++] = i;
		return;
	}
	map->names[i] = name ? name : NameStr(attribute->attname);
	if (needed)
	{
		dm_converter_init(&map->converters[i], attribute);
		if (spec->check)
			map->converters[i].input.fn_strict = true; /* it is not called for NULL */
		set_format(&map->converters[i], attribute, &spec->tweaks);
		map->ntargets++;
	}
}

/*
 * Makes the map of a scan in the current memory context; spec must outlive it. It fits no object before one of the two calls
 * below.
 */
DmObjMap *
dm_objmap_make(const DmObjScanSpec *spec)
{
	DmObjMap *map = palloc0(sizeof(DmObjMap));
	int natts = spec->desc->natts;

	map->spec = spec;
	map->desc = spec->desc;
	map->names = palloc0((natts + 1) * sizeof(char *));
	map->kinds = palloc0((natts + 1) * sizeof(DmObjColumn));
	map->converters = palloc0((natts + 1) * sizeof(DmConverter));
	map->specials = palloc0((natts + 1) * sizeof(int));
	map->partitions = palloc0((natts + 1) * sizeof(NullableDatum));
	map->attributes = palloc0((natts + 1) * sizeof(int));
	for (int i = 0; i < natts; i++)
		map_attribute(map, spec, i);
	map->targets = palloc0((map->ntargets + 1) * sizeof(DmObjTarget));
	return map;
}

/* Sets what a target has to know of its type where fields are changed before they are converted. */
static void
set_text(DmObjTarget *target, Form_pg_attribute attribute)
{
	int32 typmod = attribute->atttypmod;
	Oid base = getBaseTypeAndTypmod(attribute->atttypid, &typmod);

	target->is_text = base == TEXTOID || base == VARCHAROID || base == BPCHAROID;
	target->max_chars = target->is_text && base != TEXTOID && typmod >= (int32) VARHDRSZ ? typmod - VARHDRSZ : 0;
}

/* Fills targets from attributes[], the attribute of each field. */
static void
set_targets(DmObjMap *map)
{
	int count = 0;

	for (int field = 0; field < map->nfields; field++)
	{
		int attribute = map->attributes[field];

		if (!map->converters[attribute].convert)
			continue;
		map->targets[count].attribute = attribute;
		map->targets[count].field = field;
		set_text(&map->targets[count], TupleDescAttr(map->desc, attribute));
		map->targets[count].force_null = bms_is_member(attribute + 1, map->spec->force_null);
		map->targets[count].force_not_null = bms_is_member(attribute + 1, map->spec->force_not_null);
		map->targets[count++].converter = &map->converters[attribute];
	}
	Assert(count == map->ntargets);
	map->fitted = true;
}

/* Returns the attnums of the columns that have a field, in the current memory context. */
Bitmapset *
dm_objmap_present(const DmObjMap *map)
{
	Bitmapset *present = NULL;

	for (int i = 0; i < map->desc->natts; i++)
	{
		if (map->names[i] || map->kinds[i] == DM_OBJ_HIVE)
			present = bms_add_member(present, i + 1);
	}
	return present;
}

/* Takes an attribute out of the map: it has no field in any object. */
static void
drop_attribute(DmObjMap *map, int attribute)
{
	map->names[attribute] = NULL;
	if (map->converters[attribute].convert)
		map->ntargets--;
	map->converters[attribute].convert = NULL;
}

/* Fields go to columns by position. */
void
dm_objmap_by_position(DmObjMap *map)
{
	map->nfields = 0;
	map->by_header = false;
	for (int i = 0; i < map->desc->natts; i++)
	{
		if (map->names[i])
			map->attributes[map->nfields++] = i;
	}
	set_targets(map);
}

/* Adds a name to a list for a message; says so when the list gets too long. */
static void
add_name(StringInfo list, int count, const char *name, int len)
{
	if (count == DM_MAX_NAMES_SHOWN)
		appendStringInfoString(list, ", ...");
	else if (count < DM_MAX_NAMES_SHOWN)
		appendStringInfo(list, "%s\"%.*s\"", count > 0 ? ", " : "", pg_mbcliplen(name, len, NAMEDATALEN), name);
}

/* Returns the index of the attribute whose field has this name, or -1. Looks first where the previous match suggests. */
static int
find_attribute(const DmObjMap *map, const DmCsvField *field, int guess)
{
	int natts = map->desc->natts;

	for (int i = 0; i < natts; i++)
	{
		int attribute = (guess + i) % natts;
		const char *name = map->names[attribute];

		if (name && strlen(name) == field->len && memcmp(name, field->data, field->len) == 0)
			return attribute;
	}
	return -1;
}

/* Raises 42703 with all that is wrong with a header. The lists may be empty. */
static void
header_mismatch(const char *uri, StringInfo unknown, StringInfo missing, StringInfo twice)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (unknown->len > 0)
		appendStringInfo(&detail, "Fields that are no column: %s.", unknown->data);
	if (missing->len > 0)
		appendStringInfo(&detail, "%sColumns that are no field: %s.", detail.len ? " " : "", missing->data);
	if (twice->len > 0)
		appendStringInfo(&detail, "%sFields that come twice: %s.", detail.len ? " " : "", twice->data);
	ereport(
		ERROR,
		(errcode(twice->len > 0 && unknown->len + missing->len == 0 ? ERRCODE_DUPLICATE_COLUMN
																	: ERRCODE_UNDEFINED_COLUMN),
		 errmsg("header of \"%s\" does not match the columns", uri),
		 errdetail_internal("%s", detail.data),
		 errhint("Name the columns as the header does, in the same case, or set the option match to 'position'.")));
}

/*
 * Fields go to the columns that the header names. With allow_missing, the first header says which columns have fields
 * at all. Raises 42703 for a field that is no column or a column that is no field,
 * 42701 for a field that comes twice, listing all of them.
 */
void
dm_objmap_by_header(DmObjMap *map, DmCsvReader *header, const char *uri)
{
	bool *seen = palloc0((map->desc->natts + 1) * sizeof(bool));
	StringInfoData unknown;
	StringInfoData missing;
	StringInfoData twice;
	int nunknown = 0;
	int nmissing = 0;
	int ntwice = 0;
	int guess = 0;

	initStringInfo(&unknown);
	initStringInfo(&missing);
	initStringInfo(&twice);
	map->nfields = 0;
	map->by_header = true;
	for (int i = 0; i < header->nfields; i++)
	{
		DmCsvField *field = &header->fields[i];
		int attribute;

		if (header->has_high)
			dm_csv_field_recode(header, field);
		attribute = find_attribute(map, field, guess);
		if (attribute < 0)
			add_name(&unknown, nunknown++, field->data, field->len);
		else if (seen[attribute])
			add_name(&twice, ntwice++, field->data, field->len);
		else
		{
			seen[attribute] = true;
			map->attributes[map->nfields++] = attribute;
			guess = attribute + 1;
		}
	}
	for (int i = 0; i < map->desc->natts; i++)
	{
		if (!map->names[i] || seen[i])
			continue;
		if (map->spec->allow_missing && !map->fitted)
			drop_attribute(map, i);
		else
			add_name(&missing, nmissing++, map->names[i], (int) strlen(map->names[i]));
	}
	if (nunknown + nmissing + ntwice > 0)
		header_mismatch(uri, &unknown, &missing, &twice);
	set_targets(map);
}

/* Sets which columns are partitions of the URL. */
void
dm_objscan_find_hive(DmObjScanSpec *spec)
{
	List *names = spec->no_hive ? NIL : dm_hive_names(spec->url);
	ListCell *cell;

	spec->hive = NULL;
	foreach (cell, names)
	{
		for (int i = 0; i < spec->desc->natts; i++)
		{
			const char *name = spec->field_names ? spec->field_names[i] : NULL;
			Form_pg_attribute attribute = TupleDescAttr(spec->desc, i);

			if (!attribute->attisdropped && !(spec->paths && spec->paths[i]) &&
				strcmp(name ? name : NameStr(attribute->attname), lfirst(cell)) == 0)
				spec->hive = bms_add_member(spec->hive, i + 1);
		}
	}
}

/* A partition's value that is being converted, for the error context. */
typedef struct PartitionPlace
{
	const DmObject *object;
	const char *name;
} PartitionPlace;

/* Says where a value that cannot be converted stands. */
static void
partition_error_context(void *arg)
{
	const PartitionPlace *place = arg;

	errcontext("partition %s of %s", place->name, dm_object_uri(place->object));
}

/* Value of a partition column in a key; name is its name there. */
Datum
dm_objmap_partition(const DmObject *object, Form_pg_attribute attribute, const char *name, bool *isnull)
{
	PartitionPlace place = {object, name};
	ErrorContextCallback callback = {
		.previous = error_context_stack, .callback = partition_error_context, .arg = &place};
	bool found;
	char *text = dm_hive_value(object->key, name, &found);
	Oid input;
	Oid typioparam;
	Datum value;

	getTypeInputInfo(attribute->atttypid, &input, &typioparam);
	*isnull = text == NULL;
	error_context_stack = &callback;
	value = OidInputFunctionCall(input, text, typioparam, attribute->atttypmod);
	error_context_stack = callback.previous;
	return value;
}

/* Finds the partition columns' values in an object's key. */
void
dm_objmap_enter(DmObjMap *map, const DmObject *object)
{
	for (int i = 0; i < map->nspecials; i++)
	{
		int attribute = map->specials[i];
		Form_pg_attribute column = TupleDescAttr(map->desc, attribute);
		const char *name = map->spec->field_names ? map->spec->field_names[attribute] : NULL;

		if (map->kinds[attribute] == DM_OBJ_HIVE)
			map->partitions[attribute].value = dm_objmap_partition(
				object, column, name ? name : NameStr(column->attname), &map->partitions[attribute].isnull);
	}
}

/* Value of a column that tells about the object alone. */
Datum
dm_objmap_about(DmObjColumn kind, const DmObject *object, bool *isnull)
{
	*isnull = false;
	switch (kind)
	{
		case DM_OBJ_FILE: return CStringGetTextDatum(dm_object_uri(object));
		case DM_OBJ_SIZE: return Int64GetDatum(object->size);
		case DM_OBJ_MODIFIED: return TimestampTzGetDatum(object->modified);
		case DM_OBJ_ETAG:
			if (object->etag)
				return CStringGetTextDatum(object->etag);
			break;
		case DM_OBJ_FIELD:
		case DM_OBJ_ROW:
		case DM_OBJ_HIVE: break;
	}
	*isnull = true;
	return (Datum) 0;
}

/* Value of an attribute that has no field, for a row of the object. */
Datum
dm_objmap_special(const DmObjMap *map, int attribute, const DmObject *object, int64 row, bool *isnull)
{
	if (map->kinds[attribute] == DM_OBJ_HIVE)
	{
		*isnull = map->partitions[attribute].isnull;
		return map->partitions[attribute].value;
	}
	if (map->kinds[attribute] == DM_OBJ_ROW)
	{
		*isnull = false;
		return Int64GetDatum(row);
	}
	return dm_objmap_about(map->kinds[attribute], object, isnull);
}
