/*
 * places.c: rows of the source set aside by the place of their candidate in current.
 *
 * A batch of rows in another order than current's has its candidates on pages all over current. Where current is larger than
 * the buffers, each batch would read all pages again, and write those that it changed. Such a batch is put into temporary files
 * instead, one for each stretch of current, and the stretches are worked off one by one: each page is visited once.
 */
#include "postgres.h"

#include "base/temp_file.h"
#include "cdc/places.h"
#include "rows/row_file.h"

#define MAX_STRETCHES 256

/* To visit a page that is not in the buffers, and is changed, costs as much as to write and read back so many rows. */
#define ROWS_A_PAGE 8

struct DmPlaces
{
	MemoryContext context;
	BlockNumber blocks;
	int nstretches;
	BufFile **files; /* one a stretch; NULL: no row */
	int left;		 /* files to be worked off */
	int at;			 /* the one being read; -1: none */
};

/*
 * Makes room, in the current memory context, for rows with candidates on so many pages. rows, row_bytes: how many may
 * come, and their size; those of one stretch should fit a batch of batch_bytes.
 */
DmPlaces *
dm_places_make(BlockNumber blocks, double rows, Size row_bytes, Size batch_bytes)
{
	DmPlaces *places = palloc0(sizeof(DmPlaces));

	places->context = CurrentMemoryContext;
	places->blocks = blocks;
	places->nstretches = (int) Min(rows * (double) row_bytes / (double) Max(batch_bytes, 1) + 1, MAX_STRETCHES);
	places->files = palloc0(sizeof(BufFile *) * places->nstretches);
	places->at = -1;
	return places;
}

/* True if a batch of candidates in the order of their places has so few on each page that it is worth to set it aside. */
bool
dm_places_are_apart(const DmBufferedRow *rows, int nrows)
{
	int64 pages = 0;

	for (int i = 0; i < nrows; i++)
		pages += i == 0 || rows[i].order >> 16 != rows[i - 1].order >> 16;
	return nrows < pages * ROWS_A_PAGE;
}

/* Sets the row in a slot aside, with a tag; page: that of its candidate; tid: the candidate's packed tuple id. */
void
dm_places_put(DmPlaces *places, TupleTableSlot *slot, BlockNumber page, uint64 tid, uint64 tag)
{
	BufFile **file = &places->files[(uint64) Min(page, places->blocks - 1) * places->nstretches / places->blocks];

	if (!*file)
	{
		*file = dm_temp_file_make(places->context);
		places->left++;
	}
	dm_row_file_put(*file, slot, tid, tag);
}

/*
 * Turns to the next stretch that has rows: the first or the last one of those left. False if there is none, and then more
 * rows may be set aside.
 */
bool
dm_places_next(DmPlaces *places, bool downwards)
{
	if (places->at >= 0)
	{
		BufFileClose(places->files[places->at]);
		places->files[places->at] = NULL;
		places->at = -1;
		places->left--;
	}
	if (places->left == 0)
		return false;
	places->at = downwards ? places->nstretches - 1 : 0;
	while (!places->files[places->at])
		places->at += downwards ? -1 : 1;
	dm_temp_file_rewind(places->files[places->at]);
	return true;
}

/* Reads the next row of the stretch, of those set aside, into slot (of minimal tuples); false at its end. */
bool
dm_places_get(DmPlaces *places, TupleTableSlot *slot, uint64 *tid, uint64 *tag)
{
	return dm_row_file_get(places->files[places->at], slot, tid, tag);
}
