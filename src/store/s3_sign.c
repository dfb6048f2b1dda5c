/*
 * s3_sign.c: AWS Signature Version 4, as "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference
 * describes it. S3's rule for the path differs from other services': it is encoded once and never normalized, so "//"
 * and "./" in keys stay. Other services are asked at path "/" only, where there is no difference.
 *
 * Calls nothing of the server, so test/unit can check it against the published vectors without one.
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "store/s3_sign.h"

#define SHA256_BYTES 32
#define SHA256_HEX (SHA256_BYTES * 2 + 1)

static bool hash_canonical_request(const DmS3Sign *request, char *hex);
static bool derive_key(const DmS3Sign *request, uint8 *key);

/* Percent-encodes text; see s3_sign.h. */
void
dm_s3_encode(const char *text, bool keep_slash, char *out)
{
	static const char digits[] = "0123456789ABCDEF";

	for (const uint8 *p = (const uint8 *) text; *p; p++)
	{
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-' ||
			*p == '_' || *p == '.' || *p == '~' || (*p == '/' && keep_slash))
			*out++ = *p;
		else
		{
			*out++ = '%';
			*out++ = digits[*p >> 4];
			*out++ = digits[*p & 15];
		}
	}
	*out = '\0';
}

/* Writes 32 bytes as 64 lower-case hex digits and a zero. */
static void
write_hex(const uint8 *bytes, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < SHA256_BYTES; i++)
	{
		hex[i * 2] = digits[bytes[i] >> 4];
		hex[i * 2 + 1] = digits[bytes[i] & 15];
	}
	hex[SHA256_BYTES * 2] = '\0';
}

/* SHA-256 of bytes; see s3_sign.h. */
bool
dm_s3_sha256(const char *data, Size len, char *hex)
{
	uint8 bytes[SHA256_BYTES];

	if (EVP_Digest(data, len, bytes, NULL, EVP_sha256(), NULL) != 1)
		return false;
	write_hex(bytes, hex);
	return true;
}

/* HMAC-SHA256 of text under key. */
static bool
hmac(const void *key, Size key_len, const char *text, uint8 *out)
{
	return HMAC(EVP_sha256(), key, (int) key_len, (const uint8 *) text, strlen(text), out, NULL) != NULL;
}

/* The names of the signed headers, with ';' between them. */
static void
join_names(const DmS3Sign *request, char *names, Size size)
{
	names[0] = '\0';
	for (int i = 0; i < request->nheaders; i++)
	{
		if (i > 0)
			strlcat(names, ";", size);
		strlcat(names, request->headers[i].name, size);
	}
}

/* Writes the value of the Authorization header; see s3_sign.h. */
bool
dm_s3_sign(const DmS3Sign *request, char *authorization)
{
	char canonical[SHA256_HEX];
	char scope[256];
	char to_sign[512];
	char names[256];
	char signature[SHA256_HEX];
	uint8 key[SHA256_BYTES];
	uint8 mac[SHA256_BYTES];
	bool signed_;

	if (!hash_canonical_request(request, canonical))
		return false;
	snprintf(scope, sizeof(scope), "%.8s/%s/%s/aws4_request", request->amz_date, request->region, request->service);
	snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s\n%s", request->amz_date, scope, canonical);
	signed_ = derive_key(request, key) && hmac(key, sizeof(key), to_sign, mac);
	OPENSSL_cleanse(key, sizeof(key));
	if (!signed_)
		return false;
	write_hex(mac, signature);
	join_names(request, names, sizeof(names));
	return snprintf(authorization,
					DM_S3_AUTHORIZATION_BYTES,
					"AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
					request->access_key_id,
					scope,
					names,
					signature) < DM_S3_AUTHORIZATION_BYTES;
}

/* Adds a text to a digest. */
static bool
hash_text(EVP_MD_CTX *digest, const char *text)
{
	return EVP_DigestUpdate(digest, text, strlen(text)) == 1;
}

/* Hashes the canonical request: method, path, query, headers, names of the headers, hash of the payload, a line each. */
static bool
hash_canonical_request(const DmS3Sign *request, char *hex)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	uint8 bytes[SHA256_BYTES];
	char names[256];
	bool done;

	if (!digest)
		return false;
	join_names(request, names, sizeof(names));
	done = EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 && hash_text(digest, request->method) &&
		   hash_text(digest, "\n") && hash_text(digest, request->path) && hash_text(digest, "\n") &&
		   hash_text(digest, request->query) && hash_text(digest, "\n");
	for (int i = 0; done && i < request->nheaders; i++)
		done = hash_text(digest, request->headers[i].name) && hash_text(digest, ":") &&
			   hash_text(digest, request->headers[i].value) && hash_text(digest, "\n");
	done = done && hash_text(digest, "\n") && hash_text(digest, names) && hash_text(digest, "\n") &&
		   hash_text(digest, request->payload_sha256) && EVP_DigestFinal_ex(digest, bytes, NULL) == 1;
	EVP_MD_CTX_free(digest);
	if (done)
		write_hex(bytes, hex);
	return done;
}

/* The signing key of the day, region and service: HMACs in a chain. */
static bool
derive_key(const DmS3Sign *request, uint8 *key)
{
	char first[512];
	char date[9];
	int len = snprintf(first, sizeof(first), "AWS4%s", request->secret_access_key);
	bool done = len > 0 && len < (int) sizeof(first);

	strlcpy(date, request->amz_date, sizeof(date));
	done = done && hmac(first, len, date, key) && hmac(key, SHA256_BYTES, request->region, key) &&
		   hmac(key, SHA256_BYTES, request->service, key) && hmac(key, SHA256_BYTES, "aws4_request", key);
	OPENSSL_cleanse(first, sizeof(first));
	return done;
}
