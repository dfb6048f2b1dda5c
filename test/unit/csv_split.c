/*
 * csv_split.c: a CSV file read in ranges of every size gives the records of one reader that reads all of it.
 */
#define LLVMFuzzerTestOneInput unused_fuzz_target
#include "../fuzz/csv_fuzz.c"

#include "codec/csv_split.c"

/* The records of a file, as text that tells fields and quotes apart. */
typedef struct Records
{
	char text[65536];
	Size len;
} Records;

/* Adds the reader's current record. */
static void
add_record(Records *records, const DmCsvReader *reader)
{
	records->len += sprintf(records->text + records->len, "%llu:", (unsigned long long) reader->offset);
	for (int i = 0; i < reader->nfields; i++)
	{
		const DmCsvField *field = &reader->fields[i];

		records->text[records->len++] = field->quoted ? 'q' : 'p';
		memcpy(records->text + records->len, field->data, field->len);
		records->len += field->len;
		records->text[records->len++] = '\1';
	}
	records->text[records->len++] = '\2';
	Assert(records->len < sizeof(records->text));
}

/* Reads all records with one reader. Returns false if it raises. */
static bool
read_whole(const DmCsvOptions *options, const char *data, Size len, Records *records)
{
	ChunkStream stream = {.data = data, .left = len, .chunk = 1000};
	DmCsvReader *volatile reader;

	records->len = 0;
	dm_stream_init(&stream.head, &chunk_ops, NULL, "whole");
	reader = dm_csv_open(&stream.head, options);
	if (setjmp(unit_jump) != 0)
		return false;
	while (dm_csv_read(reader))
		add_record(records, reader);
	return true;
}

/* Reads one range, as source/objscan_split.c says: the records whose line before ends in it. */
static void
read_range(const DmCsvOptions *options, const char *data, Size len, Size start, Size end, DmCsvPhase phase,
		   Records *records)
{
	ChunkStream head = {.data = data, .left = len, .chunk = 3};
	ChunkStream body = {.chunk = 5};
	DmCsvReader *reader;
	bool first = start == 0;
	int64 at;

	dm_stream_init(&head.head, &chunk_ops, NULL, "head");
	dm_stream_init(&body.head, &chunk_ops, NULL, "body");
	reader = dm_csv_open(&head.head, options);
	if (!first)
	{
		if (!dm_csv_read(reader) || dm_csv_newline(reader) == '\0')
			return;
		at = dm_csv_find_end(options, dm_csv_newline(reader), phase, data + start, end - start);
		if (at < 0)
			return;
		body.data = data + start + at + 1;
		body.left = data + len - body.data;
		dm_csv_continue(reader, &body.head, start + at + 1);
	}
	while ((first || dm_csv_next_offset(reader) <= end) && dm_csv_read(reader))
	{
		add_record(records, reader);
		first = false;
	}
}

/* Reads all ranges of a size. Returns false if any raises. */
static bool
read_ranges(const DmCsvOptions *options, const char *data, Size len, Size size, Records *records)
{
	volatile DmCsvPhase phase = DM_CSV_OUTSIDE;

	records->len = 0;
	if (setjmp(unit_jump) != 0)
		return false;
	for (volatile Size start = 0; start < len; start += size)
	{
		Size end = Min(start + size, len);

		read_range(options, data, len, start, end, phase, records);
		phase = dm_csv_effect_apply(dm_csv_effect(options, data + start, end - start), phase);
	}
	return true;
}

/* Whether ranges of every size give what one reader gives: the same records, or an error. */
static bool
is_same(const DmCsvOptions *options, const char *data, Size len)
{
	static Records whole;
	static Records ranges;
	bool good = read_whole(options, data, len, &whole);

	for (Size size = 1; size <= Min(len, 100); size++)
	{
		if (read_ranges(options, data, len, size, &ranges) != good ||
			(good && (ranges.len != whole.len || memcmp(ranges.text, whole.text, whole.len) != 0)))
		{
			printf("# ranges of %zu bytes differ: %.*s\n", size, (int) Min(len, 200), data);
			return false;
		}
	}
	return true;
}

/* Whether random files made of a few nasty bytes are all read the same; counts how many are no error. */
static bool
are_random_same(const DmCsvOptions *options, const char *bytes, int files, int *good)
{
	static Records whole;
	char data[200];
	int nbytes = (int) strlen(bytes);

	*good = 0;
	for (int i = 0; i < files; i++)
	{
		Size len = 1 + random() % (sizeof(data) - 1);

		for (Size at = 0; at < len; at++)
			data[at] = bytes[random() % nbytes];
		*good += read_whole(options, data, len, &whole);
		if (!is_same(options, data, len))
			return false;
	}
	return true;
}

int
main(void)
{
	static const char *const files[] = {"a,b\nc,d\n",
										"a,b\nc,d",
										"\n\n\n",
										"\r\n\r\n",
										"\r\r\r",
										"a\rb\r\"c\rd\"\re",
										"a,\"b\nc\",d\n\"e\"\"\n\"\"\",f\n",
										"a\"b\nc\"d\ne\n",
										"\"\"\"\n\"\"\n\"\n\"\"\n",
										"\xef\xbb\xbf" "a,b\r\nc,\"d\r\n\"\r\n",
										"\xef\xbb\xbf" "\"a\n\",b\n1",
										"a\r\nb\nc\r\n",
										"a\nb\rc\n",
										"a\rb\nc\r",
										"a\n\"b\nc\n",
										"\"a\nb\nc",
										"x",
										"\"",
										"caf\xc3\xa9,\"\xe2\x82\xac\n\"\nx\n"};
	DmCsvOptions options;
	int good;

	srandom(7);
	dm_guc_csv_buffer_bytes = 11;
	dm_csv_options_init(&options);
	for (int i = 0; i < lengthof(files); i++)
		ok(is_same(&options, files[i], strlen(files[i])), psprintf("file %d, in ranges of every size", i + 1));
	ok(are_random_same(&options, "\"\"\n,ab", 2000, &good) && good > 500, "random files with LF");
	ok(are_random_same(&options, "\"\"\r,ab", 2000, &good) && good > 500, "random files with CR");
	ok(are_random_same(&options, "\"\n\r,ab", 2000, &good), "random files with both");
	options.escape = '\\';
	ok(is_same(&options, "\"a\\\"\n\\\\\"\n\"\\\\\\\"\n\"\nb\\\n", 24), "a file with another escape character");
	ok(are_random_same(&options, "\"\"\\\n,ab", 4000, &good) && good > 1000, "random files with another escape character");
	options.escape = ',';
	ok(are_random_same(&options, "\"\"\n,ab", 2000, &good) && good > 500, "and with the delimiter for one");
	return done();
}
