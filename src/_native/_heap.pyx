"""Say whose memory the interpreter's heap is: a thin face over kernels/heap."""

cimport cython
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint32_t

cimport heap_kernel as kernel

import os

cdef extern from *:
    """
    #include "heap/owned.h"

    static pa_heap_below pa_below_mem, pa_below_obj;
    static int pa_counts;

    static void pa_put_over(PyMemAllocatorDomain domain, pa_heap_below *below) {
        PyMemAllocatorEx there, over;
        PyMem_GetAllocator(domain, &there);
        below->context = there.ctx;
        below->allocate = there.malloc;
        below->zeroed = there.calloc;
        below->resize = there.realloc;
        below->release = there.free;
        over.ctx = below;
        over.malloc = pa_owned_allocate;
        over.calloc = pa_owned_zeroed;
        over.realloc = pa_owned_resize;
        over.free = pa_owned_release;
        PyMem_SetAllocator(domain, &over);
    }

    /* Both domains are used with the interpreter lock alone, which is held here: nobody is in the
     * middle of an allocation, and the lock serialises the accounts. */
    static int pa_count_from_now(void) {
    #ifdef Py_GIL_DISABLED
        return -1;
    #else
        if (!pa_counts) {
            pa_put_over(PYMEM_DOMAIN_MEM, &pa_below_mem);
            pa_put_over(PYMEM_DOMAIN_OBJ, &pa_below_obj);
            pa_counts = 1;
        }
        return 0;
    #endif
    }
    """
    int pa_counts
    int pa_count_from_now()


def counts():
    """Tell whether memory is counted, which it is for ever once it is."""
    return pa_counts != 0


def count():
    """Count from now on what is asked for on behalf of accounts; idempotent.

    Raises:
        NotImplementedError: The interpreter allocates without its lock.
    """
    if not pa_counts:
        kernel.pa_owned_mark(int.from_bytes(os.urandom(8), "little"))
    if pa_count_from_now() < 0:
        raise NotImplementedError("this interpreter allocates memory without a lock")


def entrance():
    """Return what `_hooks.count_memory` takes."""
    return PyCapsule_New(<void *>kernel.pa_heap_enter, kernel.PA_HEAP_ENTRANCE, NULL)


@cython.final
cdef class Account:
    """Count the memory that is asked for while somebody works for it.

    Args:
        limit: Bytes beyond which requests fail, with MemoryError in Python; 0 for none.

    Raises:
        RuntimeError: So many accounts are open that there is none left.
    """

    cdef readonly uint32_t number
    cdef bint closed

    def __cinit__(self, int64_t limit=0):
        self.number = kernel.pa_heap_open(limit)
        if self.number == 0:
            raise RuntimeError("all accounts are open")

    def __dealloc__(self):
        if self.number:
            self.close()

    cpdef close(self):
        """Refuse nothing any more; what is held is counted as long as it is. Idempotent."""
        if not self.closed:
            self.closed = True
            kernel.pa_heap_close(self.number)

    def usage(self):
        """Return bytes, the most of them so far, and requests that were refused."""
        cdef kernel.pa_heap_usage now
        kernel.pa_heap_read(self.number, &now)
        return now.bytes, now.peak, now.refused

    def call(self, function, *args):
        """Call a function on this account's behalf and return what it returns."""
        cdef uint32_t outer = kernel.pa_heap_enter(self.number)
        try:
            return function(*args)
        finally:
            kernel.pa_heap_enter(outer)

    def steps(self, awaitable):
        """Return what awaits something on this account's behalf."""
        return Steps(self, awaitable)


@cython.final
cdef class Steps:
    """Await something, step by step, on behalf of an account."""

    cdef Account account
    cdef object iterator

    def __init__(self, Account account not None, awaitable):
        self.account = account
        # A coroutine is its own iterator for this purpose.
        self.iterator = awaitable if hasattr(awaitable, "send") else awaitable.__await__()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        """Resume it with a value, as `coroutine.send`."""
        cdef uint32_t outer = kernel.pa_heap_enter(self.account.number)
        try:
            send = getattr(self.iterator, "send", None)
            return next(self.iterator) if send is None else send(value)
        finally:
            kernel.pa_heap_enter(outer)

    def throw(self, error):
        """Raise an exception in it, as `coroutine.throw`."""
        cdef uint32_t outer = kernel.pa_heap_enter(self.account.number)
        try:
            throw = getattr(self.iterator, "throw", None)
            if throw is None:
                raise error
            return throw(error)
        finally:
            kernel.pa_heap_enter(outer)

    def close(self):
        """End it, as `coroutine.close`."""
        cdef uint32_t outer = kernel.pa_heap_enter(self.account.number)
        try:
            close = getattr(self.iterator, "close", None)
            if close is not None:
                close()
        finally:
            kernel.pa_heap_enter(outer)
