# How a channel waits for frames and hands them out; threads take turns at leading.

cdef void take_back(Channel self, ck.pa_buffer *buffer) noexcept:
    """Keep the memory of a large message for the next one."""
    cdef ck.pa_buffer larger = buffer[0]
    if larger.capacity > self.spare.capacity and not self.released:
        buffer[0] = self.spare
        self.spare = larger
    ck.pa_buffer_close(buffer)


cdef object payload_of(Channel self, ck.pa_message *message, const uint8_t *start, size_t size):
    cdef Payload payload
    if size < LARGE or not ck.pa_link_owns_body(&self.link, message):
        return PyBytes_FromStringAndSize(<const char *>start, <Py_ssize_t>size)
    payload = Payload.__new__(Payload)
    payload.owner = self
    payload.buffer = ck.pa_link_take_body(&self.link)
    payload.start = start
    payload.size = size
    if self.spare.data != NULL:
        ck.pa_link_give_body(&self.link, self.spare)
        self.spare.data = NULL
        self.spare.capacity = 0
    return payload


cdef int hand_out(Channel self, ck.pa_message *message) except? -1:
    """Give one frame to whom it is for. Returns a status; below 0 the peer broke the rules."""
    cdef ck.pa_frame *frame = &message.frame
    cdef ck.pa_body body
    cdef int status = ck.pa_frame_split(frame, message.body, &body)
    if status != ck.PA_CHANNEL_OK:
        return status
    if self.hostile:
        if body.payload_len and ck.pa_scan(body.payload, body.payload_len, &self.limits):
            return ck.PA_CHANNEL_BAD_PAYLOAD
        if body.context_len and ck.pa_scan(body.context, body.context_len, &self.limits):
            return ck.PA_CHANNEL_BAD_PAYLOAD
    if (
        frame.kind == ck.PA_FRAME_RESULT
        or frame.kind == ck.PA_FRAME_RESPONSE
        or frame.kind == ck.PA_FRAME_ERROR
    ):
        return hand_out_answer(self, message, &body)
    if frame.kind == ck.PA_FRAME_CALL or frame.kind == ck.PA_FRAME_REQUEST:
        return hand_out_request(self, message, &body)
    if frame.kind == ck.PA_FRAME_CANCEL:
        request = request_of(self, frame.call)
        # An answer that crossed the cancellation is nobody's fault.
        if request is not None:
            (<Request>request).cancelled = True
            if self.on_cancel is not None:
                self.on_cancel(request)
        return ck.PA_CHANNEL_OK
    if frame.kind == ck.PA_FRAME_LOG:
        if self.on_log is not None:
            self.on_log(payload_of(self, message, body.payload, body.payload_len))
        return ck.PA_CHANNEL_OK
    return ck.PA_CHANNEL_BAD_KIND


cdef int hand_out_answer(Channel self, ck.pa_message *message, ck.pa_body *body) except? -1:
    cdef ck.pa_frame *frame = &message.frame
    cdef _Waiter waiter = waiter_of(self, frame.call)
    # A queued call has not been sent: its answer is invented.
    if waiter is None or waiter.state == QUEUED:
        return BAD_ANSWER
    if frame.kind != ck.PA_FRAME_ERROR and frame.kind != waiter.kind + 1:
        return BAD_ANSWER
    drop_waiter(self, waiter)
    self.in_flight -= 1
    calls_ended(self, 1)
    if waiter.state == ABANDONED:
        self.abandoned -= 1
    else:
        context = None
        if body.context != NULL:
            context = PyBytes_FromStringAndSize(
                <const char *>body.context, <Py_ssize_t>body.context_len
            )
        finish(
            self,
            waiter,
            (
                frame.kind,
                frame.flags,
                context,
                payload_of(self, message, body.payload, body.payload_len),
            ),
        )
    if self.queue:
        flush(self)
    return ck.PA_CHANNEL_OK


