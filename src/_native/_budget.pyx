# cython: autotestdict=False
"""Watch over the processor time of calls: a thin face over kernels/budget."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int32_t, uint64_t

from budget_kernel cimport (
    PA_WATCHED_CALLS,
    pa_call_begins,
    pa_calls_end,
    pa_calls_hold,
    pa_calls_release,
    pa_watched_calls,
)
cimport watcher_kernel as kernel

import errno
import os

TICK_NS = kernel.PA_BUDGET_TICK_NS


cdef int fail(int error) except -1:
    if error != 0:
        raise OSError(error, os.strerror(error))
    return 0


cdef void drop(object capsule) noexcept:
    pa_calls_release(<pa_watched_calls *>PyCapsule_GetPointer(capsule, PA_WATCHED_CALLS))


cdef class WatchedCalls:
    """The calls of one process; `Watcher.watch` makes it."""

    cdef pa_watched_calls *core

    def __dealloc__(self):
        if self.core != NULL:
            pa_calls_release(self.core)

    def capsule(self):
        """Return what a channel takes, to say when its calls begin and end."""
        pa_calls_hold(self.core)
        return PyCapsule_New(self.core, PA_WATCHED_CALLS, drop)

    def allow_concurrent(self):
        """Say that its calls may run at the same time: each has the budget then."""
        kernel.pa_calls_allow(self.core, 1)

    def begin(self):
        """Say that a call begins; not for calls of a channel."""
        pa_call_begins(self.core)

    def end(self):
        """Say that a call has ended; not for calls of a channel."""
        pa_calls_end(self.core, 1)


cdef class Watcher:
    """Watch over any number of processes with one thread; everything on any thread."""

    cdef kernel.pa_budget *core

    def __cinit__(self):
        fail(kernel.pa_budget_new(&self.core))

    def __dealloc__(self):
        if self.core != NULL:
            kernel.pa_budget_free(self.core)

    def close(self):
        """End the thread; idempotent. What was watched is watched no more."""
        cdef kernel.pa_budget *core = self.core
        self.core = NULL
        if core != NULL:
            with nogil:
                kernel.pa_budget_free(core)

    def abandon(self):
        """Forget everything in a process that was forked from the one that has the thread."""
        if self.core != NULL:
            os.close(kernel.pa_budget_bell(self.core))
        self.core = NULL

    cdef int check(self) except -1:
        if self.core == NULL:
            raise ValueError("the watcher is closed")
        return 0

    def bell(self):
        """Return a descriptor that is readable while there are events."""
        self.check()
        return kernel.pa_budget_bell(self.core)

    def watch(self, int32_t pid, uint64_t budget_ns, uint64_t number):
        """Watch the process that has this number now; events bear the other one."""
        cdef WatchedCalls made = WatchedCalls.__new__(WatchedCalls)
        self.check()
        if pid <= 0 or budget_ns == 0:
            raise ValueError("a process id and a budget are above 0")
        fail(kernel.pa_budget_watch(self.core, pid, budget_ns, number, &made.core))
        return made

    def forget(self, WatchedCalls calls not None):
        """Watch a process no more, before its number may be another one's."""
        if self.core != NULL:
            kernel.pa_budget_forget(self.core, calls.core)

    def next(self):
        """Return the next event, (number, ns used, budget in ns, calls), or None."""
        cdef kernel.pa_budget_event event
        cdef int error
        if self.core == NULL:
            return None
        error = kernel.pa_budget_next(self.core, &event)
        if error == errno.EAGAIN:
            return None
        fail(error)
        return event.number, event.used_ns, event.budget_ns, event.calls
