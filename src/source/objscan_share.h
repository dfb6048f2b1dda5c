/*
 * objscan_share.h: one scan's work in shared memory, for the processes of a parallel query.
 */
#ifndef DM_OBJSCAN_SHARE_H
#define DM_OBJSCAN_SHARE_H

#include "postgres.h"

#include "source/objscan.h"

typedef struct DmObjShare DmObjShare;

/* Bytes of shared memory that a scan's objects take, for so many processes beside the one that listed them. */
extern Size dm_objshare_size(const DmObjScan *scan, int nworkers);
/* Fills such memory: the objects are there to be taken. */
extern void dm_objshare_init(DmObjShare *share, const DmObjScan *scan, int nworkers);
/* All of it is there to be taken again. No process may be taking. */
extern void dm_objshare_reset(DmObjShare *share);
/* Nothing is there to be taken. */
extern void dm_objshare_close(DmObjShare *share);
/* From now on, before its first row, a scan reads what it takes from there. member: 0 for the process that listed, else from 1. */
extern void dm_objscan_join(DmObjScan *scan, DmObjShare *share, int member);
/* Ends that: the shared memory is not used any more. Member 0 gets the others' statistics; the others leave theirs. */
extern void dm_objscan_leave(DmObjScan *scan);

#endif
