/*
 * local.c: a local directory as an object store: its subdirectories are the buckets, files the objects.
 *
 * 1. Nothing outside the directory is reached: every step of a path is opened relative to the one before and without
 *    following symbolic links, and the steps '', '.' and '..' do not exist. (The directory itself may be a link.)
 * 2. Keys come in byte order, as S3 lists them: each folder is sorted with its subfolders written "name/".
 * 3. An etag is a hash of inode, size and modification time. It is compared when the file is opened and again at its
 *    end, so a file that was replaced or written to in between is an error.
 *    (Two changes of equal size within one tick of the file system's clock, some milliseconds, look like one.)
 * 4. Only regular files are objects; a file that is being uploaded (DM_LOCAL_TEMP) is not one yet.
 *
 * Listing holds the names of the folders on the current path, not those of the whole tree.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/errors.h"
#include "base/handle.h"
#include "store/local.h"

typedef struct LocalStore
{
	DmStore store;
	const char *root;
} LocalStore;

typedef struct LocalListing
{
	LocalStore *store;
	const char *bucket;
	const char *prefix;
	DmStoreEach each;			  /* NULL: temporary files are listed, and no others */
	DmOpenUploadEach each_upload; /* then, what each is otherwise */
	void *arg;
	MemoryContext caller; /* each() runs in the context that dm_store_list was called in */
} LocalListing;

/* Steps of a key that deep are an error: recursion is one level a step. */
#define DM_LOCAL_MAX_DEPTH 256

static void local_list(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg);
static void local_uploads_list(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each,
							   void *arg);
static void list_bucket(LocalListing *listing);
static void local_list_folders(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each,
							   void *arg);
static bool list_folder(LocalListing *listing, const char *folder, int depth);
static void report_folder(const LocalListing *listing, const char *folder) pg_attribute_noreturn();

static const DmStoreOps local_ops = {
	local_list,
	NULL,
	local_list_folders,
	dm_local_fetch_open,
	dm_local_fetch_next,
	dm_local_fetch_wait,
	NULL,
	NULL,
	NULL,
	dm_local_fetch_close,
	dm_local_upload_open,
	dm_local_upload_write,
	dm_local_upload_seal,
	dm_local_upload_publish,
	dm_local_upload_abort,
	dm_local_delete,
	local_uploads_list,
	dm_local_uploads_abort,
};

/* Opens the store of an endpoint file:///dir in the current memory context. Raises HV00D unless dir is absolute. */
DmStore *
dm_local_open(const DmStoreSettings *settings)
{
	LocalStore *local = palloc0(sizeof(LocalStore));
	const char *root = settings->endpoint + strlen("file://");

	if (root[0] != '/')
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid endpoint \"%s\" of server \"%s\"", settings->endpoint, settings->server_name),
				 errhint("A local directory is written file:///absolute/path.")));
	local->store.ops = &local_ops;
	local->store.settings = settings;
	local->store.context = CurrentMemoryContext;
	local->root = root;
	return &local->store;
}

/* Closes a file descriptor that a handle owns. */
static void
release_fd(void *resource)
{
	close((int) (intptr_t) resource - 1);
	ReleaseExternalFD();
}

/*
 * Binds a descriptor to a context and makes room for it among those of fd.c. Descriptor 0 is stored as 1, as NULL
 * means "released".
 */
DmHandle *
dm_local_fd_handle(MemoryContext context, int fd)
{
	ReserveExternalFD();
	return dm_handle_make(context, (void *) (intptr_t) (fd + 1), release_fd);
}

/* True if a step of a path may be opened: not empty, '.', '..' and not a temporary name of ours. */
static bool
is_plain_step(const char *step, Size len)
{
	return len > 0 && !(len == 1 && step[0] == '.') && !(len == 2 && step[0] == '.' && step[1] == '.') &&
		   !(len >= strlen(DM_LOCAL_TEMP) && strncmp(step, DM_LOCAL_TEMP, strlen(DM_LOCAL_TEMP)) == 0);
}

/* True for the name of a temporary file of an upload. */
static bool
is_temp(const char *name)
{
	return strncmp(name, DM_LOCAL_TEMP, strlen(DM_LOCAL_TEMP)) == 0;
}

