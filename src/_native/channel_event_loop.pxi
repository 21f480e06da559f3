# How an event loop leads a channel while no thread does, and calls over it.

cdef let_loop_lead(Channel self):
    """Have the peer ring the bell; what is there already is read in the next turn."""
    # While answers are due, looking once more in the next turn is cheaper than two bells.
    if (
        self.in_flight
        and self.hostile
        and not self.looking
        and self.link.spin_ns
        and PyThread_get_thread_ident() == self.loop_thread
    ):
        self.looking = True
        self.loop.call_soon(self.look)
        return
    if ck.pa_link_arm(&self.link) == ck.PA_CHANNEL_AGAIN:
        if PyThread_get_thread_ident() == self.loop_thread:
            self.loop.call_soon(self.on_readable)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.on_readable)


cdef watch_writes(Channel self):
    cdef bint wanted = self.link.unsent_low != self.link.unsent_high or (
        not self.link.shared and bool(self.unsent)
    )
    if wanted == self.writing or self.link.fd < 0:
        return
    self.writing = wanted
    if PyThread_get_thread_ident() != self.loop_thread:
        self.loop.call_soon_threadsafe(self.set_writer)
    else:
        self.set_writer()


cdef int drain(Channel self, int most) except? -1:
    """Hand out up to `most` frames that are there; a status."""
    cdef ck.pa_message message
    cdef int status = ck.PA_CHANNEL_OK
    self.leading = True
    try:
        while most and not self.end_status:
            most -= 1
            status = ck.pa_link_poll(&self.link, &message)
            if status == ck.PA_CHANNEL_OK:
                status = hand_out(self, &message)
            if status == ck.PA_CHANNEL_AGAIN:
                break
            if status < 0:
                fail(self, status, self.link.error)
        if (self.unsent or self.queue) and not self.end_status:
            flush(self)
    finally:
        self.leading = False
    return status


cdef object take_answers(Channel self):
    cdef ck.pa_message message
    cdef uint64_t budget
    cdef int status
    if self.leading or self.end_status:
        self.looking = False
        return
    status = drain(self, 1)
    if status == ck.PA_CHANNEL_AGAIN:
        budget = ck.pa_link_spin_budget(&self.link)
        if budget > HELD_NS:
            budget = HELD_NS
        if budget and self.in_flight:
            status = ck.pa_link_spin(&self.link, &message, budget)
            if status >= 0:
                ck.pa_link_spun(&self.link, status == ck.PA_CHANNEL_OK)
            if status == ck.PA_CHANNEL_OK:
                status = hand_out(self, &message)
            if status < 0 and not self.end_status:
                fail(self, status, self.link.error)
    if status == ck.PA_CHANNEL_OK:
        drain(self, TURN)
    run_inbox(self)
    # After answers, look again in the next turn, when those who waited have run; else sleep.
    self.looking = status != ck.PA_CHANNEL_OK
    if not self.leading:
        hand_over(self)
        if status != ck.PA_CHANNEL_OK:
            self.looking = False
    else:
        self.looking = False


cdef object take_arrived(Channel self):
    cdef ck.pa_message message
    cdef uint64_t budget
    cdef int turns = TURN
    cdef int status
    # A thread that leads is awake too and will take it.
    if self.leading or self.end_status:
        return
    status = ck.pa_link_answer_bell(&self.link)
    # What the peer sent before it ended still counts.
    if drain(self, TURN) == ck.PA_CHANNEL_AGAIN and status < 0 and not self.end_status:
        fail(self, status, self.link.error)
    if self.inbox:
        run_inbox(self)
    # A worker that has answered everything has nothing better to do than to look for more.
    while turns and not self.hostile and not request_count(self) and not self.end_status:
        turns -= 1
        budget = ck.pa_link_spin_budget(&self.link)
        if not budget or self.leading:
            break
        status = ck.pa_link_spin(&self.link, &message, budget)
        if status >= 0:
            ck.pa_link_spun(&self.link, status == ck.PA_CHANNEL_OK)
        if status == ck.PA_CHANNEL_AGAIN:
            break
        if status == ck.PA_CHANNEL_OK:
            status = hand_out(self, &message)
        if status < 0:
            fail(self, status, self.link.error)
        run_inbox(self)
    if not self.leading:
        # Threads that came meanwhile wait for somebody to lead them.
        hand_over(self)


cdef object start_call(
    Channel self, int kind, int hook, payload, context, uint64_t timeout_ns, scope
):
    cdef ck.pa_message message
    cdef _Waiter waiter
    cdef uint64_t budget
    cdef int status
    # Calls that are made in one turn of the loop, beside others, ring the bell together.
    if self.in_flight and not self.owed:
        self.owed = True
        self.loop.call_soon(self.ring)
    waiter = begin(self, kind, hook, payload, context, timeout_ns)
    waiter.scope = scope
    waiter.awaited = True
    if not self.leading and not self.owed:
        budget = ck.pa_link_spin_budget(&self.link)
        if budget > HELD_NS:
            budget = HELD_NS
        if budget:
            self.leading = True
            try:
                ck.pa_link_disarm(&self.link)
                while waiter.state != DONE and not self.end_status:
                    status = ck.pa_link_spin(&self.link, &message, budget)
                    if status >= 0:
                        ck.pa_link_spun(&self.link, status == ck.PA_CHANNEL_OK)
                    if status == ck.PA_CHANNEL_AGAIN:
                        break
                    if status == ck.PA_CHANNEL_OK:
                        status = hand_out(self, &message)
                    if status < 0:
                        fail(self, status, self.link.error)
                    if self.inbox:
                        break
            finally:
                self.leading = False
                hand_over(self)
        if self.inbox:
            run_inbox(self)
    if waiter.state == DONE:
        if type(waiter.outcome) is tuple:
            return waiter.outcome
        raise waiter.outcome
    waiter.future = self.loop.create_future()
    if timeout_ns:
        watch_deadline(self, waiter, ck.pa_link_now(), timeout_ns)
    return waiter.future, waiter.call


cdef watch_deadline(Channel self, _Waiter waiter, uint64_t now, uint64_t timeout_ns):
    """Have the loop give up a call in time: one timer serves all calls, at the first deadline."""
    waiter.until = now + timeout_ns
    if self.timer is not None:
        if self.timer_at <= waiter.until:
            return
        self.timer.cancel()
    self.timer_at = waiter.until
    self.timer = self.loop.call_later(timeout_ns / 1e9, self.expire)


cdef give_up_late(Channel self):
    cdef uint64_t now = ck.pa_link_now()
    cdef _Waiter first = None
    cdef _Waiter waiter
    self.timer = None
    for waiter in every_waiter(self):
        if not waiter.until or waiter.state == ABANDONED:
            continue
        if waiter.until > now:
            if first is None or waiter.until < first.until:
                first = waiter
            continue
        abandon(self, waiter)
        if waiter.future is not None:
            settle(waiter.future, self.explain(ck.PA_CHANNEL_TIMEOUT, 0))
    if first is not None and self.loop is not None and self.timer is None:
        watch_deadline(self, first, now, first.until - now)
