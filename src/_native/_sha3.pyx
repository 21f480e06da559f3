"""SHA3-512 over kernels/keccak: one message, many buffers, many files.

The kernels are chosen at the first use, from the CPU level; see `_cpu`. Contexts do not depend on
the level, so that it may change while they live (which tests do).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
)
from libc.stdint cimport uint8_t

cimport cython
cimport keccak_kernel as keccak

from enum import IntEnum

from pluginapi._native import _cpu

MAX_LANES = keccak.PA_KECCAK_MAX_WIDTH

# From this length on another thread gains more from the interpreter lock than handing it over
# costs. The same bound as in hashlib.
cdef enum:
    LARGE = 2048
    DIGEST_BYTES = keccak.PA_SHA3_512_DIGEST

cdef const keccak.pa_keccak_kernels *chosen = NULL
cdef int chosen_level = -1


cdef const keccak.pa_keccak_kernels *kernels() except NULL:
    if chosen is NULL:
        choose(_cpu.level())
    return chosen


cdef int choose(int level) except -1:
    global chosen, chosen_level
    cdef const keccak.pa_keccak_kernels *found = keccak.pa_keccak_kernels_of(level)
    if found is NULL or level > _cpu.detected():
        raise ValueError(f"this machine has no CPU level {level}")
    chosen_level = level
    chosen = found
    return 0


def level():
    """Return the number of the CPU level in use, an index of `_cpu.LEVELS`."""
    kernels()
    return chosen_level


def paths():
    """Return the names of the kernels in use."""
    return kernels().name.decode("ascii")


def _force_level(number):
    """Use the kernels of another level from now on; None goes back to the machine's own."""
    choose(_cpu.level() if number is None else number)


cdef int borrow(object data, Py_buffer *view) except -1:
    if isinstance(data, str):
        raise TypeError("strings must be encoded before they are hashed")
    return PyObject_GetBuffer(data, view, PyBUF_SIMPLE)


@cython.final
cdef class sha3_512:
    """SHA3-512 (FIPS 202) of a message that comes in pieces, with the interface of hashlib.

    Every object with a contiguous buffer is a piece. Pieces of more than 2047 bytes are hashed
    without the interpreter lock. One object may be used by several threads: each call is done
    before the next begins.
    """

    cdef keccak.pa_sha3_512 hash
    # Made by the first large piece: until then the interpreter lock protects `hash`.
    cdef PyThread_type_lock lock

    name = "sha3_512"
    digest_size = keccak.PA_SHA3_512_DIGEST
    block_size = keccak.PA_SHA3_512_RATE

    def __cinit__(self, data=None, /, *, usedforsecurity=True):
        keccak.pa_sha3_512_init(&self.hash)
        if data is not None:
            append(self, data)

    def __dealloc__(self):
        if self.lock is not NULL:
            PyThread_free_lock(self.lock)

    def update(self, data, /):
        """Append bytes to the message."""
        append(self, data)

    def digest(self):
        """Return the digest of the message so far, 64 bytes; the message can go on."""
        cdef const keccak.pa_keccak_kernels *with_kernels = kernels()
        cdef bytes digest = PyBytes_FromStringAndSize(NULL, DIGEST_BYTES)
        enter(self)
        keccak.pa_sha3_512_digest(
            &self.hash, with_kernels, <uint8_t *>PyBytes_AS_STRING(digest))
        leave(self)
        return digest

    def hexdigest(self):
        """Return the digest of the message so far as 128 lower-case hexadecimal digits."""
        return self.digest().hex()

    def copy(self):
        """Return an independent object with the same message so far."""
        cdef sha3_512 other = sha3_512.__new__(sha3_512)
        enter(self)
        other.hash = self.hash
        leave(self)
        return other


