/* Make a filter, try it, and put it in force, without Python: built with sanitizers. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seccomp/install.h"
#include "seccomp/policy.h"

#define ALLOW 0x7fff0000u
#define REFUSE (0x50000u | ENOTNAM)

#if defined(__x86_64__)
#define AUDIT 0xC000003Eu
#elif defined(__aarch64__)
#define AUDIT 0xC00000B7u
#else
#define AUDIT 0xC00000F3u
#endif

static void expect(int condition, const char *what) {
    if (!condition) {
        (void)fprintf(stderr, "not so: %s\n", what);
        exit(1);
    }
}

/* getppid, which takes no argument, is refused when the first is between two numbers. */
static size_t make(pa_bpf *program) {
    static const uint64_t low = 5;
    static const uint64_t high = UINT64_C(7) << 32;
    const pa_seccomp_condition conditions[] = {
        {0, 64, PA_SECCOMP_GE, 0, &low, 1},
        {0, 64, PA_SECCOMP_LE, 0, &high, 1},
    };
    const pa_seccomp_clause clause = {conditions, 2, REFUSE};
    const pa_seccomp_call call = {SYS_getppid, &clause, 1};
    const pa_seccomp_arch arch = {AUDIT, 0, ALLOW, 0, 0, &call, 1};
    const pa_seccomp_policy policy = {&arch, 1, 0x80000000u};
    size_t length = 0;
    size_t where = 0;
    expect(pa_seccomp_assemble(&policy, program, &length) == PA_SECCOMP_OK, "it is assembled");
    expect(pa_bpf_check(program, length, &where) == PA_BPF_FINE, "it is accepted");
    return length;
}

#if defined(__linux__)
static void expect_refused(long argument, int refused) {
    errno = 0;
    expect((syscall(SYS_getppid, argument) == -1) == refused, "getppid");
    expect(errno == (refused ? ENOTNAM : 0), "errno of getppid");
}

static void child(const pa_bpf *program, size_t length) {
    pa_seccomp_request request = {program, length, PA_SECCOMP_TSYNC, 1, 0, NULL};
    expect_refused(6, 0); /* the control: without the filter it works */
    expect(pa_seccomp_install(&request) == 0, "it is installed");
    expect_refused(4, 0);
    expect_refused(5, 1);
    expect_refused(7L << 32, 1);
    expect_refused((7L << 32) + 1, 0);
    expect_refused(-1, 0);
    _exit(0);
}

static void try_it(const pa_bpf *program, size_t length) {
    pa_seccomp_request request = {program, 0, 0, 1, 0, NULL};
    int status = 0;
    pid_t pid;
    expect(pa_seccomp_install(&request) == EINVAL, "an empty program is refused");
    request.length = length;
    request.flags = 1u << 30;
    expect(pa_seccomp_install(&request) == EINVAL, "an unknown flag is refused");
    expect(strcmp(request.failed, "seccomp") == 0, "what failed is named");
    expect(pa_seccomp_knows(ALLOW) == 0, "ALLOW is known");
    expect(pa_seccomp_knows(0x12340000u) == EOPNOTSUPP, "no such action");
    pid = fork();
    if (pid == 0) {
        child(program, length);
    }
    expect(waitpid(pid, &status, 0) == pid && status == 0, "the child was content");
}
#else
static void try_it(const pa_bpf *program, size_t length) {
    pa_seccomp_request request = {program, length, 0, 1, 0, NULL};
    expect(pa_seccomp_install(&request) == ENOSYS, "there is no seccomp here");
}
#endif

int main(void) {
    static pa_bpf program[PA_BPF_MOST];
    const size_t length = make(program);
    try_it(program, length);
    (void)puts("ok");
    return 0;
}
