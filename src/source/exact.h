/*
 * exact.h: objects given one by one, each in one version: [{"uri": "s3://bucket/key", "etag": "...", "size": 12}, ...]
 */
#ifndef DM_EXACT_H
#define DM_EXACT_H

#include "postgres.h"
#include "nodes/pg_list.h"

/*
 * Reads a JSON array of objects, or one object, into a list of DmObject* in the current memory context. Members are uri, etag and size, and
 * version where the store has versions; others are passed over. Raises 22023 on anything else, and on an object that the URL, if it is
 * not NULL, does not name.
 */
extern List *dm_exact_list(const char *json, const char *url);

#endif
