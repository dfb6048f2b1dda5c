/*
 * handle.h: binds what palloc does not own (curl handles, z_streams, FILEs, digests) to a memory context.
 *
 * A handle is released exactly once: by dm_handle_free(), or when its context is reset or deleted, which
 * ERROR does for every context below the transaction's. So no foreign resource outlives its statement.
 */
#ifndef DM_HANDLE_H
#define DM_HANDLE_H

#include "postgres.h"

typedef void (*DmHandleRelease)(void *resource);
typedef struct DmHandle DmHandle;

extern DmHandle *dm_handle_make(MemoryContext context, void *resource, DmHandleRelease release);
extern void *dm_handle_get(const DmHandle *handle);
extern void dm_handle_free(DmHandle *handle);

#endif
