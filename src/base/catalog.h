/*
 * catalog.h: access to the extension's own tables, on which no user has rights of their own.
 */
#ifndef DM_CATALOG_H
#define DM_CATALOG_H

#include "postgres.h"
#include "datatype/timestamp.h"

typedef struct DmCatalogScope
{
	Oid user;
	int security_context;
	int guc_level;
	bool has_snapshot; /* of its own, since the caller has none */
} DmCatalogScope;

/* Parameters of a statement, in the order in which they are added. */
#define DM_CATALOG_ARGS 32

typedef struct DmCatalogArgs
{
	int n;
	Oid types[DM_CATALOG_ARGS];
	Datum values[DM_CATALOG_ARGS];
	char nulls[DM_CATALOG_ARGS];
} DmCatalogArgs;

extern void dm_args_add(DmCatalogArgs *args, Oid type, Datum value, bool is_null);
extern void dm_args_text(DmCatalogArgs *args, const char *value);
extern void dm_args_int8(DmCatalogArgs *args, int64 value);
extern void dm_args_int4(DmCatalogArgs *args, int32 value);
extern void dm_args_time(DmCatalogArgs *args, TimestampTz value);
extern void dm_args_oid(DmCatalogArgs *args, Oid value);
extern void dm_catalog_keep_plans(void);
extern uint64 dm_catalog_run(const char *sql, const DmCatalogArgs *args);
/* Of the rows of the last statement: whether a value is NULL, and the value. Columns count from 1. */
extern Datum dm_catalog_value(uint64 row, int column, bool *is_null);
extern char *dm_catalog_text(uint64 row, int column);
extern int64 dm_catalog_int8(uint64 row, int column);
extern TimestampTz dm_catalog_time(uint64 row, int column);

extern void dm_catalog_begin(DmCatalogScope *scope);
extern void dm_catalog_end(DmCatalogScope *scope);
extern uint64 dm_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);
extern Oid dm_catalog_extension(void);

#endif
