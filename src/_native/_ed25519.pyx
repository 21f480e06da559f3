"""Ed25519 verification over kernels/ed25519: one signature, or many at once.

The kernels are chosen at the first use, from the CPU level; see `_cpu`. Decoded keys do not depend
on the level.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint8_t

cimport cython
cimport ed25519_kernel as ed25519

import os
from enum import IntEnum

from pluginapi._native import _cpu

cdef enum:
    KEY_BYTES = ed25519.PA_ED25519_KEY_BYTES
    SIGNATURE_BYTES = ed25519.PA_ED25519_SIGNATURE_BYTES
    # Beyond the values of pa_ed25519_status: what the kernels are never given.
    WRONG_KEY_LENGTH = 16
    WRONG_SIGNATURE_LENGTH = 17


class Status(IntEnum):
    """What is wrong with a signature: pa_ed25519_status, and the lengths."""

    OK = ed25519.PA_ED25519_OK
    S_NOT_CANONICAL = ed25519.PA_ED25519_S_NOT_CANONICAL
    KEY_NOT_CANONICAL = ed25519.PA_ED25519_KEY_NOT_CANONICAL
    KEY_SMALL_ORDER = ed25519.PA_ED25519_KEY_SMALL_ORDER
    KEY_NOT_ON_CURVE = ed25519.PA_ED25519_KEY_NOT_ON_CURVE
    R_NOT_CANONICAL = ed25519.PA_ED25519_R_NOT_CANONICAL
    R_SMALL_ORDER = ed25519.PA_ED25519_R_SMALL_ORDER
    R_NOT_ON_CURVE = ed25519.PA_ED25519_R_NOT_ON_CURVE
    MISMATCH = ed25519.PA_ED25519_MISMATCH
    KEY_LENGTH = WRONG_KEY_LENGTH
    SIGNATURE_LENGTH = WRONG_SIGNATURE_LENGTH


# By value: calling an enumeration takes longer than everything else around a kernel.
cdef dict STATUSES = {int(status): status for status in Status}

cdef const ed25519.pa_ed25519_kernels *chosen = NULL
cdef int chosen_level = -1


cdef const ed25519.pa_ed25519_kernels *kernels() except NULL:
    if chosen is NULL:
        choose(_cpu.level())
    return chosen


cdef int choose(int level) except -1:
    global chosen, chosen_level
    cdef const ed25519.pa_ed25519_kernels *found = ed25519.pa_ed25519_kernels_of(level)
    if found is NULL or level > _cpu.detected():
        raise ValueError(f"this machine has no CPU level {level}")
    chosen_level = level
    chosen = found
    return 0


def level():
    """Return the number of the CPU level in use, an index of `_cpu.LEVELS`."""
    kernels()
    return chosen_level


def paths():
    """Return the names of the kernels in use."""
    return kernels().name.decode("ascii")


def _force_level(number):
    """Use the kernels of another level from now on; None goes back to the machine's own."""
    choose(_cpu.level() if number is None else number)


@cython.final
cdef class Key:
    """A public key, decoded once; `flaw` says whether it is a point that may be a key."""

    cdef ed25519.pa_ed25519_key key
    cdef int status
    cdef readonly bytes encoded

    def __cinit__(self, bytes encoded not None, /):
        self.encoded = encoded
        if PyBytes_GET_SIZE(encoded) != KEY_BYTES:
            self.status = WRONG_KEY_LENGTH
        else:
            self.status = <int>ed25519.pa_ed25519_key_decode(
                kernels(), &self.key, <const uint8_t *>PyBytes_AS_STRING(encoded))

    def __reduce__(self):
        return Key, (self.encoded,)

    @property
    def flaw(self):
        """The Status of the key: OK, or one that begins with KEY."""
        return STATUSES[self.status]


def verify(key, message, bytes signature not None, /):
    """Return the Status of one signature; `key` is a Key or its bytes."""
    cdef const ed25519.pa_ed25519_kernels *with_kernels = kernels()
    cdef Py_buffer view
    cdef const uint8_t *raw = <const uint8_t *>PyBytes_AS_STRING(signature)
    cdef int status
    if isinstance(key, Key):
        status = (<Key>key).status
        if status != 0:
            return STATUSES[status]
    elif PyBytes_GET_SIZE(<bytes?>key) != KEY_BYTES:
        return STATUSES[WRONG_KEY_LENGTH]
    if PyBytes_GET_SIZE(signature) != SIGNATURE_BYTES:
        return STATUSES[WRONG_SIGNATURE_LENGTH]
    PyObject_GetBuffer(message, &view, PyBUF_SIMPLE)
    if isinstance(key, Key):
        status = <int>with_kernels.verify(
            &(<Key>key).key, <const uint8_t *>view.buf, <size_t>view.len, raw)
    else:
        status = <int>with_kernels.verify_encoded(
            <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>view.buf,
            <size_t>view.len, raw)
    PyBuffer_Release(&view)
    return STATUSES[status]


