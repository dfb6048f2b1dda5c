/*
 * objscan_internal.h: what the files of the object scan share; for this folder only.
 */
#ifndef DM_OBJSCAN_INTERNAL_H
#define DM_OBJSCAN_INTERNAL_H

#include "access/htup.h"

#include "base/progress.h"
#include "codec/csv_split.h"
#include "codec/json.h"
#include "rows/convert.h"
#include "source/objscan.h"
#include "source/objscan_share.h"

/* Columns that tell about the object instead of holding one of its fields. */
typedef enum DmObjColumn
{
	DM_OBJ_FIELD, /* no: an ordinary one */
	DM_OBJ_FILE,
	DM_OBJ_ROW,
	DM_OBJ_ETAG,
	DM_OBJ_SIZE,
	DM_OBJ_MODIFIED,
	DM_OBJ_HIVE
} DmObjColumn;

/* A wanted column and the field it comes from. */
typedef struct DmObjTarget
{
	int attribute;		 /* index in the row, from 0 */
	int field;			 /* index in the record, from 0 */
	bool is_text;		 /* of a character type */
	int max_chars;		 /* of it, 0: any number */
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
	bool fitted;			 /* an object has been mapped */
	DmObjTarget *targets;	 /* needed attributes, in the order of their fields */
	int ntargets;
	int *specials; /* needed attributes that have no field, by index */
	int nspecials;
	NullableDatum *partitions; /* values of hive attributes in the current object, by index */
	const DmObjScanSpec *spec;
	int *attributes; /* attribute index of each field of the current object */
} DmObjMap;

/* A record as it was read: the reader's own, or a copy in a batch. */
typedef struct DmObjRecord
{
	int64 row;	/* data row of its object, from 1; 0 before the first */
	int64 line; /* 0 while it is being read */
	uint64 offset;
	DmCsvField *fields;
	int nfields;
	bool has_high;	   /* see DmCsvReader */
	bool unterminated; /* see DmCsvReader */
	const char *text;  /* JSON: the record */
	int len;
	const char *broken; /* see DmJsonReader */
} DmObjRecord;

/* JSON: members and the columns that come from them; see objscan_json.c. */
typedef struct DmObjJson DmObjJson;

/* What an object's first bytes tell, for reading ranges of it. */
typedef struct DmObjHead
{
	const char *key;  /* the object's, by address; NULL: of none */
	bool is_plain;	  /* not compressed */
	char newline;	  /* CSV: see dm_csv_newline() */
	int64 data_start; /* CSV: offset of the first data record */
} DmObjHead;

/* Rows that are read, then converted together; only where bad rows are no errors. */
typedef struct DmObjBatch
{
	MemoryContext context; /* of the copies, the tuples and the rejects; reset for the next batch */
	DmObjRecord *records;  /* DM_BATCH_ROWS of them */
	int nrecords;
	HeapTuple *tuples; /* DM_BATCH_ROWS of them: the rows */
	int ntuples;
	int64 *rows;		   /* data row of each tuple */
	int next;			   /* of tuples, to be handed out */
	int wanted;			   /* records that the next batch shall have: it grows, since LIMIT may stop soon */
	bool object_ended;	   /* the current object has no more records */
	List *rejects;		   /* of DmReject*, with on_error quarantine */
	int64 object_rejected; /* rows of the current object */
	int seen_position; /* place (object, row) of the last rejected row of any pass: what lies before is counted already */
	int64 seen_row;
} DmObjBatch;

struct DmObjScan
{
	DmObjScanSpec spec;
	MemoryContext context;
	MemoryContext pass_context;
	MemoryContext object_context;
	MemoryContext row_context;
	DmStore *store;
	List *listed;  /* of DmObject* */
	List *picked;  /* of them, where the filter changes from pass to pass */
	List *objects; /* those that the pass reads: one of the two */
	bool reads_all;
	DmStoreStats planned; /* what listing them took when the query was planned */
	DmObjMap *map;
	DmCsvReader *csv;	/* NULL before the first object; so is the other one */
	DmJsonReader *json; /* of JSON */
	DmObjJson *json_map;
	int null_len;
	DmObjBatch *batch; /* NULL with on_error stop */
	DmObjScanStats stats;
	int64 bytes_closed; /* bytes_read of the objects before the current one */
	DmProgress reported;
	int64 report_at; /* rows read at which to report again */

	/* Of a parallel scan: see objscan_share.c. */
	DmObjShare *share; /* NULL: all objects are this process's own */
	int member;
	DmObjHead head;
	DmCsvPhase phase; /* in which piece number phase_before begins */
	int phase_before;
	int next_piece;		   /* of spec.pieces */
	DmObjScanStats others; /* what other processes have done */
	DmStoreStats others_store;

	/* One pass. */
	DmFetch *fetch; /* NULL before its first object */
	int position;	/* objects opened */
	int nrecorded;	/* objects at the head of the list that the receipt has */

	/* One object. */
	DmPiece piece;
	const DmObject *object; /* NULL between objects */
	bool in_middle;			/* it is read from a range on: rows and lines have no numbers */
	int64 range_end;		/* of a range: records behind belong to the next one; -1: all do */
	bool at_first;			/* of a range: the object's first record is next */
	DmStream *stored;		/* its bytes as stored */
	DmStream *digest;		/* over stored, or NULL */
	char *uri;
	int64 row; /* data rows read from it */

