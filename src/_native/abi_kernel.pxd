# What _abi.pyx uses of kernels/abi: C declarations only.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef extern from "pluginapi.h" nogil:
    ctypedef int32_t pa_status
    ctypedef struct pa_bytes:
        const uint8_t *ptr
        size_t len
    ctypedef struct pa_str:
        const char *ptr
        size_t len
    ctypedef struct pa_host:
        pass
    ctypedef struct pa_out:
        uint8_t *data
        size_t len
    ctypedef struct pa_plugin:
        pass
    ctypedef pa_status (*pa_hook_fn)(void *, pa_str, pa_bytes, pa_out *) noexcept nogil
    pa_status PA_OK
    pa_status PA_ERR_FAIL
    pa_status PA_ERR_LIMIT
    pa_status PA_ERR_NOT_FOUND
    uint64_t PA_F_THREAD_SAFE
    uint64_t PA_F_UNLOADABLE
    uint64_t PA_F_NEVER_WAITS
    int PA_ABI_MAJOR
    int PA_ABI_MINOR
    pa_str pa_str_make(const char *, size_t)
    pa_bytes pa_bytes_make(const void *, size_t)

cdef extern from "abi/memory.h" nogil:
    ctypedef struct pa_memory_stats:
        uint64_t live_blocks
        uint64_t live_bytes
        uint64_t peak_bytes
        uint64_t limit_bytes
        uint64_t refused
        uint64_t faults

cdef extern from "abi/sink.h" nogil:
    pa_status pa_sink_append(pa_out *, const void *, size_t)

cdef extern from "abi/library.h" nogil:
    ctypedef struct pa_library:
        void *handle
    ctypedef void (*pa_symbol)() noexcept
    int pa_library_open(pa_library *, const char *, char *, size_t)
    pa_symbol pa_library_find(const pa_library *, const char *)
    void pa_library_close(pa_library *)

cdef extern from "abi/instance.h" nogil:
    ctypedef struct pa_embedder:
        void *user
        void (*log)(void *, int32_t, pa_str) noexcept nogil
        pa_status (*context_get)(void *, pa_str, pa_out *) noexcept nogil
        pa_status (*context_set)(void *, pa_str, pa_bytes) noexcept nogil
        pa_status (*context_has)(void *, pa_str) noexcept nogil
        pa_status (*register_hook)(void *, pa_str, uint32_t, pa_hook_fn, void *) noexcept nogil
        pa_status (*service_call)(void *, pa_str, pa_str, pa_bytes, pa_out *) noexcept nogil
    ctypedef enum pa_state:
        PA_STATE_LOADED
        PA_STATE_GONE
    ctypedef enum pa_flaw:
        PA_FLAW_NONE
    ctypedef struct pa_call:
        pa_status status
        int refused
        pa_flaw flaw
        pa_out out
        size_t message_len
        char *message
        pa_out *borrowed
    ctypedef void (*pa_create_fn)() noexcept
    pa_host *pa_host_open(const pa_embedder *, uint64_t, size_t)
    void pa_host_close(pa_host *)
    pa_status pa_host_create(pa_host *, pa_create_fn, pa_bytes, pa_str, pa_str, pa_call *)
    pa_status pa_host_init(pa_host *, pa_call *)
    pa_status pa_host_register_hooks(pa_host *, pa_call *)
    pa_status pa_host_shutdown(pa_host *, pa_call *)
    pa_status pa_host_handle(pa_host *, pa_hook_fn, void *, pa_str, pa_bytes, pa_call *)
    int pa_host_handle_now(pa_host *, pa_hook_fn, void *, pa_str, pa_bytes, pa_call *)
    pa_status pa_host_destroy(pa_host *, pa_call *)
    void pa_call_close(pa_call *)
    pa_state pa_host_state(pa_host *)
    uint32_t pa_host_running(pa_host *)
    uint64_t pa_host_flags(pa_host *)
    pa_memory_stats pa_host_heap(pa_host *)
