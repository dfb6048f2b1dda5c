/*
 * populate.c: JSON to a Datum of any type, by way of json_populate_record().
 *
 * The function behind it that takes any type is not exported before PostgreSQL 16. So the value becomes the only member of an
 * object, for a record type of one column; which record that is, json_populate_record() learns from its first argument.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "rows/populate.h"

#define MEMBER_START "{\"v\":"

struct DmPopulator
{
	FmgrInfo function; /* keeps what it looks up in its own fn_extra */
	Datum base;		   /* a record whose only column is NULL */
	TupleDesc desc;
};

/* Prepares for a column's type, in the current memory context. */
DmPopulator *
dm_populator_make(Form_pg_attribute attribute)
{
	DmPopulator *populator = palloc0(sizeof(DmPopulator));
	Datum value = (Datum) 0;
	bool isnull = true;
	List *arguments = list_make2(makeNullConst(RECORDOID, -1, InvalidOid), makeNullConst(JSONOID, -1, InvalidOid));

	populator->desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(populator->desc, 1, "v", attribute->atttypid, attribute->atttypmod, 0);
	populator->desc = BlessTupleDesc(populator->desc);
	populator->base = heap_copy_tuple_as_datum(heap_form_tuple(populator->desc, &value, &isnull), populator->desc);
	fmgr_info(F_JSON_POPULATE_RECORD, &populator->function);
	fmgr_info_set_expr(
		(Node *) makeFuncExpr(
			F_JSON_POPULATE_RECORD, RECORDOID, arguments, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
		&populator->function);
	return populator;
}

/* The value of the JSON text data[0..len), in the current memory context. */
Datum
dm_populate(DmPopulator *populator, const char *data, int len, bool *isnull)
{
	Size size = VARHDRSZ + strlen(MEMBER_START) + len + 1;
	text *json = palloc(size);
	HeapTupleData tuple;
	Datum value;

	SET_VARSIZE(json, size);
	memcpy(VARDATA(json), MEMBER_START, strlen(MEMBER_START));
	memcpy(VARDATA(json) + strlen(MEMBER_START), data, len);
	VARDATA(json)[strlen(MEMBER_START) + len] = '}';
	tuple.t_data =
		DatumGetHeapTupleHeader(FunctionCall2(&populator->function, populator->base, PointerGetDatum(json)));
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	heap_deform_tuple(&tuple, populator->desc, &value, isnull);
	return value;
}
