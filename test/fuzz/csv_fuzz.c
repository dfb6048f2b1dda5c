/*
 * csv_fuzz.c: the CSV reader against a parser that looks at one byte after another, on any bytes.
 *
 *     make fuzz
 *
 * The first three bytes of an input choose the options, the size of the buffer and how many bytes a read gives. A difference
 * aborts. test/unit/csv.c runs the same comparison on generated inputs, without a fuzzer.
 */
#include "backend.h"

#include "base/guc.h"
#include "codec/csv.c"
#include "codec/csv_buffer.c"
#include "codec/csv_special.c"
#include "stream/stream.c"

int dm_guc_csv_buffer_bytes;
volatile sig_atomic_t InterruptPending = false;

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void
ProcessInterrupts(void)
{
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

char *
pg_any_to_server(const char *s, int len, int encoding)
{
	return unconstify(char *, s);
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

/* What a parser made of an input: text to compare. */
typedef struct Outcome
{
	char *text;
	Size len;
	Size size;
} Outcome;

/* Appends bytes to an outcome. */
static void
outcome_add(Outcome *outcome, const char *data, Size len)
{
	if (outcome->len + len > outcome->size)
	{
		outcome->size = 2 * (outcome->len + len);
		outcome->text = outcome->text ? repalloc(outcome->text, outcome->size) : palloc(outcome->size);
	}
	memcpy(outcome->text + outcome->len, data, len);
	outcome->len += len;
}

/* Appends a field. */
static void
outcome_field(Outcome *outcome, const char *data, int len, bool quoted)
{
	char head[40];

	outcome_add(outcome, head, snprintf(head, sizeof(head), " %c%d:", quoted ? 'q' : 'u', len));
	outcome_add(outcome, data, len);
}

/* Appends the end of a record: where it began. */
static void
outcome_record(Outcome *outcome, int64 line, uint64 offset)
{
	char tail[80];

	outcome_add(outcome, tail,
				snprintf(tail, sizeof(tail), " line %lld offset %llu\n", (long long) line, (unsigned long long) offset));
}

/* Appends an error. */
static void
outcome_error(Outcome *outcome, int sqlstate)
{
	char text[40];

	outcome_add(outcome, text, snprintf(text, sizeof(text), "sqlstate %d\n", sqlstate));
}

/* Reads all with the reader. */
static void
run_reader(ChunkStream *chunks, const DmCsvOptions *options, Outcome *outcome)
{
	DmCsvReader *volatile reader = NULL;

	if (setjmp(unit_jump) != 0)
		outcome_error(outcome, unit_sqlstate);
	else
	{
		reader = dm_csv_open(&chunks->head, options);
		while (dm_csv_read(reader))
		{
			for (int i = 0; i < reader->nfields; i++)
			{
				const DmCsvField *field = &reader->fields[i];

				outcome_field(outcome, field->data, field->len, field->quoted);
				for (int j = 0; j < field->len; j++)
				{
					if ((field->data[j] & 0x80 || field->data[j] == '\0') && !reader->has_high)
						abort();
				}
			}
			outcome_record(outcome, reader->line, reader->offset);
		}
		if (dm_csv_read(reader))
			abort();
	}
	if (reader)
	{
		pfree(((DmCsvState *) reader)->buffer);
		pfree(reader->fields);
		pfree(reader);
	}
}

typedef struct Oracle
{
	const char *data;
	Size len;
	Size at;
	int64 line;
	char eol; /* 0 before the first line's end, then '\n' or '\r' */
	const DmCsvOptions *options;
} Oracle;

/* Consumes a line's end. Returns false if it does not fit the first one. */
static bool
oracle_end_line(Oracle *oracle)
{
	bool crlf = oracle->data[oracle->at] == '\r' && oracle->at + 1 < oracle->len && oracle->data[oracle->at + 1] == '\n';
	char kind = oracle->data[oracle->at] == '\n' ? '\n' : oracle->eol == '\r' || !crlf ? '\r' : '\n';

	if (oracle->eol != 0 && oracle->eol != kind)
		return false;
	oracle->eol = kind;
	oracle->at += kind == '\n' && crlf ? 2 : 1;
	oracle->line++;
	return true;
}

/* Reads one field into text and returns its length, or -1 for an error. *more: a delimiter follows it. */
static int
oracle_field(Oracle *oracle, char *text, bool *quoted, bool *more)
{
	const DmCsvOptions *options = oracle->options;
	bool inside = false;
	int len = 0;

	*quoted = *more = false;
	for (; oracle->at < oracle->len; oracle->at++)
	{
		char c = oracle->data[oracle->at];
		bool last = oracle->at + 1 == oracle->len;
		char next = last ? '\0' : oracle->data[oracle->at + 1];

		if (inside && c == options->escape && !last && (next == options->escape || next == options->quote))
		{
			text[len++] = next;
			oracle->at++;
		}
		else if (c == options->quote)
		{
			*quoted = true;
			inside = !inside;
		}
		else if (!inside && c == options->delimiter)
		{
			oracle->at++;
			*more = true;
			return len;
		}
		else if (!inside && (c == '\n' || c == '\r'))
			return oracle_end_line(oracle) ? len : -1;
		else
		{
			oracle->line += inside && c == (oracle->eol == '\r' ? '\r' : '\n');
			text[len++] = c;
		}
	}
	return inside ? -1 : len;
}

/* Reads all, a byte at a time. */
static void
run_oracle(const char *data, Size len, const DmCsvOptions *options, Outcome *outcome)
{
	Oracle oracle = {.data = data, .len = len, .line = 1, .options = options};
	char *text = palloc(len + 1);
	Outcome record = {0};

	if (len >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0))
	{
		outcome_error(outcome, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE);
		pfree(text);
		return;
	}
	if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
		oracle.at = 3;
	while (oracle.at < oracle.len)
	{
		int64 line = oracle.line;
		Size offset = oracle.at;
		bool more;

		record.len = 0;
		do
		{
			bool quoted;
			int field = oracle_field(&oracle, text, &quoted, &more);

			if (field < 0)
			{
				outcome_error(outcome, ERRCODE_BAD_COPY_FILE_FORMAT);
				oracle.at = oracle.len;
				record.len = 0;
				break;
			}
			outcome_field(&record, text, field, quoted);
		} while (more);
		if (record.len > 0)
		{
			outcome_record(&record, line, offset);
			outcome_add(outcome, record.text, record.len);
		}
	}
	if (record.text)
		pfree(record.text);
	pfree(text);
}

/* Runs both on one input and aborts if they differ. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ChunkStream chunks = {.data = (const char *) data + 3, .left = size - 3};
	DmCsvOptions options;
	Outcome theirs = {0};
	Outcome ours = {0};

	if (size < 3)
		return 0;
	dm_csv_options_init(&options);
	if (data[0] & 1)
		options.escape = '\\';
	if (data[0] & 2)
		options.delimiter = ';';
	if (data[0] & 4)
		options.quote = options.escape = '\'';
	if (data[0] & 8)
		options.escape = options.delimiter;
	dm_guc_csv_buffer_bytes = 1 + data[1];
	chunks.chunk = 1 + data[2];
	dm_stream_init(&chunks.head, &chunk_ops, NULL, "fuzz");
	run_reader(&chunks, &options, &ours);
	run_oracle((const char *) data + 3, size - 3, &options, &theirs);
	if (ours.len != theirs.len || (ours.len > 0 && memcmp(ours.text, theirs.text, ours.len) != 0))
	{
		fprintf(stderr, "expected:\n%.*s\ngot:\n%.*s\n", (int) theirs.len, theirs.text, (int) ours.len, ours.text);
		abort();
	}
	if (ours.text)
		pfree(ours.text);
	if (theirs.text)
		pfree(theirs.text);
	return 0;
}
