/*
 * credentials_parse.c: the texts that keys come in: AWS's INI files, JSON answers, ISO times.
 *
 * INI, as "Configuration and credential file settings" of the AWS SDKs reference guide describes it: sections in brackets, settings
 * name = value, comments from # or ; at the start of a line or behind a blank. A line that is indented deeper than
 * the setting before it belongs to that setting's nested ones, which no credentials are made of: it is skipped.
 */
#include "postgres.h"

#include <ctype.h>
#include <jansson.h>
#include <time.h>

#include "store/credentials_parse.h"

static bool add_section(DmIniEntry **last, char *line);
static bool add_setting(DmIniEntry **last, char *line);

/* True for a blank or a tab. */
static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts blanks off the end of text, in place. */
static void
trim_end(char *text)
{
	Size len = strlen(text);

	while (len > 0 && (is_blank(text[len - 1]) || text[len - 1] == '\r'))
		text[--len] = '\0';
}

/* Cuts off a comment: # or ; behind a blank. */
static void
cut_comment(char *text)
{
	for (char *p = text; *p; p++)
	{
		if ((*p == '#' || *p == ';') && p > text && is_blank(p[-1]))
		{
			*p = '\0';
			return;
		}
	}
}

/* Reads an INI file's text; see credentials_parse.h. */
int
dm_ini_read(char *text, DmIniEntry **first)
{
	DmIniEntry head = {0};
	DmIniEntry *last = &head;
	char *next;
	int number = 0;
	int setting_indent = -1;

	if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	for (char *line = text; line; line = next)
	{
		int indent = 0;
		bool fine;

		number++;
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		while (is_blank(line[indent]))
			indent++;
		trim_end(line + indent);
		if (line[indent] == '\0' || line[indent] == '#' || line[indent] == ';')
			continue;
		if (setting_indent >= 0 && indent > setting_indent)
			continue;
		if (line[indent] == '[')
		{
			fine = add_section(&last, line + indent);
			setting_indent = -1;
		}
		else
		{
			fine = last != &head && add_setting(&last, line + indent);
			setting_indent = indent;
		}
		if (!fine)
		{
			*first = head.next;
			return number;
		}
	}
	*first = head.next;
	return 0;
}

/* Appends an entry behind the last one. */
static void
append_entry(DmIniEntry **last, char *section, char *name, char *value)
{
	DmIniEntry *entry = palloc(sizeof(DmIniEntry));

	*entry = (DmIniEntry){NULL, section, name, value};
	(*last)->next = entry;
	*last = entry;
}

/* Takes "[section]"; a comment may follow. Quotes around the name of a profile, and more blanks than one, do not count. */
static bool
add_section(DmIniEntry **last, char *line)
{
	char *end = strchr(line, ']');
	char *out = line;
	char quote = '\0';

	if (!end)
		return false;
	*end = '\0';
	for (const char *p = line + 1; *p; p++)
	{
		if ((*p == '"' || *p == '\'') && (!quote || quote == *p))
			quote = quote ? '\0' : *p;
		else if (quote || !is_blank(*p))
			*out++ = *p;
		else if (out > line && !is_blank(out[-1]))
			*out++ = ' ';
	}
	*out = '\0';
	trim_end(line);
	append_entry(last, line, "", "");
	return line[0] != '\0';
}

/* Takes "name = value". */
static bool
add_setting(DmIniEntry **last, char *line)
{
	char *value = strchr(line, '=');

	if (!value || value == line)
		return false;
	*value++ = '\0';
	trim_end(line);
	for (char *p = line; *p; p++)
		*p = tolower((unsigned char) *p);
	cut_comment(value);
	while (is_blank(*value))
		value++;
	trim_end(value);
	append_entry(last, (*last)->section, line, value);
	return true;
}

/* True if section is that of a profile written with or without the word. */
static bool
is_section_of(const char *section, bool with_word, const char *profile)
{
	if (with_word && strncmp(section, "profile ", 8) != 0)
		return false;
	return strcmp(section + (with_word ? 8 : 0), profile) == 0;
}

/* True if the file has such a section. */
static bool
has_section(const DmIniEntry *first, bool with_word, const char *profile)
{
	for (const DmIniEntry *entry = first; entry; entry = entry->next)
	{
		if (is_section_of(entry->section, with_word, profile))
			return true;
	}
	return false;
}

/*
 * How the file writes the profile: with the word or without. In the config file only the default profile may lack it, and
 * [profile default] then counts alone.
 */
static bool
is_with_word(const DmIniEntry *first, DmIniKind kind, const char *profile)
{
	if (kind == DM_INI_CREDENTIALS)
		return false;
	return strcmp(profile, "default") != 0 || has_section(first, true, profile);
}

/* True if the file knows the profile. */
bool
dm_ini_has_profile(const DmIniEntry *first, DmIniKind kind, const char *profile)
{
	return has_section(first, is_with_word(first, kind, profile), profile);
}

