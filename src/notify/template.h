/*
 * template.h: texts with placeholders: {{job}}, {{message}}, {{payload.key}}.
 */
#ifndef DM_TEMPLATE_H
#define DM_TEMPLATE_H

#include "postgres.h"
#include "lib/stringinfo.h"

#include "notify/notice.h"

typedef enum DmEscape
{
	DM_ESCAPE_NONE,
	DM_ESCAPE_LINE, /* one line */
	DM_ESCAPE_HTML,
	DM_ESCAPE_JSON /* inside a string */
} DmEscape;

/* Raises 22023 unless the object has parts of templates only, with placeholders that there are. */
extern void dm_template_check(Jsonb *template);
/* Fills a template in, palloc'd. */
extern char *dm_template_fill(const char *template, const DmNotice *notice, DmEscape escape);
/* Appends a value, escaped. */
extern void dm_escape_append(StringInfo out, const char *value, DmEscape escape);

#endif
