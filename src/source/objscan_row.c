/*
 * objscan_row.c: reads one record of an object and converts it to a row.
 */
#include "postgres.h"

#include "source/objscan_internal.h"

/* Raises for a record whose number of fields is not its object's. */
static void
bad_field_count(const DmObjScan *scan)
{
	const DmObjRecord *record = &scan->record;

	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("wrong number of fields in a record: %d instead of %d", record->nfields, scan->map->nfields),
			 record->nfields == 1 && record->fields[0].len == 0 && !record->fields[0].quoted
				 ? errdetail("The line is empty.")
			 : scan->map->by_header
				 ? errdetail("The header of \"%s\" names %d.", scan->uri, scan->map->nfields)
				 : errdetail("Fields go to columns by position, and there are %d columns.", scan->map->nfields),
			 errhint("Check the delimiter, quote and escape options, and the object at byte %llu.",
					 (unsigned long long) record->offset)));
}

/* Whether a field is NULL: the null text, and not in quotes, unless its column says otherwise. */
static inline bool
is_null(const DmObjScan *scan, const DmObjTarget *target, const DmCsvField *field)
{
	return field->len == scan->null_len && (!field->quoted || target->force_null) && !target->force_not_null &&
		   memcmp(field->data, scan->spec.csv.null, field->len) == 0;
}

/* Whether a field is NULL by its text. */
bool
dm_objscan_is_null(const DmObjScan *scan, const DmObjTarget *target, const DmCsvField *field)
{
	return is_null(scan, target, field);
}

/* Sets the special columns of a row. */
static void
fill_specials(const DmObjScan *scan, Datum *values, bool *isnull)
{
	const DmObjMap *map = scan->map;

	for (int i = 0; i < map->nspecials; i++)
	{
		int attribute = map->specials[i];

		values[attribute] = dm_objmap_special(map, attribute, scan->object, scan->record.row, &isnull[attribute]);
	}
}

/* Raises for a record whose quote is open at the end of its object. */
static void
unterminated_quote(const DmObjScan *scan)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("unterminated quoted field in \"%s\"", scan->uri),
			 errdetail("The record begins at byte %llu.", (unsigned long long) scan->record.offset),
			 errhint("Check the quote and escape options, or whether the object was cut off.")));
}

/* Reads the next record of JSON. */
static bool
read_json(DmObjScan *scan, DmObjRecord *record)
{
	DmJsonReader *json = scan->json;

	if (scan->piece.is_range && scan->range_end < 0)
		return false;
	if (!dm_json_read(json))
		return false;
	if (scan->piece.is_range && json->line_offset > (uint64) scan->range_end)
		return false;
	scan->row++;
	scan->stats.rows++;
	record->line = json->line;
	record->offset = json->offset;
	record->text = json->data;
	record->len = json->len;
	record->broken = json->broken;
	return true;
}

/*
 * Reads the next record of the current object into scan->record, which it stays in until the next read. Returns false at the
 * object's end.
 */
bool
dm_objscan_read_record(DmObjScan *scan)
{
	DmObjRecord *record = &scan->record;
	DmCsvReader *csv = scan->csv;

	record->row = scan->row + 1; /* at once: the error context tells of the row that could not be read */
	record->line = 0;
	if (scan->json_map)
		return read_json(scan, record);
	do
	{
		if (unlikely(scan->piece.is_range) && dm_objsplit_is_behind(scan))
			return false;
		if (!dm_csv_read(csv))
			return false;
	} while (scan->spec.tweaks.ignore_blank_lines && csv->nfields == 1 && csv->fields[0].len == 0 &&
			 !csv->fields[0].quoted);
	scan->row++;
	scan->stats.rows++;
	record->line = csv->line;
	record->offset = csv->offset;
	record->fields = csv->fields;
	record->nfields = csv->nfields;
	record->has_high = csv->has_high;
	record->unterminated = csv->unterminated;
	return true;
}

/* Converts the fields of the current record of CSV. */
static void
convert_csv(DmObjScan *scan, Datum *values, bool *isnull)
{
	const DmObjMap *map = scan->map;
	const DmObjRecord *record = &scan->record;

	if (unlikely(record->unterminated))
		unterminated_quote(scan);
	if (unlikely(record->nfields != map->nfields) &&
		!(scan->spec.tweaks.fill_record && record->nfields < map->nfields))
		bad_field_count(scan);
	for (int i = 0; i < map->ntargets; i++)
	{
		const DmObjTarget *target = &map->targets[i];
		DmConverter *converter = target->converter;
		DmCsvField *field = &record->fields[target->field];
		bool null;

		scan->target = target;
		if (unlikely(scan->spec.tweaks.any))
			null = dm_objtweak_field(scan, target, &field);
		else
		{
			if (unlikely(record->has_high))
			{
				scan->field = NULL;
				dm_csv_field_recode(scan->csv, field);
			}
			scan->field = field;
			null = is_null(scan, target, field);
		}
		if (likely(!null))
		{
			values[target->attribute] = converter->convert(converter, field->data, field->len);
			isnull[target->attribute] = false;
		}
		else if (!converter->input.fn_strict) /* a domain, which may not take NULL */
			(void) InputFunctionCall(&converter->input, NULL, converter->typioparam, converter->typmod);
	}
	scan->target = NULL;
}

/*
 * Converts the needed fields of the current record into values and isnull; all other columns are NULL. Values are the
 * converters' own or lie in the current memory context. Raises for a bad record or value.
 */
void
dm_objscan_convert(DmObjScan *scan, Datum *values, bool *isnull)
{
	scan->target = NULL;
	memset(isnull, true, scan->map->desc->natts);
	if (scan->json)
		dm_objjson_convert(scan, values, isnull);
	else
		convert_csv(scan, values, isnull);
	if (scan->map->nspecials > 0)
		fill_specials(scan, values, isnull);
	if (scan->spec.check)
		scan->spec.check(values, isnull, scan->spec.check_arg);
}