/* The value of a profile's setting; see credentials_parse.h. */
const char *
dm_ini_get(const DmIniEntry *first, DmIniKind kind, const char *profile, const char *name)
{
	bool with_word = is_with_word(first, kind, profile);
	const char *value = NULL;

	for (const DmIniEntry *entry = first; entry; entry = entry->next)
	{
		if (strcmp(entry->name, name) == 0 && is_section_of(entry->section, with_word, profile))
			value = entry->value;
	}
	return value && value[0] ? value : NULL;
}

/* Stores a value of an answer under its name. */
void
dm_keys_answer_set(DmKeysAnswer *answer, const char *name, const char *value)
{
	const struct
	{
		const char *name;
		char *field;
		Size size;
	} fields[] = {{"Code", answer->code, sizeof(answer->code)},
				  {"Message", answer->message, 0}, /* cut off where it is too long */
				  {"AccessKeyId", answer->access_key_id, sizeof(answer->access_key_id)},
				  {"SecretAccessKey", answer->secret_access_key, sizeof(answer->secret_access_key)},
				  {"Token", answer->session_token, sizeof(answer->session_token)},
				  {"SessionToken", answer->session_token, sizeof(answer->session_token)},
				  {"Expiration", answer->expiration, sizeof(answer->expiration)}};

	for (int i = 0; i < lengthof(fields); i++)
	{
		if (pg_strcasecmp(fields[i].name, name) != 0)
			continue;
		if (fields[i].size == 0)
			strlcpy(fields[i].field, value, sizeof(answer->message));
		else if (strlcpy(fields[i].field, value, fields[i].size) >= fields[i].size)
			answer->too_long = true;
	}
}

/* Reads the JSON of a metadata service; see credentials_parse.h. jansson's own copies of the values are wiped. */
bool
dm_keys_answer_read(DmKeysAnswer *answer, const char *json, Size len)
{
	json_error_t error;
	json_t *root = json_loadb(json, len, 0, &error);
	const char *name;
	json_t *value;

	if (!json_is_object(root))
	{
		json_decref(root);
		return false;
	}
	json_object_foreach(root, name, value)
	{
		if (!json_is_string(value))
			continue;
		dm_keys_answer_set(answer, name, json_string_value(value));
		explicit_bzero(unconstify(char *, json_string_value(value)), json_string_length(value));
	}
	json_decref(root);
	return true;
}

/* Reads exactly n digits, at *p, which moves on. -1 if they are not there. */
static int
read_digits(const char **p, int n)
{
	int number = 0;

	for (int i = 0; i < n; i++)
	{
		if (!isdigit((unsigned char) **p))
			return -1;
		number = number * 10 + *(*p)++ - '0';
	}
	return number;
}

/* Reads "Z", or an offset "+hh:mm" in seconds, up to the end of text. */
static bool
read_offset(const char *p, int *offset_s)
{
	int sign = *p == '-' ? -1 : 1;
	int hours;
	int minutes;

	*offset_s = 0;
	if (strcmp(p, "Z") == 0)
		return true;
	if (*p != '+' && *p != '-')
		return false;
	p++;
	hours = read_digits(&p, 2);
	if (*p == ':')
		p++;
	minutes = read_digits(&p, 2);
	*offset_s = sign * (hours * SECS_PER_HOUR + minutes * SECS_PER_MINUTE);
	return hours >= 0 && minutes >= 0 && *p == '\0';
}

/* Reads an ISO 8601 time; see credentials_parse.h. Microseconds are what is kept of a fraction. */
bool
dm_iso_time_read(const char *text, TimestampTz *time)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	struct tm tm = {0};
	struct tm normal;
	const char *p = text;
	int *const parts[] = {&tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec};
	static const char separators[] = "--T::";
	int fraction_us = 0;
	int offset_s;
	time_t seconds;

	for (int i = 0; i < lengthof(parts); i++)
	{
		*parts[i] = read_digits(&p, i == 0 ? 4 : 2);
		if (*parts[i] < 0 || (i < 5 && *p++ != separators[i]))
			return false;
	}
	if (*p == '.')
	{
		p++;
		for (int scale = 100000; isdigit((unsigned char) *p); scale /= 10)
			fraction_us += (*p++ - '0') * scale;
	}
	if (!read_offset(p, &offset_s) || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
		tm.tm_mday > days[tm.tm_mon - 1] || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	normal = tm;
	seconds = timegm(&normal);
	if (normal.tm_mday != tm.tm_mday && tm.tm_sec < 60 && tm.tm_mday > 28)
		return false; /* 29 February of another year */
	*time = ((int64) seconds - offset_s - INT64CONST(86400) * (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) *
				USECS_PER_SEC +
			fraction_us;
	return true;
}
