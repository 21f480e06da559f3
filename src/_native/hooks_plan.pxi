# Handlers, their counts, and the plan that they are compiled into.

cdef extern from *:
    """
    /* Cython checks a returned object for NULL; these two let C results through as they are. */
    #define hk_take(result) (result)
    static PyObject *hk_null(void) { return NULL; }
    """
    object take "hk_take"(PyObject *)
    object raise_set "hk_null"()


cdef object FunctionType = types.FunctionType
cdef object MethodType = types.MethodType
cdef object BuiltinMethodType = types.BuiltinMethodType


@cython.no_gc_clear  # Plans borrow from it.
cdef class Handler:
    """What the loop knows of one registration: what to call, how, and its counts.

    Args:
        hook: Name of the hook.
        function: The callable, as it was registered.
        owner: Plugin of the handler, or None for the host.
        priority: Lower runs first.
        before: Owners in the same band that it runs before.
        after: Owners in the same band that it runs after.
        sequence: Place in the order of registration.
        target: What the plan calls, where that is not the function.
        names: Attributes of the value that it takes by keyword, or an empty tuple.
        takes_value: Whether it takes the value itself.
        wrapper: Whether it runs around the handlers after it.
        deadline: Seconds that it may take once it waits; 0 for no limit.
        account: Number of the `_heap.Account` that its memory counts for; 0 for none.
    """

    cdef readonly str hook
    cdef readonly object function
    cdef readonly object owner
    cdef readonly object priority
    cdef readonly tuple before
    cdef readonly tuple after
    cdef readonly uint64_t sequence
    cdef readonly double deadline
    cdef readonly bint wrapper
    cdef uint32_t account
    cdef bint takes_value
    cdef tuple names
    cdef object target
    cdef hk_counts counts
    cdef object __weakref__

    def __init__(
        self,
        str hook,
        function,
        owner,
        priority,
        tuple before=(),
        tuple after=(),
        uint64_t sequence=0,
        target=None,
        tuple names=(),
        bint takes_value=True,
        bint wrapper=False,
        double deadline=0,
        uint32_t account=0,
    ):
        if len(names) > hk.HK_NAMES_MAX:
            raise ValueError("too many names")
        if self.hook is not None:
            raise TypeError("a handler is made once: plans borrow from it")
        self.hook = hook
        self.function = function
        self.owner = owner
        self.priority = priority
        self.before = before
        self.after = after
        self.sequence = sequence
        self.target = function if target is None else target
        self.names = names
        self.takes_value = takes_value
        self.wrapper = wrapper
        self.deadline = deadline
        self.account = account

    def counted(self):
        """Return calls, errors, wall time in ns and CPU time in ns, as they are now."""
        cdef hk_counts now = self.counts
        running = hk.pa_clock_ns(now.ticks)
        waited = hk.pa_clock_ns(now.waited)
        return (
            now.calls,
            now.errors,
            now.wall_ns + <uint64_t>(running + waited),
            now.cpu_ns + <uint64_t>running,
        )

    def took(self):
        """Return how many timed calls took less than each of `latency_bounds`, one by one."""
        return tuple([self.counts.took[i] for i in range(hk.HK_BUCKETS)])

    def count_error(self):
        """Count an error that was found in the result of a call that had ended."""
        self.counts.errors += 1

    cdef int enter_into(self, hk_entry *entry, PyObject *rest, spec) except -1:
        cdef object target = self.target
        entry.counts = &self.counts
        entry.deadline = self.deadline > 0
        entry.account = self.account
        entry.callable = <PyObject *>target
        entry.extra = NULL
        if self.wrapper:
            entry.kind = hk.HK_REST
            entry.extra = rest
        elif isinstance(target, Native):
            entry.kind = hk.HK_NATIVE
            (<Native>target).returns(spec.returns.annotation)
        elif self.names:
            entry.kind = hk.HK_VALUE_AND_NAMED if self.takes_value else hk.HK_NAMED
            entry.extra = <PyObject *>self.names
        elif type(target) is FunctionType:
            entry.kind = hk.HK_FUNCTION
        elif type(target) is MethodType and type(target.__func__) is FunctionType:
            entry.kind = hk.HK_METHOD
            entry.callable = <PyObject *>target.__func__
            entry.extra = <PyObject *>target.__self__
        else:
            entry.kind = hk.HK_OTHER
        return 0


