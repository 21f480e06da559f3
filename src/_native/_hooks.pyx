"""Run the handlers of a hook: plans, calls, and calls that wait.

What is decided here was decided before, in pluginapi.hooks, and compiled into a plan. The loop
itself is in hook_loop.h.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.string cimport memset

cimport hook_loop as hk
from heap_kernel cimport PA_HEAP_ENTRANCE
from hook_loop cimport hk_counts, hk_entry, hk_meter, hk_plan, hk_run, hk_state

import types

include "hooks_plan.pxi"
include "hooks_pending.pxi"
include "hooks_native.pxi"


cdef inline object answer_of(Plan plan, value, bint may_wait):
    """Call a plan; hand out what waits, or refuse it."""
    cdef hk_run run
    cdef int suspended
    cdef PyObject *answer = hk.hk_call(plan, &plan.how, &run, value, &suspended)
    if answer is not NULL:
        return take(answer)
    return unanswered(plan, &run, suspended, may_wait)


cdef object unanswered(Plan plan, hk_run *run, bint suspended, bint may_wait):
    if not suspended:
        raise_set()
    pending = pending_of(plan, &plan.how, run, plan.how.count)
    return pending if may_wait else refuse_waiting(pending)


cdef class HookCore:
    """What a hook is to its callers: a plan that is swapped as a whole.

    Attributes:
        _plan: What calls run; None when calls are refused.
        _entries: All handlers in order, paused ones included.
    """

    cdef public Plan _plan
    cdef public tuple _entries
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        self._entries = ()

    @cython.always_allow_keywords(False)  # One argument by position is quicker to take.
    def call(self, value):
        """Run the handlers without an event loop and return the answer.

        Async handlers are fine as long as they do not wait for anything.

        Raises:
            HookTypeError: With code ``hook.suspended`` when a handler waits; its coroutine is
                closed first. Otherwise as for ``await hook(value)``.
        """
        cdef Plan plan = self._plan
        if plan is None or plan.recorded:
            plan = self._plan_for(value)
        return answer_of(plan, value, False)

    @cython.always_allow_keywords(False)
    def start(self, value):
        """Run the handlers up to the first that waits; return the answer, or a `PendingCall`.

        The fast form of ``await hook(value)``, above all on Python 3.12 and later::

            answer = hook.start(value)
            if type(answer) is PendingCall:
                answer = await answer

        Handlers start at once, not at the ``await``, and so do their exceptions. A
        `PendingCall` that nobody awaits closes its handler when it is freed.

        Raises:
            As for ``await hook(value)``.
        """
        cdef Plan plan = self._plan
        if plan is None or plan.recorded:
            plan = self._plan_for(value)
        return answer_of(plan, value, True)


cdef extern from "adopt.h":
    int pa_adopt(object, object, const char *) except -1


def adopt(type kind not None):
    """Give a subclass of `HookCore` calls that are as fast as those of `HookCore` itself."""
    if not issubclass(kind, HookCore):
        raise TypeError("not a subclass of HookCore")
    pa_adopt(kind, HookCore, "call")
    pa_adopt(kind, HookCore, "start")
    return kind


def exchange(
    HookCore hook not None,
    tuple before not None,
    tuple after not None,
    list targets not None,
    list plans not None,
):
    """Swap a hook's handlers, if they are still those from before; tell whether.

    The plan of each target, the hook and its subsets, is exchanged with that in `plans`: nothing
    is freed here, and nothing allocated, so that no other code runs half-way.
    """
    cdef Py_ssize_t index
    cdef HookCore target
    if hook._entries is not before:
        return False
    for index in range(len(targets)):
        target = <HookCore>targets[index]
        old = target._plan
        target._plan = plans[index]
        plans[index] = old
    hook._entries = after
    return True
