/*
 * objscan_json.c: members of a JSON record to the columns of a row.
 *
 * A column's member is the one of its name, or of its path's first step; the rest of the path is followed in that member's
 * value. A member that is missing is NULL, as is null. Of members with one name the last one counts, as in jsonb.
 *
 * The column of a scan of whole records (DmObjScanSpec.whole_records) has no member: it is the record.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "codec/json.h"
#include "source/json_value.h"
#include "source/objscan_internal.h"

/* A wanted column. */
typedef struct JsonTarget
{
	DmObjTarget head; /* its field is the index of a member */
	DmJsonColumn column;
	const DmJsonPath *path; /* NULL: the member itself */
} JsonTarget;

/* A member that some column comes from. */
typedef struct JsonMember
{
	const char *name;
	int len;
	bool seen; /* in this record */
	DmJsonSpan value;
} JsonMember;

struct DmObjJson
{
	JsonMember *members;
	int nmembers;
	JsonTarget *targets;
	int ntargets;
};

/* Returns the index of the member of a name, which is added if it is new. */
static int
add_member(DmObjJson *json, const char *name, int len)
{
	for (int i = 0; i < json->nmembers; i++)
	{
		if (json->members[i].len == len && memcmp(json->members[i].name, name, len) == 0)
			return i;
	}
	json->members[json->nmembers].name = name;
	json->members[json->nmembers].len = len;
	return json->nmembers++;
}

/* Makes the columns' side of a scan of JSON, in the current memory context. */
DmObjJson *
dm_objjson_make(const DmObjMap *map)
{
	DmObjJson *json = palloc0(sizeof(DmObjJson));
	int natts = map->desc->natts;

	json->members = palloc0((natts + 1) * sizeof(JsonMember));
	json->targets = palloc0((natts + 1) * sizeof(JsonTarget));
	for (int i = 0; i < natts; i++)
	{
		const char *path = map->spec->paths ? map->spec->paths[i] : NULL;
		JsonTarget *target = &json->targets[json->ntargets];
		int member;

		if (!map->names[i])
			continue;
		target->path = path ? dm_json_path_parse(path) : NULL;
		member = target->path ? add_member(json, target->path->steps[0].name, target->path->steps[0].len)
							  : add_member(json, map->names[i], (int) strlen(map->names[i]));
		if (!map->converters[i].convert)
			continue;
		target->head.attribute = i;
		target->head.field = member;
		target->head.converter = &map->converters[i];
		dm_json_column_init(&target->column, TupleDescAttr(map->desc, i), &map->converters[i]);
		json->ntargets++;
	}
	return json;
}

/* Raises for a record that is no JSON object. */
static void
bad_json(const DmObjScan *scan, const char *error, int64 offset)
{
	ereport(ERROR,
			(errcode(scan->record.broken ? ERRCODE_BAD_COPY_FILE_FORMAT : ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid JSON: %s", error),
			 errdetail("At byte %lld of \"%s\".", (long long) (scan->record.offset + offset), scan->uri),
			 scan->spec.format == DM_FORMAT_JSONL ? errhint("Every line must hold one object; for an array, or "
															"objects over several lines, use format 'json'.")
												  : errhint("An object must hold one array of objects, or one "
															"object; for an object a line, use format 'jsonl'.")));
}

/* Whether data[0..len) is ASCII. */
static bool
is_ascii(const char *data, int len)
{
	uint64 high = 0;

	for (; len >= 8; data += 8, len -= 8)
	{
		uint64 word;

		memcpy(&word, data, 8);
		high |= word;
	}
	for (; len > 0; data++, len--)
		high |= (uint64) (unsigned char) *data;
	return (high & UINT64CONST(0x8080808080808080)) == 0;
}

/* Returns the member of a name, or NULL. The one behind the last one found is the likeliest. */
static JsonMember *
find_member(DmObjJson *json, const DmJsonSpan *name, int *guess)
{
	for (int i = 0; i < json->nmembers; i++)
	{
		int index = *guess + i < json->nmembers ? *guess + i : *guess + i - json->nmembers;
		JsonMember *member = &json->members[index];

		if (member->len == name->len && memcmp(member->name, name->data, name->len) == 0)
		{
			*guess = index + 1 < json->nmembers ? index + 1 : 0;
			return member;
		}
	}
	return NULL;
}

/* Raises 42703 for a member that is no column. */
static void
unknown_member(const DmJsonSpan *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("member \"%.*s\" is no column", pg_mbcliplen(name->data, name->len, NAMEDATALEN), name->data),
			 errhint("Add the column, or set option unknown_fields to 'ignore'.")));
}

/* Takes the record apart: sets the members that there are. */
static void
read_members(const DmObjScan *scan, DmObjJson *json, const char *text, int len)
{
	DmJsonScan members;
	DmJsonSpan name;
	DmJsonSpan value;
	int guess = 0;

	for (int i = 0; i < json->nmembers; i++)
		json->members[i].seen = false;
	if (dm_json_object_begin(&members, text, len))
	{
		while (dm_json_next_member(&members, &name, &value))
		{
			JsonMember *member;

			if (unlikely(name.escaped))
				dm_json_unescape(&name);
			member = find_member(json, &name, &guess);
			if (member)
			{
				member->seen = true;
				member->value = value;
			}
			else if (scan->spec.unknown_is_error && !scan->spec.whole_records)
				unknown_member(&name);
		}
	}
	if (members.error)
		bad_json(scan, members.error, members.at - text);
}

/* Converts the record to the row's values: see dm_objscan_convert(). */
void
dm_objjson_convert(DmObjScan *scan, Datum *values, bool *isnull)
{
	DmObjJson *json = scan->json_map;
	const char *text = scan->record.text;
	int len = scan->record.len;

	if (scan->record.broken)
		bad_json(scan, scan->record.broken, 0);
	if (!is_ascii(text, len))
	{
		text = pg_any_to_server(text, len, scan->spec.csv.encoding);
		len = text == scan->record.text ? len : (int) strlen(text);
	}
	read_members(scan, json, text, len);
	for (int i = 0; i < json->ntargets; i++)
	{
		JsonTarget *target = &json->targets[i];
		const JsonMember *member = &json->members[target->head.field];
		DmConverter *converter = target->head.converter;
		DmJsonSpan value = member->value;
		bool found = member->seen && (!target->path || dm_json_path_follow(target->path, &value));

		if (scan->spec.whole_records)
		{
			found = true;
			value = (DmJsonSpan){.kind = DM_JSON_OBJECT, .data = text, .len = len};
		}
		scan->target = &target->head;
		if (likely(found && value.kind != DM_JSON_NULL))
		{
			scan->changed_field.data = unconstify(char *, value.data);
			scan->changed_field.len = value.len;
			scan->field = &scan->changed_field;
			values[target->head.attribute] =
				dm_json_column_convert(&target->column, value, &isnull[target->head.attribute]);
		}
		else if (!converter->input.fn_strict) /* a domain, which may not take NULL */
		{
			scan->field = NULL;
			(void) InputFunctionCall(&converter->input, NULL, converter->typioparam, converter->typmod);
		}
	}
	scan->target = NULL;
}
