/*
 * source.h: resolves a `source` argument and gives its rows: the one way to get rows for everything above.
 *
 * A source is a relation name, one SELECT/WITH/VALUES/TABLE query, or an object URL (s3://bucket/glob). Open it, look
 * at the columns it offers, bind it to the columns wanted, run it:
 *
 *     source = dm_source_open(text, options);        columns in source->offered
 *     dm_source_bind(source, wanted);                matched by name, types checked
 *     dm_source_run(source, each, arg);              one pass, each row in a slot of the wanted shape
 */
#ifndef DM_SOURCE_H
#define DM_SOURCE_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "utils/jsonb.h"

typedef enum DmSourceKind
{
	DM_SOURCE_RELATION,
	DM_SOURCE_QUERY,
	DM_SOURCE_OBJECTS
} DmSourceKind;

/* Raises for a row, in the shape of what is wanted, that must not be. */
typedef void (*DmSourceCheck)(const Datum *values, const bool *nulls, void *arg);

typedef struct DmSource
{
	DmSourceKind kind;
	const char *text; /* as given */
	TupleDesc
		offered; /* names and types; of objects: the header's names and the types inferred from a sample; without
						 * attributes where allow_empty let there be no object: then any columns can be wanted */
	TupleDesc wanted; /* set by dm_source_bind */
	int64 rejected;	  /* see dm_source_rejected */
	void *state;	  /* of its kind */
	/*
	 * NULL if there is none; else set before dm_source_bind(), and then NULL passes whatever its column's type. For objects
	 * it is called where values are converted: what it raises is an error of that row, which on_error may reject.
	 */
	DmSourceCheck check;
	void *check_arg;
} DmSource;

/* Called for each row, in a memory context that is reset after it. The slot and its values live until it returns. */
typedef void (*DmSourceEach)(TupleTableSlot *slot, void *arg);

/*
 * Opens a source in the current memory context, as the current user. For objects, `options` (a jsonb object or NULL)
 * gives server, format, header, delimiter, quote, escape, null, encoding, on_error, reject_limit, allow_empty and columns ({"name": "type"}
 * instead of inference); the caller has removed or checked all other keys with dm_source_is_option().
 */
extern DmSource *dm_source_open(const char *text, Jsonb *options);
/* As dm_source_open, but each JSON record of objects is the text of one column, DM_SOURCE_RECORD. */
#define DM_SOURCE_RECORD "record"
extern DmSource *dm_source_open_records(const char *text, Jsonb *options);
extern bool dm_source_is_option(const char *name);
/* Comma-separated names of those options, for a message. */
extern const char *dm_source_option_names(void);
/*
 * Fixes which columns are wanted, by name, in the shape `wanted` (not dropped, not generated attributes only).
 * Raises 42703 for a wanted column that the source lacks or an offered one that is not wanted (naming all of them),
 * 42804 for a type that does not go by assignment (relations and queries only).
 */
extern void dm_source_bind(DmSource *source, TupleDesc wanted);
/* One pass over all rows. Returns how many there were. Objects and relations read go to the open receipt. */
extern int64 dm_source_run(DmSource *source, DmSourceEach each, void *arg);
/* Rows that the last run left out as bad, as option on_error of objects tells; 0 for other kinds. */
extern int64 dm_source_rejected(const DmSource *source);
extern void dm_source_close(DmSource *source);

/* The server an s3:// URL is read through: named, else the setting, else the only one with USAGE. Raises with candidates. */
extern Oid dm_source_server(const char *name_or_null);
/*
 * The s3:// URL of a file:///folder/bucket/key URL below the endpoint of a local server: the one named in *server, else any that
 * the caller may use; *server is set to its name. Another URL is returned as it is.
 */
extern const char *dm_source_url(const char *url, const char **server);
/* Raises 42501 unless the user has USAGE on the server. */
extern void dm_source_check_usage(Oid server, Oid user);

#endif
