/* The handlers of the native plugin, and the host's calls of them. */
#ifndef PLUGINAPI_WORKER_CALL_H
#define PLUGINAPI_WORKER_CALL_H

#include "state.h"

/* The `register_hook` of pa_embedder. */
pa_status pa_worker_register_hook(void *user, pa_str hook, uint32_t priority, pa_hook_fn fn,
                                  void *fn_user);

/* Serve a call; 0 when the channel is at its end. */
int pa_worker_serve_call(pa_worker *self, const pa_frame *frame, const pa_body *body);

#endif
