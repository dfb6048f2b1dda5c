/*
 * s3_xml.c: reads the XML of S3's answers with expat: bounded depth and text, no document type, no entities.
 *
 * A handler may raise an error only for lack of memory: the parser is then released with its memory context and never
 * entered again, which is all that expat needs.
 */
#include "postgres.h"

#include <expat.h>
#include <limits.h>

#include "base/handle.h"
#include "store/s3.h"

#define DM_XML_MAX_DEPTH 8
#define DM_XML_MAX_NAME 64
/* A key has at most 1024 bytes, each at most three long when percent-encoded. */
#define DM_XML_MAX_TEXT 8192

typedef struct XmlReader
{
	XML_Parser parser;
	DmXmlEnd end;
	void *arg;
	bool stopped; /* expat may report a little more: the end of an empty element */
	int depth;
	char names[DM_XML_MAX_DEPTH][DM_XML_MAX_NAME];
	Size text_len;
	char text[DM_XML_MAX_TEXT + 1];
} XmlReader;

/* Frees the parser that a handle owns. */
static void
release_parser(void *resource)
{
	XML_ParserFree(resource);
}

/* Ends the reading: the document is refused. */
static void
stop(XmlReader *reader)
{
	reader->stopped = true;
	XML_StopParser(reader->parser, XML_FALSE);
}

/* An element starts: its text is what follows. Elements have text or children, not both. */
static void
start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	XmlReader *reader = arg;

	if (reader->stopped)
		return;
	if (reader->depth >= DM_XML_MAX_DEPTH || strlen(name) >= DM_XML_MAX_NAME)
	{
		stop(reader);
		return;
	}
	strlcpy(reader->names[reader->depth++], name, DM_XML_MAX_NAME);
	reader->text_len = 0;
}

/* Text of the innermost element, in pieces. */
static void
add_text(void *arg, const XML_Char *text, int len)
{
	XmlReader *reader = arg;

	if (reader->stopped)
		return;
	if (reader->text_len + len > DM_XML_MAX_TEXT)
	{
		stop(reader);
		return;
	}
	memcpy(reader->text + reader->text_len, text, len);
	reader->text_len += len;
}

/* An element ends: the owner gets it. */
static void
end_element(void *arg, const XML_Char *name)
{
	XmlReader *reader = arg;

	if (reader->stopped)
		return;
	reader->text[reader->text_len] = '\0';
	reader->depth--;
	if (!reader->end(reader->arg, reader->depth > 0 ? reader->names[reader->depth - 1] : "", name, reader->text))
		stop(reader);
	reader->text_len = 0;
}

/* A document type could declare entities: S3 sends none. */
static void
refuse_doctype(void *arg, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid, int has_subset)
{
	stop(arg);
}

/* Reads a whole document and calls end for every element. False if it is malformed, too deep or too long. */
bool
dm_xml_read(const char *data, Size len, DmXmlEnd end, void *arg)
{
	XmlReader *reader;
	DmHandle *handle;
	bool whole;

	if (len == 0 || len > INT_MAX)
		return false;
	reader = palloc(sizeof(XmlReader));
	reader->end = end;
	reader->arg = arg;
	reader->stopped = false;
	reader->depth = 0;
	reader->text_len = 0;
	reader->parser = XML_ParserCreate(NULL);
	if (!reader->parser)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	handle = dm_handle_make(CurrentMemoryContext, reader->parser, release_parser);
	XML_SetUserData(reader->parser, reader);
	XML_SetElementHandler(reader->parser, start_element, end_element);
	XML_SetCharacterDataHandler(reader->parser, add_text);
	XML_SetStartDoctypeDeclHandler(reader->parser, refuse_doctype);
	whole = XML_Parse(reader->parser, data, (int) len, XML_TRUE) == XML_STATUS_OK;
	dm_handle_free(handle);
	pfree(reader);
	return whole;
}
