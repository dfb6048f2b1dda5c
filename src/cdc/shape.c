/*
 * shape.c: works out where each column of a dataset is in the source's rows, in current and in history.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/names.h"
#include "cdc/cdc.h"

static bool is_added(const char *name);
static void wanted_make(DmShape *shape, Relation current);
static void roles_assign(DmShape *shape, const DmDataset *dataset);
static void history_map(DmShape *shape, const DmDataset *dataset, Relation current, Relation history);

/*
 * Returns the shape of a dataset, in the current memory context. Raises 42703 or 42804 if one of its tables no longer
 * has a column that the dataset needs.
 */
DmShape *
dm_shape_make(const DmDataset *dataset, Relation current, Relation history)
{
	DmShape *shape = palloc0(sizeof(DmShape));

	shape->operation = dm_shape_attribute(dataset, current, DM_COL_OPERATION, CHAROID);
	shape->start = dm_shape_attribute(dataset, current, DM_COL_START, dataset->effective_type);
	shape->key_hash = dm_shape_attribute(dataset, current, DM_COL_KEY_HASH, UUIDOID);
	shape->row_hash = dm_shape_attribute(dataset, current, DM_COL_ROW_HASH, UUIDOID);
	shape->merge = dm_shape_attribute(dataset, current, DM_COL_MERGE, INT8OID);
	shape->history_end = dm_shape_attribute(dataset, history, DM_COL_END, dataset->effective_type);
	shape->history_ended_by = dm_shape_attribute(dataset, history, DM_COL_ENDED_BY, CHAROID);
	shape->history_ended_merge = dm_shape_attribute(dataset, history, DM_COL_ENDED_MERGE, INT8OID);
	wanted_make(shape, current);
	roles_assign(shape, dataset);
	history_map(shape, dataset, current, history);
	shape->ops = dm_row_ops_make(shape->wanted);
	return shape;
}

/* Collects the columns that the source has to give: business columns that are not generated. */
static void
wanted_make(DmShape *shape, Relation current)
{
	TupleDesc desc = RelationGetDescr(current);
	int count = 0;

	shape->current_attribute = palloc(sizeof(AttrNumber) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && !attribute->attgenerated && !is_added(NameStr(attribute->attname)))
			shape->current_attribute[count++] = i + 1;
	}
	shape->wanted = CreateTemplateTupleDesc(count);
	for (int i = 0; i < count; i++)
		TupleDescCopyEntry(shape->wanted, i + 1, desc, shape->current_attribute[i]);
}

/* Sorts the wanted columns into keys, tracked and untracked ones. */
static void
roles_assign(DmShape *shape, const DmDataset *dataset)
{
	int natts = shape->wanted->natts;

	shape->keys = palloc(sizeof(int) * natts);
	shape->tracked = palloc(sizeof(int) * natts);
	shape->untracked = palloc(sizeof(int) * natts);
	shape->hashed = palloc(sizeof(int) * natts);
	for (int i = 0; i < natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(shape->wanted, i)->attname);

		if (dm_names_has(dataset->keys, name))
			shape->keys[shape->nkeys++] = i;
		else if (dm_names_has(dataset->untracked, name))
		{
			shape->untracked[shape->nuntracked++] = i;
			continue;
		}
		else
			shape->tracked[shape->ntracked++] = i;
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
		if (from <= 0)
			continue;
		if (TupleDescAttr(RelationGetDescr(current), from - 1)->atttypid != attribute->atttypid)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" has different types in %s and its history table", name, dataset->name)));
		shape->history_from[i] = from;
	}
	for (int i = 0; i < shape->wanted->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(shape->wanted, i)->attname);

		if (get_attnum(RelationGetRelid(history), name) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the history table of dataset %s has no column \"%s\"", dataset->name, name),
					 errhint("Add it: ALTER TABLE %s ADD COLUMN %s %s.",
							 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(history)),
														RelationGetRelationName(history)),
							 quote_identifier(name),
							 format_type_be(TupleDescAttr(shape->wanted, i)->atttypid))));
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

/* True for the columns that a dataset adds to its current table. */
static bool
is_added(const char *name)
{
	return strcmp(name, DM_COL_OPERATION) == 0 || strcmp(name, DM_COL_START) == 0 ||
		   strcmp(name, DM_COL_MERGE) == 0 || strcmp(name, DM_COL_KEY_HASH) == 0 ||
		   strcmp(name, DM_COL_ROW_HASH) == 0;
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
