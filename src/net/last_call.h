/*
 * last_call.h: requests that are made while a transaction ends, by any way, or the process does: nothing is raised,
 * interrupts are not answered, and memory contexts are not used. They are short and few, and bounded in time as a whole.
 */
#ifndef DM_LAST_CALL_H
#define DM_LAST_CALL_H

#include "postgres.h"

typedef struct DmLastCall
{
	struct DmLastCall *next; /* NULL: the last one */
	const char *method;
	const char *url;
	const char *allowed_hosts; /* where it may go, as DmHttpConfig has it; NULL: anywhere */
	const char *ca_file;	   /* NULL: the system's authorities */
	bool verify_tls;
	int status;		 /* of the answer; 0: none came */
	char error[256]; /* why none came */
} DmLastCall;

/*
 * Makes all calls, several at a time, and once more those that got no answer or a transient one. If the remote is silent this takes
 * 2 * max_ms; while it answers it goes on for 12 s and max_ms at most. Bodies are empty, answers' bodies are dropped.
 */
extern void dm_last_calls_make(DmLastCall *first, int max_ms);

#endif
