/*
 * csv_split.h: where records begin in the middle of a CSV file.
 *
 * Whether a byte stands inside quotes depends on all bytes before it. So each part of a file is summed up as its effect: what
 * it makes of every phase that it may begin in. The effects of all parts before it, one after another, tell the phase that a
 * part does begin in; nothing is guessed.
 */
#ifndef DM_CSV_SPLIT_H
#define DM_CSV_SPLIT_H

#include "postgres.h"

#include "codec/csv.h"

/* What the bytes before a byte have left open. */
typedef enum DmCsvPhase
{
	DM_CSV_OUTSIDE, /* of quotes */
	DM_CSV_INSIDE,
	DM_CSV_ESCAPED /* inside, behind an escape character that is not the quote and not escaped itself */
} DmCsvPhase;

/* The phase behind some bytes for each phase before them, two bits each. */
typedef uint8 DmCsvEffect;

extern DmCsvEffect dm_csv_effect(const DmCsvOptions *options, const char *data, Size len);
extern DmCsvPhase dm_csv_effect_apply(DmCsvEffect effect, DmCsvPhase before);
/* Index of the first byte that ends a record, where the data begins in a phase and lines end in newline; -1 if none does. */
extern int64 dm_csv_find_end(const DmCsvOptions *options, char newline, DmCsvPhase before, const char *data,
							 Size len);
/*
 * Of the complete records in data, which begins with a record's first byte: how many have so many fields, less those that have
 * not. For guessing where nothing is known of the bytes before.
 */
extern int dm_csv_count_fitting(const DmCsvOptions *options, char newline, int nfields, const char *data, Size len);

#endif
