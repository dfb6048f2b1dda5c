/*
 * copy.h: what the files of COPY share; for this folder only.
 */
#ifndef DM_COPY_H
#define DM_COPY_H

#include "postgres.h"
#include "nodes/parsenodes.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

typedef struct DmCopyOptions
{
	Jsonb *json;		  /* those that load() or unload() have, too */
	List *force_null;	  /* of char* */
	List *force_not_null; /* of char* */
	bool freeze;
	bool ledger;
} DmCopyOptions;

/* copy_options.c */
extern void dm_copy_options_read(const CopyStmt *statement, const char *server, DmCopyOptions *options);
extern const char *dm_copy_options_server(const CopyStmt *statement);

/* copy_where.c */
extern List *dm_copy_where(Relation rel, Node *where, const char *text);
extern void dm_copy_check_freeze(Relation rel);

#endif
