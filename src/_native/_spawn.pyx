# cython: autotestdict=False
"""Start processes without forking this one: a thin face over kernels/spawn."""

cimport cython
from libc.errno cimport EAGAIN
from libc.stdlib cimport free, malloc

cimport spawn_kernel as kernel

import os

cdef extern from "Python.h":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()

MOST_FDS = kernel.PA_SPAWN_MOST_FDS


cdef object failed(int error, const char *what):
    name = (<bytes>what).decode("ascii", "replace") if what != NULL else "spawn"
    return OSError(error, f"{name}: {os.strerror(error)}")


cdef char **strings(tuple texts) except NULL:
    cdef char **array = <char **>malloc((len(texts) + 1) * sizeof(char *))
    cdef Py_ssize_t i
    if array == NULL:
        raise MemoryError
    for i in range(len(texts)):
        array[i] = <bytes?>texts[i]
    array[len(texts)] = NULL
    return array


@cython.final
cdef class Step:
    """One set-up step for `spawn`: a C function and what it is given. Made by native modules."""

    cdef kernel.pa_spawn_step step
    cdef object keeps

    def __init__(self):
        raise TypeError("steps are made by the native modules that have them")


def spawn(bytes path, tuple argv, tuple envp, tuple fds, tuple steps=()):
    """Start a program; return its process id and a pidfd that is the caller's to close.

    Args:
        path: The program.
        argv: Its arguments as bytes, its name first.
        envp: Its whole environment as bytes, b"NAME=value".
        fds: The descriptors that it gets as 0, 1, 2, ...; -1 is /dev/null.
        steps: `Step` objects that run in the new process before the program.

    Raises:
        OSError: The message starts with what failed: a call, or the name of a step.
    """
    cdef kernel.pa_spawn_request request
    cdef kernel.pa_spawned spawned
    cdef kernel.pa_spawn_step *c_steps = NULL
    cdef int c_fds[32]
    cdef char **c_argv = NULL
    cdef char **c_envp = NULL
    cdef Py_ssize_t i
    cdef int error
    if len(fds) > kernel.PA_SPAWN_MOST_FDS:
        raise ValueError(f"{len(fds)} descriptors, more than {kernel.PA_SPAWN_MOST_FDS}")
    for i in range(len(fds)):
        c_fds[i] = fds[i]
    try:
        c_argv = strings(argv)
        c_envp = strings(envp)
        c_steps = <kernel.pa_spawn_step *>malloc((len(steps) + 1) * sizeof(kernel.pa_spawn_step))
        if c_steps == NULL:
            raise MemoryError
        for i in range(len(steps)):
            c_steps[i] = (<Step?>steps[i]).step
        request.path = path
        request.argv = c_argv
        request.envp = c_envp
        request.fds = c_fds
        request.fd_count = len(fds)
        request.step_fd_count = 0
        request.program = -1
        request.cgroup = NULL
        request.pid_namespace = NULL
        request.steps = c_steps
        request.step_count = len(steps)
        request.dies_with_thread = 0
        with nogil:
            error = kernel.pa_spawn(&request, &spawned)
    finally:
        free(c_argv)
        free(c_envp)
        free(c_steps)
    if error != 0:
        raise failed(error, spawned.failed)
    return spawned.pid, spawned.pidfd


def fork_into(int pid_namespace=-1, int cgroup=-1):
    """Fork this process, which must have one thread, into a PID namespace and a control group.

    Args:
        pid_namespace: The pidfd of a process in it, or -1 to stay in this one's.
        cgroup: A descriptor of the directory of a group of version 2, or -1 to stay.

    Returns:
        0 and -1 in the new process, in this one its process id and pidfd, the caller's to close.

    Raises:
        OSError: The message starts with what failed. There is no process then.
    """
    cdef int pidfd = -1
    cdef const char *what = NULL
    cdef long result
    PyOS_BeforeFork()
    result = kernel.pa_spawn_fork(
        &pid_namespace if pid_namespace >= 0 else NULL,
        &cgroup if cgroup >= 0 else NULL,
        &pidfd,
        &what,
    )
    if result == 0:
        PyOS_AfterFork_Child()
        return 0, -1
    PyOS_AfterFork_Parent()
    if result < 0:
        raise failed(<int>-result, what)
    return result, pidfd


def settle(tuple fds, Py_ssize_t closed_by_exec=0):
    """Make this process, which was just forked, like one that `spawn` starts.

    It gets a session of its own, default signals, these descriptors as 0, 1, 2, ... and no others;
    the last ``closed_by_exec`` of them are closed when it executes a program.

    Raises:
        OSError: The message starts with what failed.
    """
    cdef int c_fds[32]
    cdef const char *what = NULL
    cdef Py_ssize_t i
    cdef int error
    if len(fds) > kernel.PA_SPAWN_MOST_FDS:
        raise ValueError(f"{len(fds)} descriptors, more than {kernel.PA_SPAWN_MOST_FDS}")
    for i in range(len(fds)):
        c_fds[i] = fds[i]
    if not 0 <= closed_by_exec <= len(fds):
        raise ValueError(f"{closed_by_exec} of {len(fds)} descriptors")
    error = kernel.pa_spawn_settle(
        c_fds, len(fds) - closed_by_exec, closed_by_exec, &what
    )
    if error != 0:
        raise failed(error, what)


def die_with(int parent):
    """Let this process be killed when its parent ends.

    Raises:
        OSError: ESRCH when the parent is not this one any more.
    """
    cdef int error = kernel.pa_spawn_die_with(parent)
    if error != 0:
        raise failed(error, "parent")


def adopt_orphans():
    """Become the parent of orphans among this process's descendants."""
    cdef int error = kernel.pa_spawn_adopt_orphans()
    if error != 0:
        raise failed(error, "prctl")


def ended(int pidfd):
    """Return how a process ended, as wait(2) tells it; None while it runs.

    Raises:
        OSError: ENOTSUP before Linux 6.15.
    """
    cdef int status = 0
    cdef int error = kernel.pa_spawn_ended(pidfd, &status)
    if error == EAGAIN:
        return None
    if error != 0:
        raise failed(error, "pidfd")
    return status
