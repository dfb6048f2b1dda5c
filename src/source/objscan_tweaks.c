/*
 * objscan_tweaks.c: fields of CSV changed before they are converted, by the options that Redshift's COPY has for it.
 *
 * As there, blanks, empty fields and lengths are a matter of columns of character types alone. A length counts characters here.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "source/objscan_internal.h"

/* Is c white space? */
static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Whether a field has at least one byte, and nothing but white space. */
static bool
is_all_blank(const DmCsvField *field)
{
	for (int i = 0; i < field->len; i++)
	{
		if (!is_blank(field->data[i]))
			return false;
	}
	return field->len > 0;
}

/* Replaces each byte of a field that is no part of a valid character, in a copy in the current memory context. */
static void
replace_invalid(DmCsvField *field, char replacement)
{
	int encoding = GetDatabaseEncoding();

	field->data = memcpy(palloc(field->len + 1), field->data, field->len);
	for (int i = 0; i < field->len;)
	{
		int len = field->data[i] == '\0' ? -1 : pg_encoding_verifymbchar(encoding, field->data + i, field->len - i);

		if (len < 0)
			field->data[i] = replacement;
		i += Max(len, 1);
	}
}

/* Finds a target's field of the current record, changed as the options say. Returns true if it is NULL; it may be missing. */
bool
dm_objtweak_field(DmObjScan *scan, const DmObjTarget *target, DmCsvField **found)
{
	const DmCsvTweaks *tweaks = &scan->spec.tweaks;
	DmCsvField *field = &scan->changed_field; /* the record stays as it was read */

	scan->field = NULL;
	*found = field;
	if (target->field >= scan->record.nfields)
		return true;
	*field = scan->record.fields[target->field];
	if (scan->record.has_high && tweaks->replacement)
		replace_invalid(field, tweaks->replacement);
	else if (scan->record.has_high)
		dm_csv_field_recode(scan->csv, field);
	scan->field = field;
	if (!target->is_text)
		return dm_objscan_is_null(scan, target, field);
	if (tweaks->blanks_as_null && is_all_blank(field))
		return true;
	while (tweaks->trim_blanks && field->len > 0 && is_blank(field->data[field->len - 1]))
		field->len--;
	if (tweaks->truncate_columns && target->max_chars > 0)
		field->len = pg_mbcharcliplen(field->data, field->len, target->max_chars);
	return (tweaks->empty_as_null && field->len == 0) || dm_objscan_is_null(scan, target, field);
}
