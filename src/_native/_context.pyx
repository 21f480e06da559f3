"""The fast path of the shared context: values by slot number instead of by name.

A key has a slot number, the same in every context; a view has for each number the cell that it may
read and the cell that it may write, once pluginapi.context has found that it may. What is not bound
is asked for there: permissions, first uses, types that are no single class, errors.
"""

cimport cython
from cpython.object cimport PyObject

import weakref

cdef extern from "adopt.h":
    """
    #define ctx_type_is(object, type) (Py_TYPE(object) == (PyTypeObject *)(type))
    """
    int pa_adopt(object, object, const char *) except -1
    bint ctx_type_is(object, PyObject *)
    # Borrowed: nothing else runs while they are looked at.
    PyObject *item_of "PyList_GET_ITEM"(object, size_t)
    size_t length_of "(size_t)PyList_GET_SIZE"(object)

cdef object MISSING = object()

cdef enum:
    # More are not worth their memory in every view: later keys go by name.
    SLOTS = 4096

cdef Py_ssize_t free_slots[SLOTS]
cdef Py_ssize_t free_count = 0
cdef Py_ssize_t used_slots = 0


@cython.final
cdef class Slot:
    """A slot number, for as long as a key or a cell has it."""

    cdef readonly Py_ssize_t number
    cdef object __weakref__

    def __cinit__(self):
        global free_count, used_slots
        self.number = -1
        if free_count > 0:
            free_count -= 1
            self.number = free_slots[free_count]
        elif used_slots < SLOTS:
            self.number = used_slots
            used_slots += 1

    def __dealloc__(self):
        global free_count
        if self.number >= 0:
            free_slots[free_count] = self.number
            free_count += 1


# Of a key that was not initialised: it is always asked for.
cdef Slot no_slot = Slot.__new__(Slot)
no_slot.number = -1
used_slots = 0

cdef object slots = weakref.WeakValueDictionary()


cdef class Key:
    """A name with its slot, and the class of its values where it is one class.

    Args:
        name: The name; keys of the same name share a slot.
        exact: The class whose own instances are good without a further look, or None.
        anything: Whether every value is good.
    """

    cdef readonly str name
    cdef Slot slot
    cdef object exact
    cdef bint anything
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        self.slot = no_slot

    def __init__(self, str name not None, exact=None, bint anything=False):
        if self.slot is not no_slot:
            raise TypeError("a key is made once")
        slot = slots.get(name)
        # Another thread may come between: the one that is stored counts.
        self.slot = slots.setdefault(name, Slot()) if slot is None else slot
        self.name = name
        self.exact = exact
        self.anything = anything

    @property
    def slot_number(self):
        """Number of the slot that contexts find values of this name by; -1 without one."""
        return self.slot.number


@cython.final
cdef class Cell:
    """One value of a context under its name. Empty once the value is removed, and then for good."""

    cdef readonly Key key
    cdef readonly bint watched
    cdef object value
    cdef bint full

    def __init__(self, Key key not None, value, bint watched=False):
        self.key = key
        self.value = value
        self.full = True
        self.watched = watched

    def get(self, missing):
        """Return the value, or `missing`."""
        return self.value if self.full else missing

    def put(self, Key key not None, value):
        """Swap the value, which `key` accepts; return the old one, to be dropped by the caller."""
        old = self.value
        self.key = key
        self.value = value
        return old

    def empty(self):
        """Remove the value for good; return it."""
        old = self.value
        self.full = False
        self.value = None
        return old

    def watch(self, bint watched):
        """Let every change come by pluginapi.context, which tells who watches."""
        self.watched = watched


