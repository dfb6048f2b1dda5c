/*
 * sender.h: the process that sends notifications of a database.
 */
#ifndef DM_SENDER_H
#define DM_SENDER_H

#include "postgres.h"
#include "datatype/timestamp.h"

/* In a tick and a catalog scope: starts the process if there is something to send; returns when to look again, DT_NOEND for never. */
extern TimestampTz dm_sender_start(TimestampTz now);

#endif
