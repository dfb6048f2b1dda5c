/*
 * s3_async.c: scans of one Append that fetch at the same time.
 *
 * When Append asks its first scan for a row, all of them ask their stores for their first bytes. A scan gives rows while it has bytes
 * and is pending while it has none; Append then goes on with another one. All transfers of a process go on together whoever waits
 * (net/pump.c), so one descriptor stands for all of them; each scan waits for a duplicate, since a set of waits takes each number once.
 */
#include "postgres.h"

#include <unistd.h>

#include "executor/execAsync.h"
#include "foreign/foreign.h"
#include "optimizer/cost.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/options.h"
#include "fdw/s3_fdw.h"
#include "net/http.h"

/* Returns a boolean option of a table, or of its server, or true. */
static bool
async_option(const ForeignTable *table, const ForeignServer *server)
{
	const char *value = dm_option_get(table->options, "async_capable");

	if (!value)
		value = dm_option_get(server->options, "async_capable");
	return !value || dm_option_bool("async_capable", value);
}

/* Tells whether a table's scan may wait beside others: its objects are not files, and nobody has said no. */
bool
dm_s3_is_async(Oid table)
{
	const ForeignTable *foreign = GetForeignTable(table);
	const ForeignServer *server = GetForeignServer(foreign->serverid);
	const char *endpoint = dm_option_get(server->options, "endpoint");

	return dm_http_has_wait_fd() && endpoint && strncmp(endpoint, "file://", 7) != 0 &&
		   async_option(foreign, server);
}

/* The same for a path, if it is one that Append runs by itself. */
static bool
is_async_capable(ForeignPath *path)
{
	return ((DmS3Plan *) path->path.parent->fdw_private)->is_async && !path->path.parallel_aware;
}

/* Answers a request: with a row, with the end, or by being pending. */
static void
answer(AsyncRequest *request)
{
	ForeignScanState *node = (ForeignScanState *) request->requestee;
	DmS3Scan *scan = node->fdw_state;
	TupleTableSlot *row;

	if (!scan->objects)
		dm_s3_scan_open(scan);
	if (!scan->started)
		dm_objscan_start(scan->objects);
	scan->started = true;
	if (!scan->ended && !scan->kept && !dm_objscan_ready(scan->objects))
	{
		ExecAsyncRequestPending(request);
		return;
	}
	row = node->ss.ps.ExecProcNodeReal(&node->ss.ps);
	ExecAsyncRequestDone(request, TupIsNull(row) ? NULL : row);
}

/* Closes the descriptor behind a handle. */
static void
release_wait_fd(void *resource)
{
	close((int) (intptr_t) resource - 1);
	ReleaseExternalFD();
}

/* Waits for a pending scan, as a part of Append's wait. */
static void
configure_wait(AsyncRequest *request)
{
	ForeignScanState *node = (ForeignScanState *) request->requestee;
	DmS3Scan *scan = node->fdw_state;
	/* While another scan was served, this one may have got its bytes: then the wait is to end at once. */
	int fd = dm_objscan_ready(scan->objects) ? dm_http_wait_fd(0) : dm_objscan_wait_fd(scan->objects);

	if (!scan->wait_handle)
	{
		ReserveExternalFD();
		scan->wait_fd = dup(fd);
		if (scan->wait_fd < 0)
		{
			ReleaseExternalFD();
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not duplicate a descriptor: %m")));
		}
		scan->wait_handle = dm_handle_make(scan->context, (void *) (intptr_t) (scan->wait_fd + 1), release_wait_fd);
	}
	AddWaitEventToSet(
		((AppendState *) request->requestor)->as_eventset, WL_SOCKET_READABLE, scan->wait_fd, NULL, request);
}

/* Sets the callbacks of scans that wait together. */
void
dm_s3_async_routine(FdwRoutine *routine)
{
	routine->IsForeignPathAsyncCapable = is_async_capable;
	routine->ForeignAsyncRequest = answer;
	routine->ForeignAsyncConfigureWait = configure_wait;
	routine->ForeignAsyncNotify = answer;
}
