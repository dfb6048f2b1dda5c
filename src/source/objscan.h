/*
 * objscan.h: rows of all objects that a URL names, used by the foreign-data wrapper and by sources.
 */
#ifndef DM_OBJSCAN_H
#define DM_OBJSCAN_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

#include "codec/csv.h"
#include "store/store.h"

typedef enum DmMatch
{
	DM_MATCH_NAME,	  /* header fields go to columns by name; needs a header */
	DM_MATCH_POSITION /* by position */
} DmMatch;

/* What the objects hold. */
typedef enum DmFormat
{
	DM_FORMAT_CSV,
	DM_FORMAT_JSONL, /* a JSON object a line */
	DM_FORMAT_JSON	 /* one array of JSON objects, or one object */
} DmFormat;

/* What a row does that cannot be read. */
typedef enum DmOnError
{
	DM_ON_ERROR_STOP,	   /* it is an error */
	DM_ON_ERROR_IGNORE,	   /* it is left out */
	DM_ON_ERROR_QUARANTINE /* it is left out and kept in datamill.rejects */
} DmOnError;

/* What Redshift's COPY calls data conversion, for CSV. */
typedef struct DmCsvTweaks
{
	bool any;		   /* one of those that concern fields or records is set */
	int ignore_header; /* records to skip at the start of each object */
	bool ignore_blank_lines;
	bool fill_record; /* fields missing at a record's end are NULL */
	/* Of columns of character types: */
	bool blanks_as_null;
	bool empty_as_null;
	bool trim_blanks;
	bool truncate_columns;
	char replacement;		 /* of invalid bytes; NUL: they are an error */
	const char *date_format; /* of columns of type date, or NULL; see rows/convert.h */
	const char *time_format; /* of timestamps */
} DmCsvTweaks;

typedef struct DmObjScanSpec
{
	Oid server;
	Oid user;
	const char *url; /* s3://bucket/glob */
	DmFormat format;
	DmCsvOptions csv;	   /* of it JSON takes the encoding alone */
	bool unknown_is_error; /* JSON: a member that is no column is one */
	DmCsvTweaks tweaks;
	DmMatch match;
	DmOnError on_error;	   /* other than stop: all columns are converted, so that every query sees the same rows */
	int64 reject_limit;	   /* more rejected rows are an error; -1: any number */
	bool allow_empty;	   /* no matching object is not an error */
	bool no_hive;		   /* steps name=... of the URL are no columns */
	const char *jsonpaths; /* URL of a file with the paths of the columns, in their order, or NULL */
	bool manifest;		   /* the URL is that of a manifest, which names the objects */
	const char
		*exact;		/* the objects to read, of those that the URL names, as dm_exact_list() takes them, or NULL */
	bool has_as_of; /* objects are read as they were at a time */
	TimestampTz as_of;
	TupleDesc desc;		/* the rows' shape; dropped attributes are NULL */
	char **field_names; /* header name of each attribute, or NULL for the attribute's own name */
	/* Raises for values, in the shape of desc, that must not be; NULL: nothing does. With it NULL passes in any column. */
	void (*check)(const Datum *values, const bool *nulls, void *arg);
	void *check_arg;
	bool whole_records; /* JSON: each record is the value of the only column */
	char **paths;		/* JSON: path of each attribute, or NULL for the member of its name */
	Bitmapset *hive;	/* attnums (from 1) of partition columns, whose values stand in the keys (hive.h) */
	Bitmapset *needed; /* attnums (from 1) to convert; the others are left NULL. NULL with all_needed false: none */
	bool all_needed;
	Bitmapset *force_null;		/* attnums whose null text is NULL in quotes, too */
	Bitmapset *force_not_null;	/* attnums whose null text is a value like any other */
	struct DmObjFilter *filter; /* what to leave out, or NULL; see objfilter.h */
	int64 listing;				/* of the planner, to be taken if it is still there (listing.h); 0: none */
	bool in_query;				/* progress counts the rows of the query that reads this, not these */
	/* What loads ask for. */
	bool listed; /* read `objects`, a list of DmObject* got from dm_objscan_list(), instead of listing */
	List *objects;
	List *
		pieces; /* of DmPiece*, ranges of large objects to read instead of all objects; see dm_objsample_pieces() */
	bool allow_missing; /* the first header says which columns have a field; all other headers must name the same */
	void (*object_done)(const DmObject *object, int64 rows,
						void *arg); /* called at the end of each object, or NULL */
	void *object_arg;
} DmObjScanSpec;

