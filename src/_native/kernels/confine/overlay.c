/* A directory whose changes go to memory, and are gone with whoever made them; overlay(5) is
 * Documentation/filesystems/overlayfs.rst of the kernel. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mounts_private.h"

/* All in the file system in memory, which is the current directory when the layers are named: no
 * path leads through what anybody else may change. */
#define LOWER "lower"
#define UPPER "upper"
#define WORK "work"

static int make(int top, const char *name, mode_t mode, const char **call) {
    *call = "mkdir";
    if (mkdirat(top, name, 0700) != 0) {
        return errno;
    }
    *call = "chmod"; /* whatever the umask is */
    return fchmodat(top, name, mode, 0) == 0 ? 0 : errno;
}

/* Show the directory itself in the file system in memory: that is put over it. */
static int keep_lower(int lower, int top, const char **call) {
    int error;
    const int tree = (int)syscall(SYS_open_tree, lower, "", TREE_CLONE | TREE_CLOEXEC | EMPTY_PATH);
    *call = "open_tree";
    if (tree < 0) {
        return errno;
    }
    error = make(top, LOWER, 0700, call);
    if (error == 0) {
        *call = "move_mount";
        if (syscall(SYS_move_mount, tree, "", top, LOWER, MOVE_FROM_EMPTY_PATH) != 0) {
            error = errno;
        }
    }
    (void)close(tree);
    return error;
}

static int configure(int fs, int in_userns, const char **call) {
    int error;
    *call = "fsconfig";
    error = pa_mounts_set(fs, "lowerdir", LOWER);
    if (error == 0) {
        error = pa_mounts_set(fs, "upperdir", UPPER);
    }
    if (error == 0) {
        error = pa_mounts_set(fs, "workdir", WORK);
    }
    if (error == 0 && in_userns &&
        syscall(SYS_fsconfig, fs, CONFIG_SET_FLAG, "userxattr", NULL, 0) != 0) {
        error = errno;
    }
    if (error == 0 && syscall(SYS_fsconfig, fs, CONFIG_CREATE, NULL, NULL, 0) != 0) {
        error = errno;
    }
    return error;
}

/* Make the overlay of the layers in the current directory. */
static int new_overlay(const pa_plan_overlay *overlay, int *mount_fd, const char **call) {
    int error;
    const int fs = (int)syscall(SYS_fsopen, "overlay", FS_CLOEXEC);
    *call = "fsopen";
    if (fs < 0) {
        return errno;
    }
    error = configure(fs, overlay->in_userns != 0, call);
    if (error == 0) {
        *call = "fsmount";
        *mount_fd = (int)syscall(SYS_fsmount, fs, FS_CLOEXEC,
                                 pa_mounts_attributes(overlay->tmpfs.flags));
        error = *mount_fd >= 0 ? 0 : errno;
    }
    (void)close(fs);
    return error;
}

/* Put it over the layers, which nothing leads to any more. */
static int cover(const pa_plan_overlay *overlay, const char *path, int top, const char **call) {
    int mount_fd = -1, error;
    *call = "fchdir";
    if (fchdir(top) != 0) {
        return errno;
    }
    error = new_overlay(overlay, &mount_fd, call);
    if (chdir("/") != 0 && error == 0) {
        *call = "chdir";
        error = errno;
        (void)close(mount_fd);
    }
    return error != 0 ? error : pa_mounts_put(mount_fd, -1, path, call);
}

int pa_step_overlay(const pa_step *step, int root, const char **call) {
    pa_path_text text;
    const char *const path = pa_step_rest(step, sizeof(pa_plan_overlay), &text);
    pa_plan_overlay overlay;
    pa_plan_tmpfs layers;
    int lower, top = -1, mount_fd, error;
    memcpy(&overlay, step->data, sizeof overlay);
    layers = overlay.tmpfs;
    layers.mode = 0700;
    if (root >= 0) {
        *call = "an overlay of what is not the root yet";
        return EINVAL;
    }
    lower = pa_mounts_open(-1, path, O_PATH | O_DIRECTORY, call);
    if (lower < 0) {
        return -lower;
    }
    error = pa_mounts_tmpfs(&layers, &mount_fd, call);
    if (error == 0) {
        error = pa_mounts_put(mount_fd, -1, path, call);
    }
    if (error == 0) {
        top = pa_mounts_open(-1, path, O_PATH | O_DIRECTORY, call);
        error = top < 0 ? -top : keep_lower(lower, top, call);
    }
    if (error == 0) {
        error = make(top, UPPER, overlay.tmpfs.mode, call);
    }
    if (error == 0) {
        error = make(top, WORK, 0700, call);
    }
    if (error == 0) {
        error = cover(&overlay, path, top, call);
    }
    if (top >= 0) {
        (void)close(top);
    }
    (void)close(lower);
    return error;
}
