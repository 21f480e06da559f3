# What _seccomp.pyx uses of kernels/seccomp: C declarations only.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "seccomp/bpf.h" nogil:
    int PA_BPF_MOST
    int PA_BPF_WORDS
    int PA_BPF_TEXT
    ctypedef struct pa_bpf:
        uint16_t code
        uint8_t on_true
        uint8_t on_false
        uint32_t k
    ctypedef enum pa_bpf_fault:
        PA_BPF_FINE
    pa_bpf_fault pa_bpf_check(const pa_bpf *, size_t, size_t *)
    uint32_t pa_bpf_run(const pa_bpf *, size_t, const uint32_t *, uint16_t *, size_t *)
    int pa_bpf_constant(const pa_bpf *, size_t, uint32_t, uint32_t, uint32_t *)
    void pa_bpf_text(const pa_bpf *, size_t, char *, size_t)

cdef extern from "seccomp/policy.h" nogil:
    ctypedef enum pa_seccomp_status:
        PA_SECCOMP_OK
        PA_SECCOMP_MEMORY
    ctypedef enum pa_seccomp_op:
        PA_SECCOMP_IN
    ctypedef struct pa_seccomp_condition:
        uint32_t argument
        uint32_t width
        pa_seccomp_op op
        uint64_t mask
        const uint64_t *values
        size_t count
    ctypedef struct pa_seccomp_clause:
        const pa_seccomp_condition *conditions
        size_t count
        uint32_t action
    ctypedef struct pa_seccomp_call:
        uint32_t number
        const pa_seccomp_clause *clauses
        size_t count
    ctypedef struct pa_seccomp_arch:
        uint32_t audit
        int big_endian
        uint32_t fallback
        uint32_t end
        uint32_t beyond
        const pa_seccomp_call *calls
        size_t count
    ctypedef struct pa_seccomp_policy:
        const pa_seccomp_arch *archs
        size_t count
        uint32_t foreign
    pa_seccomp_status pa_seccomp_assemble(const pa_seccomp_policy *, pa_bpf *, size_t *)

cdef extern from "seccomp/install.h" nogil:
    ctypedef struct pa_seccomp_request:
        const pa_bpf *program
        size_t length
        unsigned flags
        int no_new_privs
        int result
        const char *failed
    int pa_seccomp_install(void *)
    int pa_seccomp_knows(unsigned)
