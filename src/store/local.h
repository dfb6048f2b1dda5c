/*
 * local.h: the parts of the local directory store: local.c lists, local_get.c reads, local_put.c writes. Inside store/ only.
 */
#ifndef DM_STORE_LOCAL_H
#define DM_STORE_LOCAL_H

#include "postgres.h"

#include <sys/stat.h>

#include "base/handle.h"
#include "store/kind.h"

/* How the name of a file starts that is being uploaded. */
#define DM_LOCAL_TEMP ".datamill-upload-"

extern void dm_local_check_may_write(const DmStoreSettings *settings);
extern int dm_local_folder_open(const DmStore *store, const char *bucket, const char *key, const char **name,
								bool make);
extern char *dm_local_etag(const struct stat *st);
extern void dm_local_object(DmObject *object, const char *bucket, const char *key, const struct stat *st);
extern DmHandle *dm_local_fd_handle(MemoryContext context, int fd);

extern DmFetch *dm_local_fetch_open(DmStore *store);
extern DmStream *dm_local_fetch_next(DmFetch *fetch, DmPiece *piece);
extern void dm_local_fetch_wait(DmFetch *fetch, long max_ms);
extern void dm_local_fetch_close(DmFetch *fetch);
extern DmUpload *dm_local_upload_open(DmStore *store, const char *bucket, const char *key,
									  const DmUploadOptions *options);
extern void dm_local_upload_write(DmUpload *upload, const char *data, Size len);
extern void dm_local_upload_seal(DmUpload *upload);
extern DmObject *dm_local_upload_publish(DmUpload *upload);
extern void dm_local_upload_abort(DmUpload *upload);
extern void dm_local_uploads_abort(DmStore *store, const DmOpenUpload *upload);
extern void dm_local_delete(DmStore *store, List *objects);

#endif
