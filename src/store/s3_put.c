/*
 * s3_put.c: writes one object, with one PUT if it is no longer than a part, else as a multipart upload.
 *
 * Bytes are gathered in the buffer of the next part. Once more come than it holds, the buffer is handed to a request of its own,
 * which goes on while the caller produces the next part, and another buffer takes its place.
 * 1. All parts but the last have exactly part_size bytes (some stores ask for it), which is never below S3's minimum.
 * 2. The buffers of all uploads of the backend fit into datamill.prefetch_memory; two parts of an upload are always allowed. No more than max_concurrency parts of an upload are under way.
 * 3. Each part's SHA-256 is signed with it, so the store checks that it got what was written. A part is kept until its answer is
 *    there, so any part can be sent again.
 * 4. From its creation until it is completed the upload is in the list of s3_open.c, which aborts it if this does not come to
 *    pass. Sealed, it holds only its id and the parts' etags.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/md5.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/guc.h"
#include "store/s3.h"

/* S3's limits of a multipart upload, and of a part that is not the last one. */
#define DM_S3_MAX_PARTS 10000
#define DM_S3_MIN_PART_BYTES (5 * 1024 * 1024)
#define DM_S3_FIRST_BUFFER_BYTES (64 * 1024)
/* Parts under way are served at least each time the caller has written so many bytes. */
#define DM_S3_PUMP_BYTES (256 * 1024)

/* A part under way. */
typedef struct S3Slot
{
	DmS3Call *call; /* kept for the next part */
	char *buffer;	/* NULL: the slot is free */
	int number;		/* from 1 */
} S3Slot;

typedef struct S3Upload
{
	DmUpload upload;
	MemoryContext context; /* of upload id and etags */
	MemoryContext buffers; /* of buffers and calls; NULL once sealed */
	Size part_size;
	int64 bytes;  /* written */
	char *buffer; /* of the part being filled, grows up to part_size */
	Size used;
	Size capacity;
	char *spare; /* a buffer of part_size that is not in use, or NULL */
	S3Slot *slots;
	int nslots;
	Size since_pump;
	char *upload_id;				 /* NULL: no multipart upload */
	DmS3Open *open;					 /* NULL: none, or the end of a transaction aborted it */
	SubTransactionId subtransaction; /* in which the upload was opened */
	MemoryContextCallback gone;
	List *etags; /* of the parts, char * */
} S3Upload;

/* Bytes that the buffers of all uploads of the backend hold. */
static int64 memory_held = 0;

static void send_part(S3Upload *s3);
static void wait_slots(S3Upload *s3, bool block);
static void free_buffers(S3Upload *s3);

/* Gives back what the upload counts as held, when its buffers go with their context. Raises nothing. */
static void
release_buffers(void *arg)
{
	S3Upload *s3 = arg;

	memory_held -= s3->capacity;
	if (s3->spare)
		memory_held -= s3->part_size;
	for (int i = 0; i < s3->nslots; i++)
	{
		if (s3->slots[i].buffer)
			memory_held -= s3->part_size;
	}
	s3->buffer = s3->spare = NULL;
	s3->used = s3->capacity = 0;
	s3->nslots = 0;
	s3->buffers = NULL;
}

/* The upload's memory goes: the list of open uploads must not tell it any more. Raises nothing. */
static void
forget_owner(void *arg)
{
	S3Upload *s3 = arg;

	if (s3->open)
		dm_s3_open_disown(s3->open);
	s3->open = NULL;
}

/*
 * Raises 42710 if the key is taken and must not be replaced. Asked when the upload begins, and again right before the object is
 * made, since not all stores heed a condition on the call that makes it.
 */
static void
check_not_there(const S3Upload *s3)
{
	DmObject object = {0};

	if (s3->upload.options.create_only && dm_s3_object_head(&s3->upload, &object))
		dm_upload_raise_exists(s3->upload.bucket, s3->upload.key);
}

/* Starts an upload in the current memory context; nothing is sent yet but the question whether the key is taken. */
DmUpload *
dm_s3_upload_open(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options)
{
	S3Upload *s3 = palloc0(sizeof(S3Upload));
	int64 memory_max = dm_guc_prefetch_memory_kb * INT64CONST(1024);
	MemoryContextCallback *callback;

	dm_upload_init(&s3->upload, store, bucket, key, options);
	check_not_there(s3);
	s3->part_size = Max(Min(store->settings->part_size_bytes, memory_max / 2), DM_S3_MIN_PART_BYTES);
	s3->context = CurrentMemoryContext;
	s3->subtransaction = GetCurrentSubTransactionId();
	s3->gone.func = forget_owner;
	s3->gone.arg = s3;
	MemoryContextRegisterResetCallback(s3->context, &s3->gone);
	s3->buffers = AllocSetContextCreate(s3->context, "datamill s3 upload", ALLOCSET_DEFAULT_SIZES);
	callback = MemoryContextAlloc(s3->buffers, sizeof(MemoryContextCallback));
	callback->func = release_buffers;
	callback->arg = s3;
	s3->slots = MemoryContextAllocZero(s3->buffers, sizeof(S3Slot) * store->settings->max_concurrency);
	MemoryContextRegisterResetCallback(s3->buffers, callback);
	s3->nslots = store->settings->max_concurrency;
	return &s3->upload;
}

