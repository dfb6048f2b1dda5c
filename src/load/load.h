/*
 * load.h: loads a source into a table, objects exactly once.
 */
#ifndef DM_LOAD_H
#define DM_LOAD_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "store/store.h"

typedef enum DmLoadMode
{
	DM_LOAD_APPEND,
	DM_LOAD_REPLACE, /* the rows that were there are deleted first */
	DM_LOAD_UPSERT	 /* rows of known keys are updated in place */
} DmLoadMode;

typedef struct DmLoadSpec
{
	const char *source;
	Oid target;
	DmLoadMode mode;
	List *keys; /* of char*: of a unique index; upsert only */
	Jsonb *options;
	/* What COPY asks for and load() does not. */
	bool is_copy;
	bool no_ledger;		  /* neither look into the ledger nor write to it */
	List *columns;		  /* attnums to load, in this order; NIL for all that are not generated */
	List *force_null;	  /* of char*: columns whose null text is NULL in quotes, too */
	List *force_not_null; /* of char*: columns whose null text is a value */
	List *where;		  /* expressions over the target's columns (of relation 1) that must all be true of a row */
	bool freeze;		  /* rows are written frozen; the caller has checked that they may be */
} DmLoadSpec;

typedef struct DmLoadResult
{
	int64 files;
	int64 files_skipped;
	int64 rows;
	int64 rejected;
	int64 bytes;
	char *receipt;
} DmLoadResult;

/* options.c */
typedef enum DmOnChanged
{
	DM_CHANGED_ERROR,
	DM_CHANGED_LOAD,
	DM_CHANGED_SKIP
} DmOnChanged;

typedef struct DmLoadOptions
{
	bool force; /* load objects that were loaded already */
	DmOnChanged on_changed;
	Jsonb *source; /* the options that are the source's */
	List *format;  /* the same as DefElem with text values */
} DmLoadOptions;

extern void dm_load_options_parse(Jsonb *options, DmLoadOptions *parsed);
extern DmLoadMode dm_load_mode_parse(const char *mode);
extern const char *dm_load_mode_name(DmLoadMode mode);

/* target.c */
typedef struct DmLoadTarget DmLoadTarget;

extern DmLoadTarget *dm_load_target_open(const DmLoadSpec *spec);
extern const char *dm_load_target_name(const DmLoadTarget *target);
extern TupleDesc dm_load_target_wanted(const DmLoadTarget *target);
extern bool dm_load_target_is_bare(const DmLoadTarget *target);
extern void dm_load_target_begin(DmLoadTarget *target, const Bitmapset *present, bool null_is_missing);
extern void dm_load_target_put(DmLoadTarget *target, TupleTableSlot *slot);
extern int64 dm_load_target_finish(DmLoadTarget *target);
extern void dm_load_target_close(DmLoadTarget *target);

/* ledger.c */
typedef struct DmLedger DmLedger;

extern DmLedger *dm_ledger_open(Oid target);
extern List *dm_ledger_pick(DmLedger *ledger, List *objects, const DmLoadOptions *options);
extern int64 dm_ledger_forget(DmLedger *ledger, const char *url);
extern void dm_ledger_note(const DmObject *object, int64 rows, void *ledger);
extern void dm_ledger_write(DmLedger *ledger, const char *receipt);

/* load.c */
extern void dm_load(const DmLoadSpec *spec, DmLoadResult *result);

/* copy_hook.c */
extern void dm_copy_hook_init(void);

#endif
