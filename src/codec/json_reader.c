/*
 * json_reader.c: cuts a stream into JSON records.
 *
 * JSON lines: a record a line, blank lines aside; a string holds no newline, so a bad line cannot spoil the next one. A
 * document: the elements of one array, or one object; where an element ends is told by its brackets and quotes, so that a bad
 * one cannot spoil the next one either, unless its brackets do not match.
 *
 * Invariants:
 * 1. The buffer holds the current record from its first byte on; when more is needed, the record moves to the front, once.
 * 2. What cannot be told apart into records is no error here: the record is handed out as broken, and nothing after it.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/guc.h"
#include "codec/json_internal.h"

#define DM_JSON_MAX_BUFFER (MaxAllocSize - 1)
/* Bytes of a broken record that are handed out. */
#define DM_JSON_BROKEN_BYTES 1024

typedef enum JsonPlace
{
	JSON_START,	  /* nothing seen yet */
	JSON_LINES,	  /* between lines */
	JSON_FIRST,	  /* behind the array's opening bracket */
	JSON_BETWEEN, /* behind an element of the array */
	JSON_BEHIND,  /* behind the array, or the only record */
	JSON_END	  /* nothing more is handed out */
} JsonPlace;

typedef struct JsonState
{
	DmJsonReader head;
	DmStream *in;
	bool lines;
	JsonPlace place;
	bool at_end; /* the stream has no more */
	char *buffer;
	Size size;
	char *at;	 /* next byte to look at */
	char *end;	 /* of the data */
	char *start; /* of the current record */
	uint64 buffer_offset;
	int64 next_line;
} JsonState;

/* Opens a reader in the current memory context. */
DmJsonReader *
dm_json_open(DmStream *in, bool lines)
{
	JsonState *json = palloc0(sizeof(JsonState));

	json->lines = lines;
	json->size = dm_guc_csv_buffer_bytes;
	json->buffer = palloc(json->size);
	dm_json_reset(&json->head, in);
	return &json->head;
}

/* Starts over on another stream with the same buffer. */
void
dm_json_reset(DmJsonReader *reader, DmStream *in)
{
	JsonState *json = (JsonState *) reader;

	json->in = in;
	json->place = JSON_START;
	json->at_end = false;
	json->at = json->end = json->start = json->buffer;
	json->buffer_offset = 0;
	json->next_line = 1;
	reader->record = 0;
	reader->line = 1;
	reader->offset = 0;
	reader->line_offset = 0;
	reader->broken = NULL;
}

/* Goes on with a stream of the same file whose first byte is a line's first; there is no byte order mark to skip. */
void
dm_json_continue(DmJsonReader *reader, DmStream *in, uint64 offset)
{
	JsonState *json = (JsonState *) reader;

	dm_json_reset(reader, in);
	json->place = JSON_LINES;
	json->buffer_offset = offset;
	reader->offset = reader->line_offset = offset;
}

/* Bytes that can be read without asking the stream for more. */
Size
dm_json_unread(const DmJsonReader *reader)
{
	const JsonState *json = (const JsonState *) reader;

	return json->end - json->at;
}

/* Raises for a record that is too much to hold. */
static void
json_too_large(const JsonState *json)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg("JSON record of \"%s\" has more than %zu bytes", json->in->name, (Size) DM_JSON_MAX_BUFFER),
		 errdetail("It is record %lld and begins on line %lld.",
				   (long long) json->head.record + 1,
				   (long long) json->next_line),
		 errhint("Look for a string or bracket that is never closed, or whether the format is jsonl or json.")));
}

/* Gets more bytes behind json->end, keeping those from json->start on. Returns false at the end of the stream. */
static bool
json_more(JsonState *json)
{
	Size kept = json->end - json->start;
	Size at = json->at - json->start;
	Size got;

	if (json->at_end)
		return false;
	json->buffer_offset += json->start - json->buffer;
	memmove(json->buffer, json->start, kept);
	if (kept == json->size)
	{
		if (json->size >= DM_JSON_MAX_BUFFER)
			json_too_large(json);
		json->size = Min(json->size * 2, DM_JSON_MAX_BUFFER);
		json->buffer = repalloc(json->buffer, json->size);
	}
	json->start = json->buffer;
	json->at = json->start + at;
	json->end = json->start + kept;
	got = dm_stream_read(json->in, json->end, json->size - kept);
	json->end += got;
	json->at_end = got == 0;
	return got > 0;
}

/* Is there a byte at json->at? Reads on where that is needed. */
static inline bool
json_has_byte(JsonState *json)
{
	return json->at < json->end || json_more(json);
}

/* Moves over blanks, none of which is kept, and counts lines. Returns the byte behind them, NUL at the end. */
static char
json_skip_blanks(JsonState *json)
{
	for (;;)
	{
		json->start = json->at;
		if (!json_has_byte(json))
			return '\0';
		if (!json_is_blank(*json->at))
			return *json->at == '\0' ? ' ' : *json->at;
		json->at++;
		if (json->at[-1] == '\n')
		{
			json->next_line++;
			json->head.line_offset = json->buffer_offset + (json->at - json->buffer);
		}
	}
}

/* Makes the bytes from json->start up to end the record. */
static void
json_set_record(JsonState *json, const char *end)
{
	DmJsonReader *reader = &json->head;

	reader->record++;
	reader->line = json->next_line;
	reader->offset = json->buffer_offset + (json->start - json->buffer);
	reader->data = json->start;
	reader->len = (int) (end - json->start);
}

