/*
 * cdc.h: datasets (a current and a history table) and merging a source into one.
 */
#ifndef DM_CDC_H
#define DM_CDC_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "cdc/settings.h"
#include "rows/row_ops.h"

struct DmApply;

/* A type that bounds of versions may have. */
typedef struct DmEffectiveType
{
	Oid type;
	const char *name;	  /* as the catalog and options spell it */
	const char *sql_type; /* qualified */
	const char *sql_range;
} DmEffectiveType;

/* The views of a dataset: versions, changes, versions with the sensitive columns. */
#define DM_VIEWS 3

/* What a dataset is, as stored in datamill.dataset_catalog. */
typedef struct DmDataset
{
	int64 id;
	Oid current;
	Oid history;
	Oid sensitive; /* table of the sensitive columns, one row a row of current; InvalidOid without any */
	Oid sensitive_history;
	Oid views[DM_VIEWS]; /* as they were made: those that others dropped are not there any more */
	DmSettings settings;
	Jsonb *stored_settings; /* what they were made from */
	TimestampTz
		pruned_through; /* history lacks versions that ended by then (a date: midnight in UTC), or DT_NOBEGIN */
	const char *name;	/* qualified and quoted, for messages and statements */
	List *keys;			/* of char* */
	List *untracked;	/* of char*; those that are of kind 1 among them */
	List *absent;		/* of char*: columns that the source of this merge lacks, by leave of on_missing_column */
	const char *distributed_by; /* a merge into shards of Citus: the column by whose hash; else NULL */
	char *narrower;		/* a column narrower than what this merge's source gives, with both types; or NULL */
	bool close_deletes; /* a key that is missing from a full source ends its version */
	Oid effective_type; /* DATEOID or TIMESTAMPTZOID; of a feed, the type of its sequence */
	Oid feed;			/* table of a feed's points; InvalidOid for other datasets */
	const char *sequence_column;  /* of a feed's source */
	const char *operation_column; /* of a feed's source, or NULL: every row is an upsert */
	List *delete_values;		  /* of char*: operations that are deletes */
	int64 last_merge;			  /* 0 when there was none */
	Datum last_effective;		  /* of the effective type; meaningless when there was no merge */
	int64 live_rows;			  /* rows of current after the last merge, as it counted them */
} DmDataset;

/* The options of a merge that are not the source's. */
typedef struct DmMergeOptions
{
	bool has_untracked;
	List *untracked; /* of char* */
	bool has_deletes;
	bool close_deletes;
	bool allow_empty;
	Oid effective_type; /* InvalidOid if not given */
	const char *scope;	/* SQL condition on current, or NULL */
	double max_delete_percent;
	DmSettings settings;   /* from the options, defaults where they do not say */
	Jsonb *given_settings; /* the options among them that are settings */
} DmMergeOptions;

typedef struct DmMergeSpec
{
	const char *target;
	const char *source;
	List *keys; /* of char*; NIL if not given */
	TimestampTz effective;
	const char *mode;
	Jsonb *options;
} DmMergeSpec;

typedef struct DmMergeCounts
{
	int64 inserted;
	int64 updated;
	int64 deleted;
	int64 unchanged;
	int64 missing;
	int64 rejected;
	int64 refreshed; /* unchanged rows whose untracked columns were brought up to date */
} DmMergeCounts;

typedef struct DmUndoCounts
{
	int64 merge_id; /* of the merge that was taken back */
	int64 removed;	/* versions that it had made */
	int64 restored; /* versions that it had ended */
} DmUndoCounts;

/* What is kept of views while they are made anew. */
typedef struct DmKeptViews
{
	char *names[DM_VIEWS];	 /* qualified and quoted; NULL for one that was not there */
	char *options[DM_VIEWS]; /* WITH (...), or empty */
	List *statements;		 /* of char*: give them their owners, grants and comments back */
} DmKeptViews;

/* The tables that hold a dataset's columns between them: the plain ones, and those of the sensitive columns. */
#define DM_PARTS 2

/*
 * Where each column of a dataset is: indexes from 0 into the source's row (`wanted`), attribute numbers of the tables.
 * A shape is of one part (a current and a history table), or of a dataset's row as a whole, which a merge has.
 */
typedef struct DmShape
{
	TupleDesc wanted; /* what the source gives: attributes of current, not dropped, not generated, not added ones */
	AttrNumber *current_attribute; /* attribute number in current of each wanted column */
	int *part_of;				   /* of a whole: the part whose current table has it */
	int *keys;
	int nkeys;
	int *tracked; /* compared: neither key nor untracked nor kept */
	int ntracked;
	int *untracked;
	int nuntracked;
	int *kept; /* keep their first value, or that which they had before this merge */
	int nkept;
	int *hashed; /* keys and tracked, in the order of wanted */
	int nhashed;
	AttrNumber operation; /* in current */
	AttrNumber made_by; /* in current: what made the version, where operation is what the last merge found; or 0 */
	AttrNumber start;
	AttrNumber key_hash;
	AttrNumber row_hash;
	AttrNumber merge;
	AttrNumber *previous;	  /* in current, of each wanted column: the column that keeps its value before, or 0 */
	AttrNumber *history_from; /* for each attribute of history (index from 0): current's attribute number, or 0 */
	AttrNumber history_end;	  /* in history */
	AttrNumber history_ended_by;
	AttrNumber history_ended_merge;
	DmRowOps *ops; /* of the wanted columns */
	int nparts;	   /* of a whole; a part has itself */
	struct DmShape *parts[DM_PARTS];
	int *from; /* of a part: the whole's index of each wanted column */
} DmShape;

