/*
 * large.h: large arrays that are read and written all over.
 */
#ifndef DM_LARGE_H
#define DM_LARGE_H

#include "postgres.h"

extern void *dm_large_alloc(MemoryContext context, Size size);

#endif