cdef class Meter:
    """Who is told of the CPU time of handler calls; one for all hooks of a registry."""

    cdef hk_meter how
    cdef readonly object observer

    def __cinit__(self):
        self.watch(None, 0)

    def watch(self, observer, uint64_t at_least_ns):
        """Tell ``observer(owner, hook, cpu_ns)`` of calls that took at least this CPU time.

        None tells nobody. The observer must not raise.
        """
        cdef uint64_t ticks = UINT64_MAX
        # Swapped before the old one goes, which may run code.
        old = self.observer
        self.observer = observer
        self.how.observer = NULL if observer is None else <PyObject *>observer
        self.how.floor_ns = at_least_ns
        if observer is not None:
            # A little early: both clocks are converted.
            ticks = hk.pa_clock_ticks_of(at_least_ns * 0.99)
        self.how.cold_ticks = min(ticks, hk.pa_clock_slow_ticks)
        del old


@cython.no_gc_clear  # It borrows from its handlers as long as it lives.
cdef class Plan:
    """The handlers of one hook, compiled: immutable, shared by all calls that start with it.

    Args:
        spec: The `HookSpec`: what is rare is decided there.
        handlers: In the order in which they run.
        meter: Who hears of CPU time.
        mode: Number of the `HookMode`.
        policy: Number of the `ErrorPolicy`.
        timed: Whether time is measured; calls and errors are counted always.
        takes: Classes of the values that are let in, or None for all.
        returns: Classes of the results that are let through, or None for all.
        rest: What the last handler, a wrapper, runs around: a plan, or another object with `start`.
        recorded: Whether each call is remembered for handlers that come late.
    """

    cdef hk_plan how
    cdef hk_plan one_by_one
    cdef readonly object spec
    cdef readonly tuple handlers
    cdef readonly object rest
    cdef readonly bint recorded
    cdef int policy
    cdef readonly Meter meter
    cdef tuple takes
    cdef tuple returns

    def __cinit__(
        self,
        spec,
        tuple handlers not None,
        Meter meter not None,
        int mode,
        int policy,
        bint timed,
        tuple takes,
        tuple returns,
        rest=None,
        bint recorded=False,
    ):
        cdef Py_ssize_t index
        cdef hk_plan *how = &self.how
        self.spec = spec
        self.handlers = handlers
        self.rest = rest
        self.recorded = recorded
        self.policy = policy
        self.meter = meter
        self.takes = takes
        self.returns = returns
        how.count = len(handlers)
        how.mode = <hk.hk_mode>mode
        how.timed = timed
        how.takes_all = takes is None
        how.returns_all = returns is None
        how.takes = <PyObject *>takes
        how.returns = <PyObject *>returns
        how.meter = &meter.how
        if takes is not None and len(takes) == 1:
            how.takes_one = <PyTypeObject *>takes[0]
            if (returns is None or takes[0] in returns) and not hasattr(takes[0], "__await__"):
                how.plain = how.takes_one
        if handlers:
            how.entries = <hk_entry *>PyMem_Calloc(<size_t>how.count, sizeof(hk_entry))
            if how.entries is NULL:
                raise MemoryError
            for index in range(how.count):
                (<Handler?>handlers[index]).enter_into(
                    &how.entries[index], <PyObject *>rest, spec
                )
        self.one_by_one = how[0]
        self.one_by_one.mode = hk.HK_SINGLE

    def __dealloc__(self):
        PyMem_Free(self.how.entries)

    def __len__(self):
        return self.how.count

    def start(self, value):
        """As `HookCore.start`, for the rest that a wrapper runs around."""
        return answer_of(self, value, True)

    def start_one(self, Py_ssize_t index, value):
        """Run one handler alone and return what it returned, unchecked, or a `PendingCall`.

        What it raises passes through, whatever the error policy.
        """
        cdef hk_run run
        cdef hk_state state
        cdef PyObject *answer
        if not 0 <= index < self.how.count:
            raise IndexError("no such handler")
        hk.hk_open(&run, value)
        run.single = 1
        run.next = index
        state = hk.hk_advance(self, &self.one_by_one, &run, index + 1)
        if state == hk.HK_SUSPENDED:
            return pending_of(self, &self.one_by_one, &run, index + 1)
        if state == hk.HK_DONE:
            answer = hk.hk_finish(self, &self.one_by_one, &run)
            if answer is not NULL:
                return take(answer)
        hk.hk_close(&run)
        raise_set()


