/*
 * format.h: a Datum to the text of its type's output function, fast for the common types.
 */
#ifndef DM_FORMAT_H
#define DM_FORMAT_H

#include "postgres.h"
#include "fmgr.h"

#define DM_FORMAT_BUFFER 160

typedef struct DmFormatter DmFormatter;

struct DmFormatter
{
	/*
	 * Returns *len bytes, not terminated, that live until the formatter's next call or the reset of the memory context
	 * current at this one, whichever is first. The value is not NULL.
	 */
	const char *(*format)(DmFormatter *formatter, Datum value, int *len);
	bool iso;	/* to be set by the caller: dates and times are ISO 8601, whatever DateStyle says */
	bool plain; /* the text is never empty and has letters, digits, blanks and + - . : only */
	FmgrInfo output;
	char buffer[DM_FORMAT_BUFFER];
};

/* Prepares a formatter for a type, in the current memory context. */
extern void dm_formatter_init(DmFormatter *formatter, Oid type);
/* Is the byte one that the text of a plain formatter can have? */
extern bool dm_format_is_plain(unsigned char byte);

#endif
