/*
 * csv_limits.c: a record that is larger than any allocation, where the largest allocation is small.
 */
#include "backend.h"

#include "utils/memutils.h"

#undef MaxAllocSize
#define MaxAllocSize ((Size) 1000)

#include "../fuzz/csv_fuzz.c"

/* Reads a record of one field of len bytes, quoted or not. Returns true if the reader gives it whole. */
static bool
read_record(int len, bool quoted)
{
	char *data = palloc(len + 2);
	DmCsvOptions options;
	DmCsvReader *reader;
	ChunkStream chunks = {.data = data, .left = len + 2, .chunk = 77};

	memset(data, 'x', len + 2);
	if (quoted)
		data[0] = data[len + 1] = '"';
	dm_csv_options_init(&options);
	dm_guc_csv_buffer_bytes = 100;
	dm_stream_init(&chunks.head, &chunk_ops, NULL, "limits");
	reader = dm_csv_open(&chunks.head, &options);
	return dm_csv_read(reader) && reader->nfields == 1 && reader->fields[0].len == (quoted ? len : len + 2) &&
		   !dm_csv_read(reader);
}

int
main(void)
{
	int max = (int) DM_CSV_MAX_BUFFER;

	ok(read_record(max - 3, false), "a record that fits");
	ok(read_record(max - 3, true), "a quoted one that fits");
	ok(RAISES(read_record(max, false)) && unit_sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED, "a record too large raises 54000");
	ok(RAISES(read_record(max, true)) && unit_sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED, "a quoted one, too");
	ok(strcmp(unit_error, "CSV record of \"limits\" has more than 936 bytes") == 0, "and says so");
	return done();
}
