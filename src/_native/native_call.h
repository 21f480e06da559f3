/* What _abi.pyx offers to _hooks.pyx: calling a handler in C without a Python call in between. Both
 * hold the interpreter lock. Handed over in a capsule, so that neither module links the other. */
#ifndef PLUGINAPI_NATIVE_CALL_H
#define PLUGINAPI_NATIVE_CALL_H

#include <Python.h>

#define PA_NATIVE_CALLS "pluginapi._native._abi.native_calls"

/* No pa_status: an exception is set. */
#define PA_NATIVE_RAISED (-1000)

typedef struct pa_native_calls {
    /* Run an `_abi.Handler` on msgpack bytes, borrowed. Returns the pa_status. *output is NULL when
     * nothing was written, the bytes of the result, or with a negative status the tuple that
     * `_abi.Handler.__call__` returns. */
    int (*run)(PyObject *handler, const void *data, Py_ssize_t size, PyObject **output);
} pa_native_calls;

#endif
