/*
 * xml.c: tests of store/s3_xml.c: what is reported of a document, and what is refused.
 */
#include "backend.h"

#include "base/handle.c"
#include "store/s3_xml.c"

#define NAME_63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

MemoryContext CurrentMemoryContext = NULL;
static char seen[1000]; /* "parent/name=text;" of each element */
static int stop_after;	/* elements */

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	return palloc(size);
}

void
MemoryContextRegisterResetCallback(MemoryContext context, MemoryContextCallback *callback)
{
}

/* Notes an element. */
static bool
note(void *arg, const char *parent, const char *name, const char *text)
{
	Size len = strlen(seen);

	snprintf(seen + len, sizeof(seen) - len, "%s/%s=%s;", parent, name, text);
	return --stop_after != 0;
}

/* Reads a document. */
static bool
read_xml(const char *text)
{
	seen[0] = '\0';
	return dm_xml_read(text, strlen(text), note, NULL);
}

int
main(void)
{
	ok(read_xml("<?xml version='1.0'?><a xmlns='x'><b>1&amp;<![CDATA[<2]]></b>\n<c/></a>") && strcmp(seen, "a/b=1&<2;a/c=;/a=;") == 0, "elements, their parents and texts");
	ok(!read_xml("<a><b>1</b>") && !read_xml("") && !read_xml("x") && !read_xml("<a></b>"), "what is no document");
	ok(!read_xml("<!DOCTYPE a><a/>") && seen[0] == '\0', "a document type");
	ok(read_xml("<a><b><c><d><e><f><g><h>8</h></g></f></e></d></c></b></a>"), "eight levels");
	ok(!read_xml("<a><b><c><d><e><f><g><h><i/></h></g></f></e></d></c></b></a>") && seen[0] == '\0', "nine, the last one empty: nothing is reported");
	ok(read_xml("<" NAME_63 "/>"), "a long name");
	ok(!read_xml("<a><" NAME_63 "l/></a>") && seen[0] == '\0', "one that is too long, of an empty element: it is not reported");
	stop_after = 1;
	ok(!read_xml("<a><b/><c/></a>") && strcmp(seen, "a/b=;") == 0, "an owner that has seen enough");
	return done();
}
