"""Reading of many files and search in their bytes, over kernels/reading."""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport int64_t, uint8_t

cimport cython
cimport reading_kernel as kernel

from enum import IntEnum

cdef extern from "Python.h":
    object PyUnicode_EncodeFSDefault(object text)

# So many files are read before signals are looked at.
cdef enum:
    UNINTERRUPTED = 64


def find(data, bytes needle not None, Py_ssize_t start=0, /):
    """Return where the needle begins at or behind `start`, or -1, as `bytes.find` does."""
    cdef Py_buffer view
    cdef size_t at
    if PyBytes_GET_SIZE(needle) == 0 or start < 0:
        raise ValueError("an empty needle or a negative start")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    at = kernel.pa_find(
        <const uint8_t *>view.buf, <size_t>view.len,
        <const uint8_t *>PyBytes_AS_STRING(needle), <size_t>PyBytes_GET_SIZE(needle),
        <size_t>start)
    PyBuffer_Release(&view)
    return -1 if at == kernel.PA_NOT_FOUND else <Py_ssize_t>at


class ReadStatus(IntEnum):
    """The values of pa_read_status."""

    PENDING = kernel.PA_READ_PENDING
    OK = kernel.PA_READ_OK
    NO_PATH = kernel.PA_READ_NO_PATH
    REFUSED = kernel.PA_READ_REFUSED
    NOT_REGULAR = kernel.PA_READ_NOT_REGULAR
    SIZE = kernel.PA_READ_SIZE
    CHANGED = kernel.PA_READ_CHANGED


cdef tuple STATUSES = tuple(ReadStatus)


@cython.final
cdef class Arena:
    """Memory that files are read into, and read-only views of them.

    It is used again by the next `read`, once all views of the last one are gone. For one thread.
    """

    cdef kernel.pa_arena memory
    cdef size_t views
    cdef bint reading

    def __dealloc__(self):
        kernel.pa_arena_reset(&self.memory, 0)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.reading:
            raise BufferError("files are being read")
        PyBuffer_FillInfo(view, self, self.memory.data, <Py_ssize_t>self.memory.used, 1, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.views -= 1

    @property
    def is_viewed(self):
        """Whether views of the last `read` are left, so that there cannot be another."""
        return self.views > 0

    def read(self, list places not None, int64_t limit, int64_t envelope_limit, size_t enough, /):
        """Read files and the signature files beside them until `enough` bytes are there.

        Returns for each of the first places the status and the number of the file, its view and
        the seconds of its change, the status and the number of the signature file (place + ".sig")
        and its bytes. The interpreter lock is released.
        """
        cdef size_t count = <size_t>len(places)
        cdef size_t done = 0
        cdef size_t named = 0
        cdef size_t read, unused
        cdef int error
        cdef kernel.pa_read_pair *pairs
        cdef list names = []  # Keeps what was encoded alive.
        if self.views or self.reading:
            raise BufferError("files that were read before are still viewed")
        pairs = <kernel.pa_read_pair *>PyMem_Calloc(count + 1, sizeof(pairs[0]))
        if pairs is NULL:
            raise MemoryError
        self.reading = True
        try:
            with nogil:
                kernel.pa_arena_reset(&self.memory, 2 * enough)
                # What most chunks take. Memory that is not used is not touched.
                error = kernel.pa_arena_room(&self.memory, enough + (enough >> 3), &unused)
            while not error and done < count and self.memory.used < enough:
                PyErr_CheckSignals()
                while named < min(count, done + UNINTERRUPTED):
                    name(&pairs[named], places[named], names)
                    pairs[named].plugin.limit = limit
                    pairs[named].envelope.limit = envelope_limit
                    named += 1
                with nogil:
                    error = kernel.pa_read_pairs(
                        &self.memory, pairs + done, named - done, enough, &read)
                done += read
            self.reading = False
            if error:
                raise MemoryError
            return results(PyMemoryView_FromObject(self), &self.memory, pairs, done)
        finally:
            self.reading = False
            PyMem_Free(pairs)


cdef int name(kernel.pa_read_pair *pair, place, list names) except -1:
    """Encode a path as the operating system wants it; what no path can be is left NULL."""
    cdef bytes path
    cdef bytes envelope
    try:
        path = PyUnicode_EncodeFSDefault(place)
    except UnicodeEncodeError:
        return 0
    if b"\0" in path:
        return 0
    envelope = path + b".sig"
    names.append(path)
    names.append(envelope)
    pair.plugin.path = PyBytes_AS_STRING(path)
    pair.envelope.path = PyBytes_AS_STRING(envelope)
    return 0


cdef list results(
    object view, kernel.pa_arena *memory, const kernel.pa_read_pair *pairs, size_t count
):
    cdef list found = []
    cdef const kernel.pa_read_file *plugin
    cdef const kernel.pa_read_file *envelope
    cdef size_t i
    for i in range(count):
        plugin = &pairs[i].plugin
        envelope = &pairs[i].envelope
        found.append((
            STATUSES[plugin.status],
            plugin.number,
            view[<Py_ssize_t>plugin.offset:<Py_ssize_t>(plugin.offset + plugin.length)]
            if plugin.status == kernel.PA_READ_OK else None,
            # The sum that `os.stat` makes of them.
            <double>plugin.modified_seconds + 1e-9 * <double>plugin.modified_nanoseconds,
            STATUSES[envelope.status],
            envelope.number,
            PyBytes_FromStringAndSize(
                <const char *>memory.data + envelope.offset, <Py_ssize_t>envelope.length)
            if envelope.status == kernel.PA_READ_OK else None,
        ))
    return found
