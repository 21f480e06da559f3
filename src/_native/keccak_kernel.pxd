# What kernels/keccak offers to the faces.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef extern from "keccak/keccak.h" nogil:
    enum:
        PA_SHA3_512_RATE
        PA_SHA3_512_DIGEST
        PA_KECCAK_MAX_WIDTH

    ctypedef struct pa_keccak_kernels:
        const char *name

    const pa_keccak_kernels *pa_keccak_kernels_of(int level)


cdef extern from "keccak/sha3_512.h" nogil:
    ctypedef struct pa_sha3_512:
        pass

    void pa_sha3_512_init(pa_sha3_512 *hash)
    void pa_sha3_512_update(
        pa_sha3_512 *hash, const pa_keccak_kernels *kernels, const uint8_t *data, size_t length)
    void pa_sha3_512_digest(
        const pa_sha3_512 *hash, const pa_keccak_kernels *kernels, uint8_t *digest)
    void pa_sha3_512_of(
        const pa_keccak_kernels *kernels, const uint8_t *data, size_t length, uint8_t *digest)


cdef extern from "keccak/cursor.h" nogil:
    ctypedef struct pa_cursor:
        pass

    int64_t pa_cursor_add(pa_cursor *cursor, int64_t amount)
    int64_t pa_cursor_value(pa_cursor *cursor)


cdef extern from "keccak/buffers.h" nogil:
    ctypedef struct pa_sha3_buffer:
        const uint8_t *data
        size_t length
        uint8_t *digest

    ctypedef struct pa_sha3_buffers:
        pa_sha3_buffer **order
        size_t count
        pa_cursor cursor
        pa_cursor cancelled

    void pa_sha3_512_sort_buffers(pa_sha3_buffers *batch)
    void pa_sha3_512_buffers(
        const pa_keccak_kernels *kernels, pa_sha3_buffers *batch, size_t lanes)


cdef extern from "keccak/files.h" nogil:
    enum:
        PA_SHA3_FILE_PENDING
        PA_SHA3_FILE_HASHED
        PA_SHA3_FILE_REFUSED
        PA_SHA3_FILE_NOT_REGULAR
        PA_SHA3_FILE_CHANGED

    ctypedef struct pa_sha3_file:
        const char *path
        int descriptor
        int status
        int error
        int64_t size
        uint8_t *digest

    ctypedef struct pa_sha3_files:
        pa_sha3_file **order
        size_t count
        pa_cursor cursor
        pa_cursor bytes_read
        pa_cursor cancelled

    uint64_t pa_sha3_512_look_at_files(pa_sha3_files *batch)
    int pa_sha3_512_files(const pa_keccak_kernels *kernels, pa_sha3_files *batch, size_t lanes)
