/*
 * s3_sign.c: tests of store/s3_sign.c.
 *
 * The signatures are those that AWS publishes: "Authenticating Requests: Using the Authorization Header (AWS Signature
 * Version 4)" in the S3 API reference, its four examples. The encodings are those of Python's urllib.parse.quote with
 * safe="-_.~" and safe="/-_.~". The signatures for another service are those of "get-vanilla", "post-vanilla" and
 * "post-x-www-form-urlencoded" of AWS's Signature Version 4 test suite.
 */
#include "backend.h"

#include "store/s3_sign.c"

#define LIFECYCLE "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
#define LIST "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
#define RANGE "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
#define PUT "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
#define GET_VANILLA "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define POST_VANILLA "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
#define POST_FORM "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
/* SHA-256 of "Param1=value1", by sha256sum */
#define FORM_SHA256 "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
#define PUT_SHA256 "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

/* What all examples have in common. */
static const DmS3Sign example = {.method = "GET",
								 .path = "/",
								 .query = "",
								 .payload_sha256 = DM_S3_EMPTY_SHA256,
								 .amz_date = "20130524T000000Z",
								 .region = "us-east-1",
								 .service = "s3",
								 .access_key_id = "AKIAIOSFODNN7EXAMPLE",
								 .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};

/* Adds a header to sign. */
static void
add(DmS3Sign *request, const char *name, const char *value)
{
	request->headers[request->nheaders++] = (DmS3Header){name, value};
}

/* Adds the two headers that every request ends with. */
static void
add_amz(DmS3Sign *request)
{
	add(request, "x-amz-content-sha256", request->payload_sha256);
	add(request, "x-amz-date", request->amz_date);
}

/* Checks the whole Authorization header. */
static void
check(const DmS3Sign *request, const char *names, const char *signature, const char *what)
{
	char got[DM_S3_AUTHORIZATION_BYTES];
	char want[DM_S3_AUTHORIZATION_BYTES];

	snprintf(want, sizeof(want), "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s",
			 names, signature);
	ok(dm_s3_sign(request, got) && strcmp(got, want) == 0, what);
}

/* The examples of a GET. */
static void
test_get(void)
{
	DmS3Sign range = example;
	DmS3Sign lifecycle = example;
	DmS3Sign list = example;

	range.path = "/test.txt";
	add(&range, "host", "examplebucket.s3.amazonaws.com");
	add(&range, "range", "bytes=0-9");
	add_amz(&range);
	check(&range, "host;range;x-amz-content-sha256;x-amz-date", RANGE, "GET an object");
	lifecycle.query = "lifecycle=";
	add(&lifecycle, "host", "examplebucket.s3.amazonaws.com");
	add_amz(&lifecycle);
	check(&lifecycle, "host;x-amz-content-sha256;x-amz-date", LIFECYCLE, "GET with a parameter without value");
	list.query = "max-keys=2&prefix=J";
	add(&list, "host", "examplebucket.s3.amazonaws.com");
	add_amz(&list);
	check(&list, "host;x-amz-content-sha256;x-amz-date", LIST, "GET with two parameters");
}

/* The example of a PUT, whose key has a dollar. */
static void
test_put(void)
{
	DmS3Sign put = example;
	char path[64] = "/";

	dm_s3_encode("test$file.text", true, path + 1);
	put.method = "PUT";
	put.path = path;
	put.payload_sha256 = PUT_SHA256;
	add(&put, "date", "Fri, 24 May 2013 00:00:00 GMT");
	add(&put, "host", "examplebucket.s3.amazonaws.com");
	add_amz(&put);
	add(&put, "x-amz-storage-class", "REDUCED_REDUNDANCY");
	check(&put, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", PUT, "PUT an object");
}

/* The test suite's service, whose requests have no hash of the payload among their headers. */
static void
test_service(void)
{
	DmS3Sign request = {.method = "GET",
						.path = "/",
						.query = "",
						.payload_sha256 = DM_S3_EMPTY_SHA256,
						.amz_date = "20150830T123600Z",
						.region = "us-east-1",
						.service = "service",
						.access_key_id = "AKIDEXAMPLE",
						.secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
	char got[DM_S3_AUTHORIZATION_BYTES];

	add(&request, "host", "example.amazonaws.com");
	add(&request, "x-amz-date", request.amz_date);
	ok(dm_s3_sign(&request, got) &&
		   strcmp(got, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,SignedHeaders=host;x-amz-date,Signature=" GET_VANILLA) == 0,
	   "GET of another service");
	request.method = "POST";
	ok(dm_s3_sign(&request, got) && strstr(got, "Signature=" POST_VANILLA), "POST of another service");
	request.nheaders = 0;
	request.payload_sha256 = FORM_SHA256;
	add(&request, "content-type", "application/x-www-form-urlencoded");
	add(&request, "host", "example.amazonaws.com");
	add(&request, "x-amz-date", request.amz_date);
	ok(dm_s3_sign(&request, got) && strstr(got, "SignedHeaders=content-type;host;x-amz-date,Signature=" POST_FORM), "POST of a form");
}

/* Encoding of keys, and secrets too long for the buffer. */
static void
test_limits(void)
{
	DmS3Sign request = example;
	char secret[1000];
	char out[DM_S3_AUTHORIZATION_BYTES];

	dm_s3_encode("a b+c%d/\xc3\xa9//./~_-*'(", true, out);
	ok(strcmp(out, "a%20b%2Bc%25d/%C3%A9//./~_-%2A%27%28") == 0, "a key, with its slashes");
	dm_s3_encode("a/b=c&d", false, out);
	ok(strcmp(out, "a%2Fb%3Dc%26d") == 0, "a parameter, without");
	memset(secret, 's', sizeof(secret) - 1);
	secret[sizeof(secret) - 1] = '\0';
	request.secret_access_key = secret;
	ok(!dm_s3_sign(&request, out), "a secret that is too long is refused");
}

int
main(void)
{
	test_get();
	test_put();
	test_service();
	test_limits();
	return done();
}
