/* The control requests of the host: Initialize, Ping, GetMetrics, Shutdown. */
#ifndef PLUGINAPI_WORKER_CONTROL_H
#define PLUGINAPI_WORKER_CONTROL_H

#include "state.h"

/* Serve a request; 0 when the channel is at its end. */
int pa_worker_serve_request(pa_worker *self, const pa_frame *frame, const pa_body *body);

#endif
