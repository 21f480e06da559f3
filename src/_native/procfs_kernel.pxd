# What _procfs.pyx uses of kernels/procfs: C declarations only.
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from "procfs/group.h" nogil:
    ctypedef struct pa_group:
        int memory
        int cpu
        int tasks
        int stat
        uint32_t cpu_unit
    void pa_group_none(pa_group *)

cdef extern from "procfs/process.h" nogil:
    enum:
        PA_USAGE_MEMORY
        PA_USAGE_CPU
        PA_USAGE_THREADS
        PA_USAGE_DESCRIPTORS
        PA_USAGE_CONNECTIONS
        PA_USAGE_PEAK
        PA_USAGE_SWITCHES
        PA_USAGE_RESET_PEAK
        PA_USAGE_GROUP_MEMORY
        PA_USAGE_GROUP_CPU
        PA_USAGE_GROUP_TASKS
        PA_PROCESS_LIVE
        PA_PROCESS_ZOMBIE
        PA_PROCESS_LEADER_GONE
        PA_PROCESS_GONE
    ctypedef struct pa_usage:
        uint64_t memory
        uint64_t cpu_ns
        uint64_t peak
        uint64_t voluntary
        uint64_t involuntary
        uint64_t group_memory
        uint64_t group_cpu_ns
        uint64_t group_tasks
        uint32_t threads
        uint32_t descriptors
        uint32_t connections
        uint32_t known
        uint32_t over
        uint32_t state
        int32_t error
    ctypedef struct pa_bounds:
        uint64_t memory_before
        uint64_t memory
        uint32_t threads_before
        uint32_t threads
        uint32_t descriptors_before
        uint32_t descriptors
        uint32_t connections
        int32_t set
    int pa_process_sizes()

cdef extern from "procfs/sampler.h" nogil:
    ctypedef struct pa_sampler:
        pass
    ctypedef struct pa_sampler_facts:
        uint32_t processes
        uint32_t kept
        uint32_t descriptors
        uint64_t passes
        uint64_t pass_ns
    int pa_sampler_new(uint32_t, pa_sampler **)
    void pa_sampler_free(pa_sampler *)
    int pa_sampler_add(pa_sampler *, int32_t, uint32_t *, uint64_t *)
    int pa_sampler_attach(pa_sampler *, uint32_t, const pa_group *)
    int pa_sampler_bound(pa_sampler *, uint32_t, const pa_bounds *)
    int pa_sampler_one(pa_sampler *, uint32_t, unsigned)
    int pa_sampler_next_over(pa_sampler *, uint32_t *)
    void pa_sampler_remove(pa_sampler *, uint32_t)
    void pa_sampler_pass(pa_sampler *, unsigned)
    void pa_sampler_read(pa_sampler *, uint32_t, pa_usage *)
    void pa_sampler_tell(pa_sampler *, pa_sampler_facts *)
