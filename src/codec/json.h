/*
 * json.h: JSON bytes to records, records to members (RFC 8259).
 *
 * A reader cuts a stream into records: the lines of JSON lines, or the elements of one array. It looks at quotes and
 * brackets only. A scan checks one record and hands out its members as spans of the same bytes; nothing is copied.
 */
#ifndef DM_JSON_H
#define DM_JSON_H

#include "postgres.h"

#include "stream/stream.h"

typedef enum DmJsonKind
{
	DM_JSON_NULL,
	DM_JSON_BOOL,
	DM_JSON_NUMBER,
	DM_JSON_STRING,
	DM_JSON_ARRAY,
	DM_JSON_OBJECT
} DmJsonKind;

/* A value, or a member's name: its text as it stands there; of a string what is between the quotes. */
typedef struct DmJsonSpan
{
	DmJsonKind kind;
	bool escaped; /* a string with backslashes: see dm_json_unescape */
	int len;
	const char *data; /* not terminated */
} DmJsonSpan;

/* A scan over one value. After any call that returned false, error tells what is wrong at `at`, or is NULL at the end. */
typedef struct DmJsonScan
{
	const char *start;
	const char *at;
	const char *end;
	const char *error;
	bool first; /* no member or element was taken yet */
} DmJsonScan;

/* Begins a scan of the object (or array) data[0..len), blanks around it allowed. Returns false if it is none. */
extern bool dm_json_object_begin(DmJsonScan *scan, const char *data, int len);
extern bool dm_json_array_begin(DmJsonScan *scan, const char *data, int len);
/* Takes the next member or element, checked with all that it holds. Returns false behind the last one, or on an error. */
extern bool dm_json_next_member(DmJsonScan *scan, DmJsonSpan *name, DmJsonSpan *value);
extern bool dm_json_next_element(DmJsonScan *scan, DmJsonSpan *value);
/* Replaces an escaped string by what it means, palloc'd. Raises 22P02 or 22P05 for escapes that are no character. */
extern void dm_json_unescape(DmJsonSpan *string);

typedef struct DmJsonReader
{
	const char *data; /* the record; lives until the next read */
	int len;
	int64 record;		/* 1 for the first one */
	int64 line;			/* on which it starts, from 1 */
	uint64 offset;		/* byte offset of its start in the (uncompressed) stream */
	uint64 line_offset; /* of the first byte of the line it starts on; JSON lines alone */
	const char
		*broken; /* not NULL: why nothing can be read from here on; the record is the start of what there is */
} DmJsonReader;

/* Opens a reader in the current memory context: of JSON lines, or of one array of records or one record. */
extern DmJsonReader *dm_json_open(DmStream *in, bool lines);
/* Starts over on another stream with the same buffer. */
extern void dm_json_reset(DmJsonReader *reader, DmStream *in);
/* JSON lines: goes on elsewhere in the same file: the stream's first byte is at offset, and a line's first. */
extern void dm_json_continue(DmJsonReader *reader, DmStream *in, uint64 offset);
/* Bytes behind the record read last that are in the buffer. */
extern Size dm_json_unread(const DmJsonReader *reader);
/* Reads the next record; false at the end. Raises 54000 for a record that is too large. */
extern bool dm_json_read(DmJsonReader *reader);

/* A path such as $.a.b[0] or $['x']: see json_path.c. */
typedef struct DmJsonStep
{
	const char *name; /* of a member, or NULL for an element */
	int len;
	int index; /* of an element, from 0 */
} DmJsonStep;

typedef struct DmJsonPath
{
	int nsteps; /* at least one; the first is a name */
	DmJsonStep *steps;
} DmJsonPath;

/* Parses a path, in the current memory context. Raises HV024 for one that is not understood. */
extern DmJsonPath *dm_json_path_parse(const char *text);
/* Follows the steps behind the first one from *value, which it replaces. Returns false where there is nothing. */
extern bool dm_json_path_follow(const DmJsonPath *path, DmJsonSpan *value);

#endif
