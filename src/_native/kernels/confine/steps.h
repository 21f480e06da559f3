/* The steps of a plan, by subject. Each returns 0 or an errno value with the call that failed. */
#ifndef PLUGINAPI_CONFINE_STEPS_H
#define PLUGINAPI_CONFINE_STEPS_H

#include "plan.h"

/* A step's bytes, checked; they may stand unaligned. */
typedef struct pa_step {
    unsigned kind;
    const uint8_t *data;
    size_t size;
} pa_step;

static inline uint32_t pa_step_u32(const pa_step *step, size_t at) {
    uint32_t value;
    __builtin_memcpy(&value, step->data + at, sizeof value);
    return value;
}

static inline uint64_t pa_step_u64(const pa_step *step, size_t at) {
    uint64_t value;
    __builtin_memcpy(&value, step->data + at, sizeof value);
    return value;
}

/* bounds.c: limits, keyring, host name, control groups. */
int pa_step_rlimit(const pa_step *step, const char **call);
int pa_step_keyring(const char **call);
int pa_step_hostname(const pa_step *step, const char **call);
int pa_step_cgroup(const pa_step *step, const int *fds, const char **call);

/* namespaces.c */
int pa_step_setns(const pa_step *step, const int *fds, const char **call);
int pa_step_unshare(const pa_step *step, const char **call);
int pa_step_userns(const pa_step *step, const char **call);

/* privileges.c */
int pa_step_ids(const pa_step *step, const char **call);
int pa_step_caps(const pa_step *step, const char **call);
int pa_step_no_new_privs(const char **call);
int pa_step_dumpable(const pa_step *step, const char **call);
int pa_step_dies_with_parent(const char **call);

/* mounts.c; *root is the root that is being made, -1 before and after. */
int pa_step_root(const pa_step *step, int *root, const char **call);
int pa_step_dir(const pa_step *step, int root, const char **call);
int pa_step_file(const pa_step *step, int root, const char **call);
int pa_step_link(const pa_step *step, int root, const char **call);
int pa_step_bind(const pa_step *step, int root, const int *fds, const char **call);
int pa_step_tmpfs(const pa_step *step, int root, const char **call);
int pa_step_proc(const pa_step *step, int root, const char **call);
int pa_step_seal(const pa_step *step, int root, const char **call);
int pa_step_pivot(const pa_step *step, int *root, const char **call);

/* overlay.c */
int pa_step_overlay(const pa_step *step, int root, const char **call);

/* filters.c */
int pa_step_rules(const pa_step *step, const char **call);
int pa_step_landlock(const pa_step *step, const int *fds, const char **call);
int pa_step_seccomp(const pa_step *step, const int *fds, const char **call);

/* network.c */
int pa_step_nameserver(const pa_step *step, const int *fds, const char **call);

/* Send a descriptor over a socket of type SOCK_SEQPACKET; 0 or an errno value. */
int pa_step_send(int over, int fd);

#endif