def compiled(
    spec,
    tuple handlers not None,
    Meter meter not None,
    int mode,
    int policy,
    bint timed,
    tuple takes,
    tuple returns,
    bint recorded=False,
):
    """Return the plan of these handlers: what comes after a wrapper becomes a plan of its own."""
    cdef Py_ssize_t index
    rest = None
    for index in range(len(handlers)):
        if (<Handler>handlers[index]).wrapper:
            rest = compiled(
                spec, handlers[index + 1:], meter, mode, policy, timed, takes, returns
            )
            handlers = handlers[:index + 1]
            break
    return Plan(spec, handlers, meter, mode, policy, timed, takes, returns, rest, recorded)


cdef extern from *:
    """
    /* Whether a Python function can be called with `given` positional arguments, and a call runs
     * it: 1 yes, 0 not so simple. */
    static int hk_takes(PyObject *function, Py_ssize_t given) {
        const PyCodeObject *const code = (PyCodeObject *)PyFunction_GET_CODE(function);
        PyObject *const defaults = PyFunction_GET_DEFAULTS(function);
        const Py_ssize_t optional = defaults == NULL ? 0 : PyTuple_GET_SIZE(defaults);
        return code->co_kwonlyargcount == 0 &&
               (code->co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR)) == 0 &&
               code->co_argcount - optional <= given && given <= code->co_argcount;
    }
    """
    bint hk_takes(object, Py_ssize_t)


def latency_bounds():
    """Return below how many ns the calls of each of `Handler.took` took, but for the last."""
    return tuple([hk.pa_clock_ns(<uint64_t>1 << i) for i in range(hk.HK_BUCKETS - 1)])


def takes_one_argument(function):
    """Tell at once of the usual handler that a hook can call it; False means to look closely."""
    if type(function) is FunctionType:
        return hk_takes(function, 1) and not hasattr(function, "__wrapped__")
    if type(function) is MethodType:
        inner = function.__func__
        return (
            type(inner) is FunctionType
            and hk_takes(inner, 2)
            and not hasattr(inner, "__wrapped__")
        )
    return False


def holds(tuple entries not None, owner, function):
    """Tell whether an owner registered this callable, or holds that very registration."""
    cdef Handler entry
    kind = type(function)
    for entry in entries:
        if entry.owner is not owner and not entry.owner == owner:
            continue
        if function is entry.function or function is entry:
            return True
        # Every access to obj.method makes a new object; they are equal by object and function.
        if (
            (kind is MethodType or kind is BuiltinMethodType)
            and type(entry.function) is kind
            and function == entry.function
        ):
            return True
    return False


def inserted(tuple entries not None, Handler entry not None):
    """Return the entries with one more in its place, or None when before= or after= decide it."""
    cdef Py_ssize_t place = len(entries)
    cdef Handler other
    if entry.before or entry.after:
        return None
    for other in entries:
        if other.before or other.after:
            return None
    # A late handler comes last of its priority, and most come late.
    while place > 0 and (<Handler>entries[place - 1]).priority > entry.priority:
        place -= 1
    return (*entries[:place], entry, *entries[place:])


