/*
 * format_options.h: the options that say how objects are read; the same for foreign tables and for sources.
 */
#ifndef DM_FORMAT_OPTIONS_H
#define DM_FORMAT_OPTIONS_H

#include "postgres.h"

#include "base/options.h"
#include "source/objscan.h"

/* Options of foreign tables and of functions that take a source. */
extern const DmOptionSet dm_format_options;
/* The options of a source alone: those above that functions take, and server and columns. */
extern const DmOptionSet dm_source_options;

extern void dm_format_read(DmObjScanSpec *spec, List *options);

#endif
