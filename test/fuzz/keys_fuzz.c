/*
 * keys_fuzz.c: the texts that keys come in (INI files, JSON answers, ISO times) on any bytes; test/fuzz/run.sh builds and runs it.
 *
 * What an INI file gives must be found again by the name it stands under; times that are read must be times that strptime reads
 * alike. A breach aborts.
 */
#include "backend.h"

#include "store/credentials_parse.c"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads an INI file, looks every setting up, and frees it. */
static void
read_ini(char *text)
{
	DmIniEntry *first = NULL;

	(void) dm_ini_read(text, &first);
	for (DmIniEntry *entry = first; entry; entry = entry->next)
	{
		const char *value = dm_ini_get(first, DM_INI_CREDENTIALS, entry->section, entry->name);

		if (!dm_ini_has_profile(first, DM_INI_CREDENTIALS, entry->section) || (entry->name[0] && entry->value[0] && !value && !entry->next))
			abort();
		(void) dm_ini_get(first, DM_INI_CONFIG, entry->section, entry->name);
		(void) dm_ini_get(first, DM_INI_CONFIG, "default", entry->name);
	}
	while (first)
	{
		DmIniEntry *next = first->next;

		pfree(first);
		first = next;
	}
}

/* Reads a time, and compares it with the C library's. */
static void
read_time(const char *text)
{
	struct tm tm = {0};
	TimestampTz time;
	const char *end;

	if (!dm_iso_time_read(text, &time))
		return;
	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end)
		abort();
	if (strcmp(end, "Z") == 0 && (timegm(&tm) - INT64CONST(946684800)) * USECS_PER_SEC != time)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static DmKeysAnswer answer;
	char *text = palloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	read_time(text);
	memset(&answer, 0, sizeof(answer));
	(void) dm_keys_answer_read(&answer, text, size);
	if (strlen(answer.session_token) >= sizeof(answer.session_token) || strlen(answer.message) >= sizeof(answer.message))
		abort();
	read_ini(text);
	pfree(text);
	return 0;
}
