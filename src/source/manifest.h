/*
 * manifest.h: JSON files that say what to read, as Redshift's COPY takes them: manifests, which list objects, and JSONPaths.
 */
#ifndef DM_MANIFEST_H
#define DM_MANIFEST_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "store/store.h"

/*
 * Reads the manifest at a URL and returns the objects that it names, a list of DmObject* in its order, in the current memory
 * context. An object that is not there is an error if its entry is mandatory, else a NOTICE; one whose size is not that of the
 * entry is an error.
 */
extern List *dm_manifest_list(DmStore *store, const char *url);
/*
 * Reads a file of Redshift's JSONPaths, {"jsonpaths": ["$.id", "$['user'][0]"]}: the paths in the order of the columns, a list of char* in
 * the current memory context.
 */
extern List *dm_jsonpaths_read(DmStore *store, const char *url);

#endif
