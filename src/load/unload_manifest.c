/*
 * unload_manifest.c: the list of files that Redshift's UNLOAD writes and its COPY reads.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"

#include "load/unload.h"

/* Appends the size and rows of a file, or of all. */
static void
append_meta(StringInfo out, int64 bytes, int64 rows)
{
	appendStringInfo(
		out, "{\"content_length\": " INT64_FORMAT ", \"record_count\": " INT64_FORMAT "}", bytes, rows);
}

/* Appends the columns of the files with their types. */
static void
append_schema(StringInfo out, TupleDesc columns)
{
	const char *comma = "";

	appendStringInfoString(out, ",\n \"schema\": {\"elements\": [");
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		if (attribute->attisdropped)
			continue;
		appendStringInfo(out, "%s\n  {\"name\": ", comma);
		escape_json(out, NameStr(attribute->attname));
		appendStringInfoString(out, ", \"type\": {\"base\": ");
		escape_json(out, format_type_with_typemod(attribute->atttypid, attribute->atttypmod));
		appendStringInfoString(out, "}}");
		comma = ",";
	}
	appendStringInfoString(out, "]}");
}

/*
 * Returns the manifest of `files` (DmUnloadFile*), palloc'd: their URLs, all mandatory, sizes and rows; verbose also the
 * columns and the sums.
 */
char *
dm_unload_manifest_make(const DmUnloadNames *names, TupleDesc columns, List *files, bool verbose)
{
	StringInfoData out;
	ListCell *cell;
	int64 bytes = 0;
	int64 rows = 0;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"entries\": [");
	foreach (cell, files)
	{
		const DmUnloadFile *file = lfirst(cell);

		appendStringInfoString(&out, foreach_current_index(cell) > 0 ? ",\n  {\"url\": " : "\n  {\"url\": ");
		escape_json(&out, psprintf("s3://%s/%s", names->bucket, file->key));
		appendStringInfoString(&out, ", \"mandatory\": true, \"meta\": ");
		append_meta(&out, file->bytes, file->rows);
		appendStringInfoChar(&out, '}');
		bytes += file->bytes;
		rows += file->rows;
	}
	appendStringInfoChar(&out, ']');
	if (verbose)
	{
		append_schema(&out, columns);
		appendStringInfoString(&out, ",\n \"meta\": ");
		append_meta(&out, bytes, rows);
		appendStringInfoString(&out, ",\n \"author\": {\"name\": \"datamill\", \"version\": \"1.0\"}");
	}
	appendStringInfoString(&out, "}\n");
	return out.data;
}
