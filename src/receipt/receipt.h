/*
 * receipt.h: the record of what an operation read and wrote.
 *
 * 1. Scans add what they read to the innermost open receipt of the backend; when none is open, nothing is recorded.
 * 2. A receipt is written in the transaction of its rows, or not at all.
 * 3. Its id is deterministic: sha256 over job, definition, sorted inputs and arguments. Same inputs, same id.
 */
#ifndef DM_RECEIPT_H
#define DM_RECEIPT_H

#include "postgres.h"

typedef struct DmReceiptInput
{
	const char *uri;  /* s3://bucket/key, or a relation's qualified name */
	const char *etag; /* NULL where there is none */
	const char *version;
	const char *sha256;	  /* 64 hex digits of the bytes as stored, or NULL if not all were read */
	int64 size;			  /* bytes as stored, -1 unknown */
	int64 rows;			  /* rows read from it, -1 unknown */
	const char *server;	  /* through which it was read, or NULL */
	const char *metadata; /* a JSON text of what else is known, or NULL */
} DmReceiptInput;

typedef struct DmReceiptOutput
{
	const char *uri;	/* a relation's qualified name, or s3://bucket/key */
	const char *counts; /* a JSON object of what was done to it, for example {"inserted": 3} */
	/* Of an object: */
	const char *etag;
	const char *sha256; /* 64 hex digits of the bytes as stored; NULL: it is no object */
	int64 size;			/* bytes as stored */
	const char *version;
	bool is_told;		  /* by the user: whoever watches for outputs does not hear of it */
	const char *server;	  /* through which it was written, or NULL */
	const char *metadata; /* a JSON text of what else is known, or NULL */
} DmReceiptOutput;

typedef struct DmReceipt DmReceipt;

extern DmReceipt *dm_receipt_begin(const char *kind, const char *definition, const char *arguments);
extern void dm_receipt_set_code(DmReceipt *receipt, const char *sha256);
extern void dm_receipt_add_input(DmReceipt *receipt, const DmReceiptInput *input);
extern void dm_receipt_metadata(DmReceipt *receipt, const char *key, const char *value);
extern void dm_receipt_output(DmReceipt *receipt, const DmReceiptOutput *output);
extern char *dm_receipt_write(DmReceipt *receipt);
/* Has nothing been recorded? */
extern bool dm_receipt_is_empty(const DmReceipt *receipt);
/* All receipts written by this process from now on belong to a run of a job. */
extern void dm_receipt_set_run(int64 run_id);
/* The receipt of that run, which is open as long as the run goes on; NULL outside of runs. */
extern void dm_receipt_set_run_receipt(DmReceipt *receipt);
extern DmReceipt *dm_receipt_of_run(void);
extern bool dm_receipt_run_records(void);

/* Called in a catalog scope for each receipt that names outputs, when it is stored: with its id and the outputs as a JSON array. */
typedef void (*DmReceiptWritten)(const char *id, const char *outputs);
extern DmReceiptWritten dm_receipt_written_hook;

/* For scans: true while a receipt is open, and its input. */
extern bool dm_receipt_is_open(void);
/* Number of the innermost open receipt, for rejected rows that it is to own when it is written; 0 when none is open. */
extern int64 dm_receipt_reject_serial(void);
extern void dm_receipt_input(const DmReceiptInput *input);
/* Counts a row that a scan rejected under the innermost open receipt; and how many there are, 0 when none is open. */
extern void dm_receipt_reject(void);
extern int64 dm_receipt_rejected(void);

/* relation.c: the name of a table in receipts, palloc'd; NULL if they leave it out. */
extern char *dm_receipt_relation_name(Oid oid);

#endif
