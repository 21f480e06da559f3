# What _budget.pyx and _channel.pyx use of kernels/budget: C declarations only.
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from "budget/calls.h" nogil:
    ctypedef struct pa_watched_calls:
        pass
    void pa_calls_hold(pa_watched_calls *)
    void pa_calls_release(pa_watched_calls *)
    void pa_call_begins(pa_watched_calls *)
    void pa_calls_end(pa_watched_calls *, uint32_t)

cdef extern from *:
    """
    /* A name for both modules, which have a copy of the functions each. */
    #define PA_WATCHED_CALLS "pluginapi.budget.watched_calls"
    """
    const char *PA_WATCHED_CALLS
