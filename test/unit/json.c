/*
 * json.c: the JSON reader and scan against jansson, on generated inputs.
 *
 * The comparison is test/fuzz/json_fuzz.c's; test/sql/codec_json.sql compares values with core's. A difference aborts.
 */
#include "../fuzz/json_fuzz.c"

#define UNIT_INPUTS 300000
#define UNIT_MAX_TOKENS 40

static const char *const tokens[] = {"{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "{\"a\":", "{\"a\":1}", ",\"b\":", "[{\"a\":2}", "\n", " ", "\"", "\\",
									 "\\\"", "\\n", "\\u00e9", "1", "-0.5", "1e5", "01", "true", "false", "null", "nul", "\t", "\r\n",
									 "\"a longer string, of more than sixteen bytes\"", "\xc3\xbc", "\xef\xbb\xbf"};

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

/* Adds a value that is likely valid to data, at most depth containers deep. Returns the end. */
static char *
add_value(char *data, int depth)
{
	int count = (int) (next_number() % 3);
	bool object = next_number() % 2;

	if (depth == 0 || next_number() % 3 == 0)
		return stpcpy(data, tokens[next_number() % 2 ? 19 + next_number() % 8 : 6 + next_number() % 2]);
	*data++ = object ? '{' : '[';
	for (int i = 0; i < count; i++)
	{
		data = stpcpy(data, i > 0 ? ", " : "");
		data = stpcpy(data, object ? "\"k\\n\" :" : "");
		data = add_value(data, depth - 1);
	}
	*data++ = object ? '}' : ']';
	return data;
}

/* Makes an input in data: three bytes of choices, then tokens or values; returns its size. */
static Size
make_input(char *data)
{
	int count = (int) (next_number() % UNIT_MAX_TOKENS);
	char *at = data + 3;

	data[0] = (char) (next_number() % 2);
	data[1] = (char) (next_number() % (next_number() % 2 ? 4 : 256));
	data[2] = (char) (next_number() % (next_number() % 2 ? 4 : 256));
	if (next_number() % 2)
		return add_value(add_value(at, 4), next_number() % 4 == 0 ? 1 : 0) - data - (next_number() % 8 == 0);
	for (int i = 0; i < count && at - data < 900; i++)
		at = stpcpy(at, tokens[next_number() % lengthof(tokens)]);
	return at - data;
}

int
main(void)
{
	static char data[4096];

	for (int i = 0; i < UNIT_INPUTS; i++)
	{
		Size size = make_input(data);

		(void) LLVMFuzzerTestOneInput((const uint8_t *) data, size);
	}
	ok(true, "300,000 inputs are what jansson says they are");
	return done();
}
