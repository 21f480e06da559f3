# cython: autotestdict=False
"""Calls over one channel, many at a time: a face over kernels/channel.

Whoever waits for an answer receives: the first thread that waits hands frames out to all others
("leads"), and passes that on when it has its own answer. An event loop that is attached leads while
no thread does. All bookkeeping happens under the interpreter lock, which is released to sleep.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cimport channel_kernel as ck
from budget_kernel cimport PA_WATCHED_CALLS, pa_call_begins, pa_calls_end, pa_watched_calls

from cpython.contextvars cimport get_value

from asyncio import _get_running_loop as running_loop
from collections import deque
from contextvars import ContextVar

import msgspec

cdef extern from *:
    """
    static int pa_can_be_awaited(PyObject *value) {
        PyAsyncMethods *const methods = Py_TYPE(value)->tp_as_async;
        return methods != NULL && methods->am_await != NULL;
    }
    """
    bint pa_can_be_awaited(object)

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock)
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock, long long, int) nogil
    void PyThread_release_lock(PyThread_type_lock)
    unsigned long PyThread_get_thread_ident()

# Kinds of frames.
REQUEST = ck.PA_FRAME_REQUEST
RESPONSE = ck.PA_FRAME_RESPONSE
CALL = ck.PA_FRAME_CALL
RESULT = ck.PA_FRAME_RESULT
ERROR = ck.PA_FRAME_ERROR

# Flags of a result.
STOP = ck.PA_F_FRAME_STOP
UNCHANGED = ck.PA_F_FRAME_UNCHANGED

# Statuses that Python tells apart; those below BAD are the peer's fault.
TIMEOUT = <int>ck.PA_CHANNEL_TIMEOUT
REFUSED = <int>ck.PA_CHANNEL_REFUSED
CLOSED = <int>ck.PA_CHANNEL_CLOSED
IO = <int>ck.PA_CHANNEL_IO
MEMORY = <int>ck.PA_CHANNEL_MEMORY
BAD = <int>ck.PA_CHANNEL_MEMORY
BUSY = 100
BAD_ANSWER = -100
BAD_FLOOD = -101
ENDED = -102

PROTOCOL_VERSION = ck.PA_JOIN_VERSION
MAGIC = ck.PA_JOIN_MAGIC
SHARED = ck.PA_JOIN_SHARED
# Whether this platform has memory files that cannot be truncated.
CAN_SHARE = bool(ck.PA_MEMORY_SEALED)

cdef uint64_t NEVER = ck.PA_LINK_NEVER
# Spinning for longer than this lets other Python threads run.
cdef uint64_t HELD_NS = 20000
# Bodies from this size on are handed out as they were received, without another copy.
cdef size_t LARGE = 16384
# Frames that are handed out between two looks at the clock, and in one turn of an event loop.
cdef int TURN = 64

# The requests of peers that the running code serves: channel, call id, what was served before.
serving = ContextVar("pluginapi_ipc_serving", default=None)
cdef bint serving_is_used = False

# msgspec reports values and bytes that do not fit by more than its own exceptions.
ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)
DECODE_ERRORS = (msgspec.DecodeError, *ENCODE_ERRORS)

cdef int QUEUED = 0
cdef int SENT = 1
cdef int DONE = 2
cdef int ABANDONED = 3


def explain(int status):
    """Say what a status of the kernel means, as a fragment of a sentence."""
    return (<bytes>ck.pa_channel_explain(<ck.pa_channel_status>status)).decode("ascii")


def ring_bytes(size_t capacity, size_t area_capacity):
    """Return the size of the memory that two rings need; 0 when a capacity is out of bounds."""
    return ck.pa_ring_bytes(capacity, area_capacity)


def make_memory(size_t size):
    """Make a sealed memory file; returns its descriptor."""
    cdef int fd = -1
    cdef int error = 0
    if ck.pa_memory_make(size, &fd, &error) != ck.PA_CHANNEL_OK:
        raise OSError(error, "memory file for a channel")
    return fd


def scan(data, uint32_t depth, uint32_t containers, uint32_t items):
    """Tell whether bytes are one msgpack value within these limits, without extension types."""
    cdef ck.pa_scan_limits limits
    cdef Py_buffer view
    limits.depth, limits.containers, limits.items = depth, containers, items
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return ck.pa_scan(<const uint8_t *>view.buf, <size_t>view.len, &limits) == 0
    finally:
        PyBuffer_Release(&view)


include "channel_objects.pxi"


@cython.final
cdef class Channel:
    """One end of a channel, with the calls that are in flight over it.

    Every method may be called from any thread. Replies are tuples ``(kind, flags, context,
    payload)``: kind is RESPONSE, RESULT or ERROR; context is bytes or None; payload is bytes, or a
    `Payload` when it is large.

    Args:
        fd: A connected stream socket, which the channel owns from now on.
        memory_fd: The memory file of the rings, or -1; stays the caller's.
        is_host: Which side this is. The host's side looks through every body before it hands it
            out.
        explain: Called with a status and an errno value; makes the exception to raise.
        max_len: Bytes of the longest body that is accepted and sent.
        spin_ns: How long to spin at most for an answer; 0 never spins.
        in_flight: Calls that are unanswered at the same time; more wait for their turn.
        queued: Calls that wait for their turn; more are refused with BUSY.
        requests: Requests of the peer that are unanswered at the same time; more end the channel.
        scan: Limits of a body: depth, containers, items.
    """

    cdef ck.pa_link link
    cdef ck.pa_scan_limits limits
    cdef ck.pa_buffer spare
    cdef bint hostile
    cdef bint released
    cdef object explain
    cdef object on_request
    cdef object on_nested
    cdef object on_cancel
    cdef object on_log
    cdef object on_end
    cdef _Waiter waiter
    cdef dict waiters
    cdef Request request
    cdef dict requests
    cdef object timer  # of the event loop: when the first awaited call is to be given up
    cdef uint64_t timer_at
    cdef object queue  # _Outgoing: calls beyond in_flight
    cdef object unsent  # _Outgoing: what found no room
    cdef int unsent_answers  # of these; the peer's requests count until their answer is sent
    cdef object backlog  # Request: for receive()
    cdef object inbox  # Request: for on_request, once nobody leads
    cdef dict followers  # _Waiter -> None, in order: threads that sleep until they are needed
    cdef bint leading
    cdef int in_flight
    cdef pa_watched_calls *watched  # who hears when calls begin and end, or NULL
    cdef object watched_by
    cdef readonly int most_in_flight
    cdef readonly int most_queued
    cdef readonly int most_requests
    cdef uint64_t next_call
    cdef readonly int end_status  # 0 while it is open
    cdef readonly int end_errno
    cdef uint64_t current  # the request that `run` serves
    cdef unsigned long current_thread
    cdef bint looking  # `look` is to be called in this or the next turn
    cdef bint owed  # calls were sent without a bell
    cdef object loop
    cdef unsigned long loop_thread
    cdef bint writing
    cdef object __weakref__
    cdef readonly uint64_t abandoned

    def __cinit__(
        self,
        int fd,
        int memory_fd,
        *,
        bint is_host,
        explain,
        uint32_t max_len,
        uint64_t spin_ns,
        int in_flight,
        int queued,
        int requests,
        tuple scan,
        size_t capacity=0,
        size_t area_capacity=0,
    ):
        cdef void *memory = NULL
        cdef int error = 0
        cdef int status
        self.prepare(is_host, explain, in_flight, queued, requests, scan)
        if memory_fd >= 0:
            if ck.pa_ring_bytes(capacity, area_capacity) == 0:
                raise ValueError("the capacity of a ring is out of bounds")
            status = ck.pa_memory_map(
                memory_fd, ck.pa_ring_bytes(capacity, area_capacity), &memory, &error
            )
            if status != ck.PA_CHANNEL_OK:
                raise explain(status, error)
        ck.pa_link_open(&self.link, fd, max_len, spin_ns)
        self.released = False
        if memory_fd >= 0:
            ck.pa_link_share(&self.link, memory, capacity, area_capacity, is_host)

    @staticmethod
    def join(int fd, *, bint rings, uint64_t timeout_ns, explain, **options):
        """Greet a host over a connected socket and open the worker's end as it says.

        The channel owns the socket when this succeeds.
        """
        cdef Channel channel = Channel.__new__(
            Channel, -1, -1, is_host=False, explain=explain, max_len=0, spin_ns=0, **options
        )
        cdef int error = 0
        cdef int status
        cdef uint32_t features = ck.PA_JOIN_SHARED if rings else 0
        with nogil:
            status = ck.pa_join(&channel.link, fd, features, timeout_ns, &error)
        if status != ck.PA_CHANNEL_OK:
            channel.end_status = ENDED
            channel.link.fd = -1
            raise explain(status, error)
        return channel

    cdef prepare(self, bint is_host, explain, in_flight, queued, requests, scan):
        self.released = True
        self.link.fd = -1
        self.hostile = is_host
        self.explain = explain
        self.limits.depth, self.limits.containers, self.limits.items = scan
        if self.limits.depth > ck.PA_SCAN_MOST_DEPTH:
            raise ValueError(f"a depth above {ck.PA_SCAN_MOST_DEPTH}")
        self.most_in_flight = in_flight
        self.most_queued = queued
        self.most_requests = requests
        self.waiters = {}
        self.requests = {}
        self.queue = deque()
        self.unsent = deque()
        self.backlog = deque()
        self.inbox = deque()
        self.followers = {}
        self.next_call = 1

    def __dealloc__(self):
        if not self.released or self.link.fd >= 0:
            ck.pa_link_close(&self.link)
        ck.pa_buffer_close(&self.spare)

    # ---- What others set once, before the first call ----

    def set_handlers(self, *, request=None, nested=None, cancel=None, log=None, end=None):
        """Set who is called: ``request`` with a `Request` that belongs to no call (without it,
        they wait for `receive`); ``nested`` with one that was made in the course of a call, on the
        thread that waits for that call; ``cancel`` with a request that the peer gave up on; ``log``
        with the bytes of a log line; ``end`` with status and errno, once.
        """
        self.on_request = request
        self.on_nested = nested
        self.on_cancel = cancel
        self.on_log = log
        self.on_end = end

    def watch_calls(self, capsule):
        """Tell who watches over processor time when calls of this side begin and end.

        None ends that. See `_budget.WatchedCalls.capsule`.
        """
        cdef pa_watched_calls *watched = NULL
        if capsule is not None:
            watched = <pa_watched_calls *>PyCapsule_GetPointer(capsule, PA_WATCHED_CALLS)
        calls_ended(self, <uint32_t>self.in_flight)
        self.watched = watched
        self.watched_by = capsule
        if watched != NULL:
            for _ in range(self.in_flight):
                pa_call_begins(watched)

    # ---- Sending ----

    cpdef answer(self, Request request, int kind, payload, int flags=0, context=None):
        """Answer a request of the peer; False when the channel has ended meanwhile.

        Raises:
            ValueError: When it was answered already.
        """
        cdef ck.pa_frame frame
        cdef ck.pa_body body
        cdef int status
        if request.answered:
            raise ValueError("the request was answered already")
        memset(&body, 0, sizeof(body))
        frame.kind = <uint8_t>kind
        frame.flags = <uint8_t>flags
        frame.hook = 0
        frame.call = request.call
        status = send_parts(self, &frame, &body, payload, context, None)
        if status == ck.PA_CHANNEL_REFUSED:
            raise self.explain(status, 0)
        request.answered = True
        drop_request(self, request.call)
        return status == ck.PA_CHANNEL_OK

    def log(self, payload):
        """Send a log line; False when the channel has ended. Dropped when there is no room."""
        cdef ck.pa_frame frame
        cdef ck.pa_part part
        cdef Py_buffer view
        cdef int status
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            frame.kind = <uint8_t>ck.PA_FRAME_LOG
            frame.flags = 0
            frame.hook = 0
            frame.call = 0
            frame.len = <uint32_t>view.len
            part.data = view.buf
            part.size = <size_t>view.len
            status = push(self, &frame, &part, 1)
        finally:
            PyBuffer_Release(&view)
        if status < 0 and not self.end_status:
            fail(self, status, self.link.error)
        return status == ck.PA_CHANNEL_OK

    # ---- Receiving ----

    def call(self, int kind, int hook, payload, context=None, uint64_t timeout_ns=0, scope=None):
        """Make a call and wait for its reply. timeout_ns 0 waits for ever."""
        return wait_for_reply(self, kind, hook, payload, context, timeout_ns, scope)

    def receive(self, *, uint64_t timeout_ns=0):
        """Wait for a request of the peer; None when the time ran out. 0 waits for ever."""
        return next_request(self, ck.pa_link_now() + timeout_ns if timeout_ns else 0)

    def serve(self, dict handlers, other, unusual):
        """Run handlers for the peer's calls, one after the other.

        ``other`` is called with every request that is no call of a sync handler in the table; it
        returns whether to stop. ``unusual`` is called as `run_handler` does.
        """
        cdef Request request
        while True:
            request = next_request(self, 0)
            handler = handlers.get(request.hook) if request.kind == ck.PA_FRAME_CALL else None
            if handler is not None and not (<Served?>handler).is_async:
                self.run_handler(request, <Served>handler, unusual)
            elif other(request):
                return

    cpdef run_handler(self, Request request, Served served, unusual):
        """Run a sync handler and answer its call.

        What it raised, or returned and is no value, goes to ``unusual`` instead, with the request,
        the handler and the changed context.
        """
        cdef uint64_t before = self.current
        cdef unsigned long thread_before = self.current_thread
        self.current = request.call
        self.current_thread = PyThread_get_thread_ident()
        try:
            value = served.decode(request.payload)
            context = None
            if served.context is None:
                result = served.function(value)
                if pa_can_be_awaited(result):
                    result = served.finish(result)
            else:
                token = served.context.begin(request.context)
                try:
                    result = served.function(value)
                    if pa_can_be_awaited(result):
                        # What it reads and changes belongs to this call too.
                        result = served.finish(result)
                finally:
                    context = served.context.end(token)
            if result is None:
                self.answer(request, ck.PA_FRAME_RESULT, b"", ck.PA_F_FRAME_UNCHANGED, context)
            elif type(result) is served.special:
                unusual(request, served, result, context)
            else:
                self.answer(request, ck.PA_FRAME_RESULT, served.encode(result), 0, context)
        except Exception as err:
            unusual(request, served, err, None)
        finally:
            self.current = before
            self.current_thread = thread_before

    def poll(self):
        """Hand out what has arrived, without waiting; returns the next request, or None."""
        if not self.leading and not self.end_status:
            drain(self, TURN)
        if self.inbox:
            run_inbox(self)
        return self.backlog.popleft() if self.backlog else None

    # ---- The event loop ----

    @property
    def attached(self):
        """The event loop that receives while no thread does, or None."""
        return self.loop

    def attach(self, loop):
        """Let an event loop receive while no thread waits; to be called on its thread."""
        if self.end_status:
            raise self.explain(self.end_status, self.end_errno)
        if self.loop is not None:
            raise RuntimeError("an event loop is attached already")
        loop.add_reader(self.link.fd, self.on_readable)
        self.loop = loop
        self.loop_thread = PyThread_get_thread_ident()
        if not self.leading:
            let_loop_lead(self)

    def detach(self):
        """Let go of the event loop; on its thread, or when it is closed."""
        loop, self.loop = self.loop, None
        self.loop_thread = 0
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
        if loop is not None and not loop.is_closed() and self.link.fd >= 0:
            loop.remove_reader(self.link.fd)
            if self.writing:
                loop.remove_writer(self.link.fd)
        self.writing = False

    def set_writer(self):
        """Have the loop call `on_writable` or not, as is needed now."""
        if self.loop is None or self.link.fd < 0:
            return
        if self.writing:
            self.loop.add_writer(self.link.fd, self.on_writable)
        else:
            self.loop.remove_writer(self.link.fd)

    def on_writable(self):
        """Send on what the socket did not take; called by the event loop."""
        if not self.end_status:
            flush(self)

    def look(self):
        """Take answers that came since the last turn, or soon; called by the event loop."""
        take_answers(self)

    def on_readable(self):
        """Hand out what has arrived; called by the event loop."""
        take_arrived(self)

    def start(self, int kind, int hook, payload, context=None, uint64_t timeout_ns=0, scope=None):
        """Make a call from the attached event loop: returns the reply if it comes while spinning,
        otherwise ``(future, call)``. When the time is over, the call is given up and its future
        ends.
        """
        return start_call(self, kind, hook, payload, context, timeout_ns, scope)

    def expire(self):
        """Give up the awaited calls whose time is over; called by the event loop."""
        give_up_late(self)

    def ring(self):
        """Ring the bell for the calls of this turn; called by the event loop."""
        cdef int status
        self.owed = False
        if not self.end_status:
            status = ck.pa_link_wake(&self.link)
            if status < 0:
                fail(self, status, self.link.error)

    def give_up(self, uint64_t call):
        """Abandon a call that `start` made: the peer is told, its answer will be dropped."""
        cdef _Waiter waiter = waiter_of(self, call)
        if waiter is not None:
            abandon(self, waiter)

    # ---- The end ----

    def finish_release(self):
        """Let go of the event loop and release; called by the event loop."""
        release(self)

    def end(self, int status, int error=0):
        """End the channel with a status; idempotent. Whoever waits gets the reason."""
        fail(self, status, error)
        release(self)

    @property
    def fd(self):
        """The socket, or -1 once it is closed."""
        return self.link.fd if not self.released else -1

    @property
    def shared(self):
        """Whether frames go through shared memory."""
        return bool(self.link.shared)

    @property
    def most_payload(self):
        """Bytes of the largest payload that can be sent."""
        return ck.pa_link_most(&self.link) - 32

    @property
    def pending(self):
        """Number of calls that have no answer yet, queued and abandoned ones among them."""
        return waiter_count(self)

    @property
    def serving(self):
        """Number of requests of the peer that have no answer yet."""
        return request_count(self)

    @property
    def stats(self):
        """What happened so far: counts by name."""
        return dict(self.link.stats)


include "channel_calls.pxi"
include "channel_sending.pxi"
include "channel_receiving.pxi"
include "channel_event_loop.pxi"
include "channel_end.pxi"
include "channel_remote.pxi"


def enter(channel, request):
    """Say that this context serves a request; returns the token for `leave`."""
    global serving_is_used
    serving_is_used = True
    return serving.set((channel, request.call, serving.get()))


def leave(token):
    """Say that it does so no more."""
    serving.reset(token)


def settle(future, outcome):
    """Give a future its reply or exception, unless it was cancelled."""
    if not future.done():
        if type(outcome) is tuple:
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
