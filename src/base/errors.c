/*
 * errors.c: redaction of secrets in texts that may reach a log or a client.
 */
#include "postgres.h"

#include "base/errors.h"

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