/* Opens one step below a directory, making it first if asked to. -1 and errno on failure. */
static int
open_step(int parent, const char *step, bool make)
{
	if (make)
	{
		if (mkdirat(parent, step, S_IRWXU) == 0)
			(void) pg_fsync(parent);
		else if (errno != EEXIST)
			return -1;
	}
	return openat(parent, step, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/*
 * Opens the folder of a key: the bucket and all steps of the key before its last slash. Returns a descriptor, or -1
 * with errno (EINVAL for a step that cannot be one); *name, if not NULL, is where the last step starts. With make,
 * missing folders below the bucket are made.
 */
int
dm_local_folder_open(const DmStore *store, const char *bucket, const char *key, const char **name, bool make)
{
	int fd = open(((const LocalStore *) store)->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *step = key;
	const char *slash;
	int next = fd < 0 ? -1 : open_step(fd, bucket, false);

	for (; next >= 0 && (slash = strchr(step, '/')) != NULL; step = slash + 1)
	{
		char part[NAME_MAX + 1];

		close(fd);
		fd = next;
		next = -1;
		if (!is_plain_step(step, slash - step) || slash - step > NAME_MAX)
		{
			errno = EINVAL;
			break;
		}
		memcpy(part, step, slash - step);
		part[slash - step] = '\0';
		next = open_step(fd, part, make);
	}
	if (fd >= 0)
	{
		int save_errno = errno;

		close(fd);
		errno = save_errno;
	}
	if (next >= 0 && name && !is_plain_step(step, strlen(step)))
	{
		close(next);
		next = -1;
		errno = EINVAL;
	}
	if (name)
		*name = step;
	return next;
}

/* The etag of a file, palloc'd: 32 hex digits that change with its inode, size or modification time. */
char *
dm_local_etag(const struct stat *st)
{
	uint64 parts[4] = {
		(uint64) st->st_ino, (uint64) st->st_size, (uint64) st->st_mtim.tv_sec, (uint64) st->st_mtim.tv_nsec};
	XXH128_hash_t hash = XXH3_128bits(parts, sizeof(parts));

	return psprintf("%016llx%016llx", (unsigned long long) hash.high64, (unsigned long long) hash.low64);
}

/* Fills an object from what stat says; etag is palloc'd, bucket and key are the caller's. */
void
dm_local_object(DmObject *object, const char *bucket, const char *key, const struct stat *st)
{
	*object = (DmObject){0};
	object->bucket = (char *) bucket;
	object->key = (char *) key;
	object->etag = dm_local_etag(st);
	object->size = st->st_size;
	object->modified = time_t_to_timestamptz(st->st_mtim.tv_sec) + st->st_mtim.tv_nsec / 1000;
}

/* Raises for a bucket's folder that cannot be opened, with errno. */
static void
report_folder(const LocalListing *listing, const char *folder)
{
	if (errno == ENOENT && folder[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("bucket \"%s\" does not exist", listing->bucket),
				 errdetail("There is no folder \"%s/%s\".", listing->store->root, listing->bucket)));
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not open folder \"%s/%s/%s\": %m", listing->store->root, listing->bucket, folder)));
}

/* Lists the objects of a bucket under a prefix, in byte order of their keys; see store.h. */
static void
local_list(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg)
{
	LocalListing listing = {(LocalStore *) store, bucket, prefix, each, NULL, arg, CurrentMemoryContext};

	list_bucket(&listing);
}

/* Lists the temporary files of a bucket in the folders under a prefix; see store.h. */
static void
local_uploads_list(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each, void *arg)
{
	LocalListing listing = {(LocalStore *) store, bucket, prefix, NULL, each, arg, CurrentMemoryContext};

	dm_local_check_may_write(store->settings);
	list_bucket(&listing);
}

/* Lists what a listing asks for. */
static void
list_bucket(LocalListing *listing)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill local list", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	listing->store->store.stats.list_requests++;
	list_folder(listing, "", 0);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Orders names by bytes. */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* Closes a directory stream that a handle owns. */
static void
release_dir(void *resource)
{
	closedir(resource);
}

/* True if a name below folder can lead to keys that start with the prefix. */
static bool
is_under_prefix(const char *folder, const char *name, bool is_folder, const char *prefix)
{
	Size folder_len = strlen(folder);
	const char *rest = prefix + Min(folder_len, strlen(prefix));
	Size name_len = strlen(name);
	Size rest_len = strlen(rest);

	return strncmp(name, rest, is_folder ? Min(name_len, rest_len) : rest_len) == 0;
}

/*
 * Reads the names in an open folder (closes fd), sorted, those of subfolders with a slash at the end; only names under
 * the prefix.
 */
