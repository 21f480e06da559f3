# How a channel sends: calls, answers, what waits for room or for its turn.

cdef int push(Channel self, const ck.pa_frame *frame, const ck.pa_part *parts, size_t count):
    """Send a frame, behind those that wait for room."""
    if self.end_status:
        return ck.PA_CHANNEL_CLOSED
    if self.unsent and flush(self) != ck.PA_CHANNEL_OK:
        return ck.PA_CHANNEL_AGAIN
    if self.owed:
        return ck.pa_link_send_quietly(&self.link, frame, parts, count)
    return ck.pa_link_send(&self.link, frame, parts, count)


cdef int flush(Channel self):
    """Send what waits: first what found no room, then calls as far as the bound allows."""
    cdef _Outgoing item
    cdef ck.pa_part part
    cdef int status = ck.pa_link_flush(&self.link)
    while status == ck.PA_CHANNEL_OK:
        if self.unsent:
            item = self.unsent[0]
        elif self.queue and self.in_flight < self.most_in_flight:
            item = self.queue[0]
        else:
            break
        if item.waiter is not None and item.waiter.state == ABANDONED:
            # Given up on before it was sent: the peer never hears of it.
            (self.unsent or self.queue).popleft()
            if waiter_of(self, item.waiter.call) is item.waiter:
                drop_waiter(self, item.waiter)
                self.abandoned -= 1
            continue
        part.data = PyBytes_AS_STRING(item.body)
        part.size = <size_t>PyBytes_GET_SIZE(item.body)
        status = ck.pa_link_send(&self.link, &item.frame, &part, 1)
        if status == ck.PA_CHANNEL_OK:
            if self.unsent and item.frame.kind != ck.PA_FRAME_CANCEL:
                self.unsent_answers -= 1
            (self.unsent or self.queue).popleft()
            if item.waiter is not None:
                item.waiter.state = SENT
                call_began(self)
    if status < 0:
        fail(self, status, self.link.error)
    elif self.loop is not None:
        watch_writes(self)
    return status


cdef object keep(Channel self, const ck.pa_frame *frame, const ck.pa_part *parts, _Waiter waiter):
    """Copy a frame of three parts for later."""
    cdef _Outgoing item = _Outgoing.__new__(_Outgoing)
    cdef bytes body = PyBytes_FromStringAndSize(NULL, frame.len)
    cdef char *target = PyBytes_AS_STRING(body)
    cdef int i
    for i in range(3):
        if parts[i].size:
            memcpy(target, parts[i].data, parts[i].size)
            target += parts[i].size
    item.frame = frame[0]
    item.body = body
    item.waiter = waiter
    return item


