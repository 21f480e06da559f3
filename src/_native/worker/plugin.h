/* The life of the native plugin: handed over, loaded, set up, shut down. */
#ifndef PLUGINAPI_WORKER_PLUGIN_H
#define PLUGINAPI_WORKER_PLUGIN_H

#include "message.h"
#include "state.h"

/* Why something failed, as the host is told. */
typedef struct pa_refusal {
    const char *code;
    char text[PA_MAX_TEXT];
    size_t len;
    int32_t status;
} pa_refusal;

/* Take the plugin from its sealed memory file, load it, let it set itself up and register its
 * handlers. Returns 1, or 0 with *why. */
int pa_worker_bring_up(pa_worker *self, const pa_initialize *message, pa_refusal *why);

/* Shut the plugin down, if one runs. Returns 1, or 0 with *why; it is gone then all the same. */
int pa_worker_shut_down(pa_worker *self, pa_refusal *why);

#endif
