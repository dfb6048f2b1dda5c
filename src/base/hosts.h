/*
 * hosts.h: lists of hosts, as in setting datamill.allowed_hosts.
 *
 * An entry is a host name (api.example.com), a pattern of host names (*.example.com: what ends in .example.com; *: all), an
 * address (10.1.2.3, 2001:db8::1) or a network (10.0.0.0/8, 2001:db8::/32). Entries stand between commas.
 */
#ifndef DM_HOSTS_H
#define DM_HOSTS_H

#include "postgres.h"

#include <sys/socket.h>

/* True if every entry of the list can be understood; else *bad is the first that cannot and *len its length. Raises nothing. */
extern bool dm_hosts_check(const char *list, const char **bad, Size *len);
/*
 * True if an entry names the host (of len bytes, as in a URL, without brackets), or the address it was resolved to. Raises
 * and allocates nothing.
 */
extern bool dm_hosts_match(const char *list, const char *host, Size len, const struct sockaddr *address);

#endif
