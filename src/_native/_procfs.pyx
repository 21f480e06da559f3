# cython: autotestdict=False
"""Measure processes: a thin face over kernels/procfs."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

cimport procfs_kernel as kernel

import os

MEMORY = kernel.PA_USAGE_MEMORY
CPU = kernel.PA_USAGE_CPU
THREADS = kernel.PA_USAGE_THREADS
DESCRIPTORS = kernel.PA_USAGE_DESCRIPTORS
CONNECTIONS = kernel.PA_USAGE_CONNECTIONS
PEAK = kernel.PA_USAGE_PEAK
SWITCHES = kernel.PA_USAGE_SWITCHES
RESET_PEAK = kernel.PA_USAGE_RESET_PEAK
GROUP_MEMORY = kernel.PA_USAGE_GROUP_MEMORY
GROUP_CPU = kernel.PA_USAGE_GROUP_CPU
GROUP_TASKS = kernel.PA_USAGE_GROUP_TASKS

LIVE = kernel.PA_PROCESS_LIVE
ZOMBIE = kernel.PA_PROCESS_ZOMBIE
LEADER_GONE = kernel.PA_PROCESS_LEADER_GONE
GONE = kernel.PA_PROCESS_GONE


def counts_descriptors():
    """Tell whether this kernel says how many descriptors a process has without listing them."""
    return bool(kernel.pa_process_sizes())


cdef int fail(int error) except -1:
    if error != 0:
        raise OSError(error, os.strerror(error))
    return 0


cdef class Sampler:
    """Measure any number of processes in one call; everything on any thread.

    About ``keep`` descriptors are held open to be quick, besides one for each process.
    """

    cdef kernel.pa_sampler *core

    def __cinit__(self, uint32_t keep):
        fail(kernel.pa_sampler_new(keep, &self.core))

    def __dealloc__(self):
        if self.core != NULL:
            kernel.pa_sampler_free(self.core)

    def add(self, int32_t pid):
        """Add the process that has this number now.

        Returns its place, and its start in ticks since the machine's.

        Raises:
            OSError: ESRCH when it has ended, or what else keeps it from being opened.
        """
        cdef uint32_t place = 0
        cdef uint64_t start = 0
        cdef int error
        if pid <= 0:
            raise ValueError(f"a process id is above 0, not {pid}")
        with nogil:
            error = kernel.pa_sampler_add(self.core, pid, &place, &start)
        fail(error)
        return place, start

    def attach(
        self, uint32_t place, int memory, int stat, int cpu, int tasks, uint32_t cpu_unit
    ):
        """Measure the control group of what is at a place too.

        The descriptors of its files, -1 for none, are taken. ``cpu_unit`` is how many nanoseconds
        the file of the processor's time counts in.

        Raises:
            OSError: ESRCH when nothing is there.
        """
        cdef kernel.pa_group group
        cdef int error
        kernel.pa_group_none(&group)
        group.memory = memory
        group.stat = stat
        group.cpu = cpu
        group.tasks = tasks
        group.cpu_unit = cpu_unit
        with nogil:
            error = kernel.pa_sampler_attach(self.core, place, &group)
        fail(error)

    def bound(
        self,
        uint32_t place,
        uint64_t memory_before,
        uint64_t memory,
        uint32_t threads_before,
        uint32_t threads,
        uint32_t descriptors_before,
        uint32_t descriptors,
        uint32_t connections,
    ):
        """Say what the process at a place may use above what it used before.

        Raises:
            OSError: ESRCH when nothing is there.
        """
        cdef kernel.pa_bounds bounds
        cdef int error
        bounds.memory_before = memory_before
        bounds.memory = memory
        bounds.threads_before = threads_before
        bounds.threads = threads
        bounds.descriptors_before = descriptors_before
        bounds.descriptors = descriptors
        bounds.connections = connections
        bounds.set = 1
        with nogil:
            error = kernel.pa_sampler_bound(self.core, place, &bounds)
        fail(error)

    def remove(self, uint32_t place):
        """Measure what is at a place no more."""
        with nogil:
            kernel.pa_sampler_remove(self.core, place)

    def sample(self, unsigned int what):
        """Measure all, without the GIL: MEMORY, CPU, THREADS and DESCRIPTORS, and what is named.

        Returns the places of those that are above a bound.
        """
        cdef uint32_t place = 0
        with nogil:
            kernel.pa_sampler_pass(self.core, what)
        found = []
        while kernel.pa_sampler_next_over(self.core, &place):
            found.append(place)
            place += 1
        return found

    def sample_one(self, uint32_t place, unsigned int what):
        """Measure what is at one place, but its connections.

        Raises:
            OSError: ESRCH when nothing is there.
        """
        cdef int error
        with nogil:
            error = kernel.pa_sampler_one(self.core, place, what)
        fail(error)

    def read(self, uint32_t place):
        """Return what was found the last time.

        (known, over, state, memory, cpu_ns, peak, voluntary, involuntary, group_memory,
        group_cpu_ns, group_tasks, threads, descriptors, connections, error), where only what
        ``known`` names means something.
        """
        cdef kernel.pa_usage found
        kernel.pa_sampler_read(self.core, place, &found)
        return (
            found.known,
            found.over,
            found.state,
            found.memory,
            found.cpu_ns,
            found.peak,
            found.voluntary,
            found.involuntary,
            found.group_memory,
            found.group_cpu_ns,
            found.group_tasks,
            found.threads,
            found.descriptors,
            found.connections,
            found.error,
        )

    def facts(self):
        """Return (processes, kept, descriptors, passes, ns of the latest pass) of itself."""
        cdef kernel.pa_sampler_facts found
        kernel.pa_sampler_tell(self.core, &found)
        return found.processes, found.kept, found.descriptors, found.passes, found.pass_ns
