/* clone3(2), written out, and what older headers lack of it. */
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
#elif defined(__aarch64__)
#define SHARES_MEMORY (CLONE_VM | CLONE_VFORK)
static inline __attribute__((always_inline)) long clone3(struct clone_args *args, size_t size) {
    register long number __asm__("x8") = SYS_clone3;
    register long first __asm__("x0") = (long)args;
    register long second __asm__("x1") = (long)size;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second) : "memory");
    return first;
}
#else
/* Not known here how to share the memory safely. */
#define SHARES_MEMORY 0
static inline __attribute__((always_inline)) long clone3(struct clone_args *args, size_t size) {
    (void)args;
    (void)size;
    return -ENOSYS;
}
#endif

#endif
