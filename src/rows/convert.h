/*
 * convert.h: a field's text to a Datum of a column's type, fast for the common types, by the type's input function for
 * all others. Results are exactly what the input function gives, errors included.
 */
#ifndef DM_CONVERT_H
#define DM_CONVERT_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "fmgr.h"

typedef struct DmConverter DmConverter;
/* data[0..len) is not terminated. Pass-by-reference results are palloc'd in the current memory context. */
typedef Datum (*DmConvertFn)(DmConverter *converter, const char *data, int len);

struct DmConverter
{
	DmConvertFn convert; /* call it directly: converter->convert(converter, data, len) */
	FmgrInfo input;
	Oid typioparam;
	int32 typmod;
};

extern void dm_converter_init(DmConverter *converter, Form_pg_attribute attribute);

#endif
