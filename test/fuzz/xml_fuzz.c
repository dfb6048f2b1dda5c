/*
 * xml_fuzz.c: the reader of S3's XML on any bytes; test/fuzz/run.sh builds and runs it.
 *
 * Every element that is reported must have a name and a parent within the limits, and a text that ends within its own. An
 * owner that says stop must make the whole document fail. A breach aborts.
 */
#include "backend.h"

#include "store/s3_xml.c"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Handles are freed by the reader itself here: no context ends. */
struct DmHandle
{
	void *resource;
	void (*release)(void *resource);
};

DmHandle *
dm_handle_make(MemoryContext context, void *resource, DmHandleRelease release)
{
	DmHandle *handle = malloc(sizeof(DmHandle));

	handle->resource = resource;
	handle->release = release;
	return handle;
}

void
dm_handle_free(DmHandle *handle)
{
	handle->release(handle->resource);
	free(handle);
}

/* Checks one element; *arg is the number of elements still wanted. */
static bool
check_element(void *arg, const char *parent, const char *name, const char *text)
{
	int *left = arg;

	if (strlen(parent) >= DM_XML_MAX_NAME || strlen(name) >= DM_XML_MAX_NAME || strlen(text) > DM_XML_MAX_TEXT)
		abort();
	return --*left >= 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int left;

	if (size == 0)
		return 0;
	left = data[0];
	if (dm_xml_read((const char *) data + 1, size - 1, check_element, &left) && left < 0)
		abort();
	return 0;
}
