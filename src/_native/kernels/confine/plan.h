/* A plan: what a process gives up before it runs a plugin, step by step, as bytes.
 *
 * The host writes the plan once for each policy; whoever starts a process checks it once and runs it
 * in the new process. Running takes no memory and makes async-signal-safe calls only: it works in a
 * child that shares its parent's memory (vfork), and after a fork of a process with threads. The
 * first step that fails ends it, named.
 *
 * Layout, in the byte order of the machine: u32 magic, u32 size of all, u32 number of steps, u32 0;
 * then for each step u16 kind, u16 0, u32 bytes of what follows, and those, padded to 8.
 *
 * Knows no Python. Linux. Thread-safe: no state; but running changes the calling thread or process. */
#ifndef PLUGINAPI_CONFINE_PLAN_H
#define PLUGINAPI_CONFINE_PLAN_H

#include <stddef.h>
#include <stdint.h>

#define PA_PLAN_MAGIC UINT32_C(0x314e4c50) /* "PLN1" */
#define PA_PLAN_MOST_BYTES ((size_t)1 << 20)
#define PA_PLAN_MOST_STEPS 1024u

/* Kinds of steps, with what they are given. A descriptor is a number in the list of pa_plan_run. */
enum {
    PA_STEP_RLIMIT = 1,   /* u32 resource, u32 0, u64 soft, u64 hard; setrlimit(2) */
    PA_STEP_KEYRING = 2,  /* nothing; a new session keyring, keyctl(2) */
    PA_STEP_SETNS = 3,    /* u32 descriptor of a namespace or a process, u32 CLONE_NEW*; setns(2) */
    PA_STEP_UNSHARE = 4,  /* u32 CLONE_NEW*, u32 0; unshare(2) */
    PA_STEP_HOSTNAME = 5, /* text; sethostname(2) */
    PA_STEP_IDS = 6,      /* u32 uid, u32 gid; no supplementary groups, setresgid(2), setresuid(2) */
    PA_STEP_CAPS = 7,     /* pa_plan_caps; capabilities(7) */
    PA_STEP_NO_NEW_PRIVS = 8, /* nothing; PR_SET_NO_NEW_PRIVS */
    PA_STEP_LANDLOCK = 9, /* u32 descriptor of a ruleset, u32 flags; landlock_restrict_self(2) */
    PA_STEP_SECCOMP = 10, /* u32 flags, u32 0, then the program; seccomp(2). With the flag
                           * NEW_LISTENER 1 more than the descriptor of a SOCK_SEQPACKET socket in
                           * place of the 0: the listener is sent over it */
    PA_STEP_DUMPABLE = 11, /* u32 0 or 1, u32 0; PR_SET_DUMPABLE. An exec sets it anew */
    /* The tree of files, in a mount namespace of one's own. Paths are relative to the root that is
     * being made, or after the pivot to the root, without links on the way; they end with the step. */
    PA_STEP_ROOT = 12,    /* pa_plan_tmpfs; no mount is seen outside, and an empty root is begun */
    PA_STEP_DIR = 13,     /* u32 mode, u32 0, path; and the directories above it */
    PA_STEP_FILE = 14,    /* u32 mode, u32 0, path; an empty file, to mount one on */
    PA_STEP_LINK = 15,    /* u32 bytes of the path, u32 0, path, then what it points to */
    PA_STEP_BIND = 16,    /* u32 descriptor, u32 PA_MOUNT_*, u32 bytes of the path, u32 0, path, then
                           * the absolute path of the source, which has to be what the descriptor is
                           * of: mounts of another namespace than one's own cannot be copied */
    PA_STEP_TMPFS = 17,   /* pa_plan_tmpfs, path */
    PA_STEP_PROC = 18,    /* u32 PA_MOUNT_*, u32 1 for its processes alone, path; /proc of the
                           * process's own PID namespace, proc(5) */
    PA_STEP_SEAL = 19,    /* u32 PA_MOUNT_*, u32 0, path; flags of a mount that is there */
    PA_STEP_PIVOT = 20,   /* u32 PA_MOUNT_*, u32 0; the new root is the root, the old one is gone */
    /* More of the process itself. */
    PA_STEP_CGROUP = 21,  /* u32 descriptor of a cgroup.procs or tasks, u32 0; joins it, cgroups(7) */
    PA_STEP_RULES = 22,   /* pa_plan_rules, then the rules: a Landlock ruleset on the paths as this
                           * process finds them, which is applied; landlock(7) */
    PA_STEP_DIES_WITH_PARENT = 23, /* nothing; PR_SET_PDEATHSIG. A change of the user undoes it */
    PA_STEP_USERNS = 24,  /* u32 uid, u32 gid, each mapped to the one that the process has; a user
                           * namespace of its own, user_namespaces(7). Needs /proc */
    /* In the tree of files, when it is the root. */
    PA_STEP_OVERLAY = 25, /* pa_plan_overlay, path; changes to this directory go to memory */
    /* In a network namespace of one's own. */
    PA_STEP_NAMESERVER = 26, /* u32 descriptor of a SOCK_SEQPACKET socket, u32 0: a socket on UDP
                              * port 53 of 127.0.0.1 is sent over it; the loopback is up then */
    PA_STEP_LAST = PA_STEP_NAMESERVER
};

