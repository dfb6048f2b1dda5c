/*
 * guess.h: which types the texts of a column could be.
 *
 * Each value leaves only the types that it fits; the order of the values does not matter. A type is taken only when its
 * output says the same as the text: leading zeros, plus signs and digits that would be lost make text.
 */
#ifndef DM_GUESS_H
#define DM_GUESS_H

#include "postgres.h"

/* What has been seen of one column; start with zeros. */
typedef struct DmGuess
{
	int impossible; /* mask of the types that some value does not fit */
	int letters;	/* mask of the single letters t and f seen */
	int64 values;	/* values seen, NULLs not among them */
} DmGuess;

extern void dm_guess_add(DmGuess *guess, const char *data, int len);
/* The narrowest type that all values fit, in the order boolean, bigint, numeric, uuid, date, timestamp, timestamptz, text. */
extern Oid dm_guess_type(const DmGuess *guess);

#endif
