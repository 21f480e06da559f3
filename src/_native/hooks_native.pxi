# Handlers in C: msgpack bytes in, msgpack bytes out, no Python frame in between.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

import msgspec

from pluginapi._native import _abi


cdef extern from "native_call.h":
    """
    static const pa_native_calls *hk_native_calls(PyObject *capsule) {
        return (const pa_native_calls *)PyCapsule_GetPointer(capsule, PA_NATIVE_CALLS);
    }
    """
    ctypedef struct pa_native_calls:
        int (*run)(PyObject *, const void *, Py_ssize_t, PyObject **) except? -1000
    const pa_native_calls *hk_native_calls(object) except NULL


cdef const pa_native_calls *calls = hk_native_calls(_abi.native_calls)
cdef object Raw = msgspec.Raw


cdef class Native:
    """Call a handler of a native plugin with a Python value.

    A value that is `msgspec.Raw` is msgpack already and passed as it is; others are encoded. A
    subclass raises what is to be raised: ``_unencodable(value, error)``, ``_failed(result)`` and
    ``_undecodable(output, error)``.

    Args:
        handler: The `_abi.Handler`.
        encode: Turns a value into msgpack bytes.
        stop: Makes the result that ends a chain.
    """

    cdef readonly object native
    cdef object encode
    cdef object stop
    cdef object decode
    cdef object decodes

    def __init__(self, handler not None, encode, stop):
        if type(handler) is not _abi.Handler:
            raise TypeError("not a handler of a native plugin")
        self.native = handler
        self.encode = encode
        self.stop = stop

    def returns(self, annotation):
        """Decode results as this type from now on."""
        if self.decode is None or self.decodes is not annotation:
            self.decode = Raw if annotation is Raw else msgspec.msgpack.Decoder(annotation).decode
            self.decodes = annotation

    def run(self, value):
        """Run the handler on one value and return its result."""
        return self.invoke(value)

    cdef object invoke(self, value):
        cdef Py_buffer view
        cdef PyObject *output = NULL
        cdef int status
        cdef bytes data
        if self.native is None:
            raise TypeError("the native handler was not initialised")
        if type(value) is Raw:
            PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
            try:
                status = calls.run(<PyObject *>self.native, view.buf, view.len, &output)
            finally:
                PyBuffer_Release(&view)
        else:
            try:
                data = self.encode(value)
            except Exception as error:
                self._unencodable(value, error)
                raise
            status = calls.run(
                <PyObject *>self.native,
                PyBytes_AS_STRING(data),
                PyBytes_GET_SIZE(data),
                &output,
            )
        if output is NULL:
            return None if status == 0 else self.stop(value)
        result = take(output)
        if status < 0:
            self._failed(result)
        try:
            decoded = self.decode(result)
        except Exception as error:
            self._undecodable(result, error)
            raise
        return decoded if status == 0 else self.stop(decoded)


cdef object on_native(PyObject *handler, PyObject *value):
    return (<Native>handler).invoke(<object>value)


hk.hk_cold.native = on_native
