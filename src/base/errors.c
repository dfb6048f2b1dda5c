/*
 * errors.c: redaction of secrets, and of what is no text, in texts that may reach a log or a client.
 */
#include "postgres.h"

#include "base/errors.h"

/* What names of URL parameters hold whose values are secrets, and whole names, in lower case. */
static const char *const secret_words[] = {"signature",
										   "token",
										   "secret",
										   "password",
										   "passwd",
										   "credential",
										   "api_key",
										   "apikey",
										   "access_key",
										   "accesskey"};
static const char *const secret_names[] = {"sig", "key", "pwd", "auth", "code"};

static bool is_secret_name(const char *name, Size len);
static void redact_user(char *text);

/*
 * Overwrites every occurrence of each secret in text with asterisks, in place. Secrets shorter than four
 * characters are left alone: blanking every "a" would hide the message and protect nothing.
 */
void
dm_redact(char *text, const char *const *secrets, int nsecrets)
{
	for (int i = 0; i < nsecrets; i++)
	{
		Size len = secrets[i] ? strlen(secrets[i]) : 0;
		char *hit = text;

		if (len < 4)
			continue;
		while ((hit = strstr(hit, secrets[i])) != NULL)
		{
			memset(hit, '*', len);
			hit += len;
		}
	}
}

/* Makes a text of a remote fit for a message, in place: control characters become blanks, what is not ASCII question marks. */
void
dm_text_clean(char *text)
{
	for (char *p = text; *p; p++)
	{
		if ((uint8) *p < ' ' || *p == 0x7f)
			*p = ' ';
		else if (IS_HIGHBIT_SET(*p))
			*p = '?';
	}
}

/*
 * Overwrites, in place, what URLs in a text hold of secrets with asterisks: passwords before an @, and values of parameters whose
 * names tell that they sign or let in, as in signed URLs.
 */
void
dm_redact_urls(char *text)
{
	redact_user(text);
	for (char *p = text; *p; p++)
	{
		Size name_len;
		char *value;

		if (*p != '?' && *p != '&' && *p != '#' && *p != ';')
			continue;
		name_len = strcspn(p + 1, "=&?#; \t\r\n\"'<>\\");
		if (p[1 + name_len] != '=' || !is_secret_name(p + 1, name_len))
			continue;
		value = p + name_len + 2;
		memset(value, '*', strcspn(value, "&#; \t\r\n\"'<>\\"));
	}
}

/* Does the name of a parameter tell that its value is a secret? */
static bool
is_secret_name(const char *name, Size len)
{
	char lower[64];

	/* of a very long name the end tells most */
	if (len >= sizeof(lower))
	{
		name += len - sizeof(lower) + 1;
		len = sizeof(lower) - 1;
	}
	for (Size i = 0; i < len; i++)
		lower[i] = name[i] == '-' ? '_' : pg_ascii_tolower((unsigned char) name[i]);
	lower[len] = '\0';
	for (int i = 0; i < lengthof(secret_words); i++)
	{
		if (strstr(lower, secret_words[i]))
			return true;
	}
	for (int i = 0; i < lengthof(secret_names); i++)
	{
		if (strcmp(lower, secret_names[i]) == 0)
			return true;
	}
	return false;
}

/* Overwrites the passwords of scheme://user:password@host. */
static void
redact_user(char *text)
{
	char *p = text;

	while ((p = strstr(p, "://")) != NULL)
	{
		Size authority = strcspn(p + 3, "/?# \t\r\n\"'<>\\");
		char *at = memrchr(p + 3, '@', authority);
		char *colon = at ? memchr(p + 3, ':', at - (p + 3)) : NULL;

		if (colon)
			memset(colon + 1, '*', at - colon - 1);
		p += 3;
	}
}
