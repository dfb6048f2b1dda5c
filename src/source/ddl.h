/*
 * ddl.h: foreign tables for objects, as the statement that creates them.
 */
#ifndef DM_DDL_H
#define DM_DDL_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "source/infer.h"

/*
 * CREATE FOREIGN TABLE for inferred columns, palloc'd, without a semicolon. name is quoted already; options are those given (DefElem
 * with text values), of which server and columns are left out.
 */
extern char *dm_ddl_make(const DmObjScanSpec *spec, const DmInferred *inferred, const char *name, List *options);

#endif
