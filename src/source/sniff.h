/*
 * sniff.h: how CSV is written: its delimiter, and whether its first record is a header.
 */
#ifndef DM_SNIFF_H
#define DM_SNIFF_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "source/objscan.h"

/*
 * Finds what the options (DefElem) do not give, from the start of the first object that is not empty, and sets it in spec. Raises 22P04 where
 * the delimiter cannot be told. Returns why the header is in doubt, palloc'd, or NULL. Does nothing for other formats than CSV.
 */
extern char *dm_sniff(DmObjScanSpec *spec, List *options, List *objects);

#endif
