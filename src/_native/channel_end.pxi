# How a channel ends, and when its memory and socket are given back.

cdef fail(Channel self, int status, int error):
    """End the channel: every call ends with the reason."""
    cdef _Waiter waiter
    cdef list waiters
    if self.end_status:
        return
    self.end_status = status
    self.end_errno = error
    ck.pa_link_hang_up(&self.link)
    waiters = every_waiter(self)
    self.waiter = None
    self.waiters.clear()
    calls_ended(self, <uint32_t>self.in_flight)
    self.in_flight = 0
    self.queue.clear()
    self.unsent.clear()
    self.unsent_answers = 0
    self.request = None
    self.requests.clear()
    for waiter in waiters:
        if waiter.state != ABANDONED:
            finish(self, waiter, self.explain(status, error))
    for waiter in self.followers:
        wake(self, waiter)
    if self.on_end is not None:
        self.on_end(status, error)


cdef release(Channel self):
    """Give memory and socket back, once nobody is inside."""
    if self.released or self.leading:
        return
    self.released = True
    if self.loop is not None:
        if PyThread_get_thread_ident() == self.loop_thread or self.loop.is_closed():
            self.detach()
        else:
            self.released = False
            self.loop.call_soon_threadsafe(self.finish_release)
            return
    ck.pa_link_close(&self.link)
