/*
 * record_writer.h: rows to the records of a file: CSV as COPY TO writes it, JSON as row_to_json does.
 *
 * A writer appends to the caller's buffer and knows nothing of where that goes. Dropped attributes of its columns
 * are left out.
 */
#ifndef DM_RECORD_WRITER_H
#define DM_RECORD_WRITER_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"

typedef struct DmRecordWriter DmRecordWriter;

struct DmRecordWriter
{
	/* Appends what stands before the first record of a file, and after the last one. */
	void (*begin)(DmRecordWriter *writer, StringInfo out);
	void (*end)(DmRecordWriter *writer, StringInfo out);
	/* Appends a record. Scratch goes to the current memory context, which the caller resets. */
	void (*record)(DmRecordWriter *writer, const Datum *values, const bool *nulls, StringInfo out);
	int attribute; /* index of the column whose value is being written, for error contexts; -1: none */
};

typedef struct DmCsvWriteOptions
{
	char delimiter;
	char quote;
	char escape;
	const char *null;
	int encoding; /* of the bytes written */
	bool header;
	Bitmapset *force_quote; /* attnums whose values are in quotes, if they are not NULL */
} DmCsvWriteOptions;

/* appendBinaryStringInfo() without the call, where there is room. */
static inline void
dm_append(StringInfo out, const char *data, int len)
{
	if (unlikely(out->maxlen - out->len <= len))
	{
		appendBinaryStringInfo(out, data, len);
		return;
	}
	memcpy(out->data + out->len, data, len);
	out->len += len;
	out->data[out->len] = '\0';
}

/* Both make a writer in the current memory context. options are copied, desc must outlive it. */
extern DmRecordWriter *dm_csv_writer_make(TupleDesc desc, const DmCsvWriteOptions *options);
/* A record a line, or with as_array one array of them. */
extern DmRecordWriter *dm_json_writer_make(TupleDesc desc, bool as_array, int encoding);

#endif
