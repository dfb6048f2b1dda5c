/*
 * addr.h: which addresses may be connected to.
 */
#ifndef DM_ADDR_H
#define DM_ADDR_H

#include "postgres.h"

#include <sys/socket.h>

/* True for link-local and cloud metadata addresses, IPv4-mapped ones included. Raises nothing. */
extern bool dm_addr_is_link_local(const struct sockaddr *address);
/* Writes the address as text. */
extern void dm_addr_print(const struct sockaddr *address, char *text, Size size);
/* The host in a URL, without the brackets of an IPv6 address, and its length; not terminated. Raises nothing. */
extern const char *dm_url_host(const char *url, Size *len);

#endif
