/*
 * replay.h: runs that read again what an earlier run read.
 */
#ifndef DM_REPLAY_H
#define DM_REPLAY_H

#include "postgres.h"

#include "receipt/receipt.h"

/* Queues a run of the job that wrote a receipt; returns its id. */
extern int64 dm_run_replay(const char *receipt, bool force);

/* In the process of the run: from now on only objects are read that the earlier run read, as they were. */
extern void dm_replay_begin(int64 replay_of);
/* When its receipts are written: raises DM001 unless all of those objects were read. */
extern void dm_replay_check(int64 replay_of, int64 run_id);

/* At the end of a run: keeps what it read, if datamill.archive says where; first notes it in the receipt, which is not written yet. */
extern void dm_archive_note(DmReceipt *receipt);
extern void dm_archive_run(int64 run_id);

#endif
