/*
 * csv.h: CSV bytes to records of fields (RFC 4180 and what COPY adds to it).
 *
 * The reader owns one buffer that a record must fit in (MaxAllocSize at most); fields point into it and live until the
 * next read. Nothing is copied but fields with escapes in quotes, which are unescaped in place.
 */
#ifndef DM_CSV_H
#define DM_CSV_H

#include "postgres.h"

#include "stream/stream.h"

typedef struct DmCsvOptions
{
	char delimiter;	  /* ',' */
	char quote;		  /* '"' */
	char escape;	  /* same as quote by default */
	const char *null; /* unquoted text that means NULL; '' by default */
	int encoding;	  /* of the bytes; the database's by default */
	bool
		keep_unterminated; /* a quote that stays open ends the object with a record marked so, instead of an error */
	bool header;		   /* the first record of each object names the columns */
} DmCsvOptions;

typedef struct DmCsvField
{
	char *data; /* not terminated */
	int len;
	bool quoted; /* was in quotes: never NULL */
} DmCsvField;

typedef struct DmCsvReader
{
	DmCsvField *fields;
	int nfields;
	int64 record;	   /* 1 for the first record of the stream, the header included */
	int64 line;		   /* physical line on which this record starts, from 1 */
	uint64 offset;	   /* byte offset of this record in the (uncompressed) stream */
	bool unterminated; /* a quote of this record is never closed: it reaches to the end of the stream */
	bool has_high;	   /* this record holds a byte >= 0x80 or a NUL: it needs an encoding check */
	bool in_middle;	   /* reading began in the middle of the file: record and line count from there */
} DmCsvReader;

extern void dm_csv_options_init(DmCsvOptions *options);
/* Opens a reader in the current memory context. A UTF-8 byte order mark is skipped. */
extern DmCsvReader *dm_csv_open(DmStream *in, const DmCsvOptions *options);
/* Starts over on another stream with the same buffers; records, lines and offsets count from the start again. */
extern void dm_csv_reset(DmCsvReader *reader, DmStream *in);
/* Goes on elsewhere in the same file: the stream's first byte is at offset, and a record's first. */
extern void dm_csv_continue(DmCsvReader *reader, DmStream *in, uint64 offset);
/* Byte offset behind the record read last, its line's end included. */
extern uint64 dm_csv_next_offset(const DmCsvReader *reader);
/* Bytes behind the record read last that are in the buffer. */
extern Size dm_csv_unread(const DmCsvReader *reader);
/* The byte that ends lines, LF or CR; NUL as long as none has ended. */
extern char dm_csv_newline(const DmCsvReader *reader);
/* Reads the next record; false at the end. Raises 22P04 on an unterminated quote, with record, line and offset. */
extern bool dm_csv_read(DmCsvReader *reader);
/*
 * Checks a field's encoding and converts it to the database's (then palloc'd in the current memory context). To be
 * called for each field that is used, but only in records with has_high. Raises 22021.
 */
extern void dm_csv_field_recode(DmCsvReader *reader, DmCsvField *field);

#endif
