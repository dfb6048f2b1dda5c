/*
 * debezium_schema.c: the Kafka Connect schema that events may carry: types of columns, encodings of values.
 *
 * A schema is {"type": "struct", "fields": [...]}; each field has "field" (its name), "type" (the literal type) and, where
 * the literal type does not tell all, "name" (the semantic type) and "parameters". A value's schema has the row's under
 * the fields before and after, a key's has the key's columns as its fields.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "cdc/debezium_value.h"

typedef struct SemanticType
{
	const char *name;
	DmDebeziumCode code;
	int64 units; /* of a second */
	Oid type;	 /* of a new dataset's column */
} SemanticType;

static const SemanticType semantic_types[] = {
	{"io.debezium.time.Date", DM_CODE_DATE, 0, DATEOID},
	{"org.apache.kafka.connect.data.Date", DM_CODE_DATE, 0, DATEOID},
	{"io.debezium.time.Time", DM_CODE_TIME, 1000, TIMEOID},
	{"org.apache.kafka.connect.data.Time", DM_CODE_TIME, 1000, TIMEOID},
	{"io.debezium.time.MicroTime", DM_CODE_TIME, 1000000, TIMEOID},
	{"io.debezium.time.NanoTime", DM_CODE_TIME, 1000000000, TIMEOID},
	{"io.debezium.time.Timestamp", DM_CODE_TIMESTAMP, 1000, TIMESTAMPOID},
	{"org.apache.kafka.connect.data.Timestamp", DM_CODE_TIMESTAMP, 1000, TIMESTAMPOID},
	{"io.debezium.time.MicroTimestamp", DM_CODE_TIMESTAMP, 1000000, TIMESTAMPOID},
	{"io.debezium.time.NanoTimestamp", DM_CODE_TIMESTAMP, 1000000000, TIMESTAMPOID},
	{"io.debezium.time.MicroDuration", DM_CODE_DURATION, 1000000, INTERVALOID},
	{"io.debezium.time.NanoDuration", DM_CODE_DURATION, 1000000000, INTERVALOID},
	{"io.debezium.time.ZonedTimestamp", DM_CODE_PLAIN, 0, TIMESTAMPTZOID},
	{"io.debezium.time.ZonedTime", DM_CODE_PLAIN, 0, TIMETZOID},
	{"io.debezium.time.Interval", DM_CODE_PLAIN, 0, INTERVALOID},
	{"io.debezium.time.IsoDate", DM_CODE_PLAIN, 0, DATEOID},
	{"io.debezium.time.IsoTime", DM_CODE_PLAIN, 0, TIMEOID},
	{"io.debezium.time.IsoTimestamp", DM_CODE_PLAIN, 0, TIMESTAMPOID},
	{"org.apache.kafka.connect.data.Decimal", DM_CODE_DECIMAL, 0, NUMERICOID},
	{"io.debezium.data.VariableScaleDecimal", DM_CODE_PLAIN, 0, NUMERICOID},
	{"io.debezium.data.Json", DM_CODE_PLAIN, 0, JSONBOID},
	{"io.debezium.data.Uuid", DM_CODE_PLAIN, 0, UUIDOID},
};

static const SemanticType literal_types[] = {
	{"int8", DM_CODE_PLAIN, 0, INT2OID},
	{"int16", DM_CODE_PLAIN, 0, INT2OID},
	{"int32", DM_CODE_PLAIN, 0, INT4OID},
	{"int64", DM_CODE_PLAIN, 0, INT8OID},
	{"float", DM_CODE_PLAIN, 0, FLOAT4OID},
	{"float32", DM_CODE_PLAIN, 0, FLOAT4OID},
	{"double", DM_CODE_PLAIN, 0, FLOAT8OID},
	{"float64", DM_CODE_PLAIN, 0, FLOAT8OID},
	{"boolean", DM_CODE_PLAIN, 0, BOOLOID},
	{"bytes", DM_CODE_BYTES, 0, BYTEAOID},
	{"string", DM_CODE_PLAIN, 0, TEXTOID},
	{"array", DM_CODE_PLAIN, 0, JSONBOID},
	{"map", DM_CODE_PLAIN, 0, JSONBOID},
	{"struct", DM_CODE_PLAIN, 0, JSONBOID},
};

static const SemanticType *field_type(DmJsonSpan field);

