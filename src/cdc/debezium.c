/*
 * debezium.c: Debezium change events to events of a feed.
 *
 * Each row of the source (or record of an object) holds an event: the envelope {"before", "after", "op", "source", ...}, in a
 * member "payload" beside its "schema" if the converter was told to send schemas; or a Kafka record {"key", "value", ...}
 * whose value is that. A value that is null is a tombstone, of which the key alone is known.
 *
 * 1. Inserts (c), reads of a snapshot (r) and updates (u) are upserts of "after"; deletes (d) take their key from "before",
 *    or from the record's key; truncates (t) end all keys; messages (m) are passed over. Anything else is an error.
 * 2. A member that is no column is an error unless it may be ignored; a column that an event lacks is NULL.
 * 3. The schema is read once as long as the next one is the same to the byte.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

#include "base/names.h"
#include "cdc/debezium.h"
#include "cdc/debezium_value.h"
#include "cdc/feed_rows.h"
#include "rows/null_check.h"

/* One side of an event: its value, or its key. */
typedef struct Schema
{
	bool is_key;
	char *text; /* of the schema last read, NULL before */
	int len;
	bool known;				 /* it tells of the row's columns */
	DmDebeziumField *fields; /* of each wanted column */
	bool *has;				 /* of each: is it among the fields? */
} Schema;

/* Members of an event, or of what is around it. */
enum
{
	MEMBER_OP,
	MEMBER_BEFORE,
	MEMBER_AFTER,
	MEMBER_PAYLOAD,
	MEMBER_SCHEMA,
	MEMBER_KEY,
	MEMBER_VALUE,
	MEMBER_SEQUENCE, /* the first step of the path to it */
	MEMBERS
};

/* An event taken apart. Spans with data NULL are of what is not there. */
typedef struct Event
{
	DmJsonSpan around[MEMBERS];	  /* of the record as it came */
	DmJsonSpan envelope[MEMBERS]; /* of the envelope; none of a tombstone */
	DmJsonSpan schema;
	DmJsonSpan key;
	bool is_tombstone;
} Event;

struct DmDebezium
{
	const DmFeedOptions *options;
	DmSource *source;
	int value_column; /* in the source's rows */
	int key_column;	  /* -1 if there is none */
	int sequence_column;
	FmgrInfo *outputs; /* of the source's columns */
	DmJsonPath *path;  /* to the sequence, unless it is a column */
	const char *members[MEMBERS];
	MemoryContext context;
	/* a source that had to be read before the dataset could be made: */
	Tuplestorestate *kept;
	TupleDesc columns;
	char *example; /* of an event without schema: its columns, as option columns would give them */
	/* of a run: */
	DmFeed *feed;
	const DmShape *shape;
	DmDebeziumColumn *targets; /* of each wanted column, then of the sequence */
	DmNullCheck *null_check;   /* of columns that may refuse NULL; NULL: there are none */
	Schema value_schema;
	Schema key_schema;
	Datum *values;
	bool *nulls;
	int64 events;
	bool in_event; /* an error is of the event read last, not of reading */
};

static int column_find(const DmDebezium *debezium, const char *name);
static int value_column_find(const DmDebezium *debezium);
static TupleDesc columns_from_option(Jsonb *columns);
static void row_keep(TupleTableSlot *slot, void *arg);
static char *columns_example(DmJsonSpan row);
static void row_read(TupleTableSlot *slot, void *arg);
static bool event_parse(DmDebezium *debezium, TupleTableSlot *slot, Event *event);
static DmJsonSpan column_json(DmDebezium *debezium, TupleTableSlot *slot, int column);
static DmJsonSpan string_open(DmJsonSpan value);
static void event_apply(DmDebezium *debezium, TupleTableSlot *slot, const Event *event);
static void tombstone_apply(DmDebezium *debezium, TupleTableSlot *slot, const Event *event);
static void schema_read(DmDebezium *debezium, Schema *schema, DmJsonSpan text);
static Bitmapset *row_convert(DmDebezium *debezium, Schema *schema, DmJsonSpan row, bool keys_only);
static void key_convert(DmDebezium *debezium, const Event *event);
static Datum sequence_read(DmDebezium *debezium, TupleTableSlot *slot, const Event *event);

