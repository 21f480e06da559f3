from libc.stdint cimport uint8_t, uint64_t


cdef extern from "confine/plan.h" nogil:
    ctypedef enum pa_plan_status:
        PA_PLAN_OK
        PA_PLAN_BAD_HEADER
        PA_PLAN_BAD_SIZE
        PA_PLAN_BAD_KIND
        PA_PLAN_BAD_VALUE

    ctypedef struct pa_plan_result:
        size_t done
        int error
        const char *call

    pa_plan_status pa_plan_check(
        const uint8_t *plan, size_t size, size_t fd_count, size_t *step
    )
    int pa_plan_run(const uint8_t *plan, size_t size, const int *fds, pa_plan_result *result)
    const char *pa_plan_name(unsigned kind)


cdef extern from "confine/landlock.h" nogil:
    int pa_landlock_abi()
    int pa_landlock_ruleset(uint64_t fs, uint64_t net, uint64_t scoped, int *fd)
    int pa_landlock_allow_path(int ruleset, int path_fd, uint64_t access)
    int pa_landlock_allow_port(int ruleset, uint64_t port, uint64_t access)
