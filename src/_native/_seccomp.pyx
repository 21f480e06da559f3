# cython: autotestdict=False
"""Filters for system calls: a thin face over kernels/seccomp."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport seccomp_kernel as kernel

MOST_INSTRUCTIONS = kernel.PA_BPF_MOST

# What refused programs and policies are refused for, by the number in the exceptions' arguments.
FAULTS = (
    "",
    "the program has no instruction",
    "the program has more than 4096 instructions",
    "seccomp filters may not have this instruction",
    "it loads from no word of struct seccomp_data",
    "it jumps beyond the end",
    "the last instruction does not return",
    "it divides by the constant 0",
    "it shifts by 32 or more",
    "it uses one of the 16 memory words that is not there",
    "it may read a memory word before it was written",
)


cdef extern from *:
    """
    typedef struct arena {
        pa_seccomp_call *calls;
        pa_seccomp_clause *clauses;
        pa_seccomp_condition *conditions;
        uint64_t *values;
    } arena;
    """
    ctypedef struct arena:
        kernel.pa_seccomp_call *calls
        kernel.pa_seccomp_clause *clauses
        kernel.pa_seccomp_condition *conditions
        uint64_t *values


cdef void *take(size_t count, size_t size) except NULL:
    cdef void *memory = PyMem_Malloc((count + 1) * size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef int fill_clause(arena *room, tuple clause) except -1:
    """Write a clause, its conditions and their values; advance what is left of the room."""
    cdef kernel.pa_seccomp_condition *at
    cdef tuple conditions = <tuple?>clause[1]
    cdef tuple condition, values
    room.clauses.action = clause[0]
    room.clauses.conditions = room.conditions
    room.clauses.count = len(conditions)
    room.clauses += 1
    for condition in conditions:
        at = room.conditions
        room.conditions += 1
        values = <tuple?>condition[4]
        at.argument = condition[0]
        at.width = condition[1]
        at.op = <kernel.pa_seccomp_op><int>condition[2]
        at.mask = condition[3]
        at.values = room.values
        at.count = len(values)
        for value in values:
            room.values[0] = value
            room.values += 1
    return 0


cdef int fill_calls(arena *room, list calls) except -1:
    cdef tuple call, clauses, clause
    for call in calls:
        clauses = <tuple?>call[1]
        room.calls.number = call[0]
        room.calls.clauses = room.clauses
        room.calls.count = len(clauses)
        room.calls += 1
        for clause in clauses:
            fill_clause(room, clause)
    return 0


cdef int count_all(list calls, size_t *sizes) except -1:
    """Add up calls, clauses, conditions and values."""
    cdef tuple call, clause, condition
    sizes[0] += len(calls)
    for call in calls:
        sizes[1] += len(<tuple?>call[1])
        for clause in <tuple?>call[1]:
            sizes[2] += len(<tuple?>clause[1])
            for condition in <tuple?>clause[1]:
                sizes[3] += len(<tuple?>condition[4])
    return 0


def assemble(tuple archs, uint32_t foreign):
    """Return the program of a policy as the bytes of an array of struct sock_filter.

    Args:
        archs: For each architecture AUDIT_ARCH value, whether it is big-endian, the action for
            calls that are not listed, the first number of another ABI or 0, the action for those,
            and the calls: (number, clauses) in ascending order. A clause is (action, conditions), a
            condition (argument, width, operator, mask, values).
        foreign: The action for every other architecture.

    Raises:
        ValueError: With the status, a number below 0, as its argument.
    """
    cdef kernel.pa_seccomp_policy policy
    cdef kernel.pa_seccomp_arch *c_archs = NULL
    cdef kernel.pa_bpf *out = NULL
    cdef arena begin, room
    cdef size_t sizes[4]
    cdef size_t length = 0
    cdef kernel.pa_seccomp_status status
    cdef Py_ssize_t i
    cdef tuple arch
    begin.calls = NULL
    begin.clauses = NULL
    begin.conditions = NULL
    begin.values = NULL
    sizes[0] = sizes[1] = sizes[2] = sizes[3] = 0
    for arch in archs:
        count_all(<list?>arch[5], sizes)
    try:
        c_archs = <kernel.pa_seccomp_arch *>take(len(archs), sizeof(kernel.pa_seccomp_arch))
        out = <kernel.pa_bpf *>take(kernel.PA_BPF_MOST, sizeof(kernel.pa_bpf))
        begin.calls = <kernel.pa_seccomp_call *>take(sizes[0], sizeof(kernel.pa_seccomp_call))
        begin.clauses = <kernel.pa_seccomp_clause *>take(
            sizes[1], sizeof(kernel.pa_seccomp_clause))
        begin.conditions = <kernel.pa_seccomp_condition *>take(
            sizes[2], sizeof(kernel.pa_seccomp_condition))
        begin.values = <uint64_t *>take(sizes[3], sizeof(uint64_t))
        room = begin
        for i in range(len(archs)):
            arch = archs[i]
            c_archs[i].audit = arch[0]
            c_archs[i].big_endian = arch[1]
            c_archs[i].fallback = arch[2]
            c_archs[i].end = arch[3]
            c_archs[i].beyond = arch[4]
            c_archs[i].calls = room.calls
            c_archs[i].count = len(<list>arch[5])
            fill_calls(&room, <list>arch[5])
        policy.archs = c_archs
        policy.count = len(archs)
        policy.foreign = foreign
        with nogil:
            status = kernel.pa_seccomp_assemble(&policy, out, &length)
        if status == kernel.PA_SECCOMP_MEMORY:
            raise MemoryError
        if status != kernel.PA_SECCOMP_OK:
            raise ValueError(<int>status)
        return PyBytes_FromStringAndSize(<char *>out, length * sizeof(kernel.pa_bpf))
    finally:
        PyMem_Free(c_archs)
        PyMem_Free(out)
        PyMem_Free(begin.calls)
        PyMem_Free(begin.clauses)
        PyMem_Free(begin.conditions)
        PyMem_Free(begin.values)


cdef int fill_words(uint32_t *words, uint32_t arch, uint32_t number, uint64_t pointer,
                    tuple arguments, bint big_endian) except -1:
    """Lay out struct seccomp_data as a kernel of this byte order does."""
    cdef uint64_t wide
    cdef int i
    words[0] = number
    words[1] = arch
    for i in range(7):
        wide = pointer if i == 0 else arguments[i - 1]
        words[2 + 2 * i] = <uint32_t>(wide >> 32 if big_endian else wide)
        words[3 + 2 * i] = <uint32_t>(wide if big_endian else wide >> 32)
    return 0


@cython.final
cdef class Program:
    """A program that the kernel would accept. Immutable, so thread-safe.

    Args:
        code: The bytes of an array of struct sock_filter, in this machine's byte order.

    Raises:
        ValueError: With the index in `FAULTS` and the position of the instruction as arguments;
            -1 when the bytes are not whole instructions.
    """

    cdef readonly bytes code
    cdef kernel.pa_bpf *program
    cdef size_t length

    def __cinit__(self, bytes code not None):
        cdef size_t where = 0
        cdef int fault
        if len(code) % sizeof(kernel.pa_bpf) != 0:
            raise ValueError(-1, len(code))
        self.length = len(code) // sizeof(kernel.pa_bpf)
        # A copy, since bytes need not stand where a structure may.
        self.program = <kernel.pa_bpf *>take(self.length, sizeof(kernel.pa_bpf))
        memcpy(self.program, PyBytes_AS_STRING(code), len(code))
        self.code = code
        fault = kernel.pa_bpf_check(self.program, self.length, &where)
        if fault != 0:
            raise ValueError(fault, where)

    def __dealloc__(self):
        PyMem_Free(self.program)

    def __len__(self):
        return self.length

    def run(self, uint32_t arch, uint32_t number, uint64_t pointer, tuple arguments,
            bint big_endian):
        """Return what the program returns, and how many instructions ran."""
        cdef uint32_t words[16]
        cdef size_t steps = 0
        cdef uint32_t action
        fill_words(words, arch, number, pointer, arguments, big_endian)
        action = kernel.pa_bpf_run(self.program, self.length, words, NULL, &steps)
        return action, steps

    def path(self, uint32_t arch, uint32_t number, uint64_t pointer, tuple arguments,
             bint big_endian):
        """Return the positions of the instructions that run, in order."""
        cdef uint32_t words[16]
        cdef size_t steps = 0
        cdef uint16_t *positions
        fill_words(words, arch, number, pointer, arguments, big_endian)
        positions = <uint16_t *>take(self.length, sizeof(uint16_t))
        try:
            kernel.pa_bpf_run(self.program, self.length, words, positions, &steps)
            return tuple([positions[i] for i in range(steps)])
        finally:
            PyMem_Free(positions)

    def constant(self, uint32_t arch, uint32_t number):
        """Return the action that a call gets whatever its arguments are, or None."""
        cdef uint32_t action = 0
        if kernel.pa_bpf_constant(self.program, self.length, arch, number, &action):
            return action
        return None

    def lines(self):
        """Return the instructions as lines of text."""
        cdef char text[64]
        cdef size_t i
        found = []
        for i in range(self.length):
            kernel.pa_bpf_text(self.program, i, text, sizeof(text))
            found.append((<bytes>text).decode("ascii"))
        return found

    def install(self, unsigned flags, bint no_new_privs):
        """Put the program in force; return (errno or 0, call that failed, descriptor or thread)."""
        cdef kernel.pa_seccomp_request request
        cdef int error
        request.program = self.program
        request.length = self.length
        request.flags = flags
        request.no_new_privs = no_new_privs
        error = kernel.pa_seccomp_install(&request)
        return error, (<bytes>request.failed).decode("ascii"), request.result


def knows(unsigned action):
    """Return 0 when the kernel knows an action, or an errno value."""
    return kernel.pa_seccomp_knows(action)