/* A value that is null. */
static const DmJsonSpan none = {.kind = DM_JSON_NULL, .data = "null", .len = 4};

/* Returns a JSON text as a span, of a kind told by its first byte. */
static DmJsonSpan
span_of(const char *data, int len)
{
	DmJsonSpan span = {.data = data, .len = len};

	while (span.len > 0 && strchr(" \t\r\n", *span.data))
	{
		span.data++;
		span.len--;
	}
	while (span.len > 0 && strchr(" \t\r\n", span.data[span.len - 1]))
		span.len--;
	switch (span.len > 0 ? *span.data : 'n')
	{
		case '{': span.kind = DM_JSON_OBJECT; break;
		case '[': span.kind = DM_JSON_ARRAY; break;
		case 'n': span.kind = DM_JSON_NULL; break;
		case 't':
		case 'f': span.kind = DM_JSON_BOOL; break;
		case '"':
			span.kind = DM_JSON_STRING;
			span.data++;
			span.len = Max(span.len - 2, 0);
			span.escaped = memchr(span.data, '\\', span.len) != NULL;
			break;
		default: span.kind = DM_JSON_NUMBER;
	}
	return span;
}

/* Says which event an error came from. */
static void
event_error_context(void *arg)
{
	const DmDebezium *debezium = arg;

	if (debezium->in_event)
		errcontext("event " INT64_FORMAT " of the source", debezium->events);
}

/*
 * Opens a source of events, of which it chooses the columns and which it binds, in the current memory context. Raises
 * 42703 if a column that an option names is not there, or it cannot tell which holds the events.
 */
DmDebezium *
dm_debezium_open(const DmFeedOptions *options, DmSource *source)
{
	DmDebezium *debezium = palloc0(sizeof(DmDebezium));
	TupleDesc offered = source->offered;
	static const char *const members[MEMBERS] = {"op", "before", "after", "payload", "schema", "key", "value", ""};

	memcpy(debezium->members, members, sizeof(members));
	debezium->options = options;
	debezium->source = source;
	debezium->context = CurrentMemoryContext;
	debezium->key_schema.is_key = true;
	debezium->value_column = value_column_find(debezium);
	debezium->key_column = column_find(debezium, options->key_column ? options->key_column : "key");
	if (options->key_column && debezium->key_column < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the source has no column \"%s\", which option key_column names", options->key_column)));
	debezium->sequence_column = column_find(debezium, options->sequence_column);
	if (debezium->sequence_column < 0)
	{
		debezium->path = dm_json_path_parse(psprintf("$.%s", options->sequence_column));
		debezium->members[MEMBER_SEQUENCE] = pnstrdup(debezium->path->steps[0].name, debezium->path->steps[0].len);
	}
	debezium->outputs = palloc0(sizeof(FmgrInfo) * Max(offered->natts, 1));
	for (int i = 0; i < offered->natts; i++)
	{
		Oid output;
		bool varlena;

		getTypeOutputInfo(TupleDescAttr(offered, i)->atttypid, &output, &varlena);
		fmgr_info(output, &debezium->outputs[i]);
	}
	dm_source_bind(source, offered);
	return debezium;
}

/* Returns the index of an offered column, -1 if there is none of this name. */
static int
column_find(const DmDebezium *debezium, const char *name)
{
	TupleDesc offered = debezium->source->offered;

	for (int i = 0; i < offered->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(offered, i)->attname), name) == 0)
			return i;
	}
	return -1;
}

/* Returns the index of the column that holds the events: that of the option, else value, payload or record, else the only one. */
static int
value_column_find(const DmDebezium *debezium)
{
	static const char *const names[] = {"value", "payload", DM_SOURCE_RECORD};
	const char *name = debezium->options->value_column;
	int column = name ? column_find(debezium, name) : -1;

	for (int i = 0; !name && column < 0 && i < lengthof(names); i++)
		column = column_find(debezium, names[i]);
	if (!name && column < 0 && debezium->source->offered->natts == 1)
		column = 0;
	if (column < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 name ? errmsg("the source has no column \"%s\", which option value_column names", name)
					  : errmsg("no column of the source is known to hold the events"),
				 errhint("Name it: options => '{\"value_column\": \"...\"}'.")));
	return column;
}

