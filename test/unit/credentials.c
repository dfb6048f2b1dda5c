/*
 * credentials.c: tests of store/credentials_parse.c.
 *
 * What an INI file means is what "Shared config and credentials files" and "Assume role" of the AWS SDKs and Tools reference guide say;
 * times are those of date -u -d TEXT +%s.
 */
#include "backend.h"

#include "store/credentials_parse.c"

static DmIniEntry *ini;

/* Reads a copy of text into ini; the number of the line that is wrong. */
static int
read_ini(const char *text)
{
	ini = NULL;
	return dm_ini_read(strdup(text), &ini);
}

/* True if the profile's setting is this; NULL for none. */
static bool
has(DmIniKind kind, const char *profile, const char *name, const char *value)
{
	const char *got = dm_ini_get(ini, kind, profile, name);

	return value ? got && strcmp(got, value) == 0 : !got;
}

/* Sections, names, values and comments. */
static void
test_ini(void)
{
	ok(read_ini("\xef\xbb\xbf# comment\n; another\r\n\n[default]\r\naws_access_key_id = A\r\n  \t\naws_secret_access_key=s/+=;#x ; comment\n"
				"[ other  one ] # comment\nAWS_Access_Key_ID\t=\tB # c\n[default]\naws_access_key_id = C") == 0, "a credentials file");
	ok(has(DM_INI_CREDENTIALS, "default", "aws_access_key_id", "C"), "sections of one name are one, the last value counts");
	ok(has(DM_INI_CREDENTIALS, "default", "aws_secret_access_key", "s/+=;#x"), "a comment needs a blank before it");
	ok(has(DM_INI_CREDENTIALS, "other one", "aws_access_key_id", "B"), "names are of either case, blanks do not count");
	ok(has(DM_INI_CREDENTIALS, "other", "aws_access_key_id", NULL), "another profile");
	ok(dm_ini_has_profile(ini, DM_INI_CREDENTIALS, "default") && !dm_ini_has_profile(ini, DM_INI_CREDENTIALS, "Default"), "names of profiles are exact");
	ok(read_ini("[a]\nx =\ny = 1\n") == 0 && has(DM_INI_CREDENTIALS, "a", "x", NULL) && has(DM_INI_CREDENTIALS, "a", "y", "1"), "an empty value is none");
	ok(read_ini("") == 0 && !ini && read_ini("\n\n# x") == 0 && !ini, "nothing");
	ok(read_ini("[empty]") == 0 && dm_ini_has_profile(ini, DM_INI_CREDENTIALS, "empty"), "a section without settings");
}

/* How the config file writes profiles. */
static void
test_config(void)
{
	ok(read_ini("[default]\nregion = r\n[profile lake]\nrole_arn = arn\n[profile \"two words\"]\nx = 1\n[sso-session lake]\nrole_arn = no\n[lake]\ny = 1\n") == 0,
	   "a config file");
	ok(has(DM_INI_CONFIG, "default", "region", "r") && has(DM_INI_CONFIG, "lake", "role_arn", "arn"), "[default] and [profile x]");
	ok(has(DM_INI_CONFIG, "two words", "x", "1"), "a name in quotes");
	ok(has(DM_INI_CONFIG, "lake", "y", NULL), "[x] is no profile");
	ok(!dm_ini_has_profile(ini, DM_INI_CREDENTIALS, "profile") && has(DM_INI_CREDENTIALS, "lake", "role_arn", NULL), "[profile x] is none of the other file");
	ok(read_ini("[profile default]\na = 1\n[default]\na = 2\nb = 2\n") == 0 && has(DM_INI_CONFIG, "default", "a", "1") && has(DM_INI_CONFIG, "default", "b", NULL),
	   "[profile default] before [default]");
	ok(read_ini("[default]\ns3 =\n  max_queue_size = 100\n\taws_access_key_id = nested\nregion = r\n") == 0 && has(DM_INI_CONFIG, "default", "aws_access_key_id", NULL) &&
		   has(DM_INI_CONFIG, "default", "region", "r"),
	   "nested settings");
	ok(read_ini("[default]\n  a = 1\n  b = 2\n[profile x]\n  a = 3\n") == 0 && has(DM_INI_CONFIG, "default", "b", "2") && has(DM_INI_CONFIG, "x", "a", "3"),
	   "a file that is indented throughout");
}

