#include "plan.h"

#include <linux/filter.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "steps.h"

#define HEADER ((size_t)16)
#define STEP_HEADER ((size_t)8)
#define MOST_HOSTNAME ((size_t)64)
#define MOST_PATH ((size_t)4095)
#define NEW_LISTENER UINT32_C(8) /* SECCOMP_FILTER_FLAG_NEW_LISTENER */
#define CLONE_NEW_ALL UINT32_C(0x7e020080) /* CLONE_NEW* of <linux/sched.h>, time among them */

static uint32_t u32_at(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint16_t u16_at(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

const char *pa_plan_name(unsigned kind) {
    static const char *const names[] = {
        "?",    "rlimit",       "keyring", "setns",    "unshare", "hostname",
        "ids",  "capabilities", "no_new_privs", "landlock", "seccomp", "dumpable",
        "root", "directory",    "file",    "link",     "bind",    "tmpfs",
        "proc", "seal",         "pivot",   "cgroup",   "rules",   "dies_with_parent",
        "user namespace", "overlay", "nameserver",
    };
    return kind <= PA_STEP_LAST ? names[kind] : names[0];
}

static int in_sets(const pa_step *step) {
    pa_plan_caps caps;
    memcpy(&caps, step->data, sizeof caps);
    return (caps.permitted & ~caps.bounding) == 0 && (caps.inheritable & ~caps.permitted) == 0 &&
           (caps.ambient & ~caps.inheritable) == 0 && caps.reserved == 0;
}

/* A path that leads down from the root, in its one form: "a/b", no "." or "..", no byte 0. */
static int is_path(const uint8_t *at, size_t size) {
    size_t start = 0, i;
    if (size == 0 || size > MOST_PATH || memchr(at, 0, size) != NULL) {
        return 0;
    }
    for (i = 0; i <= size; i++) {
        if (i == size || at[i] == '/') {
            const size_t length = i - start;
            if (length == 0 || (length <= 2 && at[start] == '.' && at[i - 1] == '.')) {
                return 0;
            }
            start = i + 1;
        }
    }
    return 1;
}

/* What a mount step is given before its path. */
static size_t before_path(unsigned kind) {
    return kind == PA_STEP_TMPFS     ? sizeof(pa_plan_tmpfs)
           : kind == PA_STEP_OVERLAY ? sizeof(pa_plan_overlay)
                                     : 8;
}

static int is_tmpfs(const pa_step *step) {
    pa_plan_tmpfs tmpfs;
    memcpy(&tmpfs, step->data, sizeof tmpfs);
    return tmpfs.bytes >= 4096 && tmpfs.inodes >= 1 && tmpfs.mode <= 07777 &&
           (tmpfs.flags & ~(uint32_t)(PA_MOUNT_ALL & ~PA_MOUNT_RECURSIVE)) == 0;
}

/* It begins with a tmpfs. */
static int is_overlay(const pa_step *step) {
    pa_plan_overlay overlay;
    memcpy(&overlay, step->data, sizeof overlay);
    return is_tmpfs(step) && overlay.in_userns <= 1 && overlay.reserved == 0;
}

static int has_path(const pa_step *step) {
    const size_t from = before_path(step->kind);
    return is_path(step->data + from, step->size - from);
}

static int is_bind(const pa_step *step, size_t fd_count) {
    size_t path, rest;
    if (step->size < 16) {
        return 0;
    }
    path = pa_step_u32(step, 8);
    rest = step->size - 16;
    return pa_step_u32(step, 0) < fd_count && pa_step_u32(step, 4) <= PA_MOUNT_ALL && path < rest &&
           is_path(step->data + 16, path) && step->data[16 + path] == '/' &&
           (rest - path == 1 || is_path(step->data + 17 + path, rest - path - 1));
}

static int is_link(const pa_step *step) {
    const uint32_t path = pa_step_u32(step, 0);
    const size_t rest = step->size - 8;
    return path < rest && is_path(step->data + 8, path) && rest - path <= MOST_PATH &&
           memchr(step->data + 8 + path, 0, rest - path) == NULL;
}

static int are_rules(const pa_step *step) {
    pa_plan_rules rules;
    size_t at = sizeof rules;
    uint32_t i;
    memcpy(&rules, step->data, sizeof rules);
    for (i = 0; i < rules.count; i++) {
        size_t path;
        if (step->size - at < 16) {
            return 0;
        }
        path = pa_step_u32(step, at + 8);
        at += 16;
        if (path == 0 || path > step->size - at || step->data[at] != '/' ||
            (path > 1 && !is_path(step->data + at + 1, path - 1))) {
            return 0;
        }
        at += path;
    }
    return at == step->size && rules.reserved == 0;
}

/* A listener has to be sent somewhere, and nothing else can be. */
static int listens(const pa_step *step, size_t fd_count) {
    const uint32_t over = pa_step_u32(step, 4);
    return (pa_step_u32(step, 0) & NEW_LISTENER) != 0 ? over != 0 && over <= fd_count : over == 0;
}

/* Sizes are of the kind already. */
static int valued(const pa_step *step, size_t fd_count) {
    switch (step->kind) {
    case PA_STEP_RLIMIT:
        return pa_step_u32(step, 0) < RLIM_NLIMITS && pa_step_u64(step, 8) <= pa_step_u64(step, 16);
    case PA_STEP_SETNS:
        return pa_step_u32(step, 0) < fd_count && pa_step_u32(step, 4) != 0 &&
               (pa_step_u32(step, 4) & ~CLONE_NEW_ALL) == 0;
    case PA_STEP_UNSHARE:
        return pa_step_u32(step, 0) != 0 && (pa_step_u32(step, 0) & ~CLONE_NEW_ALL) == 0;
    case PA_STEP_IDS:
    case PA_STEP_USERNS:
        /* Minus one means "leave it" to the calls, and root is what nobody becomes. */
        return pa_step_u32(step, 0) - 1 < UINT32_MAX - 1 && pa_step_u32(step, 4) - 1 < UINT32_MAX - 1;
    case PA_STEP_CAPS:
        return in_sets(step);
    case PA_STEP_LANDLOCK:
    case PA_STEP_CGROUP:
    case PA_STEP_NAMESERVER:
        return pa_step_u32(step, 0) < fd_count;
    case PA_STEP_SECCOMP:
        return listens(step, fd_count);
    case PA_STEP_RULES:
        return are_rules(step);
    case PA_STEP_DUMPABLE:
        return pa_step_u32(step, 0) <= 1;
    case PA_STEP_ROOT:
        return is_tmpfs(step);
    case PA_STEP_TMPFS:
        return is_tmpfs(step) && has_path(step);
    case PA_STEP_OVERLAY:
        return is_overlay(step) && has_path(step);
    case PA_STEP_DIR:
    case PA_STEP_FILE:
        return pa_step_u32(step, 0) <= 07777 && has_path(step);
    case PA_STEP_LINK:
        return is_link(step);
    case PA_STEP_BIND:
        return is_bind(step, fd_count);
    case PA_STEP_PIVOT:
        return pa_step_u32(step, 0) <= PA_MOUNT_ALL;
    case PA_STEP_PROC:
        return pa_step_u32(step, 0) <= PA_MOUNT_ALL && pa_step_u32(step, 4) <= 1 && has_path(step);
    case PA_STEP_SEAL:
        return pa_step_u32(step, 0) <= PA_MOUNT_ALL && has_path(step);
    default:
        return 1;
    }
}

static int sized(const pa_step *step) {
    static const uint8_t sizes[] = {
        0, 24, 0, 8, 8, 0, 8, sizeof(pa_plan_caps), 0, 8, 0, 8, sizeof(pa_plan_tmpfs),
    };
    switch (step->kind) {
    case PA_STEP_HOSTNAME:
        return step->size >= 1 && step->size <= MOST_HOSTNAME;
    case PA_STEP_SECCOMP:
        return step->size > 8 && (step->size - 8) % sizeof(struct sock_filter) == 0 &&
               (step->size - 8) / sizeof(struct sock_filter) <= BPF_MAXINSNS;
    case PA_STEP_PIVOT:
    case PA_STEP_CGROUP:
    case PA_STEP_USERNS:
    case PA_STEP_NAMESERVER:
        return step->size == 8;
    case PA_STEP_RULES:
        return step->size >= sizeof(pa_plan_rules);
    case PA_STEP_DIES_WITH_PARENT:
        return step->size == 0;
    default:
        return step->kind < sizeof sizes ? step->size == sizes[step->kind]
                                         : step->size > before_path(step->kind);
    }
}

/* Find the step at *at and move on; 0 when it is cut off. */
static int next(const uint8_t *plan, size_t size, size_t *at, pa_step *step) {
    uint32_t length;
    if (size - *at < STEP_HEADER) {
        return 0;
    }
    step->kind = u16_at(plan + *at);
    length = u32_at(plan + *at + 4);
    *at += STEP_HEADER;
    if (length > size - *at) {
        return 0;
    }
    step->data = plan + *at;
    step->size = length;
    *at += length;
    *at += (8 - (*at & 7)) & 7;
    return *at <= size;
}

pa_plan_status pa_plan_check(const uint8_t *plan, size_t size, size_t fd_count, size_t *number) {
    size_t at = HEADER;
    uint32_t steps;
    *number = 0;
    if (size < HEADER || size > PA_PLAN_MOST_BYTES || size % 8 != 0 ||
        u32_at(plan) != PA_PLAN_MAGIC || u32_at(plan + 4) != size || u32_at(plan + 12) != 0) {
        return PA_PLAN_BAD_HEADER;
    }
    steps = u32_at(plan + 8);
    if (steps > PA_PLAN_MOST_STEPS) {
        return PA_PLAN_BAD_HEADER;
    }
    for (*number = 0; *number < steps; (*number)++) {
        pa_step step;
        if (!next(plan, size, &at, &step)) {
            return PA_PLAN_BAD_SIZE;
        }
        if (step.kind == 0 || step.kind > PA_STEP_LAST) {
            return PA_PLAN_BAD_KIND;
        }
        if (!sized(&step)) {
            return PA_PLAN_BAD_SIZE;
        }
        if (!valued(&step, fd_count)) {
            return PA_PLAN_BAD_VALUE;
        }
    }
    return at == size ? PA_PLAN_OK : PA_PLAN_BAD_SIZE;
}

static int run(const pa_step *step, const int *fds, int *root, const char **call) {
    switch (step->kind) {
    case PA_STEP_RLIMIT:
        return pa_step_rlimit(step, call);
    case PA_STEP_KEYRING:
        return pa_step_keyring(call);
    case PA_STEP_SETNS:
        return pa_step_setns(step, fds, call);
    case PA_STEP_UNSHARE:
        return pa_step_unshare(step, call);
    case PA_STEP_HOSTNAME:
        return pa_step_hostname(step, call);
    case PA_STEP_IDS:
        return pa_step_ids(step, call);
    case PA_STEP_CAPS:
        return pa_step_caps(step, call);
    case PA_STEP_NO_NEW_PRIVS:
        return pa_step_no_new_privs(call);
    case PA_STEP_LANDLOCK:
        return pa_step_landlock(step, fds, call);
    case PA_STEP_SECCOMP:
        return pa_step_seccomp(step, fds, call);
    case PA_STEP_DUMPABLE:
        return pa_step_dumpable(step, call);
    case PA_STEP_CGROUP:
        return pa_step_cgroup(step, fds, call);
    case PA_STEP_RULES:
        return pa_step_rules(step, call);
    case PA_STEP_DIES_WITH_PARENT:
        return pa_step_dies_with_parent(call);
    case PA_STEP_USERNS:
        return pa_step_userns(step, call);
    case PA_STEP_ROOT:
        return pa_step_root(step, root, call);
    case PA_STEP_DIR:
        return pa_step_dir(step, *root, call);
    case PA_STEP_FILE:
        return pa_step_file(step, *root, call);
    case PA_STEP_LINK:
        return pa_step_link(step, *root, call);
    case PA_STEP_BIND:
        return pa_step_bind(step, *root, fds, call);
    case PA_STEP_TMPFS:
        return pa_step_tmpfs(step, *root, call);
    case PA_STEP_PROC:
        return pa_step_proc(step, *root, call);
    case PA_STEP_SEAL:
        return pa_step_seal(step, *root, call);
    case PA_STEP_NAMESERVER:
        return pa_step_nameserver(step, fds, call);
    case PA_STEP_OVERLAY:
        return pa_step_overlay(step, *root, call);
    default:
        return pa_step_pivot(step, root, call);
    }
}

int pa_plan_run(const uint8_t *plan, size_t size, const int *fds, pa_plan_result *result) {
    const uint32_t steps = u32_at(plan + 8);
    size_t at = HEADER;
    int root = -1;
    result->done = 0;
    result->error = 0;
    result->call = NULL;
    while (result->done < steps) {
        pa_step step;
        (void)next(plan, size, &at, &step);
        result->error = run(&step, fds, &root, &result->call);
        if (result->error != 0) {
            break;
        }
        result->done++;
    }
    if (root >= 0) {
        (void)close(root);
    }
    if (result->error != 0) {
        return result->error;
    }
    result->call = NULL;
    return 0;
}
