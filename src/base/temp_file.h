/*
 * temp_file.h: temporary files, which end with their resource owner and count for temp_file_limit.
 */
#ifndef DM_TEMP_FILE_H
#define DM_TEMP_FILE_H

#include "postgres.h"
#include "storage/buffile.h"

extern BufFile *dm_temp_file_make(MemoryContext context);
extern void dm_temp_file_rewind(BufFile *file);
extern bool dm_temp_file_read(BufFile *file, void *data, Size size);

#endif
