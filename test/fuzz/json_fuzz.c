/*
 * json_fuzz.c: the JSON reader and scan against jansson, on any bytes; test/fuzz/run.sh builds and runs it.
 *
 * The first three bytes of an input choose lines or a document, the size of the buffer and how many bytes a read gives.
 * Records must not depend on the last two; what is valid, and what strings mean, must be what jansson says. A difference
 * aborts. test/unit/json.c runs the same comparison on generated inputs, without a fuzzer.
 */
#include "backend.h"

#include <jansson.h>

#include "base/guc.h"
#include "codec/json_reader.c"
#include "codec/json_scan.c"
#include "stream/stream.c"

int dm_guc_csv_buffer_bytes;
volatile sig_atomic_t InterruptPending = false;

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void
ProcessInterrupts(void)
{
}

/* As in a UTF-8 database. */
void
pg_unicode_to_server(pg_wchar c, unsigned char *s)
{
	unicode_to_utf8(c, s);
	s[pg_utf_mblen(s)] = '\0';
}

/* A stream that gives a few bytes a read. */
typedef struct ChunkStream
{
	DmStream head;
	const char *data;
	Size left;
	Size chunk;
} ChunkStream;

/* Hands out the next chunk. */
static Size
chunk_read(DmStream *stream, char *buf, Size len)
{
	ChunkStream *chunks = (ChunkStream *) stream;
	Size count = Min(Min(len, chunks->chunk), chunks->left);

	memcpy(buf, chunks->data, count);
	chunks->data += count;
	chunks->left -= count;
	return count;
}

static const DmStreamOps chunk_ops = {chunk_read, NULL};

/* What came of an input: its records, to be compared. */
typedef struct Outcome
{
	char text[16384];
	int len;
	int records;
	bool all_valid; /* no record is broken or no object */
} Outcome;

/* Whether jansson and we must agree on a text: ASCII without NUL and without \u, whose surrogates only we leave alone. */
static bool
is_comparable(const char *data, Size len)
{
	for (Size i = 0; i < len; i++)
	{
		if (data[i] & 0x80 || data[i] == '\0' || (data[i] == '\\' && i + 1 < len && data[i + 1] == 'u'))
			return false;
	}
	return true;
}

/* Parses with jansson. *skip: it refuses a number that it cannot hold. */
static json_t *
parse(const char *data, Size len, bool *skip)
{
	json_error_t error;
	json_t *value = json_loadb(data, len, JSON_DECODE_INT_AS_REAL, &error);

	*skip = !value && strstr(error.text, "overflow") != NULL;
	return value;
}

/* Aborts unless the members of a valid record are jansson's. */
static void
compare_members(const DmJsonReader *record, json_t *expected)
{
	DmJsonScan scan;
	DmJsonSpan name;
	DmJsonSpan value;
	json_t *seen = json_object();

	if (!dm_json_object_begin(&scan, record->data, record->len))
		abort();
	while (dm_json_next_member(&scan, &name, &value))
	{
		if (name.escaped)
			dm_json_unescape(&name);
		if (value.escaped)
			dm_json_unescape(&value);
		(void) json_object_setn_new(seen, name.data, name.len,
									value.kind == DM_JSON_STRING ? json_stringn(value.data, value.len) : json_integer(value.kind));
	}
	if (json_object_size(seen) != json_object_size(expected))
		abort();
	for (void *at = json_object_iter(seen); at; at = json_object_iter_next(seen, at))
	{
		json_t *ours = json_object_iter_value(at);
		json_t *theirs = json_object_get(expected, json_object_iter_key(at));

		if (!theirs || json_is_string(ours) != json_is_string(theirs) || (json_is_string(ours) && !json_equal(ours, theirs)))
			abort();
	}
	json_decref(seen);
}

/* Whether a record is an object; aborts if jansson disagrees. */
static bool
check_record(const DmJsonReader *record)
{
	DmJsonScan scan;
	DmJsonSpan name;
	DmJsonSpan value;
	bool valid = dm_json_object_begin(&scan, record->data, record->len);
	json_t *expected;
	bool skip;

	while (valid && dm_json_next_member(&scan, &name, &value))
		;
	valid = valid && !scan.error;
	if (scan.at < record->data || scan.at > record->data + record->len)
		abort();
	if (!is_comparable(record->data, record->len))
		return valid;
	expected = parse(record->data, record->len, &skip);
	if (!skip && valid != json_is_object(expected))
		abort();
	if (valid && expected)
		compare_members(record, expected);
	json_decref(expected);
	return valid;
}

/* Reads all records of an input. */
static void
read_records(const char *data, Size len, bool lines, Size buffer, Size chunk, Outcome *outcome)
{
	ChunkStream chunks = {.data = data, .left = len, .chunk = chunk};
	DmJsonReader *volatile reader;

	outcome->len = outcome->records = 0;
	outcome->all_valid = true;
	dm_guc_csv_buffer_bytes = (int) buffer;
	dm_stream_init(&chunks.head, &chunk_ops, NULL, "input");
	reader = dm_json_open(&chunks.head, lines);
	if (setjmp(unit_jump) == 0)
	{
		while (dm_json_read(reader))
		{
			outcome->records++;
			outcome->all_valid &= !reader->broken && check_record(reader);
			outcome->len += snprintf(outcome->text + outcome->len, sizeof(outcome->text) - outcome->len, "%d %d %d %s ", reader->len,
									 (int) reader->line, (int) reader->offset, reader->broken ? reader->broken : "");
			if (outcome->len >= (int) sizeof(outcome->text) || memcmp(data + reader->offset, reader->data, reader->len) != 0)
				abort();
		}
		if (dm_json_read(reader))
			abort();
	}
	else if (unit_sqlstate != ERRCODE_CHARACTER_NOT_IN_REPERTOIRE)
		abort();
	pfree(((JsonState *) reader)->buffer);
	pfree(reader);
}

/* Aborts unless a document without fault is one for jansson, and the other way round. */
static void
compare_document(const char *data, Size len, const Outcome *outcome)
{
	bool skip;
	json_t *document = parse(data, len, &skip);
	bool valid = json_is_array(document) || json_is_object(document);
	int expected = json_is_array(document) ? (int) json_array_size(document) : 1;

	for (int i = 0; json_is_array(document) && i < expected; i++)
		valid &= json_is_object(json_array_get(document, i));
	if (!skip && (outcome->records > 0 || valid) && valid != outcome->all_valid)
		abort();
	if (valid && outcome->records != expected)
		abort();
	json_decref(document);
}

/* One input. */
int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	static Outcome whole;
	static Outcome pieces;
	const char *data = (const char *) input + 3;
	bool lines;

	if (size < 3 || size > 1000)
		return 0;
	lines = input[0] % 2 == 0;
	size -= 3;
	read_records(data, size, lines, 1024, 1024, &whole);
	read_records(data, size, lines, 3 + input[1], 1 + input[2], &pieces);
	if (whole.len != pieces.len || memcmp(whole.text, pieces.text, whole.len) != 0)
		abort();
	if (!lines && is_comparable(data, size))
		compare_document(data, size, &whole);
	return 0;
}
