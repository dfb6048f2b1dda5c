/*
 * reject.h: rows that could not be read, kept in datamill.rejects.
 */
#ifndef DM_REJECT_H
#define DM_REJECT_H

#include "postgres.h"
#include "nodes/pg_list.h"

typedef struct DmReject
{
	const char *object; /* uri */
	int64 row;			/* of data in the object, from 1 */
	int64 line;			/* of the object, from 1 */
	int64 offset;		/* of the record's first byte in the uncompressed object */
	const char *column; /* or NULL where no single column is at fault */
	int sqlstate;		/* as ereport packs it */
	const char *message;
	const char *record; /* its text, valid in the database's encoding */
	bool cut;			/* ... of which only the start is there */
} DmReject;

/* Raises 25006 in a read-only transaction and 0A000 in a parallel query: no row can be kept there. */
extern void dm_rejects_check_writable(void);
/* Keeps a list of DmReject* as the current user's, in the current transaction. */
extern void dm_rejects_write(List *rejects);

#endif
