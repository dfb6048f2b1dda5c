/*
 * debezium_value.h: values of Debezium events to Datums.
 */
#ifndef DM_DEBEZIUM_VALUE_H
#define DM_DEBEZIUM_VALUE_H

#include "postgres.h"
#include "access/tupdesc.h"

#include "cdc/feed_options.h"
#include "source/json_value.h"

/* What a value in an event is encoded as. */
typedef enum DmDebeziumCode
{
	DM_CODE_PLAIN,	   /* as JSON has it, or as the column's type and the options tell */
	DM_CODE_DATE,	   /* days since 1970-01-01 */
	DM_CODE_TIME,	   /* units since midnight */
	DM_CODE_TIMESTAMP, /* units since 1970-01-01 */
	DM_CODE_DURATION,  /* units */
	DM_CODE_DECIMAL,   /* base64 of a big-endian two's complement number, with a scale */
	DM_CODE_BYTES	   /* base64 */
} DmDebeziumCode;

typedef struct DmDebeziumField
{
	DmDebeziumCode code;
	int64 units; /* of a second, for times */
	int scale;	 /* of a decimal */
} DmDebeziumField;

/* A column that values go to. */
typedef struct DmDebeziumColumn
{
	Form_pg_attribute attribute;
	Oid base_type;
	DmConverter converter;
	DmJsonColumn json;
} DmDebeziumColumn;

extern void dm_debezium_column_init(DmDebeziumColumn *column, Form_pg_attribute attribute);
extern bool dm_debezium_is_unavailable(const DmFeedOptions *options, const DmDebeziumColumn *column,
									   DmJsonSpan value);
extern Datum dm_debezium_convert(const DmFeedOptions *options, DmDebeziumColumn *column,
								 const DmDebeziumField *field, DmJsonSpan value, bool *isnull);
extern Datum dm_debezium_convert_units(DmDebeziumColumn *column, DmDebeziumCode code, int64 units,
									   DmJsonSpan value);

/* debezium_schema.c */
extern void dm_json_members(DmJsonSpan object, const char *const *names, DmJsonSpan *values, int count);
extern bool dm_json_member(DmJsonSpan object, const char *name, DmJsonSpan *value);
extern int dm_json_int(DmJsonSpan value);
extern bool dm_json_is(DmJsonSpan value, const char *text);
extern bool dm_debezium_schema_row(DmJsonSpan schema, bool is_key, DmJsonSpan *fields);
extern DmDebeziumField dm_debezium_schema_field(DmJsonSpan field);
extern TupleDesc dm_debezium_schema_columns(DmJsonSpan fields);

#endif