/* A stored row of a whole: one slot a part. */
typedef struct DmStoredRow
{
	TupleTableSlot *slots[DM_PARTS];
} DmStoredRow;

/* dataset.c */
extern const DmEffectiveType *dm_effective_type(Oid type);
extern const DmEffectiveType *dm_effective_type_named(const char *name);
extern const char *dm_effective_type_names(void);
extern Datum dm_effective_make(Oid type, TimestampTz moment);
extern RangeVar *dm_dataset_parse(const char *target);
extern void dm_dataset_lock(const RangeVar *target);
extern bool dm_dataset_find(Oid current, DmDataset *dataset);
extern void dm_dataset_require(const char *target, const RangeVar *name, DmDataset *dataset);
extern void dm_dataset_refresh_views(const DmDataset *dataset);
extern void dm_dataset_set(const DmDataset *dataset);
extern void dm_dataset_store(DmDataset *dataset);
extern const char *dm_name_quoted(const DmDataset *dataset, DmName name);
extern bool dm_name_is_added(const DmDataset *dataset, const char *name);
extern char *dm_relation_name(Oid relid);
extern char *dm_keys_equal(const DmDataset *dataset, const char *a, const char *b, bool numbered);
extern int64 dm_dataset_next_merge(void);
extern int64 dm_dataset_next_merge_above(int64 least);
extern void dm_dataset_check_rights(const DmDataset *dataset, bool read_only);
extern void dm_dataset_check_tables(const DmDataset *dataset);
extern void dm_dataset_check_policies(Oid relid);
extern void dm_dataset_check_undo_rights(const DmDataset *dataset);
extern void dm_dataset_check_sensitive(const DmDataset *dataset);

/* dataset_ddl.c */
extern void dm_dataset_create(const RangeVar *target, TupleDesc columns, DmDataset *dataset);
extern void dm_dataset_check_columns(TupleDesc columns, const DmDataset *dataset);
extern char *dm_previous_definitions(const char *prefix, TupleDesc columns, const DmDataset *dataset);
extern void dm_dataset_complete(const RangeVar *target, DmDataset *dataset, bool is_former);
extern Oid dm_dataset_sibling(const RangeVar *target, const char *suffix);
extern void dm_dataset_add_key(const DmDataset *dataset);
extern void dm_dataset_index_history(const DmDataset *dataset, const DmSettings *before);
extern void dm_dataset_history_create(const RangeVar *target, const char *suffix, TupleDesc columns,
									  const DmDataset *dataset);
extern char *dm_column_type(Form_pg_attribute column);
extern void dm_dataset_execute(const char *sql);

/* dataset_views.c */
extern void dm_dataset_views_create(DmDataset *dataset, const DmKeptViews *kept);
extern void dm_dataset_views_lock(const DmDataset *dataset);
extern void dm_dataset_views_find(DmDataset *dataset);
extern void dm_dataset_views_replace(DmDataset *dataset);
extern DmKeptViews *dm_dataset_views_drop(const DmDataset *dataset);
extern Oid dm_dataset_view(const DmDataset *dataset, int which);

/* create.c */
extern void dm_dataset_define(const RangeVar *target, TupleDesc columns, List *keys, const DmMergeOptions *options,
							  DmDataset *dataset);
extern void dm_dataset_check_settings(const DmDataset *dataset, List *columns);

/* shape.c */
extern DmShape *dm_shape_make(const DmDataset *dataset, Relation current, Relation history);
extern List *dm_dataset_columns(const DmDataset *dataset);
extern DmShape *dm_shape_join(DmShape *plain, DmShape *sensitive);
extern Bitmapset *dm_shape_updated(const DmShape *part);
extern AttrNumber dm_shape_attribute(const DmDataset *dataset, Relation rel, const char *name, Oid type);
extern char *dm_shape_key_json(const DmShape *shape, const Datum *values, const bool *nulls);

/* options.c */
extern DmMergeOptions *dm_merge_options_parse(Jsonb *options, Jsonb **source_options);

/* scope.c */
extern ExprState *dm_scope_prepare(const char *scope, Relation current, EState *estate);
extern bool dm_scope_covers(ExprState *scope, ExprContext *context, TupleTableSlot *slot);

/* merge.c */
extern char *dm_cdc_merge(const DmMergeSpec *spec, DmMergeCounts *counts);
extern List **dm_cdc_plan(const DmMergeSpec *spec, DmMergeCounts *counts);

/* undo.c */
extern char *dm_cdc_undo(const char *target, DmUndoCounts *counts);
extern char *dm_cdc_restate(const DmMergeSpec *spec, DmMergeCounts *counts);

#endif