/*
 * Returns the columns of a new dataset, and the type of its sequences: from option columns, else from the first event
 * that carries a schema, for which the source is read and kept. Raises 42704 if nothing tells them.
 */
TupleDesc
dm_debezium_columns(DmDebezium *debezium, Oid *sequence_type)
{
	const DmFeedOptions *options = debezium->options;

	*sequence_type = options->sequence_type;
	if (!OidIsValid(*sequence_type) && debezium->sequence_column >= 0)
		*sequence_type =
			dm_sequence_type(options->sequence_column,
							 TupleDescAttr(debezium->source->offered, debezium->sequence_column)->atttypid);
	if (!OidIsValid(*sequence_type))
		*sequence_type = INT8OID;
	if (options->columns)
		return columns_from_option(options->columns);
	debezium->kept = tuplestore_begin_heap(false, false, work_mem);
	dm_source_run(debezium->source, row_keep, debezium);
	if (!debezium->columns)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no event of the source carries a schema, and the dataset does not exist yet"),
				 errhint("Give its columns: options => '{\"columns\": {%s}}'.",
						 debezium->example ? debezium->example : "\"id\": \"bigint\", ...")));
	return debezium->columns;
}

/* Returns the columns that a JSON object of names and types makes. */
static TupleDesc
columns_from_option(Jsonb *columns)
{
	TupleDesc desc;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	int count = 0;

	if (!JB_ROOT_IS_OBJECT(columns) || JB_ROOT_COUNT(columns) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"columns\" must be an object of names and types")));
	desc = CreateTemplateTupleDesc(JB_ROOT_COUNT(columns));
	iterator = JsonbIteratorInit(&columns->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *name;
		Oid type;
		int32 typmod;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"columns\" must give the type of column \"%s\" as a string", name)));
		dm_parse_type(pnstrdup(value.val.string.val, value.val.string.len), &type, &typmod);
		TupleDescInitEntry(desc, ++count, name, type, typmod, 0);
	}
	return desc;
}

/* Keeps a row of the source, and learns the columns from the first event that tells. A DmSourceEach. */
static void
row_keep(TupleTableSlot *slot, void *arg)
{
	DmDebezium *debezium = arg;
	Event event = {0};
	DmJsonSpan fields;

	tuplestore_puttupleslot(debezium->kept, slot);
	if (debezium->columns || !event_parse(debezium, slot, &event))
		return;
	if (dm_debezium_schema_row(event.schema, false, &fields))
	{
		MemoryContext caller = MemoryContextSwitchTo(debezium->context);

		debezium->columns = dm_debezium_schema_columns(fields);
		MemoryContextSwitchTo(caller);
	}
	else if (!debezium->example && event.envelope[MEMBER_AFTER].kind == DM_JSON_OBJECT)
		debezium->example = MemoryContextStrdup(debezium->context, columns_example(event.envelope[MEMBER_AFTER]));
}

/* Returns names and likely types of a row's members, as option columns has them. */
static char *
columns_example(DmJsonSpan row)
{
	StringInfoData out;
	DmJsonScan scan;
	DmJsonSpan name;
	DmJsonSpan value;

	initStringInfo(&out);
	dm_json_object_begin(&scan, row.data, row.len);
	while (dm_json_next_member(&scan, &name, &value))
	{
		const char *type = "text";

		if (value.kind == DM_JSON_NUMBER)
			type = memchr(value.data, '.', value.len) ? "numeric" : "bigint";
		else if (value.kind == DM_JSON_BOOL)
			type = "boolean";
		else if (value.kind == DM_JSON_OBJECT || value.kind == DM_JSON_ARRAY)
			type = "jsonb";
		appendStringInfo(&out, "%s\"%.*s\": \"%s\"", out.len > 0 ? ", " : "", name.len, name.data, type);
	}
	return out.data;
}

