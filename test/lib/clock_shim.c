/*
 * clock_shim.c: preloaded into a server, puts its wall clock on by the seconds that the file of DM_CLOCK holds (8 bytes, native order), which may
 * change at any time. libfaketime does not serve here: a process that the postmaster forks out of a signal handler, as it does with
 * background workers, keeps the real time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *offset;
static int (*real_gettimeofday)(struct timeval *, void *);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

/* Maps the file. */
__attribute__((constructor)) static void
init(void)
{
	const char *name = getenv("DM_CLOCK");
	int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	real_gettimeofday = (int (*)(struct timeval *, void *)) dlsym(RTLD_NEXT, "gettimeofday");
	real_clock_gettime = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	offset = map == MAP_FAILED ? NULL : map;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	int code = real_gettimeofday(tv, tz);

	if (code == 0 && tv && offset)
		tv->tv_sec += *offset;
	return code;
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	int code = real_clock_gettime(clock, ts);

	if (code == 0 && clock == CLOCK_REALTIME && offset)
		ts->tv_sec += *offset;
	return code;
}