/* Hands out the first bytes from json->start on as a broken record, the last one. */
static bool
json_break(JsonState *json, const char *why)
{
	while (json->end - json->start < DM_JSON_BROKEN_BYTES && json_more(json))
		;
	json_set_record(json, json->start + Min(json->end - json->start, DM_JSON_BROKEN_BYTES));
	json->head.broken = why;
	json->place = JSON_END;
	return true;
}

/* Skips a UTF-8 byte order mark and finds out what the stream holds. Raises 22021 for UTF-16. */
static void
json_begin(JsonState *json)
{
	while (json->end - json->start < 3 && json_more(json))
		;
	if (json->end - json->start >= 3 && memcmp(json->start, "\xef\xbb\xbf", 3) == 0)
		json->at = json->start + 3;
	else if (json->end - json->start >= 2 &&
			 (memcmp(json->start, "\xff\xfe", 2) == 0 || memcmp(json->start, "\xfe\xff", 2) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("\"%s\" begins with a UTF-16 byte order mark", json->in->name),
				 errhint("Convert the object to UTF-8.")));
	json->start = json->at;
}

/* Reads the next line that is not blank. */
static bool
json_read_line(JsonState *json)
{
	char *newline;

	if (json_skip_blanks(json) == '\0')
	{
		json->place = JSON_END;
		return false;
	}
	while (!(newline = memchr(json->at, '\n', json->end - json->at)))
	{
		json->at = json->end;
		if (!json_more(json))
			break;
	}
	json_set_record(json, newline ? newline : json->end);
	json->at = newline ? newline : json->end;
	return true;
}

/* Moves json->at over the string whose opening quote is there. Returns false if it is not closed. */
static bool
json_skip_string(JsonState *json)
{
	json->at++;
	for (;;)
	{
		json->at = unconstify(char *, json_string_stop(json->at, json->end));
		if (!json_has_byte(json))
			return false;
		if (*json->at == '"')
		{
			json->at++;
			return true;
		}
		if (*json->at == '\\')
		{
			json->at++;
			if (!json_has_byte(json))
				return false;
		}
		json->at++;
	}
}

/* Moves json->at over the container whose opening bracket is there. Returns false if the stream ends in it. */
static bool
json_skip_container(JsonState *json)
{
	int64 depth = 0;

	do
	{
		if (!json_has_byte(json))
			return false;
		switch (*json->at)
		{
			case '"':
				if (!json_skip_string(json))
					return false;
				continue;
			case '{':
			case '[': depth++; break;
			case '}':
			case ']': depth--; break;
			default: break;
		}
		json->at++;
	} while (depth > 0);
	return true;
}

/* Moves json->at behind the element that begins there. Returns false if the stream ends in it. */
static bool
json_skip_element(JsonState *json)
{
	if (*json->at == '{' || *json->at == '[')
		return json_skip_container(json);
	if (*json->at == '"')
		return json_skip_string(json);
	while (json_has_byte(json) && !json_is_blank(*json->at) && !strchr(",]}", *json->at))
		json->at++;
	return true;
}

/* Reads the element, or the only record, at json->start. */
static bool
json_read_element(JsonState *json, JsonPlace after)
{
	if (!json_skip_element(json))
		return json_break(json, "it ends inside of a record");
	if (json->at == json->start)
		return json_break(json, "a record is missing");
	json_set_record(json, json->at);
	for (const char *at = json->start; (at = memchr(at, '\n', json->at - at)); at++)
		json->next_line++;
	json->place = after;
	return true;
}

/* Reads the next element of an array. */
static bool
json_read_array(JsonState *json)
{
	char next = json_skip_blanks(json);

	if (next == ']')
	{
		json->at++;
		json->place = JSON_BEHIND;
		return dm_json_read(&json->head);
	}
	if (next != '\0' && json->place == JSON_BETWEEN)
	{
		if (next != ',')
			return json_break(json, "a comma or the array's closing bracket is missing");
		json->at++;
		next = json_skip_blanks(json);
	}
	if (next == '\0')
		return json_break(json, "the array is not closed");
	return json_read_element(json, JSON_BETWEEN);
}

/* Begins a document. */
static bool
json_read_first(JsonState *json)
{
	switch (json_skip_blanks(json))
	{
		case '\0': json->place = JSON_END; return false;
		case '{': return json_read_element(json, JSON_BEHIND);
		case '[':
			json->at++;
			json->place = JSON_FIRST;
			return json_read_array(json);
		default: return json_break(json, "it is neither an array nor an object");
	}
}

/* Reads the next record. */
bool
dm_json_read(DmJsonReader *reader)
{
	JsonState *json = (JsonState *) reader;

	switch (json->place)
	{
		case JSON_START:
			json_begin(json);
			if (!json->lines)
				return json_read_first(json);
			json->place = JSON_LINES;
			return json_read_line(json);
		case JSON_LINES: return json_read_line(json);
		case JSON_FIRST:
		case JSON_BETWEEN: return json_read_array(json);
		case JSON_BEHIND:
			if (json_skip_blanks(json) != '\0')
				return json_break(json, "something follows the end");
			json->place = JSON_END;
			return false;
		case JSON_END: break;
	}
	return false;
}