/* Gives all events of the source to the feed. */
void
dm_debezium_run(DmDebezium *debezium, DmFeed *feed, const DmDataset *dataset, const DmShape *shape)
{
	ErrorContextCallback callback = {error_context_stack, event_error_context, debezium};
	int natts = shape->wanted->natts;
	TupleDesc sequence = CreateTemplateTupleDesc(1);
	Bitmapset *others = bms_add_range(NULL, 0, natts - 1);
	TupleTableSlot *slot;

	TupleDescInitEntry(sequence, 1, debezium->options->sequence_column, dataset->effective_type, -1, 0);
	debezium->feed = feed;
	debezium->shape = shape;
	debezium->values = palloc0(sizeof(Datum) * natts);
	debezium->nulls = palloc(sizeof(bool) * natts);
	debezium->targets = palloc0(sizeof(DmDebeziumColumn) * (natts + 1));
	for (int i = 0; i < natts; i++)
		dm_debezium_column_init(&debezium->targets[i], TupleDescAttr(shape->wanted, i));
	dm_debezium_column_init(&debezium->targets[natts], TupleDescAttr(sequence, 0));
	for (int i = 0; i < shape->nkeys; i++) /* NULL keys are refused in other words */
		others = bms_del_member(others, shape->keys[i]);
	debezium->null_check = dm_null_check_make(shape->wanted, others);
	debezium->events = 0;
	error_context_stack = &callback;
	if (!debezium->kept)
		dm_source_run(debezium->source, row_read, debezium);
	else
	{
		MemoryContext row_context =
			AllocSetContextCreate(CurrentMemoryContext, "datamill event", ALLOCSET_DEFAULT_SIZES);
		MemoryContext caller;

		slot = MakeSingleTupleTableSlot(debezium->source->offered, &TTSOpsMinimalTuple);
		caller = MemoryContextSwitchTo(row_context);
		while (tuplestore_gettupleslot(debezium->kept, true, false, slot))
		{
			CHECK_FOR_INTERRUPTS();
			row_read(slot, debezium);
			MemoryContextReset(row_context);
		}
		MemoryContextSwitchTo(caller);
		ExecDropSingleTupleTableSlot(slot);
		tuplestore_end(debezium->kept);
		MemoryContextDelete(row_context);
	}
	error_context_stack = callback.previous;
}

/* Takes one row. A DmSourceEach. */
static void
row_read(TupleTableSlot *slot, void *arg)
{
	DmDebezium *debezium = arg;
	Event event = {0};

	debezium->events++;
	debezium->in_event = true;
	if (event_parse(debezium, slot, &event))
		event_apply(debezium, slot, &event);
	else
		tombstone_apply(debezium, slot, &event);
	debezium->in_event = false;
}

/* Takes a row apart. Returns false for a tombstone. Raises 22P02 for what is no JSON. */
static bool
event_parse(DmDebezium *debezium, TupleTableSlot *slot, Event *event)
{
	DmJsonSpan value;
	DmJsonSpan *around = event->around;
	DmJsonSpan *envelope = event->envelope;

	slot_getallattrs(slot);
	value = column_json(debezium, slot, debezium->value_column);
	event->key = debezium->key_column >= 0 ? column_json(debezium, slot, debezium->key_column) : none;
	event->schema = none;
	dm_json_members(value, debezium->members, around, MEMBERS);
	memcpy(envelope, around, sizeof(event->envelope));
	if (!around[MEMBER_OP].data && !around[MEMBER_PAYLOAD].data && around[MEMBER_VALUE].data)
	{
		value = string_open(around[MEMBER_VALUE]);
		if (around[MEMBER_KEY].data)
			event->key = around[MEMBER_KEY];
		dm_json_members(value, debezium->members, envelope, MEMBERS);
	}
	if (!envelope[MEMBER_OP].data && envelope[MEMBER_PAYLOAD].data)
	{
		value = envelope[MEMBER_PAYLOAD];
		if (envelope[MEMBER_SCHEMA].data)
			event->schema = envelope[MEMBER_SCHEMA];
		dm_json_members(value, debezium->members, envelope, MEMBERS);
	}
	event->is_tombstone = value.kind == DM_JSON_NULL;
	return !event->is_tombstone;
}

