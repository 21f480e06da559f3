#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "steps.h"

/* The raw calls: those of the C library change every thread by signals, which a child that shares
 * its parent's memory must not send. */

int pa_step_ids(const pa_step *step, const char **call) {
    const uid_t uid = pa_step_u32(step, 0);
    const gid_t gid = pa_step_u32(step, 4);
    *call = "setgroups";
    if (syscall(SYS_setgroups, (size_t)0, NULL) != 0) {
        return errno;
    }
    *call = "setresgid";
    if (syscall(SYS_setresgid, gid, gid, gid) != 0) {
        return errno;
    }
    /* What is permitted is kept for the step that says what of it stays. */
    *call = "prctl(PR_SET_KEEPCAPS)";
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
        return errno;
    }
    *call = "setresuid";
    return syscall(SYS_setresuid, uid, uid, uid) == 0 ? 0 : errno;
}

static int drop_bounding(uint64_t kept, const char **call) {
    unsigned cap;
    for (cap = 0; cap < 64; cap++) {
        const int there = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (there < 0) {
            /* Numbers end where the kernel knows no more. */
            return 0;
        }
        *call = "prctl(PR_CAPBSET_DROP)";
        if (there == 1 && (kept >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            return errno;
        }
    }
    return 0;
}

static int set_caps(const pa_plan_caps *caps) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    unsigned half;
    memset(data, 0, sizeof data);
    for (half = 0; half < 2; half++) {
        data[half].permitted = data[half].effective = (uint32_t)(caps->permitted >> (32 * half));
        data[half].inheritable = (uint32_t)(caps->inheritable >> (32 * half));
    }
    return syscall(SYS_capset, &header, data) == 0 ? 0 : errno;
}

static int has_any_caps(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    memset(data, 0, sizeof data);
    return syscall(SYS_capget, &header, data) != 0 || data[0].permitted != 0 ||
           data[1].permitted != 0;
}

static int raise_ambient(uint64_t ambient, const char **call) {
    unsigned cap;
    *call = "prctl(PR_CAP_AMBIENT_RAISE)";
    for (cap = 0; cap < 64; cap++) {
        if ((ambient >> cap & 1) != 0 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0) {
            return errno;
        }
    }
    return 0;
}

int pa_step_caps(const pa_step *step, const char **call) {
    pa_plan_caps caps, before;
    int error;
    memcpy(&caps, step->data, sizeof caps);
    *call = "prctl(PR_CAP_AMBIENT_CLEAR_ALL)";
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
        return errno;
    }
    if (!has_any_caps()) {
        /* Nothing can be dropped from the bounding set, and nothing gained from it once
         * no_new_privs is set. What is to be kept is not there: that is an error. */
        *call = "capset";
        return set_caps(&caps);
    }
    /* Dropping and locking take CAP_SETPCAP, which after a change of the user is permitted, but not
     * effective. */
    before = caps;
    before.permitted |= UINT64_C(1) << CAP_SETPCAP;
    *call = "capset";
    error = set_caps(&before);
    if (error == 0) {
        error = drop_bounding(caps.bounding, call);
    }
    if (error == 0) {
        error = raise_ambient(caps.ambient, call);
    }
    if (error != 0) {
        return error;
    }
    *call = "prctl(PR_SET_SECUREBITS)";
    if (prctl(PR_SET_SECUREBITS, caps.securebits, 0, 0, 0) != 0) {
        return errno;
    }
    *call = "capset";
    return set_caps(&caps);
}

int pa_step_no_new_privs(const char **call) {
    *call = "prctl(PR_SET_NO_NEW_PRIVS)";
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

int pa_step_dumpable(const pa_step *step, const char **call) {
    *call = "prctl(PR_SET_DUMPABLE)";
    return prctl(PR_SET_DUMPABLE, pa_step_u32(step, 0), 0, 0, 0) == 0 ? 0 : errno;
}

int pa_step_dies_with_parent(const char **call) {
    *call = "prctl(PR_SET_PDEATHSIG)";
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 ? 0 : errno;
}
