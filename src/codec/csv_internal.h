/*
 * csv_internal.h: the state of the CSV reader, for the files of this folder; what it keeps to is said in csv.c.
 */
#ifndef DM_CSV_INTERNAL_H
#define DM_CSV_INTERNAL_H

#include "postgres.h"

#include "utils/memutils.h"

#include "codec/csv.h"
#include "codec/csv_scan.h"

/* Most fields a record may have: far above a table's columns, to bound what a damaged object can ask for. */
#define DM_CSV_MAX_FIELDS 65536
/* Room behind the data, so that a block can be loaded from any byte of it. */
#define DM_CSV_PADDING DM_CSV_BLOCK
#define DM_CSV_MAX_BUFFER (MaxAllocSize - DM_CSV_PADDING)

typedef enum DmCsvEol
{
	DM_CSV_EOL_UNKNOWN, /* before the end of the first line */
	DM_CSV_EOL_LF,		/* LF, with or without a CR before it */
	DM_CSV_EOL_CR
} DmCsvEol;

/* Where the scan stands; copied to locals in the innermost loop. */
typedef struct DmCsvScan
{
	uint64 mask;	 /* the bytes of block that matter and are not yet dealt with */
	char *block;	 /* first byte of the last block scanned */
	char *next;		 /* first byte not scanned */
	char *end;		 /* end of the data in the buffer */
	char *field;	 /* start of the current field */
	int nfields;	 /* complete ones of this record */
	bool block_high; /* the last block holds a NUL or a byte that is not ASCII */
	bool high;		 /* ... or another block of this record does */
} DmCsvScan;

typedef struct DmCsvState
{
	DmCsvReader head;
	DmCsvScan scan;
	DmCsvPattern pattern;
	DmCsvOptions options;
	DmCsvEol eol;
	int fields_size; /* how many head.fields has room for */
	DmStream *in;
	bool at_end; /* the stream has no more */
	char *buffer;
	Size buffer_size;	  /* without the padding */
	uint64 buffer_offset; /* of the buffer's first byte in the stream */
	char *record;		  /* start of the current record */
	char *opened;		  /* the quote that is open, or the field's last one */
	int64 next_line;	  /* line after what was read so far */
} DmCsvState;

/* csv.c: where the current record is, palloc'd, for messages. */
extern char *dm_csv_place(const DmCsvState *csv);
/* csv_buffer.c: gets more bytes; reads the first ones. */
extern bool dm_csv_more(DmCsvState *csv);
extern void dm_csv_begin(DmCsvState *csv);
/* csv_special.c: deals with all but delimiters and plain newlines. */
extern bool dm_csv_special(DmCsvState *csv, char *at);

/* Scans the next block; there are bytes to scan. Bits past the end of the data are cleared. */
static pg_attribute_always_inline void
dm_csv_scan_next(DmCsvScan *scan, const DmCsvNeedles *needles)
{
	Size left = scan->end - scan->next;

	scan->block = scan->next;
	scan->mask = dm_csv_scan_block(needles, scan->block, &scan->block_high);
	scan->high |= scan->block_high;
	if (likely(left >= DM_CSV_BLOCK))
		scan->next += DM_CSV_BLOCK;
	else
	{
		scan->mask &= (UINT64CONST(1) << left) - 1;
		scan->next = scan->end;
	}
}

/* Adds the bytes from the field's start up to end as an unquoted field. There is room for it. */
static pg_attribute_always_inline void
dm_csv_add_field(DmCsvScan *scan, DmCsvField *fields, char *end)
{
	DmCsvField *field = &fields[scan->nfields++];

	field->data = scan->field;
	field->len = (int) (end - scan->field);
	field->quoted = false;
}

#endif
