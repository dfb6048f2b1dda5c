/*
 * delivery.h: one attempt to send one notification.
 */
#ifndef DM_DELIVERY_H
#define DM_DELIVERY_H

#include "postgres.h"

#include "net/http.h"
#include "notify/notice.h"

typedef struct DmDelivery DmDelivery;

typedef enum DmOutcome
{
	DM_OUTCOME_SENT,
	DM_OUTCOME_RETRY,
	DM_OUTCOME_FAILED /* another attempt would be as vain */
} DmOutcome;

/* In a transaction: makes the request of a notification, in the current memory context. Not for NOTIFY. */
extern DmDelivery *dm_delivery_make(const DmNotice *notice);
extern DmHttpRequest *dm_delivery_request(DmDelivery *delivery);
/*
 * Of a request that is over, or was stopped: what is to be done. *error is why, palloc'd, without secrets; *retry_after_ms what the remote
 * asked for, or -1.
 */
extern DmOutcome dm_delivery_judge(DmDelivery *delivery, char **error, long *retry_after_ms);
/* Takes a notifier's secrets out of a text, in place. */
extern void dm_delivery_redact(char *text, const DmNotifier *notifier);

#endif
