/*
 * objects.c: objects that a URL names as a source.
 */
#include "postgres.h"

#include "source/kind.h"

/* Opens the objects of source->text. */
void
dm_source_objects_open(DmSource *source, List *options)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("objects as a source are not there yet")));
}
