#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "landlock.h"
#include "steps.h"

/* Of LANDLOCK_ACCESS_FS_*, those that rules on a file may have: EXECUTE, WRITE_FILE, READ_FILE,
 * TRUNCATE and IOCTL_DEV. */
#define OF_FILES UINT64_C(0xc007)

#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

int pa_step_landlock(const pa_step *step, const int *fds, const char **call) {
    *call = "landlock_restrict_self";
    return syscall(SYS_landlock_restrict_self, fds[pa_step_u32(step, 0)], pa_step_u32(step, 4)) == 0
               ? 0
               : errno;
}

static int allow(int ruleset, const char *path, uint64_t access, const char **call) {
    struct stat found;
    int error = 0;
    const int fd = open(path, O_PATH | O_CLOEXEC);
    *call = "open the path of a rule";
    if (fd < 0) {
        return errno;
    }
    *call = "landlock_add_rule";
    if (fstat(fd, &found) != 0) {
        error = errno;
    } else {
        if (!S_ISDIR(found.st_mode)) {
            access &= OF_FILES;
        }
        error = access == 0 ? 0 : pa_landlock_allow_path(ruleset, fd, access);
    }
    (void)close(fd);
    return error;
}

int pa_step_rules(const pa_step *step, const char **call) {
    char path[4096 + 1];
    pa_plan_rules rules;
    size_t at = sizeof rules;
    uint32_t i;
    int ruleset = -1, error;
    memcpy(&rules, step->data, sizeof rules);
    *call = "landlock_create_ruleset";
    error = pa_landlock_ruleset(rules.fs, rules.net, rules.scoped, &ruleset);
    for (i = 0; error == 0 && i < rules.count; i++) {
        const size_t size = pa_step_u32(step, at + 8);
        memcpy(path, step->data + at + 16, size);
        path[size] = '\0';
        error = allow(ruleset, path, pa_step_u64(step, at) & rules.fs, call);
        at += 16 + size;
    }
    if (error == 0) {
        *call = "landlock_restrict_self";
        if (syscall(SYS_landlock_restrict_self, ruleset, 0u) != 0) {
            error = errno;
        }
    }
    if (ruleset >= 0) {
        (void)close(ruleset);
    }
    return error;
}

int pa_step_seccomp(const pa_step *step, const int *fds, const char **call) {
    /* Plans pad what stands before it, so that the program is aligned where the plan is. */
    const struct sock_fprog program = {
        .len = (unsigned short)((step->size - 8) / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)(step->data + 8),
    };
    const uint32_t over = pa_step_u32(step, 4);
    long result;
    *call = "seccomp";
    result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, pa_step_u32(step, 0), &program);
    if (result == 0) {
        return 0;
    }
    if (result > 0 && over != 0) {
        const int error = pa_step_send(fds[over - 1], (int)result);
        (void)close((int)result);
        *call = "sendmsg";
        return error;
    }
    /* With TSYNC, the number of a thread that cannot take it. */
    return result > 0 ? EBUSY : errno;
}
