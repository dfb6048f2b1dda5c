/*
 * apply.h: what becomes of a key, written to current and history, or only counted.
 */
#ifndef DM_APPLY_H
#define DM_APPLY_H

#include "postgres.h"
#include "executor/tuptable.h"

#include "base/compat.h"
#include "cdc/cdc.h"

/* Keys shown as an example of each operation in a plan. */
#define DM_PLAN_SAMPLES 5

typedef enum DmFate
{
	DM_FATE_INSERT,
	DM_FATE_UPDATE,
	DM_FATE_DELETE,
	DM_FATE_UNCHANGED,
	DM_FATE_MISSING,
	DM_FATES
} DmFate;

typedef struct DmApply DmApply;

typedef struct DmApplySpec
{
	const DmDataset *dataset;
	const DmShape *shape;
	Relation current[DM_PARTS]; /* of the parts of the shape */
	Relation history[DM_PARTS];
	Datum effective; /* of the dataset's effective type */
	int64 merge_id;
	bool new_dataset; /* current was created in this transaction and is empty */
	bool dry_run;	  /* count and sample, write nothing */
	DmMergeCounts *counts;
} DmApplySpec;

extern DmApply *dm_apply_begin(const DmApplySpec *spec);
extern void dm_apply_insert(DmApply *apply, const Datum *values, const bool *nulls);
extern void dm_apply_update(DmApply *apply, const DmStoredRow *old, const Datum *values, const bool *nulls);
extern void dm_apply_refresh(DmApply *apply, const DmStoredRow *old, const Datum *values, const bool *nulls);
extern void dm_apply_unchanged(DmApply *apply, const DmStoredRow *old, const Datum *values, const bool *nulls);
extern void dm_apply_delete(DmApply *apply, const DmStoredRow *old);
extern void dm_apply_missing(DmApply *apply, const DmStoredRow *old);
extern void dm_apply_finish(DmApply *apply);
extern List **dm_apply_samples(DmApply *apply);

extern bool dm_column_equal(const DmShape *shape, int column, const Datum *values, const bool *nulls,
							const DmStoredRow *old);
extern void dm_raise_duplicate_key(const DmShape *shape, const Datum *values, const bool *nulls)
	pg_attribute_noreturn();

#endif
