/*
 * glob.c: tests of store/glob.c.
 *
 * Expected values without braces are those of git: git ls-files ':(glob)PATTERN' with a file named KEY, in which [!a] and
 * ** mean the same; those with braces, of bash's brace expansion and then git. Only where git
 * sees bytes and we see characters (the last two) they follow from the file comment of store/glob.c.
 */
#include "backend.h"

#include "store/glob.c"

typedef struct Case
{
	const char *pattern;
	const char *key;
	bool matches;
} Case;

static const Case cases[] = {
	{"a.csv", "a.csv", true},
	{"a.csv", "a.csvx", false},
	{"*.csv", "a.csv", true},
	{"*.csv", "d/a.csv", false},
	{"*.csv", "a.csv.gz", false},
	{"d/*", "d/a", true},
	{"d/*", "d/a/b", false},
	{"d/*", "e/a", false},
	{"**/*.csv", "a.csv", true},
	{"**/*.csv", "d/e/a.csv", true},
	{"d/**/a", "d/a", true},
	{"d/**/a", "d/e/f/a", true},
	{"d/**/a", "d/ea", false},
	{"d/**", "d/a", true},
	{"d/**", "d/e/a", true},
	{"d/**", "da", false},
	{"**/a/**/b", "x/a/y/a/z/b", true},
	{"**/a/**/b", "x/a/y/a/z/c", false},
	{"?.csv", "a.csv", true},
	{"?.csv", "ab.csv", false},
	{"d?a", "d/a", false},
	{"d[/]a", "d/a", false},
	{"d[!x]a", "d/a", false},
	{"[a-c]1", "b1", true},
	{"[a-c]1", "d1", false},
	{"[!a-c]1", "d1", true},
	{"[!a-c]1", "a1", false},
	{"[]]1", "]1", true},
	{"[a-]1", "-1", true},
	{"[*]1", "*1", true},
	{"[*]1", "a1", false},
	{"*a*b*c", "xaxbxc", true},
	{"*a*b*c", "xaxcxb", false},
	{"a*b", "ab", true},
	{"y=*/m=*/*.csv", "y=2024/m=1/a.csv", true},
	{"y=*/m=*/*.csv", "y=2024/a.csv", false},
	{"{a,b}.csv", "b.csv", true},
	{"{a,b}.csv", "c.csv", false},
	{"a{,.gz}", "a", true},
	{"a{,.gz}", "a.gz", true},
	{"{a,b{c,d}}x", "bdx", true},
	{"{a,b{c,d}}x", "bx", false},
	{"{*.csv,d/*}", "d/a", true},
	{"{a}", "{a}", true},
	{"{a}", "a", false},
	{"\xc3\xa4?", "\xc3\xa4\xc3\xb6", true},
	{"?", "\xc3\xa4", true},
};

/* The time of a bad pattern is bounded: this one takes for ever by plain backtracking. */
static void
test_stars(void)
{
	char pattern[201];
	char key[2001];

	for (int i = 0; i < 200; i += 2)
		memcpy(pattern + i, "*a", 2);
	pattern[200] = '\0';
	memset(key, 'a', 2000);
	key[2000] = '\0';
	ok(dm_glob_match(pattern, key), "a hundred stars match");
	key[1999] = 'b';
	ok(!dm_glob_match(pattern, key), "a hundred stars do not match");
}

/* More brace alternatives than allowed are an error, not a wait. */
static void
test_braces(void)
{
	ok(RAISES(dm_glob_match("*{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "x")) &&
		   unit_sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED,
	   "more than 1024 alternatives raise 54000");
}

/* What the file comment of store/glob.c says, by plain backtracking: without sets and braces. */
static bool
matches(const char *start, const char *pattern, const char *key)
{
	if (pattern[0] == '*' && pattern[1] == '*')
	{
		bool steps = pattern[2] == '/' && (pattern == start || pattern[-1] == '/');

		for (const char *k = key;; k++)
		{
			if ((!steps || k == key || k[-1] == '/') && matches(start, pattern + (steps ? 3 : 2), k))
				return true;
			if (*k == '\0')
				return false;
		}
	}
	if (pattern[0] == '*')
	{
		for (const char *k = key;; k++)
		{
			if (matches(start, pattern + 1, k))
				return true;
			if (*k == '\0' || *k == '/')
				return false;
		}
	}
	if (*pattern == '\0' || *key == '\0')
		return *pattern == *key;
	return (*pattern == *key || (*pattern == '?' && *key != '/')) && matches(start, pattern + 1, key + 1);
}

/* Random patterns and keys of few characters give what plain backtracking gives. */
static void
test_random(void)
{
	unsigned int seed = 1;
	int matched = 0;
	int different = 0;

	for (int i = 0; i < 300000; i++)
	{
		char pattern[10] = "";
		char key[10] = "";
		int pattern_len = rand_r(&seed) % 9;
		int key_len = rand_r(&seed) % 9;
		bool want;

		for (int j = 0; j < pattern_len; j++)
			pattern[j] = "ab/**?*"[rand_r(&seed) % 7];
		for (int j = 0; j < key_len; j++)
			key[j] = "ab/"[rand_r(&seed) % 3];
		want = matches(pattern, pattern, key);
		matched += want;
		if (dm_glob_match(pattern, key) != want && different++ < 5)
			printf("# %s %s should be %d\n", pattern, key, want);
	}
	ok(different == 0, "random patterns");
	ok(matched > 10000, "of which enough match");
}

int
main(void)
{
	for (Size i = 0; i < lengthof(cases); i++)
	{
		char name[200];

		snprintf(name, sizeof(name), "%s %s %s", cases[i].pattern, cases[i].matches ? "matches" : "does not match",
				 cases[i].key);
		ok(dm_glob_match(cases[i].pattern, cases[i].key) == cases[i].matches, name);
	}
	ok(strcmp(dm_glob_prefix("a/b*c"), "a/b") == 0, "prefix before a star");
	ok(strcmp(dm_glob_prefix("a/{b,c}"), "a/") == 0, "prefix before braces");
	ok(strcmp(dm_glob_prefix("a/b"), "a/b") == 0, "prefix of a plain key");
	test_stars();
	test_braces();
	test_random();
	return done();
}
