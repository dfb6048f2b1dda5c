/*
 * expect.h: queries of a job that must return true.
 */
#ifndef DM_EXPECT_H
#define DM_EXPECT_H

#include "postgres.h"
#include "nodes/pg_list.h"

/* Splits a text[] as its output function prints it into a list of char*; NIL for NULL. */
extern List *dm_expect_list(const char *array);
/* Executes a query of one boolean in the open transaction; NULL and no row are false. what is for messages. */
extern bool dm_expect_is_true(const char *query, const char *what, const char *job);
/* Raises 23514 unless all return true. */
extern void dm_expect_check(List *queries, const char *job);

#endif