cdef int send_parts(
    Channel self, ck.pa_frame *frame, ck.pa_body *body, payload, context, _Waiter waiter
) except? -1:
    """Send a frame or keep it for later. Returns a status: OK, REFUSED, BUSY or the end."""
    cdef Py_buffer payload_view
    cdef Py_buffer context_view
    cdef uint8_t prefix[32]
    cdef ck.pa_part parts[3]
    cdef int status
    # Releasing a view without an owner does nothing.
    memset(&payload_view, 0, sizeof(payload_view))
    memset(&context_view, 0, sizeof(context_view))
    if PyBytes_CheckExact(payload):
        payload_view.buf = PyBytes_AS_STRING(payload)
        payload_view.len = PyBytes_GET_SIZE(payload)
    else:
        PyObject_GetBuffer(payload, &payload_view, PyBUF_SIMPLE)
    try:
        if context is not None:
            PyObject_GetBuffer(context, &context_view, PyBUF_SIMPLE)
            # An empty object may have no memory at all.
            body.context = <const uint8_t *>context_view.buf if context_view.len else prefix
            body.context_len = <size_t>context_view.len
        body.payload_len = <size_t>payload_view.len
        if body.payload_len + body.context_len + 32 > self.link.max_len:
            return ck.PA_CHANNEL_REFUSED
        parts[0].data = prefix
        parts[0].size = ck.pa_frame_prefix(frame, prefix, body)
        parts[1].data = context_view.buf
        parts[1].size = body.context_len
        parts[2].data = payload_view.buf
        parts[2].size = body.payload_len
        if frame.len > ck.pa_link_most(&self.link):
            return ck.PA_CHANNEL_REFUSED
        if waiter is not None and (
            self.in_flight >= self.most_in_flight or self.queue or self.unsent
        ):
            if len(self.queue) >= self.most_queued:
                return BUSY
            self.queue.append(keep(self, frame, parts, waiter))
            return ck.PA_CHANNEL_OK
        status = push(self, frame, parts, 3)
        if status == ck.PA_CHANNEL_OK:
            if waiter is not None:
                waiter.state = SENT
                call_began(self)
        elif status == ck.PA_CHANNEL_AGAIN:
            (self.unsent if waiter is None else self.queue).append(
                keep(self, frame, parts, waiter)
            )
            self.unsent_answers += waiter is None
            status = ck.PA_CHANNEL_OK
        if self.loop is not None:
            watch_writes(self)
    finally:
        PyBuffer_Release(&payload_view)
        PyBuffer_Release(&context_view)
    if status < 0:
        fail(self, status, self.link.error)
    return status


cdef uint64_t parent(Channel self) except? 0:
    """Return the peer's call in whose course this code runs, or 0."""
    cdef tuple served
    if self.current and PyThread_get_thread_ident() == self.current_thread:
        return self.current
    if not serving_is_used:
        return 0
    served = <tuple>get_value(serving)
    while served is not None:
        if served[0] is self:
            return served[1]
        served = <tuple>served[2]
    return 0


cdef _Waiter begin(Channel self, int kind, int hook, payload, context, uint64_t deadline_ns):
    """Send a call of this side."""
    cdef ck.pa_frame frame
    cdef ck.pa_body body
    cdef _Waiter waiter
    cdef int status
    if self.end_status:
        raise self.explain(self.end_status, self.end_errno)
    waiter = _Waiter.__new__(_Waiter)
    waiter.call = self.next_call
    waiter.kind = kind
    self.next_call += 1
    memset(&body, 0, sizeof(body))
    body.deadline_ns = deadline_ns
    body.parent = parent(self)
    frame.kind = <uint8_t>kind
    frame.flags = 0
    frame.hook = <uint16_t>hook
    frame.call = waiter.call
    status = send_parts(self, &frame, &body, payload, context, waiter)
    if status != ck.PA_CHANNEL_OK:
        raise self.explain(status, self.link.error)
    add_waiter(self, waiter)
    return waiter


cdef abandon(Channel self, _Waiter waiter):
    """Give up on a call: tell the peer, and wait for nothing any more.

    What the peer asked in its course is given up as well: its answer is of no use.
    """
    cdef ck.pa_frame frame
    cdef ck.pa_part parts[3]
    cdef int status
    if waiter.state == DONE or waiter.state == ABANDONED or self.end_status:
        waiter.state = ABANDONED
        return
    self.abandoned += 1
    if waiter.state == QUEUED:
        # Skipped when its turn comes.
        waiter.state = ABANDONED
        return
    waiter.state = ABANDONED
    memset(parts, 0, sizeof(parts))
    frame.kind = <uint8_t>ck.PA_FRAME_CANCEL
    frame.flags = 0
    frame.hook = 0
    frame.call = waiter.call
    frame.len = 0
    status = push(self, &frame, parts, 0)
    if status == ck.PA_CHANNEL_AGAIN:
        self.unsent.append(keep(self, &frame, parts, None))
    elif status < 0:
        fail(self, status, self.link.error)
    for request in every_request(self):
        if (<Request>request).parent == waiter.call:
            (<Request>request).cancelled = True
            if self.on_cancel is not None:
                self.on_cancel(request)
