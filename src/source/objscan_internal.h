/*
 * objscan_internal.h: what the files of the object scan share; for this folder only.
 */
#ifndef DM_OBJSCAN_INTERNAL_H
#define DM_OBJSCAN_INTERNAL_H

#include "rows/convert.h"
#include "source/objscan.h"

/* Columns that tell about the object instead of holding one of its fields. */
typedef enum DmObjColumn
{
	DM_OBJ_FIELD, /* no: an ordinary one */
	DM_OBJ_FILE,
	DM_OBJ_ROW,
	DM_OBJ_ETAG,
	DM_OBJ_SIZE,
	DM_OBJ_MODIFIED
} DmObjColumn;

/* A wanted column and the field it comes from. */
typedef struct DmObjTarget
{
	int attribute;		 /* index in the row, from 0 */
	int field;			 /* index in the record, from 0 */
	bool force_null;	 /* the null text is NULL in quotes, too */
	bool force_not_null; /* the null text is a value like any other */
	DmConverter *converter;
} DmObjTarget;

/* How the records of the current object become rows. */
typedef struct DmObjMap
{
	TupleDesc desc;
	const char **names;		 /* header name of each attribute; NULL: it has no field */
	DmObjColumn *kinds;		 /* of each attribute */
	DmConverter *converters; /* of each attribute that is needed */
	int nfields;			 /* fields that a record of the current object must have */
	bool by_header;			 /* ... because its header has so many */
	DmObjTarget *targets;	 /* needed attributes, in the order of their fields */
	int ntargets;
	int *specials; /* needed attributes that have no field, by index */
	int nspecials;
	const DmObjScanSpec *spec;
	int *attributes; /* attribute index of each field of the current object */
} DmObjMap;

extern DmObjMap *dm_objmap_make(const DmObjScanSpec *spec);
extern void dm_objmap_by_position(DmObjMap *map);
extern void dm_objmap_by_header(DmObjMap *map, DmCsvReader *header, const char *uri);
/* Value of a special column; row is the data row's number in the object. Text is palloc'd in the current context. */
extern Datum dm_objmap_special(DmObjColumn kind, const DmObject *object, int64 row, bool *isnull);

/* The objects that match a URL, in the current memory context; counts go to stats. */
extern List *dm_objlist_make(DmStore *store, const char *url, DmObjScanStats *stats);

#endif