/* Lines that are no settings. */
static void
test_ini_faults(void)
{
	ok(read_ini("a = 1\n") == 1, "a setting before any section");
	ok(read_ini("[a]\nx = 1\n\njunk\n") == 4, "no equals sign");
	ok(read_ini("[a\nx = 1\n") == 1, "no closing bracket");
	ok(read_ini("[a]\n= 1\n") == 2, "no name");
	ok(read_ini("[]\n") == 1, "a section without a name");
}

/* The answers of metadata services. */
static void
test_answer(void)
{
	static DmKeysAnswer answer;
	static char token[9000];
	char *json;
	const char good[] = "{\"Code\":\"Success\",\"LastUpdated\":\"2024-01-01T00:00:00Z\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s\\/e\\u0063\","
						"\"Token\":\"t==\",\"Expiration\":\"2024-01-01T06:00:00Z\",\"Number\":1,\"Null\":null}";

	ok(dm_keys_answer_read(&answer, good, strlen(good)) && strcmp(answer.access_key_id, "ASIA") == 0 && strcmp(answer.secret_access_key, "s/ec") == 0 &&
		   strcmp(answer.session_token, "t==") == 0 && strcmp(answer.expiration, "2024-01-01T06:00:00Z") == 0 && strcmp(answer.code, "Success") == 0 && !answer.too_long,
	   "keys in JSON");
	memset(&answer, 0, sizeof(answer));
	ok(!dm_keys_answer_read(&answer, "<html>", 6) && !dm_keys_answer_read(&answer, "[]", 2) && !dm_keys_answer_read(&answer, "", 0) &&
		   !dm_keys_answer_read(&answer, "{\"Token\":\"x", 11), "no JSON object");
	ok(dm_keys_answer_read(&answer, "{\"AccessKeyId\":7}", 17) && answer.access_key_id[0] == '\0', "a key that is no string");
	memset(token, 't', sizeof(token) - 1);
	json = psprintf("{\"Token\":\"%s\"}", token);
	ok(dm_keys_answer_read(&answer, json, strlen(json)) && answer.too_long, "a token that is too long");
}

/* True if text is that many seconds after 1970, and microseconds. */
static bool
is_time(const char *text, int64 seconds, int micros)
{
	TimestampTz time;

	return dm_iso_time_read(text, &time) && time == (seconds - INT64CONST(946684800)) * USECS_PER_SEC + micros;
}

/* ISO times. */
static void
test_time(void)
{
	static const char *const wrong[] = {"", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z",
										"2024-01-01T00:00:00Zx", "2024-01-01 00:00:00Z", "24-01-01T00:00:00Z", "2024-04-31T00:00:00Z", "2024-01-01T00:00:00+1"};
	TimestampTz time;
	int accepted = 0;

	ok(is_time("2024-02-29T23:59:59Z", 1709251199, 0), "a time");
	ok(is_time("2038-01-19T03:14:08.789Z", INT64CONST(2147483648), 789000) && is_time("2024-01-01T00:00:00.1234567Z", 1704067200, 123456), "fractions");
	ok(is_time("2024-01-01T02:00:00+02:00", 1704067200, 0) && is_time("2023-12-31T18:30:00-0530", 1704067200, 0), "offsets");
	ok(is_time("1970-01-01T00:00:00Z", 0, 0) && is_time("2000-01-01T00:00:00Z", 946684800, 0), "epochs");
	for (int i = 0; i < lengthof(wrong); i++)
		accepted += dm_iso_time_read(wrong[i], &time);
	ok(accepted == 0, "what is no time");
}

int
main(void)
{
	test_ini();
	test_config();
	test_ini_faults();
	test_answer();
	test_time();
	return done();
}
