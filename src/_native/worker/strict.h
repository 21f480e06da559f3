/* A worker that can do no more than read, write, return from a signal handler and end: what takes
 * anything else is done before, and the rest left out. */
#ifndef PLUGINAPI_WORKER_STRICT_H
#define PLUGINAPI_WORKER_STRICT_H

#include <stddef.h>

#include "state.h"

/* Take the memory that the plugin and its messages may come to, and give standard output a buffer:
 * neither asks the kernel for anything afterwards. Returns 0, or an errno value: ENOMEM when there
 * is not so much, ENOSYS where malloc(3) cannot be told to keep what it has. */
int pa_strict_prepare(pa_worker *self, size_t heap_bytes, size_t result_bytes);

/* End the process, of one thread, with what was printed written out. */
_Noreturn void pa_strict_exit(int status);

#endif
