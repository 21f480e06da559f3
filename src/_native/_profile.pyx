"""Sample where threads of other processes are: a thin face over kernels/profile."""

from libc.stdint cimport uint64_t

cimport cython

import os

cdef extern from "profile/profile.h":
    int PA_PROFILE_DEPTH
    ctypedef struct pa_profile:
        pass
    int pa_profile_open(int, unsigned, pa_profile **)
    size_t pa_profile_next(pa_profile *, uint64_t *)
    uint64_t pa_profile_lost(const pa_profile *)
    void pa_profile_close(pa_profile *)

DEPTH = PA_PROFILE_DEPTH


@cython.final
cdef class ThreadSampler:
    """Sample the code of one thread until `close`, so many times in a second of processor time.

    Raises:
        OSError: When the kernel does not allow it, or there is no such thread.
    """

    cdef pa_profile *profile

    def __cinit__(self, int thread, unsigned rate):
        cdef int error = pa_profile_open(thread, rate, &self.profile)
        if error != 0:
            raise OSError(error, os.strerror(error))

    def __dealloc__(self):
        self.close()

    def samples(self):
        """Return the samples since it was called before: addresses, the innermost first."""
        cdef uint64_t frames[127]
        cdef size_t count, index
        found = []
        while self.profile is not NULL:
            count = pa_profile_next(self.profile, frames)
            if count == 0:
                break
            found.append(tuple([frames[index] for index in range(count)]))
        return found

    @property
    def lost(self):
        """Samples that were not taken in time."""
        return 0 if self.profile is NULL else pa_profile_lost(self.profile)

    cpdef close(self):
        """Sample no more; idempotent."""
        pa_profile_close(self.profile)
        self.profile = NULL
