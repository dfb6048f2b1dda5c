/*
 * handle.c: foreign resources that die with a memory context.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/handle.h"

struct DmHandle
{
	MemoryContextCallback callback; /* registered with the context; its arg is this handle */
	void *resource;					/* NULL once released */
	DmHandleRelease release;
};

/* Releases the resource if it is still held. Runs at most once per resource, and must not raise. */
static void
handle_release(void *arg)
{
	DmHandle *handle = arg;
	void *resource = handle->resource;

	handle->resource = NULL;
	if (resource)
		handle->release(resource);
}

/*
 * Makes a handle in context that calls release(resource) when freed or when the context goes away. On out of
 * memory the resource is released before the error is raised, so a caller can pass a fresh resource directly.
 */
DmHandle *
dm_handle_make(MemoryContext context, void *resource, DmHandleRelease release)
{
	DmHandle *handle = MemoryContextAllocExtended(context, sizeof(DmHandle), MCXT_ALLOC_NO_OOM);

	if (!handle)
	{
		release(resource);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	handle->resource = resource;
	handle->release = release;
	handle->callback.func = handle_release;
	handle->callback.arg = handle;
	MemoryContextRegisterResetCallback(context, &handle->callback);
	return handle;
}

/* Returns the resource, or NULL once it has been released. */
void *
dm_handle_get(const DmHandle *handle)
{
	return handle->resource;
}

/* Releases the resource now. The handle itself stays until its context goes (the callback still points to it). */
void
dm_handle_free(DmHandle *handle)
{
	handle_release(handle);
}
