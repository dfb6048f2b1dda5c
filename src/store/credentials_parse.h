/*
 * credentials_parse.h: the texts that keys come in: AWS's INI files, JSON answers, ISO times. Raises only for lack of
 * memory and uses nothing else of the server.
 */
#ifndef DM_STORE_CREDENTIALS_PARSE_H
#define DM_STORE_CREDENTIALS_PARSE_H

#include "postgres.h"
#include "datatype/timestamp.h"

/* A setting of an INI file, in the order of the file; name "" stands for the head of its section. */
typedef struct DmIniEntry
{
	struct DmIniEntry *next;
	char *section; /* as between the brackets, one blank between words */
	char *name;	   /* lower case */
	char *value;
} DmIniEntry;

/* Which of AWS's two files it is: they write a profile's section differently. */
typedef enum DmIniKind
{
	DM_INI_CONFIG,	   /* [default], [profile x] */
	DM_INI_CREDENTIALS /* [default], [x] */
} DmIniKind;

/* Reads text, which is changed. Returns 0, or the number of the first line that is no setting (*first is what came before). */
extern int dm_ini_read(char *text, DmIniEntry **first);
extern bool dm_ini_has_profile(const DmIniEntry *first, DmIniKind kind, const char *profile);
/* The value of a profile's setting, NULL if it has none; of several the last. */
extern const char *dm_ini_get(const DmIniEntry *first, DmIniKind kind, const char *profile, const char *name);

/* An answer with keys, in JSON or XML; "" where there is none. Of fixed size, so that it can be wiped as a whole. */
typedef struct DmKeysAnswer
{
	bool too_long; /* a value did not fit */
	char code[64];
	char message[512];
	char access_key_id[256];
	char secret_access_key[256];
	char session_token[8192];
	char expiration[64];
} DmKeysAnswer;

/* Stores a value of an answer under its name, as metadata services and the token service write it. Others are ignored. */
extern void dm_keys_answer_set(DmKeysAnswer *answer, const char *name, const char *value);
/* Reads the JSON of a metadata service. False if it is no JSON object. */
extern bool dm_keys_answer_read(DmKeysAnswer *answer, const char *json, Size len);

/* Reads "2026-01-31T12:34:56.789Z" (ISO 8601; the fraction may lack, an offset +hh:mm may stand for Z). */
extern bool dm_iso_time_read(const char *text, TimestampTz *time);

#endif
