/*
 * local_put.c: writes and removes the objects of a local directory store.
 *
 * 1. Bytes go to a temporary file in the folder of the object, whose name no listing shows. Sealing flushes it to disk and
 *    closes it; publishing renames it, or links it where nothing may be replaced, and flushes the folder. So the object is whole
 *    from its first moment, also after a crash.
 * 2. The temporary file goes with the memory context of the upload, as all ends of a statement do. Only a crash of the server
 *    leaves one behind.
 * 3. A sealed upload holds no file descriptor: there may be thousands of them.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"

#include "base/compat.h"
#include "base/handle.h"
#include "store/local.h"

#define DM_LOCAL_WRITE_BYTES (64 * 1024)

typedef struct LocalUpload
{
	DmUpload upload;
	int folder;		  /* -1: closed */
	int fd;			  /* of the temporary file; -1: closed */
	const char *name; /* last step of the key */
	char temp[64];	  /* name of the temporary file in the folder; "" while there is none */
	struct stat st;	  /* of the sealed file */
	DmHandle *handle;
	char *buffer;
	Size used;
} LocalUpload;

static void report_upload(const DmUpload *upload) pg_attribute_noreturn();

/* Opens the folder of an upload's key. -1 and errno on failure. */
static int
open_folder(LocalUpload *local, bool make)
{
	local->folder =
		dm_local_folder_open(local->upload.store, local->upload.bucket, local->upload.key, &local->name, make);
	if (local->folder >= 0)
		ReserveExternalFD();
	return local->folder;
}

/* Closes a descriptor of an upload, if it is open. Keeps errno. */
static void
close_fd(int *fd)
{
	int save_errno = errno;

	if (*fd < 0)
		return;
	close(*fd);
	ReleaseExternalFD();
	*fd = -1;
	errno = save_errno;
}

/* Removes the temporary file of an upload and closes what it holds. Raises nothing. */
static void
release_upload(void *resource)
{
	LocalUpload *local = resource;

	if (local->temp[0] && local->folder < 0)
		(void) open_folder(local, false);
	if (local->temp[0] && local->folder >= 0)
		(void) unlinkat(local->folder, local->temp, 0);
	local->temp[0] = '\0';
	close_fd(&local->fd);
	close_fd(&local->folder);
}

