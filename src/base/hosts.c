/*
 * hosts.c: lists of hosts.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/hosts.h"

/* Longest entry that is understood: names have 253 bytes at most. */
#define DM_HOST_BYTES 256

/* An address in IPv6 form, as which IPv4 ones are ::ffff:a.b.c.d, and the leading bits of it that count. */
typedef struct Network
{
	uint8 bytes[16];
	int bits;
} Network;

/* Takes the next entry off a list, without the blanks around it; false at the end. */
static bool
next_entry(const char **list, const char **entry, Size *len)
{
	const char *p = *list;

	p += strspn(p, " \t\n\r,");
	if (*p == '\0')
		return false;
	*entry = p;
	*len = strcspn(p, ",");
	*list = p + *len;
	while (*len > 0 && strchr(" \t\n\r", p[*len - 1]))
		(*len)--;
	return true;
}

/* Reads the bits after an address's slash; -1 for none that make sense. */
static int
parse_bits(const char *text, int max)
{
	int bits = 0;

	if (*text == '\0' || strlen(text) > 3)
		return -1;
	for (; *text; text++)
	{
		if (*text < '0' || *text > '9')
			return -1;
		bits = bits * 10 + *text - '0';
	}
	return bits <= max ? bits : -1;
}

/* Reads an address or a network; false if it is none. */
static bool
parse_network(const char *entry, Size len, Network *network)
{
	char text[DM_HOST_BYTES];
	char *slash;
	struct in_addr v4;
	bool is_v4;
	int max;

	if (len >= sizeof(text))
		return false;
	memcpy(text, entry, len);
	text[len] = '\0';
	slash = strchr(text, '/');
	if (slash)
		*slash = '\0';
	memset(network, 0, sizeof(*network));
	is_v4 = inet_pton(AF_INET, text, &v4) == 1;
	if (is_v4)
	{
		memset(network->bytes + 10, 0xff, 2);
		memcpy(network->bytes + 12, &v4, 4);
	}
	else if (inet_pton(AF_INET6, text, network->bytes) != 1)
		return false;
	max = is_v4 ? 32 : 128;
	network->bits = slash ? parse_bits(slash + 1, max) : max;
	if (network->bits < 0)
		return false;
	network->bits += 128 - max;
	return true;
}

/* True for a host name, or *, or *. before a host name. */
static bool
is_name_pattern(const char *entry, Size len)
{
	if (len >= DM_HOST_BYTES)
		return false;
	if (len >= 2 && memcmp(entry, "*.", 2) == 0)
	{
		entry += 2;
		len -= 2;
	}
	else if (len == 1 && *entry == '*')
		return true;
	for (Size i = 0; i < len; i++)
	{
		if (!isalnum((uint8) entry[i]) && entry[i] != '-' && entry[i] != '_' && entry[i] != '.')
			return false;
	}
	return len > 0;
}

/* True if every entry can be understood. */
bool
dm_hosts_check(const char *list, const char **bad, Size *len)
{
	Network network;

	while (next_entry(&list, bad, len))
	{
		if (!parse_network(*bad, *len, &network) && !is_name_pattern(*bad, *len))
			return false;
	}
	return true;
}

/* True if the name pattern fits the host name. */
static bool
name_matches(const char *entry, Size len, const char *host, Size host_len)
{
	if (*entry != '*')
		return len == host_len && pg_strncasecmp(entry, host, len) == 0;
	entry++;
	len--;
	return host_len > len && pg_strncasecmp(entry, host + host_len - len, len) == 0;
}

/* True if the address is one of the network's. */
static bool
address_matches(const Network *network, const struct sockaddr *address)
{
	uint8 bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	int whole = network->bits / 8;
	int rest = network->bits % 8;

	if (address->sa_family == AF_INET)
		memcpy(bytes + 12, &((const struct sockaddr_in *) address)->sin_addr, 4);
	else if (address->sa_family == AF_INET6)
		memcpy(bytes, &((const struct sockaddr_in6 *) address)->sin6_addr, 16);
	else
		return false;
	return memcmp(bytes, network->bytes, whole) == 0 &&
		   (rest == 0 || ((bytes[whole] ^ network->bytes[whole]) >> (8 - rest)) == 0);
}

/* True if an entry of the list names the host or its address. */
bool
dm_hosts_match(const char *list, const char *host, Size len, const struct sockaddr *address)
{
	const char *entry;
	Size entry_len;
	Network network;

	while (next_entry(&list, &entry, &entry_len))
	{
		if (parse_network(entry, entry_len, &network)
				? address_matches(&network, address)
				: is_name_pattern(entry, entry_len) && name_matches(entry, entry_len, host, len))
			return true;
	}
	return false;
}
