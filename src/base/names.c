/*
 * names.c: lists of names (char*), to and from text[].
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/names.h"

/* True if the list holds the name. */
bool
dm_names_has(List *names, const char *name)
{
	ListCell *cell;

	foreach (cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

/* True if each of the lists holds all names of the other, in whatever order and however often. */
bool
dm_names_same(List *a, List *b)
{
	ListCell *cell;

	foreach (cell, a)
	{
		if (!dm_names_has(b, lfirst(cell)))
			return false;
	}
	foreach (cell, b)
	{
		if (!dm_names_has(a, lfirst(cell)))
			return false;
	}
	return true;
}

/* Returns the elements of a text[] in the current memory context. Raises 22004 on a NULL among them. */
List *
dm_names_from_array(Datum array)
{
	Datum *elements;
	bool *nulls;
	int count;
	List *names = NIL;

	deconstruct_array(DatumGetArrayTypePCopy(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a name in the array is NULL")));
		names = lappend(names, TextDatumGetCString(elements[i]));
	}
	return names;
}

/*
 * As dm_names_from_array, for columns that the argument of this name gives. Raises 22023 unless they are a list of one
 * dimension in which each stands once.
 */
List *
dm_names_from_argument(Datum array, const char *argument)
{
	ArrayType *given = DatumGetArrayTypeP(array);
	List *names = NIL;
	List *all;
	ListCell *cell;

	if (ARR_NDIM(given) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument %s must be a one-dimensional array", argument),
				 errhint("For example %s => '{id,name}'.", argument)));
	if (array_contains_nulls(given))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument %s must not hold NULL", argument)));
	all = dm_names_from_array(array);
	foreach (cell, all)
	{
		if (dm_names_has(names, lfirst(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument %s gives column \"%s\" twice", argument, (char *) lfirst(cell))));
		names = lappend(names, lfirst(cell));
	}
	return names;
}

/* Returns the names as a text[]. */
Datum
dm_names_to_array(List *names)
{
	Datum *elements = palloc(sizeof(Datum) * Max(list_length(names), 1));
	int count = 0;
	ListCell *cell;

	foreach (cell, names)
		elements[count++] = CStringGetTextDatum((char *) lfirst(cell));
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Returns the names with commas between them, for a message. */
char *
dm_names_join(List *names)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, names)
		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "", (char *) lfirst(cell));
	return out.data;
}

/* Returns the names quoted as identifiers, with commas between them, for a statement. */
char *
dm_names_quoted(List *names)
{
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach (cell, names)
		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "", quote_identifier(lfirst(cell)));
	return out.data;
}

/* Returns an operator as a statement names it, whatever the search_path: OPERATOR(schema.=). */
char *
dm_operator_quoted(Oid operator)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf(
		"OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}