cdef class ContextCore:
    """What a view of a context has found that it may read and write."""

    cdef list readable
    cdef list writable
    cdef readonly bint closed
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        self.readable = []
        self.writable = []

    def __getitem__(self, key):
        """Return the value under a key.

        Raises:
            As `get` without a default.
        """
        cdef PyObject *found = read(self, key)
        return self._find_value(key) if found is NULL else <object>found

    def get(self, key, default=MISSING):
        """Return the value under a key, or the default where one is given.

        Raises:
            ContextKeyNotFound: When there is none and no default.
            ContextTypeError: When the value was set through a key of the same name and another
                type, and is not of this key's.
            ContextError: With code ``context.closed`` when the view is closed.
        """
        cdef PyObject *found = read(self, key)
        if found is not NULL:
            return <object>found
        if default is MISSING:
            return self._find_value(key)
        return self._find_value(key, default)

    def __setitem__(self, key, value):
        """Put a value under a key, as `set`."""
        if not write(self, key, value):
            self._put_value(key, value)

    def set(self, key, value):
        """Put a value under a key, in place of the one that was there.

        Raises:
            ContextTypeError: When the value is not of the key's type, or not of the type that the
                name was first set with.
            ContextKeyNotFound: When the plugin may neither read nor write the key.
            ContextError: ``context.read_only`` when it may only read it, ``context.full`` when
                there are `MAX_KEYS` keys, ``context.closed``.
        """
        if not write(self, key, value):
            self._put_value(key, value)

    def __delitem__(self, Key key not None):
        """Remove a key and its value, as `remove`."""
        self.remove(key)

    def _bind(self, Key key not None, Cell readable, Cell writable):
        """Let later uses of a key find these cells at once; None leaves what is there."""
        cdef Py_ssize_t number = key.slot.number
        if number < 0 or self.closed:
            return
        bind(self.readable, number, readable)
        bind(self.writable, number, writable)

    def _unbind(self, Key key not None):
        """Forget what was found for a key."""
        cdef Py_ssize_t number = key.slot.number
        if number < 0:
            return
        if number < len(self.readable):
            self.readable[number] = None
        if number < len(self.writable):
            self.writable[number] = None

    def _shut(self):
        """Close for good: from now on every use is asked for, and refused."""
        self.closed = True
        old = self.readable, self.writable
        self.readable = []
        self.writable = []
        return old


cdef type usual_key = Key


cdef inline bint is_key(object given) except -1:
    # The check for a subclass costs a third of a look-up: the usual one is known by its address.
    if ctx_type_is(given, <PyObject *>usual_key) or isinstance(given, Key):
        return True
    raise TypeError(f"a context key is wanted, not {type(given).__name__}")


def use_key_class(type kind not None):
    """Tell the class that nearly all keys have."""
    global usual_key
    if not issubclass(kind, Key):
        raise TypeError("not a subclass of Key")
    usual_key = kind
    return kind


cdef inline PyObject *bound_in(list cells, object key) noexcept:
    """Return the cell that is bound to a key if it has a value, borrowed, or NULL."""
    cdef size_t number = <size_t>(<Key>key).slot.number
    cdef PyObject *cell
    if number < length_of(cells):
        cell = item_of(cells, number)
        if cell is not <PyObject *>None and (<Cell>cell).full:
            return cell
    return NULL


cdef inline PyObject *read(ContextCore self, object key) except? NULL:
    """Return the value that is bound to a key, borrowed, or NULL when it has to be asked for."""
    cdef PyObject *cell
    is_key(key)
    cell = bound_in(self.readable, key)
    if cell is not NULL and (
        <PyObject *>(<Cell>cell).key is <PyObject *>key
        or ctx_type_is((<Cell>cell).value, <PyObject *>(<Key>key).exact)
        or (<Key>key).anything
    ):
        return <PyObject *>(<Cell>cell).value
    return NULL


cdef inline bint write(ContextCore self, object key, value) except -1:
    """Put a value into the cell that is bound to a key; False when that has to be asked for."""
    cdef PyObject *cell
    is_key(key)
    cell = bound_in(self.writable, key)
    if (
        cell is not NULL
        and <PyObject *>(<Cell>cell).key is <PyObject *>key
        and not (<Cell>cell).watched
        and ctx_type_is(value, <PyObject *>(<Key>key).exact)
    ):
        # The old value goes last: what is freed may run code that comes back here.
        old = (<Cell>cell).value
        (<Cell>cell).value = value
        del old
        return True
    return False


def adopt(type kind not None):
    """Give a subclass of `ContextCore` methods that are as fast as those of `ContextCore`."""
    if not issubclass(kind, ContextCore):
        raise TypeError("not a subclass of ContextCore")
    pa_adopt(kind, ContextCore, "get")
    pa_adopt(kind, ContextCore, "set")
    return kind


cdef int bind(list cells, Py_ssize_t number, Cell cell) except -1:
    if cell is None:
        return 0
    while len(cells) <= number:
        cells.append(None)
    cells[number] = cell
    return 0
