# The calls of both sides that have no answer yet. Nearly always each side has one: that stands in a
# field, where it is found without a dict.

cdef inline _Waiter waiter_of(Channel self, uint64_t call):
    """Return the call of this side with this id, or None."""
    if self.waiter is not None and self.waiter.call == call:
        return self.waiter
    return self.waiters.get(call) if len(self.waiters) else None


cdef inline int add_waiter(Channel self, _Waiter waiter) except -1:
    if self.waiter is None:
        self.waiter = waiter
    else:
        self.waiters[waiter.call] = waiter
    return 0


cdef inline int drop_waiter(Channel self, _Waiter waiter) except -1:
    if self.waiter is waiter:
        self.waiter = None
    else:
        del self.waiters[waiter.call]
    return 0


cdef inline Py_ssize_t waiter_count(Channel self):
    return len(self.waiters) + (self.waiter is not None)


cdef list every_waiter(Channel self):
    cdef list found = list(self.waiters.values())
    if self.waiter is not None:
        found.append(self.waiter)
    return found


cdef inline Request request_of(Channel self, uint64_t call):
    """Return the peer's request with this id, or None."""
    if self.request is not None and self.request.call == call:
        return self.request
    return self.requests.get(call) if len(self.requests) else None


cdef inline int add_request(Channel self, Request request) except -1:
    if self.request is None:
        self.request = request
    else:
        self.requests[request.call] = request
    return 0


cdef inline int drop_request(Channel self, uint64_t call) except -1:
    """Forget a request, if it is known: the end of the channel forgets all."""
    if self.request is not None and self.request.call == call:
        self.request = None
    elif len(self.requests):
        self.requests.pop(call, None)
    return 0


cdef list every_request(Channel self):
    cdef list found = list(self.requests.values())
    if self.request is not None:
        found.append(self.request)
    return found


cdef inline Py_ssize_t request_count(Channel self):
    return len(self.requests) + (self.request is not None)


cdef inline void call_began(Channel self) noexcept:
    """A call of this side is on its way."""
    self.in_flight += 1
    if self.watched != NULL:
        pa_call_begins(self.watched)


cdef inline void calls_ended(Channel self, uint32_t count) noexcept:
    if self.watched != NULL and count:
        pa_calls_end(self.watched, count)
