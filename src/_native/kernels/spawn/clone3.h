/* clone3(2) and clone(2), written out, and what older headers lack of them. */
#ifndef PLUGINAPI_SPAWN_CLONE3_H
#define PLUGINAPI_SPAWN_CLONE3_H

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND UINT64_C(0x100000000)
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP UINT64_C(0x200000000)
#endif
/* clone has the signal in the lowest byte, and the pidfd where a thread has its parent's number. */
#define CLONE_OLD_FLAGS(args) (((args)->flags & UINT64_C(0xffffff00)) | (args)->exit_signal)

/* The child returns on the stack of the parent, so the call must not be a function that returns
 * there: the child's later calls would overwrite where the parent is to return to. */
#if defined(__x86_64__)
#define SHARES_MEMORY (CLONE_VM | CLONE_VFORK)
static inline __attribute__((always_inline)) long clone3(struct clone_args *args, size_t size) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_clone3), "D"(args), "S"(size)
                     : "rcx", "r11", "memory");
    return result;
}
static inline __attribute__((always_inline)) long clone_old(const struct clone_args *args) {
    register uint64_t child_tid __asm__("r10") = args->child_tid;
    register uint64_t tls __asm__("r8") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_clone), "D"(CLONE_OLD_FLAGS(args)), "S"(0L), "d"(args->pidfd),
                       "r"(child_tid), "r"(tls)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define SHARES_MEMORY (CLONE_VM | CLONE_VFORK)
static inline __attribute__((always_inline)) long clone3(struct clone_args *args, size_t size) {
    register long number __asm__("x8") = SYS_clone3;
    register long first __asm__("x0") = (long)args;
    register long second __asm__("x1") = (long)size;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second) : "memory");
    return first;
}
static inline __attribute__((always_inline)) long clone_old(const struct clone_args *args) {
    register long number __asm__("x8") = SYS_clone;
    register uint64_t first __asm__("x0") = CLONE_OLD_FLAGS(args);
    register uint64_t stack __asm__("x1") = 0;
    register uint64_t pidfd __asm__("x2") = args->pidfd;
    register uint64_t tls __asm__("x3") = 0;
    register uint64_t child_tid __asm__("x4") = args->child_tid;
    __asm__ volatile("svc 0"
                     : "+r"(first)
                     : "r"(number), "r"(stack), "r"(pidfd), "r"(tls), "r"(child_tid)
                     : "memory");
    return (long)first;
}
#else
/* Not known here how to share the memory safely. */
#define SHARES_MEMORY 0
static inline __attribute__((always_inline)) long clone3(struct clone_args *args, size_t size) {
    (void)args;
    (void)size;
    return -ENOSYS;
}
static inline __attribute__((always_inline)) long clone_old(const struct clone_args *args) {
    (void)args;
    return -ENOSYS;
}
#endif

/* As clone3, or clone where that is denied: containers do, whose filters cannot look at its flags.
 * What clone does not know is left out when it is no more than a convenience, the handlers of
 * signals, which whoever is born resets; a control group is not. */
static inline __attribute__((always_inline)) long clone_any(struct clone_args *args) {
    long result = clone3(args, sizeof *args);
    if (result == -ENOSYS && (args->flags & CLONE_INTO_CGROUP) == 0) {
        result = clone_old(args);
    }
    return result;
}

#endif
