/*
 * s3_open.c: the multipart uploads of this backend that are neither completed nor aborted: what a transaction leaves behind is
 * aborted when it ends, by error, cancel, termination or commit, and what a subtransaction leaves when that is rolled back.
 *
 * 1. An entry lives from the answer that told the upload's id to the one that completed or aborted it, in memory of its own:
 *    it points to nothing of the upload, whose memory contexts may be gone by then.
 * 2. It holds no keys but a presigned URL that can do one thing, abort this upload. The URL is renewed with every part, so that
 *    keys which were renewed meanwhile sign it.
 * 3. Aborting raises nothing and takes DM_S3_ABORT_MS twice at most if the store is silent, for all uploads together, and some 15 s if it
 *    answers but there are thousands. What could not be aborted is named in a warning.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#include "net/last_call.h"
#include "store/s3.h"

#define DM_S3_ABORT_MS 2000

struct DmS3Open
{
	dlist_node node;
	MemoryContext context; /* of the entry */
	SubTransactionId subtransaction;
	DmS3Open **owner; /* the pointer to set to NULL when the entry goes; NULL: none */
	char *uri;
	char *upload_id;
	char *ca_file;
	char *allowed_hosts;
	bool verify_tls;
	char *url;		/* secret */
	DmS3Open *next; /* of those being aborted */
	DmLastCall call;
};

static dlist_head open_uploads = DLIST_STATIC_INIT(open_uploads);

static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId own, SubTransactionId parent, void *arg);

/* Sets where the entry is pointed to from, so that this becomes NULL when it goes. */
void
dm_s3_open_own(DmS3Open *open, DmS3Open **owner)
{
	open->owner = owner;
}

/* The owner's memory goes; the entry stays until the transaction ends. */
void
dm_s3_open_disown(DmS3Open *open)
{
	open->owner = NULL;
}

/* Wipes the URL of an entry. */
static void
wipe_url(DmS3Open *open)
{
	if (!open->url)
		return;
	explicit_bzero(open->url, strlen(open->url));
	pfree(open->url);
	open->url = NULL;
}

/* Frees an entry that is in no list any more. */
static void
free_entry(DmS3Open *open)
{
	if (open->owner)
		*open->owner = NULL;
	wipe_url(open);
	MemoryContextDelete(open->context);
}

/* Notes an upload that now exists, for a subtransaction. */
DmS3Open *
dm_s3_open_add(const DmUpload *upload, const char *upload_id, SubTransactionId subtransaction)
{
	static bool registered = false;
	MemoryContext context;
	MemoryContext old;
	const DmS3Store *store = (const DmS3Store *) upload->store;
	DmS3Open *open;

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	context = AllocSetContextCreate(TopMemoryContext, "datamill s3 open upload", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	open = palloc0(sizeof(DmS3Open));
	open->context = context;
	open->subtransaction = subtransaction;
	open->uri = psprintf("s3://%s/%s", upload->bucket, upload->key);
	open->upload_id = pstrdup(upload_id);
	open->ca_file = store->http.ca_file ? pstrdup(store->http.ca_file) : NULL;
	open->allowed_hosts = store->http.allowed_hosts ? pstrdup(store->http.allowed_hosts) : NULL;
	open->verify_tls = store->http.verify_tls;
	MemoryContextSwitchTo(old);
	dlist_push_tail(&open_uploads, &open->node);
	dm_s3_open_sign(open, upload);
	return open;
}

/* Signs the request that would abort the upload with the keys of now. */
void
dm_s3_open_sign(DmS3Open *open, const DmUpload *upload)
{
	DmS3Call call = {(DmS3Store *) upload->store};
	MemoryContext scratch = AllocSetContextCreate(open->context, "datamill s3 abort", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	char *url;

	call.method = "DELETE";
	call.bucket = upload->bucket;
	call.key = upload->key;
	call.query = psprintf("uploadId=%s", dm_s3_key_encode(open->upload_id, false));
	url = dm_s3_call_presign(&call);
	wipe_url(open);
	open->url = MemoryContextStrdup(open->context, url);
	explicit_bzero(url, strlen(url));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* Forgets an upload that exists no more. */
void
dm_s3_open_remove(DmS3Open *open)
{
	dlist_delete(&open->node);
	free_entry(open);
}

/* Warns of uploads that the calls did not end: one message names the first, and says how many there are. */
static void
report_left(const DmS3Open *first)
{
	const DmS3Open *shown = NULL;
	int left = 0;

	for (const DmS3Open *open = first; open; open = open->next)
	{
		if (open->call.status == 404 || (open->call.status >= 200 && open->call.status <= 299))
			continue;
		left++;
		if (!shown)
			shown = open;
	}
	if (!shown)
		return;
	ereport(
		WARNING,
		(errmsg("could not abort the upload of object \"%s\"", shown->uri),
		 shown->call.status
			 ? errdetail("Upload id %s, HTTP status %d; left open: %d.", shown->upload_id, shown->call.status, left)
			 : errdetail("Upload id %s, %s; left open: %d.", shown->upload_id, shown->call.error, left),
		 errhint("The store keeps, and may charge for, what was sent: remove it with datamill.abort_uploads().")));
}

/* Aborts a list of entries, taken out of the others, and frees them. Raises nothing. */
static void
abort_list(DmS3Open *first)
{
	for (DmS3Open *open = first; open; open = open->next)
	{
		open->call.next = open->next ? &open->next->call : NULL;
		open->call.method = "DELETE";
		open->call.url = open->url ? open->url : "";
		open->call.allowed_hosts = open->allowed_hosts;
		open->call.ca_file = open->ca_file;
		open->call.verify_tls = open->verify_tls;
	}
	dm_last_calls_make(&first->call, DM_S3_ABORT_MS);
	report_left(first);
	while (first)
	{
		DmS3Open *open = first;

		first = open->next;
		free_entry(open);
	}
}

/* Aborts one upload now. Raises nothing. */
void
dm_s3_open_abort(DmS3Open *open)
{
	dlist_delete(&open->node);
	open->next = NULL;
	abort_list(open);
}

/* Aborts the uploads of a subtransaction, or all. */
static void
abort_all(SubTransactionId subtransaction)
{
	dlist_mutable_iter iter;
	DmS3Open *first = NULL;

	dlist_foreach_modify (iter, &open_uploads)
	{
		DmS3Open *open = dlist_container(DmS3Open, node, iter.cur);

		if (subtransaction != InvalidSubTransactionId && open->subtransaction != subtransaction)
			continue;
		dlist_delete(&open->node);
		open->next = first;
		first = open;
	}
	if (first)
		abort_list(first);
}

/* A transaction ends: nothing stays open. */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		abort_all(InvalidSubTransactionId);
}

/* A subtransaction ends: its uploads go with it, or become its parent's. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId own, SubTransactionId parent, void *arg)
{
	dlist_iter iter;

	if (event == SUBXACT_EVENT_ABORT_SUB)
		abort_all(own);
	if (event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	dlist_foreach(iter, &open_uploads)
	{
		DmS3Open *open = dlist_container(DmS3Open, node, iter.cur);

		if (open->subtransaction == own)
			open->subtransaction = parent;
	}
}
