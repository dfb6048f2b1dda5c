/*
 * receipt.h: the record of what an operation read and wrote.
 *
 * 1. At most one receipt is open in a backend; scans add themselves to it (dm_receipt_input does nothing when none is).
 * 2. A receipt is written in the transaction of its rows, or not at all.
 * 3. Its id is deterministic: sha256 over job, definition, sorted inputs and arguments. Same inputs, same id.
 */
#ifndef DM_RECEIPT_H
#define DM_RECEIPT_H

#include "postgres.h"

typedef struct DmReceiptInput
{
	const char *uri; /* s3://bucket/key, or a relation's qualified name */
	const char *etag; /* NULL where there is none */
	const char *version;
	const char *sha256; /* 64 hex digits of the bytes as stored, or NULL if not all were read */
	int64 size;			/* bytes as stored, -1 unknown */
	int64 rows;			/* rows read from it */
} DmReceiptInput;

/* True while a receipt is open: scans then hash what they read. */
extern bool dm_receipt_is_open(void);
/* Copies the input into the open receipt; does nothing when none is open. */
extern void dm_receipt_input(const DmReceiptInput *input);

#endif
