/*
 * infer_sql.c: what is inferred of a source, as SQL calls it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "base/options.h"
#include "source/ddl.h"
#include "source/infer.h"
#include "source/kind.h"
#include "source/sniff.h"
#include "source/source.h"

PG_FUNCTION_INFO_V1(dm_infer_schema_sql);
PG_FUNCTION_INFO_V1(dm_foreign_table_ddl_sql);

#define COLUMNS 6

/* Puts one row of the result. */
static void
put_row(ReturnSetInfo *result, const DmInferredColumn *column, bool complete)
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS] = {false};

	values[0] = CStringGetTextDatum(column->name);
	values[1] = CStringGetTextDatum(format_type_with_typemod(column->type, column->typmod));
	nulls[2] = column->rows == 0;
	values[2] = Float8GetDatum(nulls[2] ? 0 : (double) column->nulls / (double) column->rows);
	nulls[3] = column->example == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(column->example);
	values[4] = CStringGetTextDatum(column->doubt					   ? "unsure"
									: complete || column->is_partition ? "certain"
																	   : "likely");
	nulls[5] = column->doubt == NULL;
	values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(column->doubt);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Describes the columns of a relation or query: they have types. */
static void
put_offered(ReturnSetInfo *result, TupleDesc offered)
{
	for (int i = 0; i < offered->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(offered, i);
		DmInferredColumn column = {
			.name = NameStr(attribute->attname), .type = attribute->atttypid, .typmod = attribute->atttypmod};

		if (!attribute->attisdropped)
			put_row(result, &column, true);
	}
}

/* Finds out how the objects of a URL are written and what columns they have; NULL if there are none. Returns the options, too. */
static DmInferred *
infer(const char *url, Jsonb *options, DmObjScanSpec *spec, List **list)
{
	char *doubt;

	*list = dm_source_objects_spec(url, options, spec);
	spec->objects = dm_objscan_list(spec);
	spec->listed = true;
	doubt = dm_sniff(spec, *list, spec->objects);
	if (doubt)
		ereport(NOTICE,
				(errmsg("the first record of \"%s\" is taken for a header", spec->url),
				 errdetail("It cannot be told: %s.", doubt),
				 errhint("Give the option header.")));
	return dm_infer(spec, dm_option_get(*list, "columns"));
}

/* infer_schema(source text, options jsonb) returns a row a column. */
PGDLLEXPORT Datum
dm_infer_schema_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb *options = PG_GETARG_JSONB_P(1);

	InitMaterializedSRF(fcinfo, 0);
	if (dm_source_is_url(given))
	{
		DmObjScanSpec spec;
		List *list;
		DmInferred *inferred = infer(given, options, &spec, &list);

		for (int i = 0; inferred && i < inferred->ncolumns; i++)
			put_row(result, &inferred->columns[i], inferred->complete);
	}
	else
	{
		DmSource *source = dm_source_open(given, options);

		put_offered(result, source->offered);
		dm_source_close(source);
	}
	return (Datum) 0;
}

/* Returns a qualified name as SQL takes it, quoted where it must be. */
static char *
quote_name(text *name)
{
	RangeVar *range = makeRangeVarFromNameList(textToQualifiedNameList(name));

	return pstrdup(quote_qualified_identifier(range->schemaname, range->relname));
}

/* foreign_table_ddl(source text, name text, options jsonb) returns the statement. */
PGDLLEXPORT Datum
dm_foreign_table_ddl_sql(PG_FUNCTION_ARGS)
{
	char *url = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *name = quote_name(PG_GETARG_TEXT_PP(1));
	DmObjScanSpec spec;
	List *options;
	DmInferred *inferred = infer(url, PG_GETARG_JSONB_P(2), &spec, &options);

	if (!inferred)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("no object matches \"%s\"", spec.url),
				 errhint("Without an object there are no columns to find.")));
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s;", dm_ddl_make(&spec, inferred, name, options))));
}