static List *
read_names(const LocalListing *listing, const char *folder, int fd)
{
	DIR *dir = fdopendir(fd);
	DmHandle *handle;
	List *names = NIL;
	struct dirent *entry;

	if (!dir)
	{
		close(fd);
		report_folder(listing, folder);
	}
	handle = dm_handle_make(CurrentMemoryContext, dir, release_dir);
	while (errno = 0, (entry = readdir(dir)) != NULL)
	{
		struct stat st;
		char *name;

		CHECK_FOR_INTERRUPTS();
		if (!is_plain_step(entry->d_name, strlen(entry->d_name)) && !(!listing->each && is_temp(entry->d_name)))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		{
			if (errno == ENOENT)
				continue;
			report_folder(listing, folder);
		}
		if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
			continue;
		if (S_ISREG(st.st_mode) && is_temp(entry->d_name) != (listing->each == NULL))
			continue;
		name = S_ISDIR(st.st_mode) ? psprintf("%s/", entry->d_name) : pstrdup(entry->d_name);
		if (is_under_prefix(folder, name, S_ISDIR(st.st_mode), listing->prefix))
			names = lappend(names, name);
		else
			pfree(name);
	}
	if (errno != 0)
		report_folder(listing, folder);
	dm_handle_free(handle);
	list_sort(names, compare_names);
	return names;
}

/* Passes one temporary file to the caller's function. Always true. */
static bool
pass_temp(const LocalListing *listing, const char *name, const DmObject *object)
{
	DmOpenUpload upload = {object->bucket};
	MemoryContext old;

	upload.key = pnstrdup(object->key, strlen(object->key) - strlen(name));
	upload.upload_id = (char *) name;
	upload.initiated = object->modified;
	old = MemoryContextSwitchTo(listing->caller);
	listing->each_upload(&upload, listing->arg);
	MemoryContextSwitchTo(old);
	return true;
}

/* Passes one file to the caller's function. Returns what that returned; a file that has just gone is skipped. */
static bool
list_file(const LocalListing *listing, int fd, const char *name, const char *key)
{
	struct stat st;
	DmObject object = {0};
	MemoryContext old;
	bool more;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return true;
	pg_verifymbstr(key, strlen(key), false);
	dm_local_object(&object, listing->bucket, key, &st);
	if (!listing->each)
		return pass_temp(listing, name, &object);
	old = MemoryContextSwitchTo(listing->caller);
	more = listing->each(&object, listing->arg);
	MemoryContextSwitchTo(old);
	pfree(object.etag);
	return more;
}

/*
 * Lists a folder ("" or ending in a slash) and all below it, in byte order. Returns false if the caller's function
 * asked to stop. A folder below the bucket that has just gone is empty.
 */
static bool
list_folder(LocalListing *listing, const char *folder, int depth)
{
	MemoryContext context;
	MemoryContext old;
	ListCell *lc;
	int fd = dm_local_folder_open(&listing->store->store, listing->bucket, folder, NULL, false);
	bool more = true;

	if (fd < 0 && errno == ENOENT && depth > 0)
		return true;
	if (fd < 0)
		report_folder(listing, folder);
	if (depth > DM_LOCAL_MAX_DEPTH)
	{
		close(fd);
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("folders are nested more than %d deep", DM_LOCAL_MAX_DEPTH),
				 errdetail("Folder \"%s\" of bucket \"%s\".", folder, listing->bucket)));
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "datamill local folder", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	dm_local_fd_handle(context, fd);
	foreach (lc, read_names(listing, folder, dup(fd)))
	{
		const char *name = lfirst(lc);
		char *key = psprintf("%s%s", folder, name);

		CHECK_FOR_INTERRUPTS();
		more = name[strlen(name) - 1] == '/' ? list_folder(listing, key, depth + 1)
											 : list_file(listing, fd, name, key);
		if (!more)
			break;
		pfree(key);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return more;
}

/* Lists the folders directly below a prefix; see store.h. A folder that is not there has none. */
static void
local_list_folders(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each, void *arg)
{
	LocalListing listing = {
		.store = (LocalStore *) store, .bucket = bucket, .prefix = prefix, .caller = CurrentMemoryContext};
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "datamill local folders", ALLOCSET_DEFAULT_SIZES);
	const char *slash = strrchr(prefix, '/');
	char *folder;
	int fd;
	ListCell *lc;

	MemoryContextSwitchTo(context);
	store->stats.list_requests++;
	folder = pnstrdup(prefix, slash ? slash + 1 - prefix : 0);
	fd = dm_local_folder_open(store, bucket, folder, NULL, false);
	if (fd < 0 && (errno != ENOENT || folder[0] == '\0'))
		report_folder(&listing, folder);
	foreach (lc, fd < 0 ? NIL : read_names(&listing, folder, fd))
	{
		const char *name = lfirst(lc);
		char *path = psprintf("%s%s", folder, name);
		bool more = true;

		if (name[strlen(name) - 1] == '/')
		{
			pg_verifymbstr(path, strlen(path), false);
			MemoryContextSwitchTo(listing.caller);
			more = each(path, arg);
			MemoryContextSwitchTo(context);
		}
		if (!more)
			break;
		pfree(path);
	}
	MemoryContextSwitchTo(listing.caller);
	MemoryContextDelete(context);
}