@cython.final
cdef class _Batch:
    """The memory of a batch; a class so that it is released whatever happens."""

    cdef ed25519.pa_ed25519_signed *items
    cdef ed25519.pa_ed25519_status *statuses
    cdef Py_buffer *views
    cdef Py_ssize_t borrowed
    cdef list kept  # Owns what the items point to.

    def __cinit__(self, Py_ssize_t count):
        self.items = <ed25519.pa_ed25519_signed *>PyMem_Calloc(
            <size_t>count + 1, sizeof(self.items[0]))
        self.statuses = <ed25519.pa_ed25519_status *>PyMem_Calloc(
            <size_t>count + 1, sizeof(self.statuses[0]))
        self.views = <Py_buffer *>PyMem_Calloc(<size_t>count + 1, sizeof(Py_buffer))
        self.kept = []
        if self.items is NULL or self.statuses is NULL or self.views is NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.borrowed):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.items)
        PyMem_Free(self.statuses)
        PyMem_Free(self.views)

    cdef int add(self, ed25519.pa_ed25519_signed *item, key, message, bytes signature) except -1:
        """Fill an item; return 0, or the flaw that keeps it from the kernels."""
        cdef Py_buffer *view
        if isinstance(key, Key):
            if (<Key>key).status != 0:
                return (<Key>key).status
            item.key = &(<Key>key).key
            item.encoded_key = item.key.encoded
        elif PyBytes_GET_SIZE(<bytes?>key) != KEY_BYTES:
            return WRONG_KEY_LENGTH
        else:
            item.key = NULL
            item.encoded_key = <const uint8_t *>PyBytes_AS_STRING(key)
        if signature is None:
            raise TypeError("a signature is bytes, not None")
        if PyBytes_GET_SIZE(signature) != SIGNATURE_BYTES:
            return WRONG_SIGNATURE_LENGTH
        item.signature = <const uint8_t *>PyBytes_AS_STRING(signature)
        if PyBytes_CheckExact(message):
            item.message = <const uint8_t *>PyBytes_AS_STRING(message)
            item.length = <size_t>PyBytes_GET_SIZE(message)
        else:
            view = &self.views[self.borrowed]
            PyObject_GetBuffer(message, view, PyBUF_SIMPLE)
            self.borrowed += 1
            item.message = <const uint8_t *>view.buf
            item.length = <size_t>view.len
        self.kept.append((key, message, signature))
        return 0


def verify_batch(list triples not None, /):
    """Return the statuses of (key, message, signature) triples, and how they were judged.

    The statuses are one byte each; the second value counts signatures judged by a combination that
    held, each in a lane, and one by one. The interpreter lock is released.
    """
    cdef const ed25519.pa_ed25519_kernels *with_kernels = kernels()
    cdef Py_ssize_t count = len(triples)
    cdef _Batch batch = _Batch(count)
    cdef ed25519.pa_ed25519_batch_counts counts
    cdef bytearray statuses = bytearray(count)
    cdef list places = []  # Of the items that the kernels are given.
    cdef Py_ssize_t i
    cdef size_t given = 0
    cdef int flaw
    cdef int error
    cdef bytes random
    cdef const uint8_t *random_bytes
    for i in range(count):
        key, message, signature = triples[i]
        flaw = batch.add(&batch.items[given], key, message, signature)
        if flaw != 0:
            statuses[i] = flaw
        else:
            places.append(i)
            given += 1
    random = os.urandom(ed25519.PA_BATCH_SEED + ed25519.PA_BATCH_RANDOM * given)
    random_bytes = <const uint8_t *>PyBytes_AS_STRING(random)
    with nogil:
        error = ed25519.pa_ed25519_verify_batch(
            with_kernels, batch.items, given, random_bytes, batch.statuses, &counts)
    if error:
        raise MemoryError
    for i in range(<Py_ssize_t>given):
        statuses[<Py_ssize_t>places[i]] = <int>batch.statuses[i]
    return bytes(statuses), (counts.combined, counts.each, counts.one)
