# What _heap.pyx and _hooks.pyx use of kernels/heap.
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    /* A name for both modules. */
    #define PA_HEAP_ENTRANCE "pluginapi.heap.enter"
    """
    const char *PA_HEAP_ENTRANCE

cdef extern from "heap/accounts.h" nogil:
    ctypedef struct pa_heap_usage:
        int64_t bytes
        int64_t peak
        uint64_t refused
    uint32_t pa_heap_open(int64_t)
    void pa_heap_close(uint32_t)
    void pa_heap_read(uint32_t, pa_heap_usage *)
    uint32_t pa_heap_enter(uint32_t) noexcept

cdef extern from "heap/owned.h" nogil:
    void pa_owned_mark(unsigned long long)
