# What kernels/reading offers to the face.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t


cdef extern from "reading/search.h" nogil:
    size_t PA_NOT_FOUND

    size_t pa_find(
        const uint8_t *data, size_t length, const uint8_t *needle, size_t needle_length,
        size_t start)


cdef extern from "reading/arena.h" nogil:
    ctypedef struct pa_arena:
        uint8_t *data
        size_t capacity
        size_t used

    void pa_arena_reset(pa_arena *arena, size_t keep)
    int pa_arena_room(pa_arena *arena, size_t size, size_t *offset)


cdef extern from "reading/files.h" nogil:
    enum:
        PA_READ_PENDING
        PA_READ_OK
        PA_READ_NO_PATH
        PA_READ_REFUSED
        PA_READ_NOT_REGULAR
        PA_READ_SIZE
        PA_READ_CHANGED

    ctypedef struct pa_read_file:
        const char *path
        int64_t limit
        int status
        int64_t number
        size_t offset
        size_t length
        int64_t modified_seconds
        int64_t modified_nanoseconds

    ctypedef struct pa_read_pair:
        pa_read_file plugin
        pa_read_file envelope

    int pa_read_pairs(
        pa_arena *arena, pa_read_pair *pairs, size_t count, size_t enough, size_t *done)
