/*
 * net.c: tests of net/retry.c and net/addr.c.
 *
 * Expected values: RFC 9110 10.2.3 and 5.6.7 (Retry-After and its dates), RFC 3927 and 4291 (link-local addresses), RFC 6052
 * (64:ff9b::/96); the metadata addresses are those that cloud providers document. Seconds of dates are those of date -d.
 */
#include "backend.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "net/addr.c"
#include "net/retry.c"

typedef struct Address
{
	const char *text;
	bool refused;
} Address;

static const Address addresses[] = {
	{"127.0.0.1", false},
	{"10.1.2.3", false},
	{"169.253.255.255", false},
	{"169.254.0.0", true},
	{"169.254.169.254", true},
	{"169.254.255.255", true},
	{"169.255.0.0", false},
	{"100.100.100.200", true},
	{"::1", false},
	{"2001:db8::1", false},
	{"fe80::1", true},
	{"febf::1", true},
	{"fec0::1", false},
	{"fd00:ec2::254", true},
	{"fd00:ec2::255", false},
	{"::ffff:169.254.169.254", true},
	{"::ffff:127.0.0.1", false},
	{"64:ff9b::a9fe:a9fe", true},
	{"64:ff9b::7f00:1", false},
};

/* Which addresses are refused. */
static void
test_addresses(void)
{
	for (Size i = 0; i < lengthof(addresses); i++)
	{
		struct sockaddr_in v4 = {.sin_family = AF_INET};
		struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
		bool is_v4 = inet_pton(AF_INET, addresses[i].text, &v4.sin_addr) == 1;
		struct sockaddr *address = is_v4 ? (struct sockaddr *) &v4 : (struct sockaddr *) &v6;
		char text[64];

		if (!is_v4 && inet_pton(AF_INET6, addresses[i].text, &v6.sin6_addr) != 1)
			snprintf(text, sizeof(text), "bad test");
		else
			dm_addr_print(address, text, sizeof(text));
		ok(dm_addr_is_link_local(address) == addresses[i].refused, text);
	}
}

/* Retry-After in its forms. 784111777 is Sun, 06 Nov 1994 08:49:37 GMT. */
static void
test_retry_after(void)
{
	ok(dm_retry_after_ms("120", 0) == 120000, "seconds");
	ok(dm_retry_after_ms("0.25", 0) == 250, "decimals");
	ok(dm_retry_after_ms("0", 0) == 0, "at once");
	ok(dm_retry_after_ms("-5", 0) == 0, "a negative number is none");
	ok(dm_retry_after_ms("1e300", 0) == 86400000, "a huge number is a day");
	ok(dm_retry_after_ms("nan", 0) == 0, "no number at all");
	ok(dm_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784111770) == 7000, "a date");
	ok(dm_retry_after_ms("Sunday, 06-Nov-94 08:49:37 GMT", 784111770) == 7000, "a date of RFC 850");
	ok(dm_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784111800) == 0, "a date that is past");
	ok(dm_retry_after_ms("soon", 0) == -1, "nonsense");
	ok(dm_retry_after_ms("", 0) == -1, "nothing");
}

/* Delays stay below the ceiling and use all of it. */
static void
test_delays(void)
{
	for (int attempt = 1; attempt <= 40; attempt += 13)
	{
		long ceiling = Min(100L << Min(attempt, 20), 20000L);
		long most = 0;
		long least = ceiling;

		for (int i = 0; i < 2000; i++)
		{
			long delay = dm_retry_delay_ms(attempt);

			most = Max(most, delay);
			least = Min(least, delay);
		}
		ok(least >= 0 && least < ceiling / 10 && most <= ceiling && most > ceiling / 10 * 9, "full jitter");
	}
	ok(dm_retry_is_transient(503) && dm_retry_is_transient(429) && dm_retry_is_transient(500), "what may pass");
	ok(!dm_retry_is_transient(200) && !dm_retry_is_transient(403) && !dm_retry_is_transient(501), "what will not");
}

int
main(void)
{
	pg_prng_seed(&pg_global_prng_state, 1);
	test_addresses();
	test_retry_after();
	test_delays();
	return done();
}