cdef int hand_out_request(Channel self, ck.pa_message *message, ck.pa_body *body) except? -1:
    cdef ck.pa_frame *frame = &message.frame
    cdef Request request
    cdef _Waiter waiter
    # A peer that asks and does not read the answers would fill this side's memory with them.
    if request_count(self) + self.unsent_answers >= self.most_requests:
        return BAD_FLOOD
    if request_of(self, frame.call) is not None:
        return ck.PA_CHANNEL_BAD_CALL
    request = Request.__new__(Request)
    request.kind = frame.kind
    request.hook = frame.hook
    request.call = frame.call
    request.parent = body.parent
    request.deadline_ns = body.deadline_ns
    if body.context != NULL:
        request.context = PyBytes_FromStringAndSize(
            <const char *>body.context, <Py_ssize_t>body.context_len
        )
    request.payload = payload_of(self, message, body.payload, body.payload_len)
    add_request(self, request)
    waiter = waiter_of(self, body.parent) if body.parent else None
    if waiter is not None and waiter.state == SENT:
        request.scope = waiter.scope
        if self.on_nested is not None and not waiter.awaited:
            if waiter.nested is None:
                waiter.nested = deque()
            waiter.nested.append(request)
            wake(self, waiter)
            return ck.PA_CHANNEL_OK
    if self.on_request is not None:
        self.inbox.append(request)
    else:
        self.backlog.append(request)
    return ck.PA_CHANNEL_OK


cdef void wake(Channel self, _Waiter waiter) noexcept:
    if waiter.asleep:
        waiter.asleep = False
        PyThread_release_lock(waiter.bell)


cdef finish(Channel self, _Waiter waiter, outcome):
    """End a call with a reply or an exception."""
    waiter.state = DONE
    waiter.outcome = outcome
    if not waiter.awaited:
        wake(self, waiter)
    elif waiter.future is None:
        pass  # `start` has not returned yet.
    elif PyThread_get_thread_ident() == self.loop_thread:
        settle(waiter.future, outcome)
    elif self.loop is not None and not self.loop.is_closed():
        self.loop.call_soon_threadsafe(settle, waiter.future, outcome)


cdef int next_message(Channel self, ck.pa_message *message, uint64_t until) except? -1:
    """Wait for a frame: OK, TIMEOUT, AGAIN after a signal or a flush, or the end."""
    cdef uint64_t budget = ck.pa_link_spin_budget(&self.link)
    cdef uint64_t held = 0
    cdef uint64_t now
    cdef uint64_t left = NEVER
    cdef int status
    if self.unsent or self.queue or self.link.unsent_low != self.link.unsent_high:
        flush(self)
    # A look at the socket costs as much as a sleep that ends at once.
    if self.link.shared or budget or ck.pa_link_ready(&self.link):
        status = ck.pa_link_poll(&self.link, message)
        if status != ck.PA_CHANNEL_AGAIN:
            return status
    if budget:
        # Others that wait for answers may have more to send: let them.
        if waiter_count(self) <= 1:
            held = budget if budget < HELD_NS else HELD_NS
            status = ck.pa_link_spin(&self.link, message, held)
        if status == ck.PA_CHANNEL_AGAIN and budget > held:
            with nogil:
                status = ck.pa_link_spin(&self.link, message, budget - held)
        if status >= 0:
            ck.pa_link_spun(&self.link, status == ck.PA_CHANNEL_OK)
        if status != ck.PA_CHANNEL_AGAIN:
            return status
    if until:
        now = ck.pa_link_now()
        if now >= until:
            return ck.PA_CHANNEL_TIMEOUT
        left = until - now
    with nogil:
        status = ck.pa_link_park(&self.link, left)
    if status == ck.PA_CHANNEL_INTERRUPTED:
        PyErr_CheckSignals()
        return ck.PA_CHANNEL_AGAIN
    if status < 0:
        return status
    return ck.pa_link_poll(&self.link, message)


cdef bint lead(Channel self, _Waiter waiter, uint64_t until) except -1:
    """Receive until the waiter has what it waits for; False when the time ran out.

    Without a waiter: until there is something in the backlog. Requests for on_request also end
    it, since that is called when nobody leads.
    """
    cdef ck.pa_message message
    cdef int status
    cdef int handed = 0
    cdef bint found = True
    self.leading = True
    try:
        while not self.end_status:
            if waiter is not None:
                if waiter.has_work():
                    break
            elif self.backlog:
                break
            if self.inbox:
                break
            handed += 1
            if handed % TURN == 0 and until and ck.pa_link_now() >= until:
                found = False
                break
            status = next_message(self, &message, until)
            if status == ck.PA_CHANNEL_OK:
                status = hand_out(self, &message)
            if status == ck.PA_CHANNEL_TIMEOUT:
                found = False
                break
            if status < 0:
                fail(self, status, self.link.error)
    finally:
        self.leading = False
        hand_over(self)
    return found


