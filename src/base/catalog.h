/*
 * catalog.h: access to the extension's own tables, on which no user has rights of their own.
 */
#ifndef DM_CATALOG_H
#define DM_CATALOG_H

#include "postgres.h"

typedef struct DmCatalogScope
{
	Oid user;
	int security_context;
	int guc_level;
} DmCatalogScope;

extern void dm_catalog_begin(DmCatalogScope *scope);
extern void dm_catalog_end(DmCatalogScope *scope);
extern uint64 dm_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);
extern Oid dm_catalog_extension(void);

#endif