/* Returns a column of the source's row as JSON: text that is no JSON is a string. NULL is null. */
static DmJsonSpan
column_json(DmDebezium *debezium, TupleTableSlot *slot, int column)
{
	Oid type = TupleDescAttr(debezium->source->offered, column)->atttypid;
	char *text;

	if (slot->tts_isnull[column])
		return none;
	text = OutputFunctionCall(&debezium->outputs[column], slot->tts_values[column]);
	if (type != JSONOID && type != JSONBOID && text[strspn(text, " \t\r\n")] != '{' &&
		column == debezium->key_column)
		return (DmJsonSpan){.kind = DM_JSON_STRING, .data = text, .len = strlen(text)};
	/* records of objects, and what is of a JSON type, were checked when they were read */
	if (type != JSONOID && type != JSONBOID && debezium->source->kind != DM_SOURCE_OBJECTS)
		(void) DirectFunctionCall1(json_in, CStringGetDatum(text));
	return span_of(text, strlen(text));
}

/* Returns the JSON in a string, if it holds an object; any other value as it is. */
static DmJsonSpan
string_open(DmJsonSpan value)
{
	DmJsonSpan text = value;
	char *json;

	if (value.kind != DM_JSON_STRING)
		return value;
	if (text.escaped)
		dm_json_unescape(&text);
	if (text.len == 0 || *text.data != '{')
		return value;
	json = pnstrdup(text.data, text.len);
	(void) DirectFunctionCall1(json_in, CStringGetDatum(json)); /* raises if it is none */
	return span_of(json, text.len);
}

/* Gives an event to the feed. */
static void
event_apply(DmDebezium *debezium, TupleTableSlot *slot, const Event *event)
{
	DmJsonSpan op = event->envelope[MEMBER_OP];
	DmJsonSpan row;
	char code;

	if (op.kind != DM_JSON_STRING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("a row of the source is no Debezium envelope: it has no member \"op\""),
				 errhint("For flattened events, leave option format out and name operation_column and "
						 "sequence_column.")));
	code = op.len == 1 ? op.data[0] : '\0';
	if (code == 'm')
		return;
	if (code == 't')
	{
		dm_feed_truncate(debezium->feed, sequence_read(debezium, slot, event));
		return;
	}
	schema_read(debezium, &debezium->value_schema, event->schema);
	if (code == 'd')
	{
		memset(debezium->nulls, true, sizeof(bool) * debezium->shape->wanted->natts);
		row = event->envelope[MEMBER_BEFORE];
		if (row.kind == DM_JSON_OBJECT)
			row_convert(debezium, &debezium->value_schema, row, true);
		key_convert(debezium, event);
		dm_feed_delete(debezium->feed, sequence_read(debezium, slot, event), debezium->values, debezium->nulls);
		return;
	}
	if (code != 'c' && code != 'r' && code != 'u')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("operation \"%.*s\" is none of c, u, d, r, t and m",
						pg_mbcliplen(op.data, op.len, NAMEDATALEN),
						op.data)));
	row = event->envelope[MEMBER_AFTER];
	if (row.kind != DM_JSON_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("an event of operation %c has no row in member \"after\"", code)));
	else
	{
		Bitmapset *unavailable = row_convert(debezium, &debezium->value_schema, row, false);

		if (debezium->null_check)
			dm_null_check(debezium->null_check, debezium->nulls, unavailable);
		dm_feed_upsert(
			debezium->feed, sequence_read(debezium, slot, event), debezium->values, debezium->nulls, unavailable);
	}
}

/* A tombstone: passed over, or a delete of its key. */
static void
tombstone_apply(DmDebezium *debezium, TupleTableSlot *slot, const Event *event)
{
	if (!debezium->options->tombstones_delete)
		return;
	memset(debezium->nulls, true, sizeof(bool) * debezium->shape->wanted->natts);
	key_convert(debezium, event);
	dm_feed_delete(debezium->feed, sequence_read(debezium, slot, event), debezium->values, debezium->nulls);
}

