/*
 * transfer.h: one request as curl sees it. Inside net/ only.
 */
#ifndef DM_TRANSFER_H
#define DM_TRANSFER_H

#include "postgres.h"

#include <curl/curl.h>

#include "base/handle.h"
#include "net/http.h"

/* What curl holds for a request. Its release runs before the memory of its context goes. */
typedef struct DmTransfer
{
	CURL *easy;
	struct curl_slist *headers;
	bool running; /* in the multi handle */
	CURLcode result;
	char error[CURL_ERROR_SIZE];
	bool accepted; /* accept was called for this answer */
	Size header_len;
	char answer_headers[DM_HTTP_HEADER_BYTES + 1];
	DmHandle *handle;
} DmTransfer;

/* Sets the options that stay the same over all attempts. */
extern void dm_transfer_setup(DmHttpRequest *request);

#endif
