/*
 * guess.h: which types the texts of a column could be.
 *
 * Each value leaves only the types that it fits; the order of the values does not matter. A type is taken only when its
 * output says the same as the text: leading zeros, plus signs and digits that would be lost make text.
 */
#ifndef DM_GUESS_H
#define DM_GUESS_H

#include "postgres.h"

#define DM_GUESS_TYPES 7

/* What has been seen of one column; start with zeros. */
typedef struct DmGuess
{
	int impossible; /* mask of the types that some value does not fit */
	int letters;	/* mask of the single letters t and f seen */
	int64 values;	/* values seen, NULLs not among them */
	/* What a doubt may come from: values that ... */
	int64 fits[DM_GUESS_TYPES]; /* fit each type */
	int64 padded;				/* are digits with a leading zero */
	int64 long_numbers;			/* are whole and too long for bigint */
	int64 zero_or_one;			/* are 0 or 1 */
	int64 slashed;				/* look like dates of three numbers */
	int64 day_first;			/* ... of which the first is no month */
	int64 month_first;			/* ... of which the second is no month */
} DmGuess;

extern void dm_guess_add(DmGuess *guess, const char *data, int len);
/* The narrowest type that all values fit, in the order boolean, bigint, numeric, uuid, date, timestamp, timestamptz, text. */
extern Oid dm_guess_type(const DmGuess *guess);
/* Why that type may not be what a person would choose, palloc'd; NULL if nothing speaks against it. */
extern char *dm_guess_doubt(const DmGuess *guess);

#endif
