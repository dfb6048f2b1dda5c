/*
 * kind.h: what every kind of object store implements, and the settings it is opened with. Inside store/ only.
 *
 * A kind embeds DmStore, DmFetch and DmUpload as the first member of its own structs.
 */
#ifndef DM_STORE_KIND_H
#define DM_STORE_KIND_H

#include "postgres.h"

#include "base/compat.h"
#include "store/store.h"

/* Option credentials. All but the first two are the identity of the database server's host. */
typedef enum DmCredentialSource
{
	DM_CREDENTIALS_MAPPING,
	DM_CREDENTIALS_ANONYMOUS, /* requests are not signed */
	DM_CREDENTIALS_ENV,
	DM_CREDENTIALS_PROFILE,
	DM_CREDENTIALS_IMDS,
	DM_CREDENTIALS_ECS,
	DM_CREDENTIALS_WEB_IDENTITY
} DmCredentialSource;

/* The options of a server, and whose mapping of it gives the keys. Strings are NULL where not given. */
typedef struct DmStoreSettings
{
	Oid server;
	Oid owner; /* of the server */
	Oid user;  /* whose mapping gives the keys */
	char *server_name;
	char *endpoint; /* https://host[:port] or file:///dir, without a slash at the end */
	char *region;
	char *ca_file;
	char *allowed_hosts; /* datamill.allowed_hosts, where it limits this server; NULL: any host */
	char *buckets;		 /* allowlist: patterns between commas */
	bool virtual_host;	 /* url_style 'virtual' */
	bool verify_tls;
	bool requester_pays; /* who asks pays for it */
	int connect_timeout_ms;
	int timeout_ms; /* ceiling of one request without progress */
	int max_retries;
	int max_concurrency;
	int part_size_bytes; /* of a ranged GET */

	/* Where keys come from; the keys themselves are in DmCredentials. */
	DmCredentialSource source;
	char *role_arn; /* to be assumed with the source's keys, or its web identity token */
	char *external_id;
	char *role_session_name;
	int role_duration_s; /* 0: as the token service likes it */
	char *sts_endpoint;
	char *profile;
	char *web_identity_token_file;
} DmStoreSettings;

typedef struct DmStoreOps
{
	void (*list)(DmStore *store, const char *bucket, const char *prefix, DmStoreEach each, void *arg);
	/* NULL: the store keeps no versions */
	void (*list_as_of)(DmStore *store, const char *bucket, const char *prefix, TimestampTz as_of, DmStoreEach each,
					   void *arg);
	void (*list_folders)(DmStore *store, const char *bucket, const char *prefix, DmStoreEachFolder each, void *arg);
	DmFetch *(*fetch_open)(DmStore *store); /* store.c fills in the embedded part before anything else is called */
	DmStream *(*fetch_next)(DmFetch *fetch, DmPiece *piece);
	void (*fetch_wait)(DmFetch *fetch, long max_ms);
	/* NULL where nothing is ever under way; all three then. */
	void (*fetch_start)(DmFetch *fetch);
	bool (*fetch_ready)(DmFetch *fetch);
	int (*fetch_wait_fd)(DmFetch *fetch);
	void (*fetch_close)(DmFetch *fetch);
	DmUpload *(*upload_open)(DmStore *store, const char *bucket, const char *key, const DmUploadOptions *options);
	void (*upload_write)(DmUpload *upload, const char *data, Size len);
	void (*upload_seal)(DmUpload *upload);
	/* Of a sealed upload, or of one that is still open: then sealing is a part of it. */
	DmObject *(*upload_publish)(DmUpload *upload);
	/* In any state but DM_UPLOAD_ENDED. */
	void (*upload_abort)(DmUpload *upload);
	void (*remove)(DmStore *store, List *objects);
	void (*uploads_list)(DmStore *store, const char *bucket, const char *prefix, DmOpenUploadEach each, void *arg);
	void (*uploads_abort)(DmStore *store, const DmOpenUpload *upload);
} DmStoreOps;

struct DmStore
{
	const DmStoreOps *ops;
	const DmStoreSettings *settings;
	MemoryContext context; /* in which the store was opened */
	DmStoreStats stats;
};

struct DmFetch
{
	DmStore *store;
	DmFetchQueue queue;
	/* Of a fetch of a list: */
	List *objects;
	int next;
	DmPiece opened;
};

typedef enum DmUploadState
{
	DM_UPLOAD_OPEN,
	DM_UPLOAD_SEALED,
	DM_UPLOAD_ENDED /* published or aborted */
} DmUploadState;

struct DmUpload
{
	DmStore *store;
	const char *bucket;
	const char *key;
	DmUploadOptions options;
	DmUploadState state; /* kept by store.c */
};

/* settings.c */
extern DmStoreSettings *dm_store_settings_read(Oid server_oid, Oid user_oid);

/* archived.c */
extern DmStore *dm_archived_store(DmStore *below);

/* local.c: endpoint file:///dir */
extern DmStore *dm_local_open(const DmStoreSettings *settings);
/* s3.c: endpoint http(s)://host */
extern DmStore *dm_s3_open(const DmStoreSettings *settings);

/* Takes the next piece from a fetch's queue; false if there is none now. */
extern bool dm_fetch_pull(DmFetch *fetch, int ahead, DmPiece *piece);

/* Fills a new upload's embedded part, with copies in the current memory context. */
extern void dm_upload_init(DmUpload *upload, DmStore *store, const char *bucket, const char *key,
						   const DmUploadOptions *options);
extern void dm_upload_raise_exists(const char *bucket, const char *key) pg_attribute_noreturn();
extern void dm_object_raise_changed(const DmObject *object, const char *what) pg_attribute_noreturn();

#endif
