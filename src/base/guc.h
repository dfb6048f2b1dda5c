/*
 * guc.h: the settings datamill.*, defined once in _PG_init.
 */
#ifndef DM_GUC_H
#define DM_GUC_H

#include "postgres.h"

extern char *dm_guc_default_server;	  /* server an s3:// URL uses when none is named; empty: the only usable one */
extern char *dm_guc_allowed_hosts;	  /* hosts that servers of users who are no superusers may be at; empty: any */
extern int dm_guc_prefetch_memory_kb; /* ceiling of the bytes fetched ahead by one scan */
extern int dm_guc_hash_bits;		  /* developer: bits of the key hash that are used, 1..64 */
extern int dm_guc_split_bytes;		  /* developer: bytes of a range of a parallel scan; 0: as it sees fit */
extern int dm_guc_csv_buffer_bytes;	  /* developer: first size of a CSV reader's buffer */

extern void dm_guc_init(void);

#endif
