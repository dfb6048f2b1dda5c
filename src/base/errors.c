/*
 * errors.c: redaction of secrets, and of what is no text, in texts that may reach a log or a client.
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