cdef int append(sha3_512 self, object data) except -1:
    cdef const keccak.pa_keccak_kernels *with_kernels = kernels()
    cdef Py_buffer view
    borrow(data, &view)
    try:
        if view.len < LARGE:
            enter(self)
            keccak.pa_sha3_512_update(
                &self.hash, with_kernels, <const uint8_t *>view.buf, <size_t>view.len)
        else:
            if self.lock is NULL:
                self.lock = PyThread_allocate_lock()
                if self.lock is NULL:
                    raise MemoryError
            enter(self)
            with nogil:
                keccak.pa_sha3_512_update(
                    &self.hash, with_kernels, <const uint8_t *>view.buf, <size_t>view.len)
        leave(self)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef inline void enter(sha3_512 self) noexcept:
    if self.lock is NULL or PyThread_acquire_lock(self.lock, 0):
        return
    with nogil:
        PyThread_acquire_lock(self.lock, 1)


cdef inline void leave(sha3_512 self) noexcept:
    if self.lock is not NULL:
        PyThread_release_lock(self.lock)


def digest_of(data, /):
    """Return the digest of one message, 64 bytes: `sha3_512(data).digest()` without the object."""
    cdef const keccak.pa_keccak_kernels *with_kernels = kernels()
    cdef bytes digest = PyBytes_FromStringAndSize(NULL, DIGEST_BYTES)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(digest)
    cdef Py_buffer view
    borrow(data, &view)
    if view.len < LARGE:
        keccak.pa_sha3_512_of(with_kernels, <const uint8_t *>view.buf, <size_t>view.len, out)
    else:
        with nogil:
            keccak.pa_sha3_512_of(with_kernels, <const uint8_t *>view.buf, <size_t>view.len, out)
    PyBuffer_Release(&view)
    return digest


cdef int check_lanes(size_t lanes) except -1:
    if not 1 <= lanes <= keccak.PA_KECCAK_MAX_WIDTH:
        raise ValueError(f"lanes is {lanes}, not 1 to {keccak.PA_KECCAK_MAX_WIDTH}")
    return 0


@cython.final
cdef class BufferBatch:
    """Hash many buffers. `run` hashes until none is left; threads may run it together.

    The buffers are borrowed until the batch is gone.
    """

    cdef Py_buffer *views
    cdef keccak.pa_sha3_buffer *jobs
    cdef keccak.pa_sha3_buffers batch
    cdef size_t borrowed
    cdef int running
    cdef readonly size_t total_bytes

    def __cinit__(self, buffers, /):
        cdef list given = list(buffers)
        cdef size_t count = <size_t>len(given)
        cdef size_t i
        self.views = <Py_buffer *>PyMem_Calloc(count + 1, sizeof(Py_buffer))
        self.jobs = <keccak.pa_sha3_buffer *>PyMem_Calloc(count + 1, sizeof(self.jobs[0]))
        self.batch.order = <keccak.pa_sha3_buffer **>PyMem_Calloc(count + 1, sizeof(void *))
        if self.views is NULL or self.jobs is NULL or self.batch.order is NULL:
            raise MemoryError
        for i in range(count):
            borrow(given[i], &self.views[i])
            self.borrowed += 1
            self.jobs[i].data = <const uint8_t *>self.views[i].buf
            self.jobs[i].length = <size_t>self.views[i].len
            self.total_bytes += self.jobs[i].length
            self.batch.order[i] = &self.jobs[i]
        self.batch.count = count
        keccak.pa_sha3_512_sort_buffers(&self.batch)

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.borrowed):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.views)
        PyMem_Free(self.jobs)
        PyMem_Free(self.batch.order)

    def run(self, size_t lanes, /):
        """Hash buffers over at most so many lanes until none is left, without the lock."""
        cdef const keccak.pa_keccak_kernels *with_kernels = kernels()
        check_lanes(lanes)
        self.running += 1
        with nogil:
            keccak.pa_sha3_512_buffers(with_kernels, &self.batch, lanes)
        self.running -= 1

    def cancel(self):
        """Let `run` return, in whatever thread, after the buffers that it is at."""
        keccak.pa_cursor_add(&self.batch.cancelled, 1)

    def digests(self):
        """Return the digests in the order of the buffers, 64 bytes each."""
        cdef size_t i
        if (
            self.running
            or keccak.pa_cursor_value(&self.batch.cursor) < <Py_ssize_t>self.batch.count
            or keccak.pa_cursor_value(&self.batch.cancelled)
        ):
            raise RuntimeError("the batch has not been hashed")
        return [
            PyBytes_FromStringAndSize(<const char *>self.jobs[i].digest, DIGEST_BYTES)
            for i in range(self.batch.count)
        ]


