/*
 * s3_sign.h: AWS Signature Version 4 for one request whose body is not chunked, to S3 or another service. Uses nothing of the server.
 */
#ifndef DM_S3_SIGN_H
#define DM_S3_SIGN_H

#include "postgres.h"

/* Hex SHA-256 of no bytes: the payload of a GET. */
#define DM_S3_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DM_S3_SHA256_BYTES 65
#define DM_S3_AUTHORIZATION_BYTES 1024
#define DM_S3_SIGNED_HEADERS_MAX 8

typedef struct DmS3Header
{
	const char *name; /* lower case */
	const char *value;
} DmS3Header;

typedef struct DmS3Sign
{
	const char *method;
	const char *path;  /* as sent: percent-encoded, starts with a slash */
	const char *query; /* as sent: parameters sorted by name, names and values percent-encoded; "" for none */
	DmS3Header headers[DM_S3_SIGNED_HEADERS_MAX]; /* those to sign, sorted by name; host is one of them */
	int nheaders;
	const char *payload_sha256;
	const char *amz_date; /* YYYYMMDDThhmmssZ */
	const char *region;
	const char *service; /* "s3", "sts" */
	const char *access_key_id;
	const char *secret_access_key;
} DmS3Sign;

/* Writes the value of the Authorization header (at most DM_S3_AUTHORIZATION_BYTES). False if the library fails. */
extern bool dm_s3_sign(const DmS3Sign *request, char *authorization);
/* Writes the SHA-256 of data as DM_S3_SHA256_BYTES - 1 hex digits and a zero. False if the library fails. */
extern bool dm_s3_sha256(const char *data, Size len, char *hex);
/* Percent-encodes text as S3 wants it (RFC 3986 unreserved characters stay). out has room for 3 * strlen + 1 bytes. */
extern void dm_s3_encode(const char *text, bool keep_slash, char *out);

#endif
