/*
 * shape.c: works out where each column of a dataset is in the source's rows, in current and in history.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/names.h"
#include "cdc/cdc.h"

static void wanted_make(DmShape *shape, const DmDataset *dataset, Relation current);
static bool is_previous(const DmDataset *dataset, const char *name);
static void columns_allocate(DmShape *shape, int natts);
static void roles_assign(DmShape *shape, const DmDataset *dataset);
static void history_map(DmShape *shape, const DmDataset *dataset, Relation current, Relation history);

/*
 * Returns the shape of one part of a dataset, in the current memory context. Raises 42703 or 42804 if one of its tables
 * no longer has a column that the dataset needs.
 */
DmShape *
dm_shape_make(const DmDataset *dataset, Relation current, Relation history)
{
	DmShape *shape = palloc0(sizeof(DmShape));
	const char *const *names = dataset->settings.names;

	shape->operation = dm_shape_attribute(dataset, current, names[DM_NAME_OPERATION], CHAROID);
	if (dataset->settings.stamp)
		shape->made_by = dm_shape_attribute(dataset, current, names[DM_NAME_MADE_BY], CHAROID);
	shape->start = dm_shape_attribute(dataset, current, names[DM_NAME_START], dataset->effective_type);
	shape->key_hash = dm_shape_attribute(dataset, current, names[DM_NAME_KEY_HASH], UUIDOID);
	shape->row_hash = dm_shape_attribute(dataset, current, names[DM_NAME_ROW_HASH], UUIDOID);
	shape->merge = dm_shape_attribute(dataset, current, names[DM_NAME_MERGE], INT8OID);
	shape->history_end = dm_shape_attribute(dataset, history, names[DM_NAME_END], dataset->effective_type);
	shape->history_ended_by = dm_shape_attribute(dataset, history, names[DM_NAME_ENDED_BY], CHAROID);
	shape->history_ended_merge = dm_shape_attribute(dataset, history, names[DM_NAME_ENDED_MERGE], INT8OID);
	wanted_make(shape, dataset, current);
	roles_assign(shape, dataset);
	history_map(shape, dataset, current, history);
	shape->ops = dm_row_ops_make(shape->wanted);
	shape->nparts = 1;
	shape->parts[0] = shape;
	return shape;
}

/*
 * Returns the shape of a whole row: the plain part's columns, then the sensitive part's other than its keys. The added
 * columns' attributes are the plain part's.
 */
DmShape *
dm_shape_join(DmShape *plain, DmShape *sensitive)
{
	DmShape *whole = palloc(sizeof(DmShape));
	int natts = plain->wanted->natts;
	const struct
	{
		const int *columns;
		int count;
		int **to;
		int *to_count;
	} roles[] = {{sensitive->tracked, sensitive->ntracked, &whole->tracked, &whole->ntracked},
				 {sensitive->untracked, sensitive->nuntracked, &whole->untracked, &whole->nuntracked},
				 {sensitive->kept, sensitive->nkept, &whole->kept, &whole->nkept}};

	*whole = *plain;
	whole->nparts = 2;
	whole->parts[1] = sensitive;
	columns_allocate(whole, natts + sensitive->wanted->natts - sensitive->nkeys);
	memcpy(whole->keys, plain->keys, sizeof(int) * plain->nkeys);
	memcpy(whole->tracked, plain->tracked, sizeof(int) * plain->ntracked);
	memcpy(whole->untracked, plain->untracked, sizeof(int) * plain->nuntracked);
	memcpy(whole->kept, plain->kept, sizeof(int) * plain->nkept);
	memcpy(whole->current_attribute, plain->current_attribute, sizeof(AttrNumber) * natts);
	whole->wanted = CreateTemplateTupleDesc(natts + sensitive->wanted->natts - sensitive->nkeys);
	for (int i = 0; i < natts; i++)
		TupleDescCopyEntry(whole->wanted, i + 1, plain->wanted, i + 1);
	for (int i = 0; i < sensitive->wanted->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(sensitive->wanted, i)->attname);

		sensitive->from[i] = -1;
		for (int k = 0; k < plain->nkeys; k++)
		{
			if (strcmp(NameStr(TupleDescAttr(plain->wanted, plain->keys[k])->attname), name) == 0)
				sensitive->from[i] = plain->keys[k];
		}
		if (sensitive->from[i] >= 0)
			continue;
		sensitive->from[i] = natts;
		whole->part_of[natts] = 1;
		whole->current_attribute[natts++] = sensitive->current_attribute[i];
		TupleDescCopyEntry(whole->wanted, natts, sensitive->wanted, i + 1);
	}
	for (int i = 0; i < lengthof(roles); i++)
	{
		for (int k = 0; k < roles[i].count; k++)
			(*roles[i].to)[(*roles[i].to_count)++] = sensitive->from[roles[i].columns[k]];
	}
	whole->ops = dm_row_ops_make(whole->wanted);
	return whole;
}

