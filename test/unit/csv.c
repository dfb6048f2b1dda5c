/*
 * csv.c: the CSV reader against a parser that looks at one byte after another, on generated inputs.
 *
 * The parser is test/fuzz/csv_fuzz.c's; test/sql/codec_csv_copy.sql compares with COPY. A difference aborts.
 */
#include "../fuzz/csv_fuzz.c"

#define UNIT_INPUTS 200000
#define UNIT_MAX_TOKENS 60

static const char *const tokens[] = {"\"", "\"", "\"\"", ",", ",", ";", "'", "\\", "\\\"", "\n", "\n", "\r\n", "\r", "a", "\xc3\xbc",
									 "long enough to cross the end of a block of bytes", "1234567890", "\xef\xbb\xbf"};

/* Returns the next number of a fixed sequence (xorshift64). */
static uint64
next_number(void)
{
	static uint64 state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Makes an input in data: three bytes of options, then tokens; returns its size. */
static Size
make_input(char *data)
{
	int count = (int) (next_number() % UNIT_MAX_TOKENS);
	Size size = 3;

	data[0] = (char) (next_number() % 16);
	data[1] = (char) (next_number() % (next_number() % 2 ? 4 : 256));
	data[2] = (char) (next_number() % (next_number() % 2 ? 4 : 256));
	for (int i = 0; i < count; i++)
	{
		const char *token = tokens[next_number() % lengthof(tokens)];
		Size len = strlen(token);

		memcpy(data + size, token, len);
		size += len;
	}
	if (next_number() % 50 == 0)
		data[size++] = '\0';
	return size;
}

int
main(void)
{
	char *data = palloc(UNIT_MAX_TOKENS * 64);

	for (int i = 0; i < UNIT_INPUTS; i++)
	{
		Size size = make_input(data);

		(void) LLVMFuzzerTestOneInput((const uint8_t *) data, size);
	}
	ok(true, "200000 generated inputs give the same records");
	return done();
}
