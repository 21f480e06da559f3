#define _GNU_SOURCE 1
#include "install.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(pa_bpf) == sizeof(struct sock_filter), "instructions are as the kernel's");

int pa_seccomp_install(void *user) {
    pa_seccomp_request *request = user;
    struct sock_fprog program;
    long result;
    request->result = -1;
    request->failed = "seccomp";
    if (request->length == 0 || request->length > PA_BPF_MOST) {
        return EINVAL;
    }
    if (request->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        request->failed = "no_new_privs";
        return errno;
    }
    program.len = (unsigned short)request->length;
    /* The kernel only reads it. */
    program.filter = (struct sock_filter *)(uintptr_t)request->program;
    result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, request->flags, &program);
    if (result < 0) {
        return errno;
    }
    request->result = (int)result;
    if (request->flags & PA_SECCOMP_NEW_LISTENER) {
        return 0;
    }
    return result == 0 ? 0 : ESRCH; /* the thread that has a filter of its own */
}

int pa_seccomp_knows(unsigned action) {
    const uint32_t asked = action;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &asked) == 0 ? 0 : errno;
}