cdef hand_over(Channel self):
    """Let another thread lead, or the event loop."""
    cdef _Waiter next_one
    if self.end_status:
        release(self)
        return
    if self.followers:
        for next_one in self.followers:
            if next_one.asleep:
                wake(self, next_one)
                return
    if self.loop is not None:
        let_loop_lead(self)


cdef bint follow(Channel self, _Waiter waiter, uint64_t until) except -1:
    """Sleep until there is something to do for this thread; False when the time ran out."""
    cdef long long microseconds = -1
    cdef uint64_t now
    cdef PyLockStatus status
    if until:
        now = ck.pa_link_now()
        if now >= until:
            return False
        microseconds = <long long>((until - now) // 1000 + 1)
    if waiter.bell == NULL:
        waiter.bell = PyThread_allocate_lock()
        if waiter.bell == NULL:
            raise MemoryError
        # Free, so this does not wait: whoever leads must not stop between the look at that and
        # this thread's sleep.
        PyThread_acquire_lock_timed(waiter.bell, 0, 0)
    waiter.asleep = True
    self.followers[waiter] = None
    with nogil:
        status = PyThread_acquire_lock_timed(waiter.bell, microseconds, 1)
    del self.followers[waiter]
    if status != PY_LOCK_ACQUIRED and not waiter.asleep:
        # It was woken at the same moment: the lock has to be taken before the next sleep.
        with nogil:
            PyThread_acquire_lock_timed(waiter.bell, -1, 0)
        status = PY_LOCK_ACQUIRED
    waiter.asleep = False
    if status == PY_LOCK_INTR:
        PyErr_CheckSignals()
    return status != PY_LOCK_FAILURE


cdef object wait_for_reply(
    Channel self, int kind, int hook, payload, context, uint64_t timeout_ns, scope
):
    """Make a call and wait for its reply."""
    cdef uint64_t until = 0
    cdef _Waiter waiter
    cdef bint found = True
    if timeout_ns:
        until = ck.pa_link_now() + timeout_ns
    if self.loop is not None and self.loop.is_closed():
        self.detach()
    waiter = begin(self, kind, hook, payload, context, timeout_ns)
    waiter.scope = scope
    try:
        while True:
            if not self.leading:
                found = lead(self, waiter, until)
            elif not waiter.has_work():
                found = follow(self, waiter, until)
            if self.inbox:
                run_inbox(self)
            if waiter.state == DONE:
                break
            if waiter.nested is not None:
                nested, waiter.nested = waiter.nested, None
                for request in nested:
                    self.on_nested(request)
                continue
            if not found:
                abandon(self, waiter)
                raise self.explain(ck.PA_CHANNEL_TIMEOUT, 0)
    except BaseException:
        abandon(self, waiter)
        refuse_nested(self, waiter)
        raise
    finally:
        # Somebody may have counted on this thread to lead.
        if self.followers and not self.leading:
            hand_over(self)
    if type(waiter.outcome) is tuple:
        return waiter.outcome
    raise waiter.outcome


cdef Request next_request(Channel self, uint64_t until):
    """Wait for a request of the peer; None when the time ran out."""
    cdef _Waiter waiter
    if self.backlog:
        return self.backlog.popleft()
    while True:
        if self.end_status:
            raise self.explain(self.end_status, self.end_errno)
        if not self.leading:
            if not lead(self, None, until) and not self.backlog:
                return None
        else:
            # Another thread of this side waits for an answer: it fills the backlog.
            waiter = _Waiter.__new__(_Waiter)
            if not follow(self, waiter, until) and not self.backlog:
                return None
        if self.inbox:
            run_inbox(self)
        if self.backlog:
            return self.backlog.popleft()


cdef run_inbox(Channel self):
    while self.inbox and not self.end_status:
        self.on_request(self.inbox.popleft())


cdef refuse_nested(Channel self, _Waiter waiter):
    """Let whoever serves requests answer those that belong to no call any more."""
    if waiter.nested is not None:
        (self.backlog if self.on_request is None else self.inbox).extend(waiter.nested)
        waiter.nested = None
        if self.on_request is not None and not self.leading:
            run_inbox(self)