/* Returns the columns of current that a new version may change, as dm_writer_open() takes them. */
Bitmapset *
dm_shape_updated(const DmShape *part)
{
	Bitmapset *updated = NULL;

	for (int i = 0; i < part->wanted->natts; i++)
	{
		updated = bms_add_member(updated, part->current_attribute[i] - FirstLowInvalidHeapAttributeNumber);
		if (part->previous[i] != 0)
			updated = bms_add_member(updated, part->previous[i] - FirstLowInvalidHeapAttributeNumber);
	}
	return updated;
}

/* Returns the names (char*) of the business columns that a source has to give, sensitive ones included. */
List *
dm_dataset_columns(const DmDataset *dataset)
{
	Oid tables[DM_PARTS][2] = {{dataset->current, dataset->history},
							   {dataset->sensitive, dataset->sensitive_history}};
	List *names = NIL;

	for (int part = 0; part < DM_PARTS && OidIsValid(tables[part][0]); part++)
	{
		Relation current = table_open(tables[part][0], AccessShareLock);
		Relation history = table_open(tables[part][1], AccessShareLock);
		TupleDesc wanted = dm_shape_make(dataset, current, history)->wanted;

		for (int i = 0; i < wanted->natts; i++)
		{
			char *name = NameStr(TupleDescAttr(wanted, i)->attname);

			if (part == 0 || !dm_names_has(dataset->keys, name))
				names = lappend(names, pstrdup(name));
		}
		table_close(history, NoLock);
		table_close(current, NoLock);
	}
	return names;
}

/* Makes room for what is known of natts wanted columns. */
static void
columns_allocate(DmShape *shape, int natts)
{
	shape->current_attribute = palloc0(sizeof(AttrNumber) * natts);
	shape->previous = palloc0(sizeof(AttrNumber) * natts);
	shape->part_of = palloc0(sizeof(int) * natts);
	shape->from = palloc0(sizeof(int) * natts);
	shape->keys = palloc0(sizeof(int) * natts);
	shape->tracked = palloc0(sizeof(int) * natts);
	shape->untracked = palloc0(sizeof(int) * natts);
	shape->kept = palloc0(sizeof(int) * natts);
	shape->hashed = palloc0(sizeof(int) * natts);
}

/* Collects the columns that the source has to give: business columns that are not generated. */
static void
wanted_make(DmShape *shape, const DmDataset *dataset, Relation current)
{
	TupleDesc desc = RelationGetDescr(current);
	int count = 0;

	columns_allocate(shape, desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *name = NameStr(attribute->attname);

		if (attribute->attisdropped || attribute->attgenerated || dm_name_is_added(dataset, name) ||
			is_previous(dataset, name))
			continue;
		shape->current_attribute[count] = i + 1;
		if (dm_names_has(dataset->settings.previous, name))
			shape->previous[count] =
				dm_shape_attribute(dataset, current, dm_settings_previous_name(name), attribute->atttypid);
		shape->from[count] = count;
		count++;
	}
	shape->wanted = CreateTemplateTupleDesc(count);
	for (int i = 0; i < count; i++)
		TupleDescCopyEntry(shape->wanted, i + 1, desc, shape->current_attribute[i]);
}

/* True for a column that keeps the value before of a column of kind 3. */
static bool
is_previous(const DmDataset *dataset, const char *name)
{
	ListCell *cell;

	foreach (cell, dataset->settings.previous)
	{
		if (strcmp(dm_settings_previous_name(lfirst(cell)), name) == 0)
			return true;
	}
	return false;
}

/*
 * Sorts the wanted columns into keys, tracked, untracked and kept ones. What is hashed does not depend on which columns
 * this merge's source has.
 */
