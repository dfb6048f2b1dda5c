/*
 * hosts.c: tests of base/hosts.c.
 *
 * Which addresses are in which networks is what PostgreSQL's inet operator <<= says of the same pairs.
 */
#include "backend.h"

#include "base/hosts.c"

typedef struct Case
{
	const char *list;
	const char *host;
	const char *address;
	bool matches;
} Case;

static const Case cases[] = {
	/* names */
	{"s3.example.com", "s3.example.com", "10.0.0.1", true},
	{"s3.example.com", "S3.Example.COM", "10.0.0.1", true},
	{"s3.example.com", "as3.example.com", "10.0.0.1", false},
	{"s3.example.com", "s3.example.co", "10.0.0.1", false},
	{"*.example.com", "s3.example.com", "10.0.0.1", true},
	{"*.example.com", "a.b.example.com", "10.0.0.1", true},
	{"*.example.com", "example.com", "10.0.0.1", false},
	{"*.example.com", "badexample.com", "10.0.0.1", false},
	{"*", "anything", "10.0.0.1", true},
	{"localhost", "127.0.0.1", "127.0.0.1", false},
	/* addresses and networks: the name does not matter */
	{"10.0.0.1", "whatever", "10.0.0.1", true},
	{"10.0.0.1", "whatever", "10.0.0.2", false},
	{"10.0.0.0/8", "whatever", "10.255.255.255", true},
	{"10.0.0.0/8", "whatever", "11.0.0.0", false},
	{"192.168.128.0/17", "whatever", "192.168.128.1", true},
	{"192.168.128.0/17", "whatever", "192.168.127.255", false},
	{"0.0.0.0/0", "whatever", "203.0.113.9", true},
	{"0.0.0.0/0", "whatever", "2001:db8::1", false},
	{"::/0", "whatever", "2001:db8::1", true},
	{"2001:db8::/33", "whatever", "2001:db8:7fff::1", true},
	{"2001:db8::/33", "whatever", "2001:db8:8000::1", false},
	{"2001:db8::1", "2001:db8::1", "2001:db8::1", true},
	{"10.0.0.0/8", "whatever", "::ffff:10.1.2.3", true},
	/* lists */
	{"a.example, 10.0.0.0/8 ,b.example", "b.example", "192.0.2.1", true},
	{"a.example, 10.0.0.0/8 ,b.example", "c.example", "10.9.9.9", true},
	{"a.example, 10.0.0.0/8 ,b.example", "c.example", "192.0.2.1", false},
	{" , ,", "c.example", "192.0.2.1", false},
};

static const char *const good[] = {"", "a", "a.b-c_d", "*.x, 1.2.3.4/32", "::1, fe80::/10", "  a  ,  b  "};
static const char *const bad[] = {"a b", "https://a", "a:80", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "a*", "*.*", "*.", "a/8", "[::1]"};

/* Which hosts a list names. */
static void
test_matches(void)
{
	for (Size i = 0; i < lengthof(cases); i++)
	{
		const Case *c = &cases[i];
		struct sockaddr_in v4 = {.sin_family = AF_INET};
		struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
		bool is_v4 = inet_pton(AF_INET, c->address, &v4.sin_addr) == 1;
		char name[200];

		if (!is_v4 && inet_pton(AF_INET6, c->address, &v6.sin6_addr) != 1)
			ok(false, "bad test");
		snprintf(name, sizeof(name), "%s at %s %s \"%s\"", c->host, c->address, c->matches ? "is in" : "is not in", c->list);
		ok(dm_hosts_match(c->list, c->host, strlen(c->host), is_v4 ? (struct sockaddr *) &v4 : (struct sockaddr *) &v6) ==
			   c->matches,
		   name);
	}
}

int
main(void)
{
	const char *entry;
	Size len;

	test_matches();
	for (Size i = 0; i < lengthof(good); i++)
		ok(dm_hosts_check(good[i], &entry, &len), good[i]);
	for (Size i = 0; i < lengthof(bad); i++)
		ok(!dm_hosts_check(bad[i], &entry, &len) && len == strlen(bad[i]), bad[i]);
	return done();
}