/* Makes room for len more bytes in the buffer, which has room for them within part_size. */
static void
reserve_buffer(S3Upload *s3, Size len)
{
	Size capacity = Max(s3->capacity, DM_S3_FIRST_BUFFER_BYTES);

	if (s3->used + len <= s3->capacity)
		return;
	if (s3->spare)
	{
		s3->buffer = s3->spare;
		s3->capacity = s3->part_size;
		s3->spare = NULL;
		return;
	}
	while (capacity < s3->used + len)
		capacity *= 2;
	if (s3->upload_id) /* an upload of many parts has shown that it needs whole ones */
		capacity = s3->part_size;
	capacity = Min(capacity, s3->part_size);
	s3->buffer = s3->buffer ? repalloc_huge(s3->buffer, capacity) : MemoryContextAllocHuge(s3->buffers, capacity);
	memory_held += (int64) (capacity - s3->capacity);
	s3->capacity = capacity;
}

/* Appends bytes; sends a part when one is full and more come. */
void
dm_s3_upload_write(DmUpload *upload, const char *data, Size len)
{
	S3Upload *s3 = (S3Upload *) upload;

	while (len > 0)
	{
		Size here;

		if (s3->used == s3->part_size)
			send_part(s3);
		here = Min(len, s3->part_size - s3->used);
		reserve_buffer(s3, here);
		memcpy(s3->buffer + s3->used, data, here);
		s3->used += here;
		s3->bytes += here;
		s3->since_pump += here;
		data += here;
		len -= here;
		if (s3->since_pump >= DM_S3_PUMP_BYTES)
			wait_slots(s3, false);
	}
}

/* Takes what came of a part that is over. Raises if it failed. */
static void
end_part(S3Upload *s3, S3Slot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(s3->context);
	char *what = psprintf(
		"could not write part %d of object \"s3://%s/%s\"", slot->number, s3->upload.bucket, s3->upload.key);

	if (!dm_s3_call_succeeded(slot->call))
		dm_s3_call_raise(slot->call, what);
	list_nth_cell(s3->etags, slot->number - 1)->ptr_value = dm_s3_put_etag(slot->call, what);
	pfree(what);
	MemoryContextSwitchTo(old);
	if (s3->spare)
	{
		pfree(slot->buffer);
		memory_held -= s3->part_size;
	}
	else
		s3->spare = slot->buffer;
	slot->buffer = NULL;
}

/* Lets the parts under way go on, waiting for news if asked to. */
static void
wait_slots(S3Upload *s3, bool block)
{
	long wait_ms = block ? -1 : 0;
	bool any = false;

	for (int i = 0; i < s3->nslots; i++)
	{
		S3Slot *slot = &s3->slots[i];
		long slot_ms;

		if (!slot->buffer)
			continue;
		if (dm_http_advance(slot->call->http))
		{
			end_part(s3, slot);
			wait_ms = 0;
			continue;
		}
		any = true;
		slot_ms = dm_http_wait_ms(slot->call->http);
		if (slot_ms >= 0 && (wait_ms < 0 || slot_ms < wait_ms))
			wait_ms = slot_ms;
	}
	s3->since_pump = 0;
	if (any || !block) /* other uploads may have parts under way */
		dm_http_pump(wait_ms);
}

/* A slot for the next part: waits until there is one, and memory for the buffer that will follow. */
static S3Slot *
take_slot(S3Upload *s3)
{
	int64 memory_max = dm_guc_prefetch_memory_kb * INT64CONST(1024);

	for (;;)
	{
		S3Slot *free_slot = NULL;
		bool busy = false;

		for (int i = 0; i < s3->nslots; i++)
		{
			if (s3->slots[i].buffer)
				busy = true;
			else if (!free_slot)
				free_slot = &s3->slots[i];
		}
		if (free_slot && (!busy || s3->spare || memory_held + (int64) s3->part_size <= memory_max))
			return free_slot;
		wait_slots(s3, true);
	}
}

/* Raises: more parts than S3 takes. */
static void
check_parts(const S3Upload *s3)
{
	if (list_length(s3->etags) < DM_S3_MAX_PARTS)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg(
			 "object \"s3://%s/%s\" is longer than %d parts", s3->upload.bucket, s3->upload.key, DM_S3_MAX_PARTS),
		 errdetail("Each part has %zu bytes.", s3->part_size),
		 errhint("Set max_file_size, so that several objects are written, or raise part_size of server \"%s\" "
				 "(and datamill.prefetch_memory to twice that).",
				 s3->upload.store->settings->server_name)));
}

