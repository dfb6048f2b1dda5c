/*
 * undo_part.h: takes a merge out of one part of a dataset: a current table and its history.
 */
#ifndef DM_UNDO_PART_H
#define DM_UNDO_PART_H

#include "postgres.h"

#include "cdc/cdc.h"

extern void dm_undo_part(const DmDataset *dataset, Oid current, Oid history, DmUndoCounts *counts);

#endif
