# Calls that wait: coroutines are stepped by hand, in the caller's task.

cdef enum:
    FRESH     # the handler waits; nobody was told yet
    WAITING
    RUNNING
    OVER


cdef extern from *:
    """
    static int hk_step(PyObject *pending, PyObject *sent, PyObject **out);
    static hk_run *hk_run_of(PyObject *pending);
    static void hk_drop(PyObject *pending);

    /* Slots by hand: through am_send the end of a call costs no exception, and through
     * tp_iternext no traceback. */
    static PyObject *hk_iternext(PyObject *self) {
        PyObject *out = NULL;
        const int state = hk_step(self, Py_None, &out);
        if (state == 0) {
            if (out != Py_None) {
                hk_raise_stop(out);
            }
            Py_CLEAR(out);
        }
        return state < 0 ? NULL : out;
    }

    static PySendResult hk_am_send(PyObject *self, PyObject *sent, PyObject **out) {
        const int state = hk_step(self, sent, out);
        return state < 0 ? PYGEN_ERROR : state == 0 ? PYGEN_RETURN : PYGEN_NEXT;
    }

    /* The collector must see through the run, which Cython knows as plain memory. */
    static traverseproc hk_traverse_rest;
    static inquiry hk_clear_rest;

    static int hk_traverse(PyObject *self, visitproc visit, void *arg) {
        const hk_run *const run = hk_run_of(self);
        Py_VISIT(run->value);
        Py_VISIT(run->answer);
        Py_VISIT(run->errors);
        Py_VISIT(run->awaiting);
        Py_VISIT(run->yielded);
        Py_VISIT(run->timer);
        return hk_traverse_rest(self, visit, arg);
    }

    static int hk_clear(PyObject *self) {
        hk_drop(self);
        return hk_clear_rest == NULL ? 0 : hk_clear_rest(self);
    }

    static void hk_install(PyObject *type) {
        PyTypeObject *const slots = (PyTypeObject *)type;
        slots->tp_iternext = hk_iternext;
        slots->tp_as_async->am_send = hk_am_send;
        hk_traverse_rest = slots->tp_traverse;
        hk_clear_rest = slots->tp_clear;
        slots->tp_traverse = hk_traverse;
        slots->tp_clear = hk_clear;
        PyType_Modified(slots);
    }
    """
    void hk_install(object)


