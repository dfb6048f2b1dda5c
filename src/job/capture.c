/*
 * capture.c: keeps rows that a job's statements return: those of the last such statement, no more than MAX_ROWS and MAX_BYTES.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "job/body.h"

#define MAX_ROWS 100
#define MAX_BYTES (64 * 1024)

typedef struct Capture
{
	DestReceiver pub;
	StringInfoData rows;
	MemoryContext row; /* for one row */
	int nrows;
	bool is_full;
	bool is_used;
} Capture;

static void capture_startup(DestReceiver *self, int operation, TupleDesc desc);
static bool capture_row(TupleTableSlot *slot, DestReceiver *self);
static void capture_nothing(DestReceiver *self);

/* Makes a receiver in the context. */
DestReceiver *
dm_capture_make(MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	Capture *capture = palloc0(sizeof(Capture));

	capture->pub.receiveSlot = capture_row;
	capture->pub.rStartup = capture_startup;
	capture->pub.rShutdown = capture_nothing;
	capture->pub.rDestroy = capture_nothing;
	capture->pub.mydest = DestNone;
	capture->row = AllocSetContextCreate(context, "datamill captured row", ALLOCSET_SMALL_SIZES);
	initStringInfo(&capture->rows);
	MemoryContextSwitchTo(caller);
	return &capture->pub;
}

/* Returns the rows. */
const char *
dm_capture_rows(DestReceiver *receiver)
{
	Capture *capture = (Capture *) receiver;

	return capture->is_used ? psprintf("[%s]", capture->rows.data) : NULL;
}

/* A statement begins to return rows. */
static void
capture_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	Capture *capture = (Capture *) self;

	resetStringInfo(&capture->rows);
	capture->nrows = 0;
	capture->is_full = false;
	capture->is_used = true;
}

/* Takes a row; more than there is room for are let go. */
static bool
capture_row(TupleTableSlot *slot, DestReceiver *self)
{
	Capture *capture = (Capture *) self;
	MemoryContext caller;
	const char *json;

	if (capture->is_full || capture->nrows == MAX_ROWS)
		return true;
	caller = MemoryContextSwitchTo(capture->row);
	BlessTupleDesc(slot->tts_tupleDescriptor);
	json = TextDatumGetCString(DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(slot)));
	if (capture->rows.len + strlen(json) > MAX_BYTES)
		capture->is_full = true;
	else
		appendStringInfo(&capture->rows, "%s%s", capture->nrows++ > 0 ? "," : "", json);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(capture->row);
	return true;
}

/* The end of a statement, or of the receiver: there is nothing to do. */
static void
capture_nothing(DestReceiver *self)
{
}
