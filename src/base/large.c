/*
 * large.c: memory for large arrays that are read and written all over.
 *
 * With pages of 4 kB, an access to a random place of such an array costs a look-up of its page's address besides the cache
 * miss, and the first access to each page costs a fault. So the kernel is asked for huge pages, which it grants as
 * /sys/kernel/mm/transparent_hugepage says; without them all is as before.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "base/large.h"

#define HUGE_PAGE_BYTES (2 * 1024 * 1024)

/* Returns size bytes of the context, not cleared. */
void *
dm_large_alloc(MemoryContext context, Size size)
{
	char *memory = MemoryContextAllocHuge(context, size);
#ifdef MADV_HUGEPAGE
	uintptr_t begin = TYPEALIGN(HUGE_PAGE_BYTES, (uintptr_t) memory);
	uintptr_t end = TYPEALIGN_DOWN(HUGE_PAGE_BYTES, (uintptr_t) memory + size);

	/* only whole huge pages inside, so that no byte more than asked for becomes resident; a refusal is no matter */
	if (begin < end)
		(void) madvise((void *) begin, end - begin, MADV_HUGEPAGE); /* NOLINT(performance-no-int-to-ptr) */
#endif
	return memory;
}