static void
roles_assign(DmShape *shape, const DmDataset *dataset)
{
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(shape->wanted, i)->attname);
		bool is_key = dm_names_has(dataset->keys, name);
		bool is_loose = dm_names_has(dataset->untracked, name) || dm_names_has(dataset->settings.previous, name);

		if (is_key)
			shape->keys[shape->nkeys++] = i;
		else if (dm_names_has(dataset->settings.keep_first, name) || dm_names_has(dataset->absent, name))
			shape->kept[shape->nkept++] = i;
		else if (is_loose)
			shape->untracked[shape->nuntracked++] = i;
		else
			shape->tracked[shape->ntracked++] = i;
		if (is_key || !(is_loose || dm_names_has(dataset->settings.keep_first, name)))
			shape->hashed[shape->nhashed++] = i;
	}
	if (shape->nkeys != list_length(dataset->keys))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s does not have all key columns of its dataset any more", dataset->name)));
}

/* Maps each column of history to the column of current that it keeps. */
static void
history_map(DmShape *shape, const DmDataset *dataset, Relation current, Relation history)
{
	TupleDesc to = RelationGetDescr(history);
	Oid root = RelationGetRelid(history);

	shape->history_from = palloc0(sizeof(AttrNumber) * to->natts);
	for (int i = 0; i < to->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(to, i);
		const char *name = NameStr(attribute->attname);
		AttrNumber from;

		if (attribute->attisdropped || attribute->attgenerated || i + 1 == shape->history_end ||
			i + 1 == shape->history_ended_by || i + 1 == shape->history_ended_merge)
			continue;
		from = get_attnum(RelationGetRelid(current), name);
		if (shape->made_by != 0 && from == shape->operation)
			from = shape->made_by;
		if (from <= 0)
			continue;
		if (TupleDescAttr(RelationGetDescr(current), from - 1)->atttypid != attribute->atttypid)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" has different types in %s and its history table", name, dataset->name)));
		shape->history_from[i] = from;
	}
	if (history->rd_rel->relispartition)
		root = llast_oid(get_partition_ancestors(root));
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(shape->wanted, i)->attname);

		if (get_attnum(RelationGetRelid(history), name) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the history table of dataset %s has no column \"%s\"", dataset->name, name),
					 errhint("Add it: ALTER TABLE %s ADD COLUMN %s %s.",
							 dm_relation_name(root),
							 quote_identifier(name),
							 format_type_with_typemod(TupleDescAttr(shape->wanted, i)->atttypid,
													  TupleDescAttr(shape->wanted, i)->atttypmod))));
	}
}

/* Returns the attribute number of a column that the dataset needs in rel; raises if it is gone or of another type. */
AttrNumber
dm_shape_attribute(const DmDataset *dataset, Relation rel, const char *name, Oid type)
{
	AttrNumber number = get_attnum(RelationGetRelid(rel), name);

	if (number <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" of dataset %s has no column \"%s\" any more",
						RelationGetRelationName(rel),
						dataset->name,
						name)));
	if (TupleDescAttr(RelationGetDescr(rel), number - 1)->atttypid != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" must be of type %s",
						name,
						RelationGetRelationName(rel),
						format_type_be(type))));
	return number;
}

/* True if the text of a value is a JSON number as it stands: not that of NaN or an infinity. */
static bool
is_json_number(Oid type, const char *text)
{
	bool is_number = type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID ||
					 type == FLOAT4OID || type == FLOAT8OID;

	return is_number && strspn(text, "0123456789+-.e") == strlen(text);
}

/* Returns the key in values (of the wanted columns) as the text of a JSON object, palloc'd. nulls: NULL if none can be. */
char *
dm_shape_key_json(const DmShape *shape, const Datum *values, const bool *nulls)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < shape->nkeys; i++)
	{
		Form_pg_attribute key = TupleDescAttr(shape->wanted, shape->keys[i]);
		Oid output;
		bool varlena;
		char *text;

		appendStringInfoString(&json, i == 0 ? "{" : ", ");
		escape_json(&json, NameStr(key->attname));
		appendStringInfoString(&json, ": ");
		if (nulls && nulls[shape->keys[i]])
		{
			appendStringInfoString(&json, "null");
			continue;
		}
		getTypeOutputInfo(key->atttypid, &output, &varlena);
		text = OidOutputFunctionCall(output, values[shape->keys[i]]);
		if (is_json_number(getBaseType(key->atttypid), text))
			appendStringInfoString(&json, text);
		else
			escape_json(&json, text);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}