/* Raises 42710 if the key is taken and must not be replaced. */
static void
check_not_there(const LocalUpload *local)
{
	struct stat st;

	if (local->upload.options.create_only && fstatat(local->folder, local->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		dm_upload_raise_exists(local->upload.bucket, local->upload.key);
}

/* Starts an upload into a temporary file beside the one it will become; missing folders are made. */
DmUpload *
dm_local_upload_open(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options)
{
	uint64 unique; /* other servers, and other machines, may write here too */
	LocalUpload *local = palloc0(sizeof(LocalUpload));

	dm_local_check_may_write(store->settings);
	if (!pg_strong_random(&unique, sizeof(unique)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	dm_upload_init(&local->upload, store, bucket, key, options);
	local->folder = local->fd = -1;
	local->buffer = palloc(DM_LOCAL_WRITE_BYTES);
	local->handle = dm_handle_make(CurrentMemoryContext, local, release_upload);
	if (open_folder(local, true) < 0)
		report_upload(&local->upload);
	check_not_there(local);
	snprintf(local->temp, sizeof(local->temp), "%s" UINT64_FORMAT, DM_LOCAL_TEMP, unique);
	local->fd =
		openat(local->folder, local->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (local->fd < 0)
	{
		local->temp[0] = '\0';
		report_upload(&local->upload);
	}
	ReserveExternalFD();
	return &local->upload;
}

/* Writes bytes to the temporary file, all of them. */
static void
write_all(LocalUpload *local, const char *data, Size len)
{
	while (len > 0)
	{
		ssize_t wrote;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		wrote = write(local->fd, data, len);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
		{
			if (errno == 0)
				errno = ENOSPC;
			report_upload(&local->upload);
		}
		data += wrote;
		len -= wrote;
	}
}

/* Appends bytes, small ones through a buffer. */
void
dm_local_upload_write(DmUpload *upload, const char *data, Size len)
{
	LocalUpload *local = (LocalUpload *) upload;

	if (local->used + len > DM_LOCAL_WRITE_BYTES)
	{
		write_all(local, local->buffer, local->used);
		local->used = 0;
	}
	if (len > DM_LOCAL_WRITE_BYTES)
		write_all(local, data, len);
	else
	{
		memcpy(local->buffer + local->used, data, len);
		local->used += len;
	}
}

/* Writes what is left and flushes the file to disk. */
static void
flush_upload(LocalUpload *local)
{
	write_all(local, local->buffer, local->used);
	pfree(local->buffer);
	local->buffer = NULL;
	local->used = 0;
	if (pg_fsync(local->fd) != 0 || fstat(local->fd, &local->st) != 0)
		report_upload(&local->upload);
	close_fd(&local->fd);
}

/* Brings all bytes to disk and closes all descriptors. */
void
dm_local_upload_seal(DmUpload *upload)
{
	LocalUpload *local = (LocalUpload *) upload;

	flush_upload(local);
	close_fd(&local->folder);
}

/* Gives the whole file its name. */
DmObject *
dm_local_upload_publish(DmUpload *upload)
{
	LocalUpload *local = (LocalUpload *) upload;
	DmObject object = {0};

	if (local->buffer)
		flush_upload(local);
	if (local->folder < 0 && open_folder(local, false) < 0)
		report_upload(upload);
	if (!upload->options.create_only)
	{
		if (renameat(local->folder, local->temp, local->folder, local->name) != 0)
			report_upload(upload);
		local->temp[0] = '\0';
	}
	else if (linkat(local->folder, local->temp, local->folder, local->name, 0) != 0)
	{
		if (errno == EEXIST)
			dm_upload_raise_exists(upload->bucket, upload->key);
		report_upload(upload);
	}
	else if (unlinkat(local->folder, local->temp, 0) == 0)
		local->temp[0] = '\0';
	if (pg_fsync(local->folder) != 0)
		report_upload(upload);
	dm_handle_free(local->handle);
	dm_local_object(&object, upload->bucket, upload->key, &local->st);
	upload->store->stats.put_requests++;
	return dm_object_copy(&object);
}

/* Removes the temporary file. */
void
dm_local_upload_abort(DmUpload *upload)
{
	LocalUpload *local = (LocalUpload *) upload;

	dm_handle_free(local->handle);
	if (local->buffer)
		pfree(local->buffer);
	local->buffer = NULL;
}

/* Removes the file of an object; none is no error. */
static void
delete_file(DmStore *store, const DmObject *object)
{
	const char *name;
	int folder;
	bool removed;

	CHECK_FOR_INTERRUPTS();
	folder = dm_local_folder_open(store, object->bucket, object->key, &name, false);
	removed = folder >= 0 && unlinkat(folder, name, 0) == 0 && pg_fsync(folder) == 0;
	if (folder >= 0)
	{
		int save_errno = errno;

		close(folder);
		errno = save_errno;
	}
	if (!removed && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not remove object \"%s\": %m", dm_object_uri(object))));
	store->stats.put_requests++;
}

/* Removes the files of objects. */
void
dm_local_delete(DmStore *store, List *objects)
{
	ListCell *lc;

	dm_local_check_may_write(store->settings);
	foreach (lc, objects)
		delete_file(store, lfirst(lc));
}

/* Removes a temporary file; none is no error. */
void
dm_local_uploads_abort(DmStore *store, const DmOpenUpload *upload)
{
	int folder;

	dm_local_check_may_write(store->settings);
	folder = dm_local_folder_open(store, upload->bucket, upload->key, NULL, false);
	if (folder >= 0 && strncmp(upload->upload_id, DM_LOCAL_TEMP, strlen(DM_LOCAL_TEMP)) == 0 &&
		!strchr(upload->upload_id, '/'))
		(void) unlinkat(folder, upload->upload_id, 0);
	if (folder >= 0)
		close(folder);
	store->stats.put_requests++;
}

/*
 * Raises 42501 unless both the server's owner and the current user may write files on this machine: USAGE on a server
 * lends its folder for reading only.
 */
void
dm_local_check_may_write(const DmStoreSettings *settings)
{
	if (!has_privs_of_role(settings->owner, ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write to the directory of server \"%s\"", settings->server_name),
				 errdetail("Its owner \"%s\" is not a member of pg_write_server_files.",
						   GetUserNameFromId(settings->owner, false))));
	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write to the directory of server \"%s\"", settings->server_name),
				 errdetail("USAGE on the server is for reading; to write, be a member of pg_write_server_files.")));
}

/* Raises for a folder or file that could not be made, with errno. */
static void
report_upload(const DmUpload *upload)
{
	int save_errno = errno;

	if (save_errno == EINVAL || save_errno == ENAMETOOLONG || save_errno == ELOOP || save_errno == ENOTDIR ||
		save_errno == EISDIR)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" cannot be a file of a local directory", upload->key),
				 errhint("Its steps must be plain names: not empty, '.' or '..', and no link or file where a "
						 "folder must be.")));
	if (save_errno == ENOENT)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("bucket \"%s\" does not exist", upload->bucket),
				 errhint("Make it as a folder in the directory of the server.")));
	errno = save_errno;
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not write object \"s3://%s/%s\": %m", upload->bucket, upload->key),
			 save_errno == ENOSPC || save_errno == EDQUOT
				 ? errhint("The disk is full. Nothing of the object stays; make room and write it again.")
				 : 0));
}
