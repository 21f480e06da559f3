#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "steps.h"

#define KEYCTL_JOIN_SESSION_KEYRING 1

int pa_step_rlimit(const pa_step *step, const char **call) {
    const struct rlimit limit = {(rlim_t)pa_step_u64(step, 8), (rlim_t)pa_step_u64(step, 16)};
    *call = "setrlimit";
    return setrlimit((__rlimit_resource_t)pa_step_u32(step, 0), &limit) == 0 ? 0 : errno;
}

int pa_step_keyring(const char **call) {
    *call = "keyctl";
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0) {
        return 0;
    }
    /* A kernel without keyrings has none to share. */
    return errno == ENOSYS ? 0 : errno;
}

int pa_step_hostname(const pa_step *step, const char **call) {
    *call = "sethostname";
    return sethostname((const char *)step->data, step->size) == 0 ? 0 : errno;
}

int pa_step_cgroup(const pa_step *step, const int *fds, const char **call) {
    *call = "write to the control group";
    return write(fds[pa_step_u32(step, 0)], "0", 1) == 1 ? 0 : errno;
}
