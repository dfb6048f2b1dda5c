/*
 * backend.h: what a unit test needs in place of a backend: palloc on malloc, ereport that jumps back, and TAP.
 *
 * A test is one program: it includes this file, then the .c files it tests, then has a main that calls ok() and ends
 * with return done(). Memory is never freed.
 */
#ifndef UNIT_BACKEND_H
#define UNIT_BACKEND_H

#include "postgres.h"

#include <setjmp.h>
#include <stdio.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"

static int unit_tests = 0;
static int unit_failed = 0;
static int unit_level = 0;
static char unit_error[1024]; /* message of the last error */
static int unit_sqlstate = 0;
static jmp_buf unit_jump;

/* One test. */
static inline bool
ok(bool passed, const char *name)
{
	printf("%sok %d - %s\n", passed ? "" : "not ", ++unit_tests, name);
	unit_failed += !passed;
	return passed;
}

/* Prints the plan; the program's exit status. */
static inline int
done(void)
{
	printf("1..%d\n", unit_tests);
	return unit_failed ? 1 : 0;
}

/* True if the statement raises; unit_error and unit_sqlstate then say what. */
#define RAISES(statement) (setjmp(unit_jump) == 0 ? ((void) (statement), false) : true)

/* Any UTF-8 character's length, as in a UTF-8 database. */
int
pg_mblen(const char *s)
{
	unsigned char c = *s;

	return c < 0xe0 ? (c < 0x80 ? 1 : 2) : (c < 0xf0 ? 3 : 4);
}

void
check_stack_depth(void)
{
}

bool
errstart(int elevel, const char *domain)
{
	unit_level = elevel;
	unit_sqlstate = 0;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (unit_level >= ERROR)
		longjmp(unit_jump, 1);
}

int
errcode(int sqlerrcode)
{
	unit_sqlstate = sqlerrcode;
	return 0;
}

int
errmsg(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(unit_error, sizeof(unit_error), fmt, args);
	va_end(args);
	return 0;
}

int
errmsg_internal(const char *fmt, ...)
{
	return 0;
}

int
errdetail(const char *fmt, ...)
{
	return 0;
}

int
errhint(const char *fmt, ...)
{
	return 0;
}

#endif
