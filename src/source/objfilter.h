/*
 * objfilter.h: conditions that leave out folders and objects before they are listed and read.
 *
 * A condition can be checked on an object alone when it is about its key's partitions and the special columns _file, _etag,
 * _size and _modified; on a folder, when it is about partitions that the folder's name tells. What passes is
 * checked again on every row by whoever has asked.
 */
#ifndef DM_OBJFILTER_H
#define DM_OBJFILTER_H

#include "postgres.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"

#include "source/objscan.h"

typedef struct DmObjFilter DmObjFilter;

/* Attnums of spec->desc that conditions may be about, in the current memory context. */
extern Bitmapset *dm_objfilter_columns(const DmObjScanSpec *spec);
/*
 * Makes a filter in the current memory context. exprs are conditions (expression trees, all must hold) and states, one each, how they
 * are executed in econtext; spec must outlive it. Conditions with parameters that may change from one scan to the next
 * are checked on objects only.
 */
extern DmObjFilter *dm_objfilter_make(const DmObjScanSpec *spec, List *exprs, List *states, ExprContext *econtext);
/* True if a condition has such parameters: another scan may want other objects. */
extern bool dm_objfilter_varies(const DmObjFilter *filter);
/* True if a condition looks at a partition that only folders below this pattern of a key tell. */
extern bool dm_objfilter_looks_at(const DmObjFilter *filter, const char *pattern);
/* May there be wanted objects in a folder (its key up to and with a slash)? Raises what the conditions raise. */
extern bool dm_objfilter_folder(DmObjFilter *filter, const char *bucket, const char *folder);
/* Is the object wanted? With `all` false, by conditions without changing parameters alone. */
extern bool dm_objfilter_object(DmObjFilter *filter, const DmObject *object, bool all);

#endif
