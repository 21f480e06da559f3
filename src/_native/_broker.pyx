# cython: autotestdict=False
"""Connect on behalf of plugins: a thin face over kernels/broker."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cimport broker_kernel as kernel

import errno
import os

WOKEN = kernel.PA_BROKER_WOKEN
ASKED = kernel.PA_BROKER_ASKED
FULL = kernel.PA_BROKER_FULL
READABLE = kernel.PA_BROKER_READABLE
GONE = kernel.PA_BROKER_GONE
BINDS = kernel.PA_BROKER_BINDS
MOST_ADDRESSES = kernel.PA_VERDICT_ADDRESSES

cdef uint32_t MOST_CONNECTIONS = 1 << 20


cdef int fail(int error) except -1:
    if error != 0:
        raise OSError(error, os.strerror(error))
    return 0


cdef int fill(kernel.pa_endpoint *out, bytes address, int port) except -1:
    cdef Py_ssize_t size = len(address)
    if size not in (4, 16) or not 0 <= port <= 65535:
        raise ValueError("an address has 4 or 16 bytes, and a port is from 0 to 65535")
    memset(out, 0, sizeof(kernel.pa_endpoint))
    memcpy(out.address, <const char *>address, <size_t>size)
    out.port = <uint16_t>port
    out.family = 4 if size == 4 else 6
    return 0


cdef tuple told(const kernel.pa_endpoint *at):
    cdef const char *bytes_of = <const char *>at.address
    cdef Py_ssize_t size = 4 if at.family == 4 else 16
    return bytes_of[:size], at.port, bool(at.udp)


cdef class Broker:
    """Serve the connects of plugins; `run` on one thread, all else on any."""

    cdef kernel.pa_broker *core
    cdef bint running

    def __cinit__(self):
        fail(kernel.pa_broker_new(&self.core))

    def __dealloc__(self):
        if self.core != NULL:
            kernel.pa_broker_free(self.core)

    def add(self, int listener, uint32_t most):
        """Serve the listener of a plugin's filter, which is taken; return the plugin's number."""
        cdef uint64_t number = 0
        if most > MOST_CONNECTIONS:
            os.close(listener)
            raise ValueError(f"{most} connections are more than {MOST_CONNECTIONS}")
        fail(kernel.pa_broker_add(self.core, listener, most, &number))
        return number

    def remove(self, uint64_t plugin):
        """Serve a plugin no more; its calls fail from now on."""
        kernel.pa_broker_remove(self.core, plugin)

    def watch(self, int fd, uint64_t number):
        """Let `run` return (READABLE, number, ...) whenever a descriptor is readable."""
        if number >> 62:
            raise ValueError("the number has more than 62 bits")
        fail(kernel.pa_broker_watch(self.core, fd, number))

    def unwatch(self, int fd):
        """Watch a descriptor no more."""
        kernel.pa_broker_unwatch(self.core, fd)

    def forget(self, uint64_t plugin):
        """Forget what was decided for a plugin."""
        kernel.pa_broker_forget(self.core, plugin)

    def refuse(self, uint64_t token, int error):
        """Answer what was asked with an errno value."""
        if error <= 0:
            raise ValueError("an errno value is above 0")
        kernel.pa_broker_answer(self.core, token, error, NULL)

    def connect(self, uint64_t token, list to, uint64_t expires, bint own=False):
        """Answer what was asked: connect to the first of [(address, port), ...] that takes it.

        With ``own``, connect the plugin's own socket, in its own network. Until ``expires``, in ns
        of the monotonic clock, the plugin's connects to the same destination go there too, and
        nobody is asked. Returns False, and refuses, when the plugin has as many connections as it
        may.
        """
        cdef kernel.pa_verdict verdict
        cdef Py_ssize_t i
        if not 0 < len(to) <= kernel.PA_VERDICT_ADDRESSES:
            raise ValueError("a destination has 1 to 8 addresses")
        memset(&verdict, 0, sizeof(verdict))
        for i in range(len(to)):
            fill(&verdict.to[i], to[i][0], to[i][1])
        verdict.expires = expires
        verdict.count = <uint32_t>len(to)
        verdict.own = own
        return kernel.pa_broker_answer(self.core, token, 0, &verdict) != errno.EMFILE

    def give(self, uint64_t token, int socket, bint connected):
        """Answer what was asked with a socket, which takes the place of the plugin's.

        It is connected, and counts as one of its connections, or listens. Returns 0 or an errno
        value, which is what the plugin is told.
        """
        return kernel.pa_broker_give(self.core, token, socket, connected)

    def sockets(self, uint64_t plugin, uint32_t most):
        """Return the inodes of a plugin's connections that are not known to be closed."""
        cdef uint64_t *inodes = <uint64_t *>malloc((<size_t>most + 1) * sizeof(uint64_t))
        cdef uint32_t count, i
        if inodes == NULL:
            raise MemoryError
        count = kernel.pa_broker_sockets(self.core, plugin, inodes, most)
        found = [inodes[i] for i in range(count)]
        free(inodes)
        return found

    def closed(self, uint64_t plugin, uint64_t inode):
        """Say that one of them is closed."""
        kernel.pa_broker_closed(self.core, plugin, inode)

    def counts(self, uint64_t plugin):
        """Return how many connects succeeded, failed and were refused, or None without it."""
        cdef kernel.pa_broker_counts counts
        if not kernel.pa_broker_count(self.core, plugin, &counts):
            return None
        return counts.connected, counts.failed, counts.refused

    def run(self):
        """Serve until there is something to tell: (kind, plugin, token, address, port, udp).

        Without the GIL while there is not.

        Raises:
            RuntimeError: When another thread runs it.
        """
        cdef kernel.pa_broker_event event
        cdef int error
        if self.running:
            raise RuntimeError("the broker runs on another thread")
        self.running = True
        with nogil:
            error = kernel.pa_broker_run(self.core, &event)
        self.running = False
        fail(error)
        if event.kind in (kernel.PA_BROKER_WOKEN, kernel.PA_BROKER_READABLE, kernel.PA_BROKER_GONE):
            return <int>event.kind, event.plugin, 0, b"", 0, False
        return (<int>event.kind, event.plugin, event.token, *told(&event.wanted))

    def wake(self):
        """Let `run` return (WOKEN, ...)."""
        kernel.pa_broker_wake(self.core)