@cython.final
@cython.freelist(8)
@cython.no_gc_clear
cdef class PendingCall:
    """A call in which a handler waits: await it for the answer, once.

    `Hook.start` hands it out. It runs in the task that awaits it; no task is made. What is thrown
    into it, such as a cancellation, reaches the handler's innermost coroutine.
    """

    cdef Plan plan
    cdef const hk_plan *how
    cdef hk_run run
    cdef Py_ssize_t end
    cdef int state
    cdef object __weakref__

    __class_getitem__ = classmethod(types.GenericAlias)

    def __cinit__(self):
        # The free list hands out used memory.
        memset(&self.run, 0, sizeof(hk_run))
        self.state = OVER

    def __init__(self):
        raise TypeError("calls are made by Hook.start")

    def __dealloc__(self):
        hk.hk_close(&self.run)

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        # Replaced by the slot: never called.
        raise NotImplementedError

    def send(self, value):
        """Resume the handler that waits with a value, as `coroutine.send`."""
        cdef PyObject *out = NULL
        cdef int state = hk_step(self, <PyObject *>value, &out)
        if state < 0:
            raise_set()
        if state == 1:
            return take(out)
        hk.hk_raise_stop(take(out))
        raise_set()

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception in the handler that waits, as `coroutine.throw`."""
        cdef PyObject *out = NULL
        cdef int state
        error = value if isinstance(value, BaseException) else kind
        if isinstance(error, type):
            error = error() if value is None else error(value)
        if not isinstance(error, BaseException):
            raise TypeError("exceptions must be classes or instances deriving from BaseException")
        if traceback is not None:
            error = error.with_traceback(traceback)
        self.enter()
        state = self.throw_in(error, &out)
        if state < 0:
            raise_set()
        if state == 1:
            return take(out)
        hk.hk_raise_stop(take(out))
        raise_set()

    def close(self):
        """End the handler that waits by a GeneratorExit, as `coroutine.close`."""
        if self.state == OVER:
            return
        self.enter()
        try:
            self.abandon()
        finally:
            self.state = OVER
            hk.hk_close(&self.run)

    cdef int enter(self) except -1:
        """Begin a step that is thrown in."""
        if self.state == OVER:
            raise RuntimeError("cannot reuse already awaited hook call")
        if self.state == RUNNING:
            raise ValueError("hook call already executing")
        self.state = RUNNING
        hk.hk_wakes(self.how, &self.run)
        return 0

    cdef int abandon(self) except -1:
        """Close the handler that waits; what it raises propagates."""
        cdef Handler handler = self.waiting()
        cdef uint32_t outer
        handler.counts.calls += 1
        close = getattr(<object>self.run.awaiting, "close", None)
        outer = hk.hk_work_for(&self.how.entries[self.run.next - 1])
        try:
            if close is not None:
                close()
        finally:
            hk.hk_work_on(outer)
            if self.run.timer is not NULL:
                (<object>self.run.timer).release()
        return 0

    cdef Handler waiting(self):
        return <Handler>self.plan.handlers[self.run.next - 1]

    cdef int throw_in(self, error, PyObject **out) except -1:
        """As `hk_step`, with an exception instead of a value."""
        cdef PyObject *old = self.run.yielded
        cdef PyObject *result = NULL
        cdef uint32_t outer
        self.run.yielded = NULL
        Py_XDECREF(old)
        steps = <object>self.run.awaiting
        outer = hk.hk_work_for(&self.how.entries[self.run.next - 1])
        try:
            try:
                if isinstance(error, GeneratorExit):
                    close = getattr(steps, "close", None)
                    if close is not None:
                        close()
                    raise error
                throw = getattr(steps, "throw", None)
                if throw is None:
                    raise error
                yielded = throw(error)
            finally:
                hk.hk_work_on(outer)
        except StopIteration as stop:
            value = stop.value
            Py_INCREF(value)
            result = <PyObject *>value
        except BaseException as raised:
            kept = raised
        else:
            hk.hk_sleeps(self.plan, self.how, &self.run)
            self.state = WAITING
            Py_INCREF(yielded)
            out[0] = <PyObject *>yielded
            return 1
        if result is NULL:
            hk.hk_put_exception(kept)
            kept = None
        return self.settle(hk.hk_go_on(self.plan, self.how, &self.run, result, self.end), out)

    cdef int settle(self, hk_state state, PyObject **out) except -1:
        """Turn the state of the run into that of the call: 1 waits, 0 over, -1 raised."""
        if state == hk.HK_SUSPENDED:
            if out[0] is NULL:
                out[0] = self.run.yielded
                self.run.yielded = NULL
            self.state = WAITING
            try:
                self.arm()
            except BaseException:
                Py_DECREF(<object>out[0])
                out[0] = NULL
                self.state = OVER
                hk.hk_close(&self.run)
                raise
            return 1
        self.state = OVER
        if state == hk.HK_DONE:
            out[0] = hk.hk_finish(self.plan, self.how, &self.run)
            if out[0] is not NULL:
                return 0
        hk.hk_close(&self.run)
        return -1

    cdef int arm(self) except -1:
        """Start the clock of the handler that has begun to wait, if it has a deadline."""
        cdef Handler handler
        if self.run.timer is NULL and self.how.entries[self.run.next - 1].deadline:
            handler = self.waiting()
            timer = self.plan.spec.arm(handler, self.run.op_wall / 1e9)
            Py_INCREF(timer)
            self.run.timer = <PyObject *>timer
        return 0


cdef PendingCall pending_of(Plan plan, const hk_plan *how, hk_run *run, Py_ssize_t end):
    cdef PendingCall pending = PendingCall.__new__(PendingCall)
    pending.plan = plan
    pending.how = how
    pending.run = run[0]
    pending.end = end
    pending.state = FRESH
    return pending


cdef object refuse_waiting(PendingCall pending):
    """Close a call that waits where nobody can wait, and say which handler it was."""
    error = pending.plan.spec.suspended(pending.waiting())
    try:
        pending.close()
    except Exception as raised:
        raise error from raised
    raise error


cdef int hk_step "hk_step"(object pending, PyObject *sent, PyObject **out) except -1:
    cdef PendingCall self = <PendingCall>pending
    cdef hk_state state
    out[0] = NULL
    if self.state == WAITING:
        self.state = RUNNING
        state = hk.hk_send(self.plan, self.how, &self.run, sent, self.end, out)
        if state == hk.HK_SUSPENDED and self.run.timer is not NULL:
            self.state = WAITING
            return 1
        return self.settle(state, out)
    if self.state == FRESH:
        if sent is not <PyObject *>None:
            raise TypeError("can't send non-None value to a just-started hook call")
        return self.settle(hk.HK_SUSPENDED, out)
    self.enter()
    return -1


cdef void hk_drop "hk_drop"(object pending) noexcept:
    (<PendingCall>pending).state = OVER
    hk.hk_close(&(<PendingCall>pending).run)


cdef hk_run *hk_run_of "hk_run_of"(object pending) noexcept:
    return &(<PendingCall>pending).run


cdef void on_disarm(PyObject *owner, hk_run *run, Py_ssize_t index, int failed) noexcept:
    error = hk.hk_take_exception() if failed else None
    timer = <object>run.timer
    Py_DECREF(timer)
    run.timer = NULL
    try:
        error = timer.disarm(error)
    except BaseException as raised:
        error = raised
    if error is not None:
        hk.hk_put_exception(error)


hk.hk_cold.disarm = on_disarm
hk_install(PendingCall)
