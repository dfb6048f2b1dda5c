/*
 * s3_options.h: the options of datamill_s3, and a foreign table's options as a scan wants them.
 */
#ifndef DM_S3_OPTIONS_H
#define DM_S3_OPTIONS_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "source/objscan.h"

/* Checks options as CREATE and ALTER of servers, mappings, tables and columns give them, for the current user. */
extern void dm_s3_options_check(List *options, Oid catalog);
/* The spec of a foreign table without desc and needed: server, url, format, field names. For access as user. */
extern void dm_s3_table_spec(DmObjScanSpec *spec, Oid table, Oid user);

#endif
