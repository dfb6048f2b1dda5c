/*
 * dry.h: what store.c needs of uploads that lead nowhere. Inside store/ only.
 */
#ifndef DM_STORE_DRY_H
#define DM_STORE_DRY_H

#include "store/kind.h"

extern DmStore *dm_dry_store(const DmStore *store);

#endif