typedef struct DmObjScanStats
{
	int64 objects_listed;  /* seen in the listing under the literal prefix */
	int64 folders_pruned;  /* that were not listed, since the filter wants nothing in them */
	int64 objects_pruned;  /* that match the URL and the filter does not want */
	int64 objects_matched; /* the others: those to read */
	int64 objects_read;	   /* opened so far */
	int64 bytes_matched;   /* their sizes */
	int64 bytes_read;	   /* bytes as stored that were consumed */
	int64 rows;			   /* data records read, those rejected included */
	int64 rejected;		   /* of them, counted once however often the scan starts over */
} DmObjScanStats;

typedef struct DmObjScan DmObjScan;

/*
 * Sets spec->hive: the columns of spec->desc, by their field_names where given, else by their own names, that steps of the URL
 * are. None if spec->no_hive.
 */
extern void dm_objscan_find_hive(DmObjScanSpec *spec);
/* The objects that spec->url names, a list of DmObject* in the current memory context. Raises if none, unless allow_empty. */
extern List *dm_objscan_list(const DmObjScanSpec *spec);
/* Lists the objects; opens none yet. Lives in the current memory context. */
extern DmObjScan *dm_objscan_begin(const DmObjScanSpec *spec);
/* Stores the next row in slot (virtual, of spec->desc) and returns true; false, slot cleared, at the end. Values live until the next call. */
extern bool dm_objscan_next(DmObjScan *scan, TupleTableSlot *slot);
/* Asks for the first bytes; tells whether the next row is likely to come without a wait; what to wait for where it is not. */
extern void dm_objscan_start(DmObjScan *scan);
extern bool dm_objscan_ready(DmObjScan *scan);
extern int dm_objscan_wait_fd(DmObjScan *scan);
/* Starts over with the same list of objects (If-Match guards against changed ones), or those of it that the filter wants now. */
extern void dm_objscan_rescan(DmObjScan *scan);
/* Before a pass: from it on, all objects are read that were listed, whatever the filter wants in this pass or that. */
extern void dm_objscan_read_all(DmObjScan *scan);
extern void dm_objscan_end(DmObjScan *scan);
/* Bytes, as stored, of the objects that it reads. */
extern int64 dm_objscan_size(const DmObjScan *scan);
/* Attnums of desc that have a field; opens the first object with a header to know. NULL when there is no record at all. */
extern Bitmapset *dm_objscan_present(DmObjScan *scan);
/* URI of the object and number of the data row read last; false before the first. For error contexts. */
extern bool dm_objscan_place(const DmObjScan *scan, const char **uri, int64 *row);
/* Index in desc of the attribute whose field is being converted, for error contexts; -1 outside of that. */
extern int dm_objscan_attribute(const DmObjScan *scan);
extern const DmObjScanStats *dm_objscan_stats(const DmObjScan *scan);
extern const DmStoreStats *dm_objscan_store_stats(const DmObjScan *scan);

/* The same with what other processes did, of a parallel scan that has ended. */
extern void dm_objscan_totals(const DmObjScan *scan, DmObjScanStats *stats, DmStoreStats *store);

/*
 * Splits a list of objects into those of which any range can be read (CSV and JSON lines that do not look compressed) and the others.
 */
extern void dm_objsample_split(const DmObjScanSpec *spec, List *objects, List **plain, List **others);
/*
 * Random ranges of such objects, a list of DmPiece* in the current memory context: about so many bytes of all of them, each byte as
 * likely as any other. Which records of a range of CSV are read is guessed, by their number of fields.
 */
extern List *dm_objsample_pieces(List *objects, int64 bytes);

/* What the planner knows of the objects that match a URL. */
typedef struct DmObjMeasure
{
	int64 objects;
	int64 bytes;	   /* as stored */
	int64 plain_bytes; /* a guess of their size when decompressed */
	int64 pieces;	   /* of a megabyte, but one for each object that looks compressed */
	int64 listing;	   /* to be taken by the scan, or 0; see listing.h */
	int64 listed;	   /* as in DmObjScanStats */
	int64 folders_pruned;
	int64 objects_pruned;
} DmObjMeasure;

/* Lists what spec->url names, for the planner; spec->filter leaves out. */
extern void dm_objscan_measure(const DmObjScanSpec *spec, DmObjMeasure *measure);

#endif
