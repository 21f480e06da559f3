# cython: autotestdict=False
"""Run one native plugin inside this process: a thin face over kernels/abi.

The interpreter lock is released while the plugin runs; its calls into the host take it again.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint32_t, uint64_t

cimport abi_kernel as abi

from enum import IntEnum

ABI_MAJOR = abi.PA_ABI_MAJOR
ABI_MINOR = abi.PA_ABI_MINOR

cdef extern from "Python.h" nogil:
    unsigned long PyThread_get_thread_ident()

cdef extern from "native_call.h":
    """
    #define PA_CAPSULE(calls) PyCapsule_New((void *)(calls), PA_NATIVE_CALLS, NULL)
    """
    ctypedef struct pa_native_calls:
        int (*run)(PyObject *, const void *, Py_ssize_t, PyObject **) noexcept
    int PA_NATIVE_RAISED
    object PA_CAPSULE(const pa_native_calls *)

cdef extern from *:
    """
    static pa_create_fn pa_as_create_fn(pa_symbol symbol) { return (pa_create_fn)symbol; }
    """
    abi.pa_create_fn pa_as_create_fn(abi.pa_symbol) nogil


class State(IntEnum):
    """The states of pa_state, by number."""

    LOADED = 0
    CREATED = 1
    INITIALISED = 2
    ACTIVE = 3
    FAILED = 4
    STOPPING = 5
    STOPPED = 6
    GONE = 7


class Flaw(IntEnum):
    """The values of pa_flaw: what is wrong with what create_plugin handed out."""

    NONE = 0
    NO_PLUGIN = 1
    SIZE = 2
    ABI = 3
    NAME = 4
    VERSION = 5
    CALLBACK = 6


cdef str text_of(const char *ptr, size_t length):
    return PyBytes_FromStringAndSize(ptr, <Py_ssize_t>length).decode("utf-8", "replace")


cdef str name_of(abi.pa_str name):
    return PyBytes_FromStringAndSize(name.ptr, <Py_ssize_t>name.len).decode("utf-8")


# The embedder's part of the services. `user` is the Instance, alive as long as its plugin is. No
# exception passes through C: it is kept for the end of the call and becomes a status.

cdef void serve_log(void *user, int32_t level, abi.pa_str message) noexcept with gil:
    instance = <Instance>user
    try:
        instance.services.log(level, text_of(message.ptr, message.len))
    except Exception:
        # The plugin is not told: it goes to sys.unraisablehook, as `noexcept` does by itself.
        raise
    except BaseException as err:
        instance.keep(err)


cdef abi.pa_status serve_context_get(
    void *user, abi.pa_str key, abi.pa_out *value
) noexcept with gil:
    cdef bytes data
    instance = <Instance>user
    try:
        data = instance.services.context_get(name_of(key))
        return abi.pa_sink_append(value, <const char *>data, <size_t>len(data))
    except BaseException as err:
        return instance.keep(err)


cdef abi.pa_status serve_context_set(
    void *user, abi.pa_str key, abi.pa_bytes value
) noexcept with gil:
    instance = <Instance>user
    try:
        instance.services.context_set(
            name_of(key), PyBytes_FromStringAndSize(<const char *>value.ptr, <Py_ssize_t>value.len)
        )
        return abi.PA_OK
    except BaseException as err:
        return instance.keep(err)


cdef abi.pa_status serve_context_has(void *user, abi.pa_str key) noexcept with gil:
    instance = <Instance>user
    try:
        return abi.PA_OK if instance.services.context_has(name_of(key)) else abi.PA_ERR_NOT_FOUND
    except BaseException as err:
        return instance.keep(err)


cdef abi.pa_status serve_register_hook(
    void *user, abi.pa_str hook, uint32_t priority, abi.pa_hook_fn fn, void *fn_user
) noexcept with gil:
    cdef Handler handler
    instance = <Instance>user
    try:
        handler = Handler.__new__(Handler)
        handler.instance = instance
        handler.hook = PyBytes_FromStringAndSize(hook.ptr, <Py_ssize_t>hook.len)
        handler.c_hook = abi.pa_str_make(<const char *>handler.hook, hook.len)
        handler.fn = fn
        handler.user = fn_user
        instance.services.register_hook(name_of(hook), priority, handler)
        return abi.PA_OK
    except BaseException as err:
        return instance.keep(err)


cdef abi.pa_status serve_service_call(
    void *user, abi.pa_str service, abi.pa_str method, abi.pa_bytes arguments, abi.pa_out *result
) noexcept with gil:
    cdef bytes data
    instance = <Instance>user
    try:
        data = instance.services.service_call(
            name_of(service),
            name_of(method),
            PyBytes_FromStringAndSize(<const char *>arguments.ptr, <Py_ssize_t>arguments.len),
        )
        return abi.pa_sink_append(result, <const char *>data, <size_t>len(data))
    except BaseException as err:
        return instance.keep(err)


@cython.final
cdef class Instance:
    """One loaded plugin library with the services that it gets. Thread-safe.

    Calls return ``(status, output, message, cause)``: the pa_status; the bytes written, or None;
    why a negative status came about, unchecked text of the plugin or of the host; and the last
    exception that a service raised during the call, or None. ``BaseException`` of services
    outside of ``Exception`` is raised again.

    Args:
        services: Object with the methods log, context_get, context_set, context_has,
            register_hook and service_call.
        statuses: Pairs of exception class and pa_status that the plugin gets when a service
            raises; the first that fits counts, PA_ERR_FAIL otherwise.
        heap_limit: Bytes that the plugin may allocate from the host.
        out_limit: Bytes of one result.
    """

    cdef abi.pa_host *host
    cdef abi.pa_library library
    cdef abi.pa_create_fn constructor
    cdef object services
    cdef tuple statuses
    cdef dict causes
    cdef object __weakref__
    cdef readonly int flaw
    cdef bint never_waits

    def __cinit__(self, services, tuple statuses, *, uint64_t heap_limit, size_t out_limit):
        cdef abi.pa_embedder embedder
        self.library.handle = NULL
        self.constructor = NULL
        self.services = services
        self.statuses = statuses
        self.causes = {}
        self.flaw = 0
        embedder.user = <void *>self
        embedder.log = serve_log
        embedder.context_get = serve_context_get
        embedder.context_set = serve_context_set
        embedder.context_has = serve_context_has
        embedder.register_hook = serve_register_hook
        embedder.service_call = serve_service_call
        self.host = abi.pa_host_open(&embedder, heap_limit, out_limit)
        if self.host == NULL:
            raise MemoryError

    def __dealloc__(self):
        # From create on the plugin holds a reference to this object: it is LOADED or GONE here.
        if self.host != NULL:
            abi.pa_host_close(self.host)

    cdef abi.pa_status keep(self, object err) noexcept:
        try:
            self.causes[PyThread_get_thread_ident()] = err
            for kind, status in self.statuses:
                if isinstance(err, kind):
                    return status
        except MemoryError:
            # The plugin still learns that the service failed.
            return abi.PA_ERR_LIMIT
        return abi.PA_ERR_FAIL

    cdef tuple settle(self, abi.pa_call *call):
        """Turn a finished call into the result tuple; the kernel's part is released."""
        output = None
        message = ""
        cause = None
        try:
            if call.status < 0:
                message = text_of(call.message, call.message_len)
            elif call.out.len > 0:
                output = PyBytes_FromStringAndSize(
                    <const char *>call.out.data, <Py_ssize_t>call.out.len
                )
        finally:
            abi.pa_call_close(call)
        if self.causes:
            cause = self.causes.pop(PyThread_get_thread_ident(), None)
            if cause is not None and not isinstance(cause, Exception):
                raise cause
        return call.status, output, message, cause

    def open(self, path):
        """Load the library, which runs its constructors; tell whether it exports create_plugin.

        Raises:
            OSError: When the linker refuses; the message is the linker's.
            RuntimeError: When a library was opened before.
        """
        cdef char error[1024]
        cdef bytes name = path.encode() if isinstance(path, str) else path
        cdef const char *c_name = name
        cdef int failed
        if self.library.handle != NULL:
            raise RuntimeError("this instance has a library already")
        with nogil:
            failed = abi.pa_library_open(&self.library, c_name, error, sizeof(error))
        if failed:
            raise OSError((<bytes>error).decode("utf-8", "replace"))
        self.constructor = pa_as_create_fn(abi.pa_library_find(&self.library, "create_plugin"))
        return self.constructor != NULL

    def create(self, bytes config, str name, str version):
        """Call create_plugin and check its answer against the manifest's name and version.

        When the answer breaks the ABI, `flaw` says in which member.
        """
        cdef abi.pa_call call
        cdef bytes name_bytes = name.encode()
        cdef bytes version_bytes = version.encode()
        cdef abi.pa_bytes c_config = abi.pa_bytes_make(<const char *>config, <size_t>len(config))
        cdef abi.pa_str c_name = abi.pa_str_make(name_bytes, <size_t>len(name_bytes))
        cdef abi.pa_str c_version = abi.pa_str_make(version_bytes, <size_t>len(version_bytes))
        if self.constructor == NULL:
            raise RuntimeError("no library with a constructor is open")
        Py_INCREF(self)
        with nogil:
            abi.pa_host_create(self.host, self.constructor, c_config, c_name, c_version, &call)
        self.flaw = <int>call.flaw
        self.never_waits = abi.pa_host_flags(self.host) & abi.PA_F_NEVER_WAITS != 0
        if abi.pa_host_state(self.host) == abi.PA_STATE_GONE:
            Py_DECREF(self)
        return self.settle(&call)

    def init(self):
        """Call the plugin's init."""
        cdef abi.pa_call call
        with nogil:
            abi.pa_host_init(self.host, &call)
        return self.settle(&call)

    def register_hooks(self):
        """Call the plugin's register_hooks."""
        cdef abi.pa_call call
        with nogil:
            abi.pa_host_register_hooks(self.host, &call)
        return self.settle(&call)

    def shutdown(self):
        """Call the plugin's shutdown once its running handlers have returned."""
        cdef abi.pa_call call
        with nogil:
            abi.pa_host_shutdown(self.host, &call)
        return self.settle(&call)

    def destroy(self):
        """Call the plugin's destroy, release its heap, and unload it if it is unloadable.

        Never waits: while a call is running the status is PA_ERR_STATE and nothing happens.
        """
        cdef abi.pa_call call
        with nogil:
            abi.pa_host_destroy(self.host, &call)
            if call.status == 0 and abi.pa_host_flags(self.host) & abi.PA_F_UNLOADABLE:
                abi.pa_library_close(&self.library)
        if call.status == 0:
            Py_DECREF(self)
        return self.settle(&call)

    @property
    def state(self):
        """Where the plugin is in its life, a value of `State`."""
        return State(<int>abi.pa_host_state(self.host))

    @property
    def running(self):
        """Number of calls that are running in the plugin."""
        return abi.pa_host_running(self.host)

    @property
    def thread_safe(self):
        """Whether the plugin lets its handlers run concurrently."""
        return bool(abi.pa_host_flags(self.host) & abi.PA_F_THREAD_SAFE)

    @property
    def unloadable(self):
        """Whether the library is unmapped after destroy."""
        return bool(abi.pa_host_flags(self.host) & abi.PA_F_UNLOADABLE)

    @property
    def heap_bytes(self):
        """Bytes the plugin holds of the host's memory, with 48 for each block."""
        return abi.pa_host_heap(self.host).live_bytes

    @property
    def heap_peak_bytes(self):
        """The largest value of `heap_bytes` so far."""
        return abi.pa_host_heap(self.host).peak_bytes

    @property
    def heap_blocks(self):
        """Number of live blocks."""
        return abi.pa_host_heap(self.host).live_blocks

    @property
    def heap_refused(self):
        """Number of requests that did not fit the limit."""
        return abi.pa_host_heap(self.host).refused

    @property
    def heap_faults(self):
        """Number of faulty calls to free and realloc."""
        return abi.pa_host_heap(self.host).faults