	/* One row. */
	DmObjRecord record;

	/* One field, for the error context. */
	const DmObjTarget *target; /* NULL outside of a field */
	DmCsvField changed_field;  /* a value of JSON, or a field that options changed, for it */
	const DmCsvField *field;   /* NULL while its encoding is not known to be good */
};

/* objscan.c: opens the next object up to its first data record, false after the last one; ends the current one. */
extern bool dm_objscan_open_object(DmObjScan *scan);
extern void dm_objscan_close_object(DmObjScan *scan);
/* The same, after all of the object was read: tells whoever asked to know. */
extern void dm_objscan_finish_object(DmObjScan *scan);
/* The same file: opens or goes on with the readers on bytes of the current object, maps its header. */
extern void dm_objscan_open_csv(DmObjScan *scan, DmStream *bytes);
extern void dm_objscan_read_header(DmObjScan *scan);
extern void dm_objscan_open_json(DmObjScan *scan, DmStream *bytes);
extern void dm_objscan_continue_json(DmObjScan *scan, DmStream *bytes, int64 offset);
/* objscan_row.c: reads the next record of the current object into scan->record, false at its end; converts that record. */
extern bool dm_objscan_read_record(DmObjScan *scan);
extern void dm_objscan_convert(DmObjScan *scan, Datum *values, bool *isnull);
/* objscan_tweaks.c: finds a target's field of the current record, changed as the options say; true if it is NULL. */
extern bool dm_objtweak_field(DmObjScan *scan, const DmObjTarget *target, DmCsvField **field);
/* objscan_row.c: whether a field is NULL by its text. */
extern bool dm_objscan_is_null(const DmObjScan *scan, const DmObjTarget *target, const DmCsvField *field);
/* objscan_json.c: the same for JSON, but for special columns. */
extern DmObjJson *dm_objjson_make(const DmObjMap *map);
extern void dm_objjson_convert(DmObjScan *scan, Datum *values, bool *isnull);
/* objscan_batch.c: the same for batches, where bad rows are no errors. */
extern DmObjBatch *dm_objbatch_make(DmObjScan *scan);
extern bool dm_objbatch_next(DmObjScan *scan, TupleTableSlot *slot);
extern void dm_objbatch_rescan(DmObjScan *scan);

/* objscan_share.c: see there. */
extern DmFetch *dm_objshare_fetch(DmObjScan *scan);
extern int64 dm_objshare_range_end(const DmObjShare *share, const DmPiece *piece);
extern DmCsvPhase dm_objshare_phase(DmObjScan *scan);
extern void dm_objshare_step(DmObjScan *scan, bool inside);
/* objscan_sample.c: the fetch of spec.pieces; guesses the phase that the current one begins in, false if it cannot. */
extern DmFetch *dm_objsample_fetch(DmObjScan *scan);
extern bool dm_objsample_phase(const DmObjScan *scan, DmCsvPhase *phase);
/* objscan_split.c: opens the current piece, a range; ends it before a record; its size. */
extern void dm_objsplit_open(DmObjScan *scan);
extern bool dm_objsplit_is_behind(DmObjScan *scan);
extern int64 dm_objsplit_bytes(const DmObjScan *scan);

extern DmObjMap *dm_objmap_make(const DmObjScanSpec *spec);
extern void dm_objmap_by_position(DmObjMap *map);
extern void dm_objmap_by_header(DmObjMap *map, DmCsvReader *header, const char *uri);
/* Attnums of the columns that have a field in the objects mapped so far. */
extern Bitmapset *dm_objmap_present(const DmObjMap *map);
/* Finds the partition columns' values in an object's key; they live in the current memory context. */
extern void dm_objmap_enter(DmObjMap *map, const DmObject *object);
/* Value of an attribute that has no field; row is the data row's number in the object. Text is palloc'd in the current context. */
extern Datum dm_objmap_special(const DmObjMap *map, int attribute, const DmObject *object, int64 row, bool *isnull);
/* Value of a column that tells about the object alone: _file, _etag, _size or _modified. */
extern Datum dm_objmap_about(DmObjColumn kind, const DmObject *object, bool *isnull);
/* Is it the name of a special column, _file and the like? */
extern bool dm_objmap_is_special(const char *name);
/* What an attribute is that has no field, by its name. Raises 42804 if it is one of the special ones, but of another type. */
extern DmObjColumn dm_objmap_kind(const DmObjScanSpec *spec, int attribute);
/* Value of a partition column in a key. Raises what its type's input raises, naming column and key. */
extern Datum dm_objmap_partition(const DmObject *object, Form_pg_attribute attribute, const char *name,
								 bool *isnull);

/* Does a key look compressed, by its ending? */
extern bool dm_objlist_looks_compressed(const char *key);
/* The objects that match a URL, in the current memory context; counts go to stats. */
extern List *dm_objlist_make(DmStore *store, const DmObjScanSpec *spec, DmObjScanStats *stats);

#endif
