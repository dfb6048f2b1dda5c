/*
 * convert.h: a field's text to a Datum of a column's type, fast for the common types, by the type's input function for
 * all others. Results are exactly what the input function gives, errors included.
 */
#ifndef DM_CONVERT_H
#define DM_CONVERT_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/uuid.h"

typedef struct DmConverter DmConverter;
/*
 * data[0..len) is not terminated. A pass-by-reference result lives until the converter's next call or the reset of the
 * memory context current at this one, whichever is first.
 */
typedef Datum (*DmConvertFn)(DmConverter *converter, const char *data, int len);

struct DmConverter
{
	DmConvertFn convert; /* call it directly: converter->convert(converter, data, len) */
	FmgrInfo input;
	Oid typioparam;
	int32 typmod;
	MemoryContext context; /* of the converter: where scratch grows */
	char *scratch;		   /* a terminated copy of the field, or a varlena result */
	Size scratch_size;
	pg_uuid_t uuid; /* a uuid result */
	/* Of a format, see dm_converter_set_format(). */
	Oid format_type;
	text *format;
	int64 epoch_unit; /* microseconds */
};

/* Prepares a converter for a column, in the current memory context. It does not move after its first use. */
extern void dm_converter_init(DmConverter *converter, Form_pg_attribute attribute);
/*
 * Has a converter of a date, timestamp or timestamptz read it in a format, in the current memory context: auto (what the type reads),
 * epochsecs, epochmillisecs, or a template of to_timestamp() that must fit exactly.
 */
extern void dm_converter_set_format(DmConverter *converter, Form_pg_attribute attribute, const char *format);

#endif