@cython.final
cdef class Handler:
    """One hook handler of a plugin, as it registered it. Keeps its `Instance` alive."""

    # The dispatcher calls fn(user, ...) under the kernel's rules through these.
    cdef abi.pa_hook_fn fn
    cdef void *user
    cdef bytes hook
    cdef abi.pa_str c_hook
    cdef readonly Instance instance

    def __init__(self):
        raise TypeError("handlers are made by plugins, in register_hooks")

    def __call__(self, data):
        """Run the handler on msgpack bytes; the result is as of every call of `Instance`."""
        cdef abi.pa_call call
        cdef Py_buffer view
        cdef abi.pa_bytes c_data
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            c_data = abi.pa_bytes_make(view.buf, <size_t>view.len)
            with nogil:
                abi.pa_host_handle(
                    self.instance.host, self.fn, self.user, self.c_hook, c_data, &call
                )
        finally:
            PyBuffer_Release(&view)
        return self.instance.settle(&call)


cdef int run_handler(
    PyObject *handler, const void *data, Py_ssize_t size, PyObject **output
) except? -1000:
    """Implement `pa_native_calls.run`."""
    cdef abi.pa_call call
    cdef Handler self = <Handler>handler
    cdef Instance instance = self.instance
    cdef abi.pa_bytes c_data = abi.pa_bytes_make(data, <size_t>size)
    cdef int done = 0
    output[0] = NULL
    if instance.never_waits:
        done = abi.pa_host_handle_now(
            instance.host, self.fn, self.user, self.c_hook, c_data, &call
        )
    if not done:
        with nogil:
            abi.pa_host_handle(instance.host, self.fn, self.user, self.c_hook, c_data, &call)
    if call.status >= 0 and not instance.causes and call.borrowed is NULL:
        if call.out.data is NULL:
            return call.status
        try:
            result = PyBytes_FromStringAndSize(
                <const char *>call.out.data, <Py_ssize_t>call.out.len
            )
        finally:
            abi.pa_call_close(&call)
    else:
        settled = instance.settle(&call)
        result = settled if call.status < 0 else settled[1]
        if result is None:
            return call.status
    Py_INCREF(result)
    output[0] = <PyObject *>result
    return call.status


cdef pa_native_calls calls
calls.run = <int (*)(PyObject *, const void *, Py_ssize_t, PyObject **) noexcept>run_handler

native_calls = PA_CAPSULE(&calls)
