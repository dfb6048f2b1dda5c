/*
 * addr.c: which addresses may be connected to, checked on the address that a connection is really made to, after name
 * resolution: a name that resolves to a metadata service gains nothing.
 *
 * Refused are link-local addresses and the fixed addresses of cloud metadata services, which hand out the machine's
 * credentials to whoever asks. Loopback and private networks are allowed: who may create a server decides where it is.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "net/addr.h"

/* True for 169.254.0.0/16 and 100.100.100.200, in host byte order. */
static bool
is_link_local_v4(uint32 address)
{
	return (address & 0xffff0000) == 0xa9fe0000 || address == 0x646464c8;
}

/* True for fe80::/10, fd00:ec2::254, and IPv4 addresses in IPv6 form (mapped, or translated by 64:ff9b::/96). */
static bool
is_link_local_v6(const struct in6_addr *address)
{
	static const uint8 metadata[16] = {0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54};
	static const uint8 translated[12] = {0x00, 0x64, 0xff, 0x9b};
	uint32 tail;

	if (IN6_IS_ADDR_LINKLOCAL(address) || memcmp(address->s6_addr, metadata, sizeof(metadata)) == 0)
		return true;
	memcpy(&tail, address->s6_addr + 12, sizeof(tail));
	return (IN6_IS_ADDR_V4MAPPED(address) || IN6_IS_ADDR_V4COMPAT(address) ||
			memcmp(address->s6_addr, translated, sizeof(translated)) == 0) &&
		   is_link_local_v4(ntohl(tail));
}

/* True for link-local and cloud metadata addresses. */
bool
dm_addr_is_link_local(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return is_link_local_v4(ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return is_link_local_v6(&((const struct sockaddr_in6 *) address)->sin6_addr);
	return true; /* no other family is wanted */
}

/* Writes the address as text; "?" for an unknown family. */
void
dm_addr_print(const struct sockaddr *address, char *text, Size size)
{
	const void *raw = NULL;

	if (address->sa_family == AF_INET)
		raw = &((const struct sockaddr_in *) address)->sin_addr;
	else if (address->sa_family == AF_INET6)
		raw = &((const struct sockaddr_in6 *) address)->sin6_addr;
	if (!raw || !inet_ntop(address->sa_family, raw, text, size))
		strlcpy(text, "?", size);
}

/* Finds the host of a URL without the brackets of an IPv6 address, and its length. Raises nothing. */
const char *
dm_url_host(const char *url, Size *len)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	if (*host == '[')
		*len = strcspn(++host, "]");
	else
		*len = strcspn(host, ":/?#");
	return host;
}
