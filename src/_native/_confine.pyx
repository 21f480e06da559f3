# cython: autotestdict=False
"""Give up what a plugin must not have: a thin face over kernels/confine."""

from libc.stdint cimport uint8_t, uint64_t

cimport confine_kernel as kernel

import errno
import os

MOST_FDS = 32

cdef dict WRONG = {
    kernel.PA_PLAN_BAD_HEADER: "its header is none of a plan",
    kernel.PA_PLAN_BAD_SIZE: "is cut off, or of another size than its kind has",
    kernel.PA_PLAN_BAD_KIND: "is of a kind that does not exist",
    kernel.PA_PLAN_BAD_VALUE: "has a value that its kind cannot have",
}


class StepFailed(OSError):
    """A step of a plan failed; ``step`` is its number from 0, ``call`` the system call."""

    step = 0
    call = ""


cdef const uint8_t *checked(bytes plan, Py_ssize_t fd_count) except NULL:
    cdef const uint8_t *data = plan
    cdef size_t step = 0
    cdef kernel.pa_plan_status status
    status = kernel.pa_plan_check(data, <size_t>len(plan), <size_t>fd_count, &step)
    if status == kernel.PA_PLAN_OK:
        return data
    what = "" if status == kernel.PA_PLAN_BAD_HEADER else f"step {step} of it "
    raise ValueError(f"this is no plan: {what}{WRONG[<int>status]}")


def check(bytes plan, Py_ssize_t fd_count=0):
    """Check a plan that is to be run with so many descriptors.

    Raises:
        ValueError: It says which step is wrong, and why.
    """
    checked(plan, fd_count)


def apply(bytes plan, tuple fds=()):
    """Run a plan on this process, or this thread where a call is of threads; there is no way back.

    Raises:
        ValueError: When it is no plan. Nothing was done.
        StepFailed: The steps before it are done.
    """
    cdef int c_fds[32]
    cdef kernel.pa_plan_result result
    cdef const uint8_t *data
    cdef Py_ssize_t i
    cdef size_t size = <size_t>len(plan)
    if len(fds) > MOST_FDS:
        raise ValueError(f"{len(fds)} descriptors, more than {MOST_FDS}")
    for i in range(len(fds)):
        c_fds[i] = fds[i]
    data = checked(plan, len(fds))
    kernel.pa_plan_run(data, size, c_fds, &result)
    if result.error != 0:
        call = (<bytes>result.call).decode("ascii") if result.call != NULL else ""
        error = StepFailed(result.error, f"{call}: {os.strerror(result.error)}")
        error.step = result.done
        error.call = call
        raise error


def landlock_abi():
    """Return the version of Landlock, 1 or more; 0 where the kernel has none, or has it off.

    Raises:
        OSError: When the kernel refuses to say.
    """
    cdef int abi = kernel.pa_landlock_abi()
    if abi >= 0:
        return abi
    if -abi in (errno.ENOSYS, errno.EOPNOTSUPP):
        return 0
    raise OSError(-abi, f"landlock_create_ruleset: {os.strerror(-abi)}")


def landlock_ruleset(uint64_t fs, uint64_t net, uint64_t scoped):
    """Return the descriptor of a new ruleset, which is the caller's to close."""
    cdef int fd = -1
    cdef int error = kernel.pa_landlock_ruleset(fs, net, scoped, &fd)
    if error != 0:
        raise OSError(error, f"landlock_create_ruleset: {os.strerror(error)}")
    return fd


def landlock_allow_path(int ruleset, int path_fd, uint64_t access):
    """Allow accesses at and below an open path."""
    cdef int error = kernel.pa_landlock_allow_path(ruleset, path_fd, access)
    if error != 0:
        raise OSError(error, f"landlock_add_rule: {os.strerror(error)}")


def landlock_allow_port(int ruleset, uint64_t port, uint64_t access):
    """Allow accesses to a TCP port."""
    cdef int error = kernel.pa_landlock_allow_port(ruleset, port, access)
    if error != 0:
        raise OSError(error, f"landlock_add_rule: {os.strerror(error)}")
