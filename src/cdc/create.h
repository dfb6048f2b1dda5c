/*
 * create.h: making datasets without merging, and altering their settings.
 */
#ifndef DM_CREATE_H
#define DM_CREATE_H

#include "postgres.h"

#include "cdc/cdc.h"

typedef struct DmCreateSpec
{
	const char *target;
	List *keys;
	const char *columns; /* "name type, ..."; or NULL */
	const char *source;	 /* or NULL */
	TimestampTz effective;
	Jsonb *options;
} DmCreateSpec;

extern Oid dm_dataset_create_empty(const DmCreateSpec *spec);
extern void dm_dataset_alter(const char *target, Jsonb *options);

#endif