/* Reads what a schema tells of the wanted columns, unless it is the one read last. */
static void
schema_read(DmDebezium *debezium, Schema *schema, DmJsonSpan text)
{
	TupleDesc wanted = debezium->shape->wanted;
	MemoryContext caller;
	DmJsonSpan fields;
	DmJsonSpan field;
	DmJsonSpan name;
	DmJsonScan scan;

	if (schema->text && schema->len == text.len && memcmp(schema->text, text.data, text.len) == 0)
		return;
	caller = MemoryContextSwitchTo(debezium->context);
	if (!schema->fields)
	{
		schema->fields = palloc(sizeof(DmDebeziumField) * wanted->natts);
		schema->has = palloc(sizeof(bool) * wanted->natts);
	}
	if (schema->text)
		pfree(schema->text);
	schema->text = pnstrdup(text.data, text.len);
	schema->len = text.len;
	MemoryContextSwitchTo(caller);
	memset(schema->has, false, sizeof(bool) * wanted->natts);
	schema->known = dm_debezium_schema_row(text, schema->is_key, &fields);
	if (!schema->known)
		return;
	dm_json_array_begin(&scan, fields.data, fields.len);
	while (dm_json_next_element(&scan, &field))
	{
		if (!dm_json_member(field, "field", &name))
			continue;
		if (name.escaped)
			dm_json_unescape(&name);
		for (int i = 0; i < wanted->natts; i++)
		{
			const char *column = NameStr(TupleDescAttr(wanted, i)->attname);

			if (strlen(column) != name.len || memcmp(column, name.data, name.len) != 0)
				continue;
			schema->fields[i] = dm_debezium_schema_field(field);
			schema->has[i] = true;
		}
	}
}

/* Raises 42703 for a member of a row that is no column of the dataset. */
static void
unknown_member(const DmJsonSpan *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("member \"%.*s\" is no column of the dataset",
					pg_mbcliplen(name->data, name->len, NAMEDATALEN),
					name->data),
			 errhint("Add the column, or set option unknown_fields to ignore.")));
}

/*
 * Converts the members of a row to values, or those of key columns only. Returns the columns that the event does not
 * tell. Columns without a member become NULL (with keys_only: stay as they are). Of members with one name the last counts.
 */
static Bitmapset *
row_convert(DmDebezium *debezium, Schema *schema, DmJsonSpan row, bool keys_only)
{
	const DmShape *shape = debezium->shape;
	int natts = shape->wanted->natts;
	Bitmapset *unavailable = NULL;
	DmJsonScan scan;
	DmJsonSpan name;
	DmJsonSpan value;
	int guess = 0;

	if (!keys_only)
		memset(debezium->nulls, true, sizeof(bool) * natts);
	dm_json_object_begin(&scan, row.data, row.len);
	while (dm_json_next_member(&scan, &name, &value))
	{
		int column = -1;
		bool is_key = false;

		if (name.escaped)
			dm_json_unescape(&name);
		for (int i = 0; i < natts && column < 0; i++)
		{
			int at = guess + i < natts ? guess + i : guess + i - natts;
			const char *attribute = NameStr(TupleDescAttr(shape->wanted, at)->attname);

			if (strncmp(attribute, name.data, name.len) == 0 && attribute[name.len] == '\0')
				column = at;
		}
		if (column < 0)
		{
			if (!keys_only && !debezium->options->ignore_unknown)
				unknown_member(&name);
			continue;
		}
		guess = column + 1 < natts ? column + 1 : 0;
		for (int i = 0; i < shape->nkeys; i++)
			is_key |= shape->keys[i] == column;
		if (keys_only && !is_key)
			continue;
		unavailable = bms_del_member(unavailable, column);
		debezium->nulls[column] |= !keys_only;
		if (value.kind == DM_JSON_NULL)
			continue;
		if (!is_key && dm_debezium_is_unavailable(debezium->options, &debezium->targets[column], value))
		{
			unavailable = bms_add_member(unavailable, column);
			continue;
		}
		debezium->values[column] =
			dm_debezium_convert(debezium->options,
								&debezium->targets[column],
								schema->known && schema->has[column] ? &schema->fields[column] : NULL,
								value,
								&debezium->nulls[column]);
	}
	return unavailable;
}