/* Flags of mounts. */
enum {
    PA_MOUNT_READ_ONLY = 1,
    PA_MOUNT_NO_EXEC = 2,
    PA_MOUNT_NO_DEV = 4,
    PA_MOUNT_NO_SUID = 8,
    PA_MOUNT_RECURSIVE = 16, /* the mounts below it too; with PA_STEP_BIND they come along */
    PA_MOUNT_ALL = 31
};

typedef struct pa_plan_tmpfs {
    uint64_t bytes;  /* at least a page */
    uint64_t inodes; /* at least 1 */
    uint32_t mode;   /* of its root */
    uint32_t flags;  /* PA_MOUNT_* */
} pa_plan_tmpfs;

/* `tmpfs.mode` is of the directory as it is seen then, `tmpfs.flags` of the overlay. */
typedef struct pa_plan_overlay {
    pa_plan_tmpfs tmpfs;
    uint32_t in_userns; /* 1: without trusted.* attributes, which take rights of the machine */
    uint32_t reserved;
} pa_plan_overlay;

typedef struct pa_plan_caps {
    uint64_t bounding;    /* what stays; everything else is dropped */
    uint64_t permitted;   /* the same set is effective */
    uint64_t inheritable; /* must hold what is ambient */
    uint64_t ambient;
    uint32_t securebits;  /* set when there are capabilities to set them with */
    uint32_t reserved;
} pa_plan_caps;

/* Then for each rule: u64 access, u32 bytes of the path, u32 0, and the absolute path. */
typedef struct pa_plan_rules {
    uint64_t fs, net, scoped; /* what is denied unless a rule allows it */
    uint32_t count;
    uint32_t reserved;
} pa_plan_rules;

/* What is wrong with a plan. */
typedef enum pa_plan_status {
    PA_PLAN_OK = 0,
    PA_PLAN_BAD_HEADER = -1,
    PA_PLAN_BAD_SIZE = -2, /* a step is cut off, or of another size than its kind has */
    PA_PLAN_BAD_KIND = -3,
    PA_PLAN_BAD_VALUE = -4 /* a value that the kind cannot have, a descriptor that is not given */
} pa_plan_status;

/* Check all of a plan that is run with fd_count descriptors. *step is the number of the first step
 * that is wrong. */
pa_plan_status pa_plan_check(const uint8_t *plan, size_t size, size_t fd_count, size_t *step);

/* The steps that were done, and the one that failed. */
typedef struct pa_plan_result {
    size_t done;
    int error;        /* errno value; 0 when all were done */
    const char *call; /* the system call that failed, or NULL */
} pa_plan_result;

/* Run a checked plan on the calling process. Returns result->error. */
int pa_plan_run(const uint8_t *plan, size_t size, const int *fds, pa_plan_result *result);

/* Name of a kind, "seccomp" and so on; "?" for what is none. */
const char *pa_plan_name(unsigned kind);

#endif
