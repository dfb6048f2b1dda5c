/*
 * pins.h: objects as receipts know them, found again.
 */
#ifndef DM_PINS_H
#define DM_PINS_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "store/store.h"

typedef struct DmPin
{
	char *uri;
	char *server;  /* through which it was read; NULL: not known */
	char *version; /* NULL: none */
	char *etag;	   /* NULL: not known */
	char *sha256;  /* NULL: not known */
	int64 size;	   /* -1: not known */
	int64 rows;
	TimestampTz from; /* the receipt's times, between which it was read */
	TimestampTz until;
	bool is_output;
} DmPin;

/* Pins of the objects (s3://...) of the receipts of a run, or of one receipt: a list of DmPin* in the current memory context. */
extern List *dm_pins_of_run(int64 run_id);
extern List *dm_pins_of_receipt(int64 receipt_no);

/* The object of the pin as it is now; NULL if there is none. */
extern DmObject *dm_pin_now(DmStore *store, const DmPin *pin);
/* The version of it that the pin means, if the bucket keeps versions and has it still; NULL if not. */
extern DmObject *dm_pin_version(DmStore *store, const DmPin *pin);

/* The SHA-256 of an object's bytes, in hexadecimal: it is read. */
extern char *dm_pin_digest(DmStore *store, DmObject *object);

/*
 * From now on this process reads only pinned objects (of URLs of objects; a list of DmPin* that outlives the process's work), each as it was: what a
 * listing has besides is left out, and one that is not as it was is an error (DM001).
 */
extern void dm_pins_set(List *pins);
extern bool dm_pins_are_set(void);
struct DmArchive;
/* Where the bytes of pinned objects are kept. */
extern void dm_pins_set_archive(struct DmArchive *archive);
/* The pinned objects of a pattern of keys in a bucket, if all of them are archived; false if not. */
extern bool dm_pins_archived(const char *server, const char *bucket, const char *pattern, List **objects);
/*
 * Of the objects that were listed through a server for a pattern of keys in a bucket (NULL: objects is all that was asked for), those that are
 * pinned, in the versions meant, and pinned ones that the listing lacks, in the order of their keys.
 */
extern List *dm_pins_apply(DmStore *store, const char *server, const char *bucket, const char *pattern,
						   List *objects);

#endif
