/*
 * target.h: what a merge's target may be, and which targets this session is merging.
 */
#ifndef DM_TARGET_H
#define DM_TARGET_H

#include "postgres.h"
#include "nodes/primnodes.h"

/* A merge that goes on in this session; it lives on the stack of dm_cdc_merge(). */
typedef struct DmRunning
{
	const RangeVar *target;
	const struct DmRunning *outer;
} DmRunning;

extern Oid dm_target_find(const RangeVar *target, const char *text);
extern void dm_target_check_kind(Oid relation, const char *text);
extern void dm_running_begin(DmRunning *running, const RangeVar *target);
extern void dm_running_end(const DmRunning *running);
extern void dm_running_check(const RangeVar *target);

#endif