/* Hands the buffer to a request. Creates the upload first if there is none yet. */
static void
send_part(S3Upload *s3)
{
	MemoryContext old = MemoryContextSwitchTo(s3->context);
	S3Slot *slot;

	check_parts(s3);
	if (!s3->upload_id)
	{
		s3->open = dm_s3_multipart_create(&s3->upload, s3->subtransaction, &s3->upload_id);
		dm_s3_open_own(s3->open, &s3->open);
	}
	else if (!s3->open)
		elog(ERROR, "the upload of object \"s3://%s/%s\" was aborted", s3->upload.bucket, s3->upload.key);
	else
		dm_s3_open_sign(s3->open, &s3->upload);
	slot = take_slot(s3);
	s3->etags = lappend(s3->etags, NULL);
	MemoryContextSwitchTo(s3->buffers);
	if (!slot->call)
		slot->call = dm_s3_put_call(&s3->upload);
	else
		pfree(unconstify(char *, slot->call->query));
	slot->number = list_length(s3->etags);
	slot->call->query = psprintf("partNumber=%d&uploadId=%s", slot->number, dm_s3_key_encode(s3->upload_id, false));
	dm_s3_call_payload(slot->call, s3->buffer, s3->used);
	slot->buffer = s3->buffer;
	memory_held += (int64) (s3->part_size - s3->capacity); /* a last part's buffer counts as a whole one */
	s3->buffer = NULL;
	s3->used = s3->capacity = 0;
	dm_http_start(slot->call->http);
	MemoryContextSwitchTo(old);
	wait_slots(s3, false);
}

/* Waits until all parts are there. */
static void
finish_parts(S3Upload *s3)
{
	for (int i = 0; i < s3->nslots; i++)
	{
		while (s3->slots[i].buffer)
			wait_slots(s3, true);
	}
}

/* Frees buffers and calls. */
static void
free_buffers(S3Upload *s3)
{
	if (s3->buffers)
		MemoryContextDelete(s3->buffers);
}

/* Brings all bytes to the store. Of an object without bytes there is nothing to bring. */
void
dm_s3_upload_seal(DmUpload *upload)
{
	S3Upload *s3 = (S3Upload *) upload;

	if (s3->used > 0)
		send_part(s3);
	finish_parts(s3);
	free_buffers(s3);
}

/* The etag that the object has if it is what the buffer holds; NULL if it cannot be told. */
static char *
buffer_etag(const S3Upload *s3)
{
	char *hex = palloc(MD5_PASSWD_LEN);
	const char *error = NULL;

	return pg_md5_hash(s3->buffer ? s3->buffer : "", s3->used, hex, &error) ? hex : NULL;
}

/* Writes the object with one PUT of what the buffer holds. Returns its etag, palloc'd. */
static char *
put_object(S3Upload *s3)
{
	DmS3Call *call = dm_s3_put_call(&s3->upload);
	char *etag;

	dm_s3_call_payload(call, s3->buffer ? s3->buffer : "", s3->used);
	dm_s3_call_describe(call, &s3->upload.options);
	check_not_there(s3);
	dm_s3_call_perform_new(call, &s3->upload.options);
	if (call->http->status == 412)
	{
		/* There was none a moment ago; a first try may have made it, and its answer was lost. */
		etag = buffer_etag(s3);
		if (!dm_s3_object_is_ours(&s3->upload, etag, s3->bytes))
			dm_upload_raise_exists(s3->upload.bucket, s3->upload.key);
	}
	else
	{
		dm_s3_call_check(call, "could not write");
		etag = dm_s3_put_etag(call,
							  psprintf("could not write object \"s3://%s/%s\"", s3->upload.bucket, s3->upload.key));
	}
	dm_s3_upload_call_free(call);
	return etag;
}

/* Makes an object of the sealed parts. Returns its etag, palloc'd. */
static char *
complete_object(S3Upload *s3)
{
	char *etag;

	if (!s3->open)
		elog(ERROR, "the upload of object \"s3://%s/%s\" was aborted", s3->upload.bucket, s3->upload.key);
	check_not_there(s3);
	etag = dm_s3_multipart_complete(&s3->upload, s3->upload_id, s3->etags, s3->bytes);
	dm_s3_open_remove(s3->open);
	return etag;
}

/* Makes the object appear, whole. */
DmObject *
dm_s3_upload_publish(DmUpload *upload)
{
	S3Upload *s3 = (S3Upload *) upload;
	DmObject *object = palloc0(sizeof(DmObject));

	if (s3->upload_id && s3->buffers)
		dm_s3_upload_seal(upload);
	object->etag = s3->upload_id ? complete_object(s3) : put_object(s3);
	object->bucket = pstrdup(upload->bucket);
	object->key = pstrdup(upload->key);
	object->size = s3->bytes;
	object->modified = GetCurrentTimestamp();
	free_buffers(s3);
	return object;
}

/* Stops what is under way and aborts the upload at the store. Raises nothing. */
void
dm_s3_upload_abort(DmUpload *upload)
{
	S3Upload *s3 = (S3Upload *) upload;

	free_buffers(s3);
	if (s3->open)
		dm_s3_open_abort(s3->open);
}
