/*
 * citus.h: datasets whose tables Citus distributes by a key.
 */
#ifndef DM_CITUS_H
#define DM_CITUS_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "cdc/cdc.h"
#include "cdc/match.h"

/* The tables of one merge, as statements spell them, and what the statements are made from. */
typedef struct DmCitusNames
{
	const DmDataset *dataset;
	const DmShape *shape;
	Relation current;
	Relation history;
	const char *stage;	 /* rows of the source with their hashes */
	const char *changes; /* what is to be done: rows that are new or changed, keys that are gone */
	const char *start;	 /* the effective date, as a literal */
	int64 merge_id;		 /* of an undo: the merge that is taken back; 0 for a plan */
} DmCitusNames;

typedef struct DmCitusMerge DmCitusMerge;

/* citus.c */
extern void dm_citus_refuse(Oid relid);
extern const char *dm_citus_column(Oid relid);
extern void dm_citus_check(const DmDataset *dataset);
extern void dm_citus_colocate(const DmDataset *dataset);
extern void dm_citus_distribute(Oid relid, const DmDataset *dataset);

/* citus_sql.c */
extern char *dm_citus_stage_sql(const DmCitusNames *names);
extern char *dm_citus_changes_sql(const DmCitusNames *names);
extern char *dm_citus_duplicate_sql(const DmCitusNames *names);
extern char *dm_citus_find_changed_sql(const DmCitusNames *names);
extern char *dm_citus_find_missing_sql(const DmCitusNames *names, const char *scope);
extern char *dm_citus_count_sql(const DmCitusNames *names, char operation);
extern char *dm_citus_close_sql(const DmCitusNames *names);
extern char *dm_citus_delete_sql(const DmCitusNames *names);
extern char *dm_citus_update_sql(const DmCitusNames *names);
extern char *dm_citus_refresh_sql(const DmCitusNames *names);
extern char *dm_citus_insert_sql(const DmCitusNames *names);
extern char *dm_citus_sample_sql(const DmCitusNames *names, char operation, int limit);
extern char *dm_citus_rows_sql(const DmCitusNames *names);
extern char *dm_citus_rehash_sql(const DmCitusNames *names);
extern char *dm_citus_ended_sql(const DmCitusNames *names);
extern char *dm_citus_made_sql(const DmCitusNames *names, const char *what);
extern char *dm_citus_restore_sql(const DmCitusNames *names);
extern char *dm_citus_forget_sql(const DmCitusNames *names);

/* citus_merge.c */
extern DmCitusMerge *dm_citus_merge_begin(const DmMatcherSpec *spec, const char *scope);
extern void dm_citus_merge_row(TupleTableSlot *slot, void *merge);
extern void dm_citus_merge_keep_missing(DmCitusMerge *merge);
extern int64 dm_citus_merge_finish(DmCitusMerge *merge);
extern List **dm_citus_merge_samples(DmCitusMerge *merge);
extern int64 dm_citus_rehash(const DmDataset *dataset, Datum effective, int64 merge_id);
extern void dm_citus_undo(const DmDataset *dataset, DmUndoCounts *counts);

#endif
