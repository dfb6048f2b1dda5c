/*
 * rehearsal.h: a run that leaves nothing behind.
 */
#ifndef DM_REHEARSAL_H
#define DM_REHEARSAL_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "job/body.h"

typedef struct DmRehearsal
{
	DmBody *body;
	List *expect; /* of char*: queries */
	const char *job;
	bool is_ok;		 /* set: nothing is to be complained of */
	char *report;	 /* set: JSON, in the body's context */
	char *complaint; /* set unless is_ok */
} DmRehearsal;

/* Executes the body twice in a transaction that is taken back. To be called outside of transactions; ends outside of them. */
extern void dm_rehearse(DmRehearsal *rehearsal);

#endif
