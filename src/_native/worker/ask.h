/* Requests of the plugin to the host, in the course of a call of the host. */
#ifndef PLUGINAPI_WORKER_ASK_H
#define PLUGINAPI_WORKER_ASK_H

#include "message.h"
#include "state.h"

/* Ask the host in the course of the running call; *answer is a copy to be freed. Calls that the
 * host makes to answer are served meanwhile, whatever else comes is kept for later. */
pa_status pa_worker_ask(pa_worker *self, pa_draft *question, uint8_t **answer, size_t *len);

/* Ask what is answered by a value; *value is borrowed from *answer, which is to be freed. */
pa_status pa_worker_ask_bytes(pa_worker *self, pa_draft *question, uint8_t **answer,
                              pa_bytes *value);

/* Ask for what belongs to a key; *value is borrowed from *answer, which is to be freed. */
pa_status pa_worker_ask_value(pa_worker *self, const char *question, pa_str key, uint8_t **answer,
                              pa_bytes *value);

#endif
