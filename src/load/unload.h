/*
 * unload.h: writes rows to objects.
 *
 *     unload = dm_unload_begin(url, options, columns);     checks all that can be checked before a row comes
 *     dm_unload_put(unload, slot);                         for each row
 *     dm_unload_finish(unload, &result);                   now, and not before, the objects appear
 *
 * An unload lives in the memory context that it was begun in; one that is not finished leaves nothing behind.
 */
#ifndef DM_UNLOAD_H
#define DM_UNLOAD_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "codec/record_writer.h"
#include "receipt/receipt.h"
#include "source/objscan.h"
#include "store/store.h"
#include "stream/sink.h"

typedef enum DmCompression
{
	DM_COMPRESSION_NONE,
	DM_COMPRESSION_GZIP,
	DM_COMPRESSION_ZSTD
} DmCompression;

typedef enum DmOverwrite
{
	DM_OVERWRITE_REFUSE,  /* an object that is there is an error */
	DM_OVERWRITE_REPLACE, /* those of the same name are replaced, others stay */
	DM_OVERWRITE_CLEAN	  /* others are removed, after all is written */
} DmOverwrite;

typedef enum DmManifest
{
	DM_MANIFEST_NONE,
	DM_MANIFEST_PLAIN,
	DM_MANIFEST_VERBOSE /* with the columns' types and the sums */
} DmManifest;

typedef struct DmUnloadOptions
{
	const char *server; /* NULL: the default one */
	DmFormat format;
	DmCsvWriteOptions csv; /* force_quote is set when the columns are known; JSON has the encoding alone */
	List *force_quote;	   /* of char* */
	bool force_quote_all;
	DmCompression compression;
	bool has_compression; /* it was given */
	int level;
	int64 max_file_bytes; /* 0: any size */
	List *partition_by;	  /* of char* */
	bool include;		  /* partition columns stay in the files */
	DmManifest manifest;
	DmOverwrite overwrite;
	const char *extension; /* NULL: that of format and compression */
	bool no_empty_file;	   /* no row, no file */
	Jsonb *source;		   /* how objects as source are read, or NULL */
} DmUnloadOptions;

typedef struct DmUnloadResult
{
	int64 files;
	int64 rows;
	int64 bytes; /* as stored */
	char *receipt;
} DmUnloadResult;

/* unload_options.c; with for_copy the defaults are those of COPY. */
extern void dm_unload_options_parse(Jsonb *options, bool for_copy, DmUnloadOptions *parsed);
extern void dm_unload_options_level(DmUnloadOptions *parsed);

/* unload_file.c: one file that is being written. */
typedef struct DmUnloadFile
{
	char *key;
	char *folder; /* of its partition, "" without one */
	DmUpload *upload;
	int64 rows;
	int64 bytes; /* as stored, once it has ended */
	char *sha256;
	bool is_sealed;
	DmObject *object; /* once it is published */
	/* While it is open: */
	MemoryContext context;
	DmSink *top;	/* records go in */
	DmSink *stored; /* the digest: what goes through it is what is stored */
	uint64 flushed; /* bytes stored at the last flush */
	uint64 pending; /* bytes that went into the compression since */
} DmUnloadFile;

extern DmUnloadFile *dm_unload_file_open(DmStore *store, const char *bucket, const char *key,
										 const DmUnloadOptions *options, const char *content_type);
extern void dm_unload_file_write(DmUnloadFile *file, const char *data, Size len);
extern bool dm_unload_file_fits(DmUnloadFile *file, const DmUnloadOptions *options, Size waiting);
extern void dm_unload_file_flush(DmUnloadFile *file);
extern void dm_unload_file_end(DmUnloadFile *file);
extern void dm_unload_file_seal(DmUnloadFile *file);
extern void dm_unload_file_publish(DmUnloadFile *file);

/* unload_names.c: keys of files, and objects that are there already. */
typedef struct DmUnloadNames
{
	DmStore *store;
	const char *server; /* its name */
	char *bucket;
	char *prefix;		   /* the URL's key */
	char *dir;			   /* of it, up to its last slash */
	const char *base;	   /* what follows that */
	const char *extension; /* with its dot */
	bool is_exact;		   /* prefix is the key of the one file */
	bool is_partitioned;
} DmUnloadNames;

extern DmUnloadNames *dm_unload_names_make(const char *url, const DmUnloadOptions *options, bool is_exact);
extern char *dm_unload_names_key(const DmUnloadNames *names, const char *folder, int number);
extern char *dm_unload_names_manifest(const DmUnloadNames *names);
extern List *dm_unload_names_existing(const DmUnloadNames *names, const DmUnloadOptions *options);

/* unload_manifest.c */
extern char *dm_unload_manifest_make(const DmUnloadNames *names, TupleDesc columns, List *files, bool verbose);

/* unload.c */
typedef struct DmUnload DmUnload;

extern DmUnload *dm_unload_begin(const char *url, const DmUnloadOptions *options, TupleDesc columns, bool is_exact);
extern void dm_unload_put(DmUnload *unload, TupleTableSlot *slot);
extern void dm_unload_finish(DmUnload *unload, DmUnloadResult *result);
extern void dm_unload_outputs(const DmUnload *unload, DmReceipt *receipt);
extern void dm_unload(const char *source, const char *url, Jsonb *options, DmUnloadResult *result);

/* copy_to.c */
extern uint64 dm_copy_to(const CopyStmt *statement, const char *url, Jsonb *json, const char *text, int location,
						 int len);

#endif
