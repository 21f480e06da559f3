# cython: autotestdict=False
"""The context that a worker is given with a call: read and written without asking the host."""

cimport cython
from cpython.contextvars cimport (
    PyContextVar_New,
    PyContextVar_Reset,
    PyContextVar_Set,
    get_value,
)

from pluginapi.errors import ContextError, ContextKeyNotFound

cdef object MISSING = object()
# Pushed values up to this size are kept decoded, as long as the same ones come again.
cdef Py_ssize_t MOST_KEPT = 65536


def unchanged(get, list keys not None, list found not None, missing):
    """Tell whether a context, of which this is the method ``get``, still holds the very values that
    were found under the keys.
    """
    cdef Py_ssize_t i
    if len(keys) != len(found):
        return False
    for i in range(len(keys)):
        if get(keys[i], missing) is not found[i]:
            return False
    return True


cdef bint can_be_shared(dict values) except -1:
    """Tell whether no value can change in place."""
    for value in values.values():
        if not (
            value is None
            or type(value) is str
            or type(value) is int
            or type(value) is bool
            or type(value) is float
            or type(value) is bytes
        ):
            return False
    return True


@cython.final
@cython.freelist(16)
cdef class _Call:
    """What came with one call and what its handler has changed so far."""

    cdef object token  # to take it out of the context variable; None once the call has ended
    cdef object pushed
    cdef dict values
    cdef bint shared  # the values belong to all calls: they are copied before a change
    cdef dict changed
    cdef dict removed


@cython.final
cdef class PushedContext:
    """Hold what was pushed with the call that runs, and what its handler changes.

    `begin` and `end` enclose a call. Calls may run at the same time as asyncio tasks, and within
    each other: code finds the call in whose context (PEP 567) it runs. The values are decoded when
    the first of them is read.

    Args:
        writable: Names of the keys that may be changed.
        decode: Makes a dict of names and values of msgpack.
        encode: Makes msgpack of a value.
        seal: Makes what `end` returns of encoded changes by name and a tuple of removed names.
    """

    cdef frozenset writable
    cdef object decode
    cdef object encode
    cdef object seal
    cdef object calls  # the context variable
    cdef bytes known  # what was pushed last, if its values can be shared by calls
    cdef dict known_values

    def __init__(self, writable, *, decode, encode, seal):
        self.writable = frozenset(writable)
        self.decode = decode
        self.encode = encode
        self.seal = seal
        self.calls = PyContextVar_New("pluginapi_pushed_context", NULL)

    cpdef begin(self, pushed):
        """Take the values that came with a call, msgpack or None; returns what `end` is given."""
        cdef _Call call = _Call.__new__(_Call)
        call.pushed = pushed
        call.token = PyContextVar_Set(self.calls, call)
        return call

    cpdef end(self, token):
        """Return what was changed since `begin`, or None."""
        cdef _Call call = <_Call?>token
        if call.token is None:
            raise ValueError("the call has ended already")
        PyContextVar_Reset(self.calls, call.token)
        call.token = None
        if call.changed is None and call.removed is None:
            return None
        return self.seal(call.changed or {}, tuple(call.removed or ()))

    @property
    def running(self):
        """Whether this code runs in the course of a call that has not ended."""
        call = get_value(self.calls)
        return call is not None and (<_Call>call).token is not None

    cdef _Call call(self):
        """Return the call in whose context this code runs."""
        call = get_value(self.calls)
        if call is None:
            raise ContextError(
                "the context of a call was used where no call runs",
                code="context.closed",
                hint="use it in a handler, or copy the handler's contextvars to the thread",
            )
        return <_Call>call

    cdef dict read(self, _Call call):
        cdef dict values
        if call.values is not None:
            return call.values
        if call.pushed is None:
            call.values = {}
        elif self.known is not None and call.pushed == self.known:
            call.values = self.known_values
            call.shared = True
        else:
            values = call.values = self.decode(call.pushed)
            if (
                type(call.pushed) is bytes
                and len(<bytes>call.pushed) <= MOST_KEPT
                and can_be_shared(values)
            ):
                self.known, self.known_values = call.pushed, values
                call.shared = True
        return call.values

    cdef dict own(self, _Call call):
        """Return the values, to be changed for this call alone."""
        self.read(call)
        if call.shared:
            call.values = call.values.copy()
            call.shared = False
        return call.values

    def removed(self, str name):
        """Tell whether the call that runs here has removed the key and not set it again."""
        call = get_value(self.calls)
        return (
            call is not None
            and (<_Call>call).token is not None
            and (<_Call>call).removed is not None
            and name in (<_Call>call).removed
        )

    def get(self, str name, default=MISSING):
        """Return a pushed value.

        Raises:
            ContextKeyNotFound: When it was not pushed and there is no default.
            ContextError: With code ``context.closed`` when no call runs here.
        """
        value = self.read(self.call()).get(name, default)
        if value is MISSING:
            raise ContextKeyNotFound(
                f"the context key {name!r} did not come with this call",
                hint="declare it in context_read, or ask the host for it",
                key=name,
            )
        return value

    def set(self, str name, value):
        """Change a value, here at once and at the host when the handler returns.

        Raises:
            ContextError: With code ``context.read_only`` when it may not be changed,
                ``context.closed`` when the call has ended or none runs here.
        """
        cdef _Call call = self.writable_call(name)
        data = self.encode(value)
        if call.changed is None:
            call.changed = {}
        call.changed[name] = data
        if call.removed is not None:
            call.removed.pop(name, None)
        self.own(call)[name] = value

    def remove(self, str name):
        """Remove a value, here at once and at the host when the handler returns.

        Raises:
            ContextError: With code ``context.read_only`` when it may not be changed,
                ``context.closed`` when the call has ended or none runs here.
        """
        cdef _Call call = self.writable_call(name)
        if call.removed is None:
            call.removed = {}
        call.removed[name] = None
        if call.changed is not None:
            call.changed.pop(name, None)
        self.own(call).pop(name, None)

    cdef _Call writable_call(self, str name):
        """Return the call that runs, if its handler may change the key."""
        cdef _Call call = self.call()
        if name not in self.writable:
            raise ContextError(
                f"context key {name!r} is read-only",
                code="context.read_only",
                hint="declare the key in context_write and let the operator grant it",
                key=name,
            )
        # What outlives its call would write where nobody looks any more.
        if call.token is None:
            raise ContextError(
                f"context key {name!r} was changed after the call had ended",
                code="context.closed",
                hint="wait in the handler for what changes the context",
                key=name,
            )
        return call
