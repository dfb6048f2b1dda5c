/*
 * generate.h: writes two days of an extract for trying out and measuring cdc_merge.
 */
#ifndef DM_GENERATE_H
#define DM_GENERATE_H

#include "postgres.h"

typedef struct DmGenerateSpec
{
	int64 initial;	   /* records of day 1 */
	int64 incremental; /* records of day 2 */
	int keys;		   /* uuid columns key1.. */
	int nonkeys;	   /* bigint columns value1.. */
	double deleted;	   /* shares of the initial records, which sum to 1 */
	double updated;
	double unchanged;
	const char *initial_url; /* folders: one object part-00000.csv is written into each */
	const char *incremental_url;
	int64 seed;
	const char *server; /* or NULL */
} DmGenerateSpec;

typedef struct DmGenerated
{
	char *url; /* of the object written */
	int64 records;
} DmGenerated;

extern void dm_generate_cdc(const DmGenerateSpec *spec, DmGenerated written[2]);

#endif
