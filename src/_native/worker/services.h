/* Services of the host, as a native plugin in a process of its own calls them. */
#ifndef PLUGINAPI_WORKER_SERVICES_H
#define PLUGINAPI_WORKER_SERVICES_H

#include "pluginapi.h"

/* The function service_call of pa_embedder: the host decides what of it exists for the plugin. */
pa_status pa_worker_service_call(void *user, pa_str service, pa_str method, pa_bytes arguments,
                                 pa_out *result);

#endif