# What the loop cannot decide

cdef int on_failed(PyObject *owner, hk_run *run, Py_ssize_t index) except -1:
    cdef Plan plan = <Plan>owner
    cdef Handler handler = <Handler>plan.handlers[index]
    error = hk.hk_take_exception()
    if not isinstance(error, Exception):
        hk.hk_put_exception(error)
        return -1
    if isinstance(error, StopIteration):
        # It would end whoever awaits the hook; coroutines turn it into this too.
        error = plan.spec.stop_iteration(handler, error)
    if handler.blame(error):
        handler.counts.errors += 1
    if run.single or plan.policy == 0:
        hk.hk_put_exception(error)
        return -1
    if plan.policy == 2:
        if run.errors is NULL:
            errors = []
            Py_INCREF(errors)
            run.errors = <PyObject *>errors
        (<list>run.errors).extend(plan.spec.parts(handler, error))
        return 0
    answer = plan.spec.isolated(handler, error)
    if answer is None:
        return 0
    set_answer(run, answer)
    return 1


cdef void set_answer(hk_run *run, answer):
    cdef PyObject *old = run.answer
    Py_INCREF(answer)
    run.answer = <PyObject *>answer
    Py_XDECREF(old)


cdef void on_unwanted(PyObject *owner, PyObject *value) except *:
    plan = <Plan>owner
    plan.spec.refuse_value(<object>value)


cdef void on_group(PyObject *owner, hk_run *run) except *:
    plan = <Plan>owner
    plan.spec.raise_group(<list>run.errors)


cdef void on_refused(PyObject *owner, Py_ssize_t index, PyObject *result) except *:
    plan = <Plan>owner
    plan.spec.refuse_result(plan.handlers[index], <object>result)


cdef int on_object(PyObject *owner, hk_run *run, Py_ssize_t index, PyObject *result) except -1:
    plan = <Plan>owner
    set_answer(run, plan.spec.objection(plan.handlers[index], <object>result))
    return 0


cdef void on_observe(PyObject *owner, Py_ssize_t index, uint64_t cpu_ns) noexcept:
    # The handler may have raised: that stays as it is.
    cdef PyObject *kind
    cdef PyObject *value
    cdef PyObject *traceback
    plan = <Plan>owner
    observer = plan.meter.observer
    handler = <Handler>plan.handlers[index]
    PyErr_Fetch(&kind, &value, &traceback)
    try:
        if observer is not None:
            observer(handler.owner, handler.hook, cpu_ns)
    except KeyboardInterrupt:
        # The call is in the middle of its accounts: it comes again at the next occasion.
        PyErr_SetInterrupt()
    finally:
        PyErr_Restore(kind, value, traceback)


cdef extern from "Python.h":
    void PyErr_Fetch(PyObject **, PyObject **, PyObject **)
    void PyErr_Restore(PyObject *, PyObject *, PyObject *)
    void PyErr_SetInterrupt()


def count_memory(entrance not None):
    """Let handlers work for the accounts of their owners, from now on; takes `_heap.entrance`."""
    hk.hk_heap_enter = <uint32_t (*)(uint32_t) noexcept nogil>PyCapsule_GetPointer(
        entrance, PA_HEAP_ENTRANCE
    )


def connect(type stop not None, allowed not None):
    """Give the loop the class of results that end a call, and the answer of no objection."""
    Py_INCREF(stop)
    Py_INCREF(allowed)
    hk.hk_cold.stop = <PyTypeObject *>stop
    hk.hk_cold.allowed = <PyObject *>allowed


hk.pa_clock_open()
hk.hk_cold.failed = on_failed
hk.hk_cold.unwanted = on_unwanted
hk.hk_cold.group = on_group
hk.hk_cold.refused = on_refused
hk.hk_cold.object = on_object
hk.hk_cold.observe = on_observe
