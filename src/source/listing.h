/*
 * listing.h: what the planner listed, handed on to the scan of the same statement, so that objects are listed once.
 */
#ifndef DM_LISTING_H
#define DM_LISTING_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "source/objscan.h"

typedef struct DmListing
{
	MemoryContext context; /* of all that it holds */
	List *objects;		   /* of DmObject* */
	DmObjScanStats stats;
	int64 requests; /* that it took */
	int64 retries;
} DmListing;

/* Keeps a listing for later, at most until the end of the transaction; returns its number. */
extern int64 dm_listing_keep(const DmListing *listing);
/*
 * Takes a listing that was kept: it lives as long as the current memory context. False if it is not there any more: somebody took it, the statement
 * ended, objects were written since, or it is old.
 */
extern bool dm_listing_take(int64 number, DmListing *listing);

#endif
