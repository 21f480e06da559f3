# What a channel hands out and keeps: payloads, requests, handlers, calls, frames that wait.

@cython.final
cdef class Payload:
    """Hold the bytes of a large message as they were received; supports the buffer protocol.

    Nobody else can write them. The memory is used again when this object is gone.
    """

    cdef Channel owner
    cdef ck.pa_buffer buffer
    cdef const uint8_t *start
    cdef size_t size

    def __init__(self):
        raise TypeError("payloads are made by channels")

    def __len__(self):
        return <Py_ssize_t>self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.start, <Py_ssize_t>self.size, 1, flags)

    def __dealloc__(self):
        # The garbage collector may have taken the owner away.
        if self.owner is not None:
            take_back(self.owner, &self.buffer)
        else:
            ck.pa_buffer_close(&self.buffer)


@cython.final
@cython.freelist(64)
cdef class Request:
    """One request of the peer, which is to be answered once, with `Channel.answer`."""

    cdef readonly int kind
    cdef readonly int hook
    cdef readonly uint64_t call
    cdef readonly uint64_t parent
    cdef readonly uint64_t deadline_ns
    cdef readonly object context
    cdef readonly object payload
    cdef readonly object scope  # what the parent call was given
    cdef readonly bint cancelled
    cdef bint answered

    def __init__(self):
        raise TypeError("requests are made by channels")


@cython.final
cdef class Served:
    """One handler of a plugin and how its value, result and context cross.

    Args:
        function: Takes the value; returns the result, or None to leave the value as it is.
        decode: Makes the value of a payload.
        encode: Makes the payload of a result.
        context: Has ``begin(pushed)`` and ``end(token)``, or None.
        special: Class of results that are no values.
        finish: Called with what can be awaited and was returned where no event loop runs for it;
            returns its result.
        is_async: Whether the function has to run on an event loop.
        hook: Name of the hook.
    """

    cdef readonly object function
    cdef readonly object decode
    cdef readonly object encode
    cdef readonly object context
    cdef readonly object special
    cdef readonly object finish
    cdef readonly bint is_async
    cdef readonly str hook

    def __init__(
        self, function, decode, encode, *, finish, context=None, special=None,
        bint is_async=False, str hook=""
    ):
        self.special = special
        self.finish = finish
        self.function = function
        self.decode = decode
        self.encode = encode
        self.context = context
        self.is_async = is_async
        self.hook = hook


@cython.final
@cython.freelist(64)
cdef class _Waiter:
    """One call of this side that has not been answered yet."""

    cdef uint64_t call
    cdef int kind
    cdef int state
    cdef object outcome  # a reply, or an exception
    cdef object scope
    cdef object future
    cdef uint64_t until  # when an awaited call is given up, or 0
    cdef bint awaited  # by an event loop, not by a thread
    cdef object nested  # requests that the peer made in the course of this call
    cdef PyThread_type_lock bell
    cdef bint asleep

    def __dealloc__(self):
        if self.bell != NULL:
            PyThread_free_lock(self.bell)

    cdef bint has_work(self):
        return self.state == DONE or self.nested is not None


@cython.final
cdef class _Outgoing:
    """A frame that could not be sent yet."""

    cdef ck.pa_frame frame
    cdef bytes body
    cdef _Waiter waiter
