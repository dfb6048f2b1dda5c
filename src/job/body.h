/*
 * body.h: executes the statements of a job.
 */
#ifndef DM_BODY_H
#define DM_BODY_H

#include "postgres.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "tcop/dest.h"

typedef struct DmBody
{
	const char *text;
	DestReceiver *receiver; /* of the rows that statements return */
	MemoryContext context;	/* of what outlives transactions */
	List *commands;			/* of char*, the tags of statements executed so far, with their numbers of rows */
	/* Called in the last transaction, before it commits. */
	void (*finish)(void *arg);
	void *finish_arg;
} DmBody;

/* Raises 0A000 on a statement that a run cannot execute. */
extern void dm_body_check(Node *statement);
/* Executes all statements. To be called outside of transactions; ends outside of them, or with an error inside of one. */
extern void dm_body_execute(DmBody *body);
/* Executes all statements in the transaction that is open. Raises 0A000 on one that needs a transaction of its own. */
extern void dm_body_execute_inside(DmBody *body);

/* capture.c: a receiver that keeps the rows of the last statement which returned any, as a JSON array. */
extern DestReceiver *dm_capture_make(MemoryContext context);
/* The array as text, NULL if no statement returned rows. */
extern const char *dm_capture_rows(DestReceiver *receiver);

#endif