/* Converts the record's key, where there is one, for the key columns that are not known yet. */
static void
key_convert(DmDebezium *debezium, const Event *event)
{
	const DmShape *shape = debezium->shape;
	DmJsonSpan key = event->key;
	DmJsonSpan schema = none;
	DmJsonSpan payload;
	bool missing = false;

	for (int i = 0; i < shape->nkeys; i++)
		missing |= debezium->nulls[shape->keys[i]];
	if (!missing)
		return;
	key = string_open(key);
	if (dm_json_member(key, "payload", &payload))
	{
		(void) dm_json_member(key, "schema", &schema);
		key = payload;
	}
	if (key.kind == DM_JSON_OBJECT)
	{
		schema_read(debezium, &debezium->key_schema, schema);
		row_convert(debezium, &debezium->key_schema, key, true);
	}
	else if (key.kind != DM_JSON_NULL && shape->nkeys == 1)
	{
		int column = shape->keys[0];

		debezium->values[column] =
			dm_debezium_convert(debezium->options, &debezium->targets[column], NULL, key, &debezium->nulls[column]);
	}
	for (int i = 0; i < shape->nkeys; i++)
	{
		if (debezium->nulls[shape->keys[i]])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("a delete does not tell key column \"%s\"",
							NameStr(TupleDescAttr(shape->wanted, shape->keys[i])->attname)),
					 errhint("Give the source the record's key, too: as column \"key\" or by option key_column.")));
	}
}

/* Reads a position in the log from a number. Raises 22P02 for one that is none. */
static Datum
lsn_read(const char *name, DmJsonSpan value)
{
	char *text = pnstrdup(value.data, value.len);
	char *end;
	uint64 position;

	errno = 0;
	position = strtou64(text, &end, 10);
	if (errno != 0 || *end != '\0' || *text == '-')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("sequence \"%s\" of an event is %s, which is no position of type pg_lsn", name, text)));
	return LSNGetDatum(position);
}

/* Returns the sequence of an event, in the dataset's type. Raises 23502 if there is none. */
static Datum
sequence_read(DmDebezium *debezium, TupleTableSlot *slot, const Event *event)
{
	DmDebeziumColumn *target = &debezium->targets[debezium->shape->wanted->natts];
	const char *name = debezium->options->sequence_column;
	DmJsonSpan value = none;
	int64 units = 0;
	bool isnull;

	if (debezium->sequence_column >= 0)
	{
		int column = debezium->sequence_column;

		if (!slot->tts_isnull[column])
		{
			char *text = OutputFunctionCall(&debezium->outputs[column], slot->tts_values[column]);

			value = (DmJsonSpan){.kind = DM_JSON_STRING, .data = text, .len = strlen(text)};
		}
	}
	else
	{
		/* of the record around the event first, then of the event */
		const DmJsonSpan *members[] = {event->around, event->envelope};

		for (int i = 0; i < lengthof(members) && value.kind == DM_JSON_NULL; i++)
		{
			DmJsonSpan at = members[i][MEMBER_SEQUENCE];

			if (at.data && dm_json_path_follow(debezium->path, &at))
				value = at;
		}
	}
	if (value.kind == DM_JSON_NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("an event has no sequence \"%s\"", name),
			 event->is_tombstone
				 ? errhint("Tombstones can be deletes only by a sequence outside of the envelope, such as a "
						   "column that holds the record's offset.")
				 : errhint("Name a column of the source, or a path such as source.lsn, source.ts_ms or ts_ms.")));
	if (value.kind != DM_JSON_NUMBER)
		return dm_json_column_convert(&target->json, value, &isnull);
	if (target->base_type == PG_LSNOID)
		return lsn_read(name, value);
	if (strlen(name) > 3)
	{
		const char *suffix = name + strlen(name) - 3;

		units = strcmp(suffix, "_ms") == 0	 ? 1000
				: strcmp(suffix, "_us") == 0 ? 1000000
				: strcmp(suffix, "_ns") == 0 ? 1000000000
											 : 0;
	}
	if (units > 0 && (target->base_type == TIMESTAMPTZOID || target->base_type == TIMESTAMPOID))
		return dm_debezium_convert_units(target, DM_CODE_TIMESTAMP, units, value);
	return dm_json_column_convert(&target->json, value, &isnull);
}
