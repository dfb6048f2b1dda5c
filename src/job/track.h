/*
 * track.h: which tables a run reads and writes.
 */
#ifndef DM_TRACK_H
#define DM_TRACK_H

#include "postgres.h"

#include "receipt/receipt.h"

/* From now on this process notes which tables its statements read and write. */
extern void dm_track_begin(void);
/* Adds to the receipt what was noted. */
extern void dm_track_report(DmReceipt *receipt);

#endif
