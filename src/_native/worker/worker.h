/* One native plugin in a process of its own, served over a channel. */
#ifndef PLUGINAPI_WORKER_WORKER_H
#define PLUGINAPI_WORKER_WORKER_H

#include "state.h"

/* Join the channel on a socket, take the plugin that Initialize tells of from the sealed memory
 * file that is handed over on the other socket, and serve until the host says Shutdown or is gone.
 * `lock` is the descriptor of a plan that is run when the plugin is loaded and nothing of it but its
 * constructors has run, or -1; with `strict` it leaves the worker what strict.h says. Returns the exit
 * status of the process, unless it is strict: then this ends it. */
int pa_worker_run(int channel, int handoff, int lock, int strict);

/* Serve one frame whose body stays in place; 0 when the channel is at its end. */
int pa_worker_serve(pa_worker *self, const pa_frame *frame, const uint8_t *body);

#endif