/* Finds the last member of a name in an object. Returns false if there is none, or value is no object. */
bool
dm_json_member(DmJsonSpan object, const char *name, DmJsonSpan *value)
{
	DmJsonScan scan;
	DmJsonSpan key;
	DmJsonSpan member;
	bool found = false;

	if (object.kind != DM_JSON_OBJECT || !dm_json_object_begin(&scan, object.data, object.len))
		return false;
	while (dm_json_next_member(&scan, &key, &member))
	{
		if (key.escaped)
			dm_json_unescape(&key);
		if (key.len != strlen(name) || memcmp(key.data, name, key.len) != 0)
			continue;
		*value = member;
		found = true;
	}
	return found;
}

/* Finds the last member of each name in an object, in one pass. What is not there, or no object, gives data NULL. */
void
dm_json_members(DmJsonSpan object, const char *const *names, DmJsonSpan *values, int count)
{
	DmJsonScan scan;
	DmJsonSpan key;
	DmJsonSpan member;

	memset(values, 0, sizeof(DmJsonSpan) * count);
	if (object.kind != DM_JSON_OBJECT || !dm_json_object_begin(&scan, object.data, object.len))
		return;
	while (dm_json_next_member(&scan, &key, &member))
	{
		if (key.escaped)
			dm_json_unescape(&key);
		for (int i = 0; i < count; i++)
		{
			if (strncmp(names[i], key.data, key.len) == 0 && names[i][key.len] == '\0')
				values[i] = member;
		}
	}
}

/* True if a value is the string text. */
bool
dm_json_is(DmJsonSpan value, const char *text)
{
	return value.kind == DM_JSON_STRING && !value.escaped && value.len == strlen(text) &&
		   memcmp(value.data, text, value.len) == 0;
}

/* Returns a small whole number that stands there as one or as a string; raises 22P02 for anything else. */
int
dm_json_int(DmJsonSpan value)
{
	return pg_strtoint32(pnstrdup(value.data, value.len));
}

/* Finds the fields (an array) of the row in a value's schema, or of the key in a key's. Returns false if there are none. */
bool
dm_debezium_schema_row(DmJsonSpan schema, bool is_key, DmJsonSpan *fields)
{
	DmJsonScan scan;
	DmJsonSpan field;
	DmJsonSpan name;

	if (!dm_json_member(schema, "fields", fields) || fields->kind != DM_JSON_ARRAY)
		return false;
	if (is_key)
		return true;
	dm_json_array_begin(&scan, fields->data, fields->len);
	while (dm_json_next_element(&scan, &field))
	{
		if (dm_json_member(field, "field", &name) && (dm_json_is(name, "after") || dm_json_is(name, "before")) &&
			dm_json_member(field, "fields", fields) && fields->kind == DM_JSON_ARRAY)
			return true;
	}
	return false;
}

/* Returns what a field's schema says of its type; that of text for types that are not known. */
static const SemanticType *
field_type(DmJsonSpan field)
{
	DmJsonSpan name;

	if (dm_json_member(field, "name", &name))
	{
		for (int i = 0; i < lengthof(semantic_types); i++)
		{
			if (dm_json_is(name, semantic_types[i].name))
				return &semantic_types[i];
		}
	}
	if (dm_json_member(field, "type", &name))
	{
		for (int i = 0; i < lengthof(literal_types); i++)
		{
			if (dm_json_is(name, literal_types[i].name))
				return &literal_types[i];
		}
	}
	return &literal_types[10];
}

/* Returns how the values of a field are encoded. */
DmDebeziumField
dm_debezium_schema_field(DmJsonSpan field)
{
	const SemanticType *type = field_type(field);
	DmDebeziumField result = {.code = type->code, .units = type->units};
	DmJsonSpan parameters;
	DmJsonSpan scale;

	if (type->code == DM_CODE_DECIMAL && dm_json_member(field, "parameters", &parameters) &&
		dm_json_member(parameters, "scale", &scale))
		result.scale = dm_json_int(scale);
	return result;
}

/* Returns the columns that a row's fields make. */
TupleDesc
dm_debezium_schema_columns(DmJsonSpan fields)
{
	TupleDesc desc;
	DmJsonScan scan;
	DmJsonSpan field;
	DmJsonSpan name;
	int count = 0;

	dm_json_array_begin(&scan, fields.data, fields.len);
	while (dm_json_next_element(&scan, &field))
		count += dm_json_member(field, "field", &name);
	desc = CreateTemplateTupleDesc(count);
	count = 0;
	dm_json_array_begin(&scan, fields.data, fields.len);
	while (dm_json_next_element(&scan, &field))
	{
		if (!dm_json_member(field, "field", &name))
			continue;
		if (name.escaped)
			dm_json_unescape(&name);
		TupleDescInitEntry(desc, ++count, pnstrdup(name.data, name.len), field_type(field)->type, -1, 0);
	}
	return desc;
}