class FileStatus(IntEnum):
    """The values of pa_sha3_file_status."""

    PENDING = keccak.PA_SHA3_FILE_PENDING
    HASHED = keccak.PA_SHA3_FILE_HASHED
    REFUSED = keccak.PA_SHA3_FILE_REFUSED
    NOT_REGULAR = keccak.PA_SHA3_FILE_NOT_REGULAR
    CHANGED = keccak.PA_SHA3_FILE_CHANGED


cdef tuple STATUSES = tuple(FileStatus)


@cython.final
cdef class FileBatch:
    """Hash many regular files, named by path (bytes) or open descriptor (int).

    `run` hashes until none is left; threads may run it together. Each opens at most as many files
    at once as it has lanes.
    """

    cdef list names  # Keeps the paths alive.
    cdef keccak.pa_sha3_file *jobs
    cdef keccak.pa_sha3_files batch
    cdef int running
    cdef readonly object total_bytes

    def __cinit__(self, files, /):
        cdef size_t count
        cdef size_t i
        cdef unsigned long long total
        self.names = list(files)
        count = <size_t>len(self.names)
        self.jobs = <keccak.pa_sha3_file *>PyMem_Calloc(count + 1, sizeof(self.jobs[0]))
        self.batch.order = <keccak.pa_sha3_file **>PyMem_Calloc(count + 1, sizeof(void *))
        if self.jobs is NULL or self.batch.order is NULL:
            raise MemoryError
        for i in range(count):
            file = self.names[i]
            if isinstance(file, bytes):
                if b"\0" in file:
                    raise ValueError("a path holds a null byte")
                self.jobs[i].path = PyBytes_AS_STRING(file)
            else:
                self.jobs[i].descriptor = file
            self.batch.order[i] = &self.jobs[i]
        self.batch.count = count
        with nogil:
            total = keccak.pa_sha3_512_look_at_files(&self.batch)
        self.total_bytes = total

    def __dealloc__(self):
        PyMem_Free(self.jobs)
        PyMem_Free(self.batch.order)

    def run(self, size_t lanes, /):
        """Hash files over at most so many lanes until none is left, without the lock."""
        cdef const keccak.pa_keccak_kernels *with_kernels = kernels()
        cdef int error
        check_lanes(lanes)
        self.running += 1
        with nogil:
            error = keccak.pa_sha3_512_files(with_kernels, &self.batch, lanes)
        self.running -= 1
        if error:
            raise MemoryError

    def cancel(self):
        """Let `run` return soon, in whatever thread; the rest is REFUSED with ECANCELED."""
        keccak.pa_cursor_add(&self.batch.cancelled, 1)

    @property
    def bytes_read(self):
        """How many bytes were read so far."""
        return keccak.pa_cursor_value(&self.batch.bytes_read)

    def results(self):
        """Return (status, errno, digest or None) for each file, in their order."""
        cdef size_t i
        if (
            self.running
            or keccak.pa_cursor_value(&self.batch.cursor) < <Py_ssize_t>self.batch.count
        ):
            raise RuntimeError("the batch has not been hashed")
        return [
            (
                STATUSES[self.jobs[i].status],
                self.jobs[i].error,
                PyBytes_FromStringAndSize(<const char *>self.jobs[i].digest, DIGEST_BYTES)
                if self.jobs[i].status == keccak.PA_SHA3_FILE_HASHED else None,
            )
            for i in range(self.batch.count)
        ]
