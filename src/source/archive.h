/*
 * archive.h: bytes of inputs, kept by their digests.
 */
#ifndef DM_ARCHIVE_H
#define DM_ARCHIVE_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "source/pins.h"
#include "store/store.h"

/* Where blobs are: <url>/<sha256>.gz, through the server. */
typedef struct DmArchive
{
	char *url;
	char *server;
} DmArchive;

/* The archive that datamill.archive names, as the current user; NULL if it is empty. Raises 22023 for what is no place for objects. */
extern DmArchive *dm_archive_current(void);
/* Puts the objects of pins (inputs with a digest) there that are not there yet. Raises DM001 if one is not what it was any more. */
extern void dm_archive_put(const DmArchive *archive, List *pins);
/* The blob of a digest in an archive; NULL if there is none. Its store is opened once. */
extern DmArchived *dm_archive_find(DmStore *store, const DmArchive *archive, const char *sha256);
extern DmStore *dm_archive_open(const DmArchive *archive);

#endif
