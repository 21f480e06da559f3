#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mounts_private.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

typedef struct mount_attributes {
    uint64_t set, clear, propagation, userns_fd;
} mount_attributes;

const char *pa_step_path(const pa_step *step, size_t from, size_t size, pa_path_text *path) {
    memcpy(path->text, step->data + from, size);
    path->text[size] = '\0';
    return path->text;
}

const char *pa_step_rest(const pa_step *step, size_t from, pa_path_text *path) {
    return pa_step_path(step, from, step->size - from, path);
}

uint64_t pa_mounts_attributes(uint32_t flags) {
    return (flags & PA_MOUNT_READ_ONLY ? ATTR_READ_ONLY : 0u) |
           (flags & PA_MOUNT_NO_EXEC ? ATTR_NO_EXEC : 0u) |
           (flags & PA_MOUNT_NO_DEV ? ATTR_NO_DEV : 0u) |
           (flags & PA_MOUNT_NO_SUID ? ATTR_NO_SUID : 0u);
}

int pa_mounts_open(int root, const char *path, int flags, const char **call) {
    struct open_how how;
    int base = root, fd, error;
    if (base < 0) {
        *call = "open";
        base = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (base < 0) {
            return -errno;
        }
    }
    memset(&how, 0, sizeof how);
    how.flags = (uint32_t)(flags | O_CLOEXEC);
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    *call = "openat2";
    fd = (int)syscall(SYS_openat2, base, path, &how, sizeof how);
    error = errno;
    if (root < 0) {
        (void)close(base);
    }
    return fd >= 0 ? fd : -error;
}

/* Open the directory above the last name of a path; *name is that name. */
static int open_above(int root, char *path, const char **name, const char **call) {
    char *const slash = strrchr(path, '/');
    if (slash == NULL) {
        *name = path;
        return pa_mounts_open(root, ".", O_PATH | O_DIRECTORY, call);
    }
    *slash = '\0';
    *name = slash + 1;
    return pa_mounts_open(root, path, O_PATH | O_DIRECTORY, call);
}

/* snprintf may not be called here. `number` has room for 24 bytes; the text starts in it. */
static const char *digits(uint64_t value, unsigned base, char *number) {
    char *at = number + 23;
    *at = '\0';
    do {
        *--at = (char)('0' + value % base);
        value /= base;
    } while (value != 0);
    return at;
}

int pa_mounts_set(int fs, const char *key, const char *value) {
    return syscall(SYS_fsconfig, fs, CONFIG_SET_STRING, key, value, 0) == 0 ? 0 : errno;
}

int pa_mounts_tmpfs(const pa_plan_tmpfs *tmpfs, int *mount_fd, const char **call) {
    char number[24];
    int error;
    const int fs = (int)syscall(SYS_fsopen, "tmpfs", FS_CLOEXEC);
    *call = "fsopen";
    if (fs < 0) {
        return errno;
    }
    *call = "fsconfig";
    error = pa_mounts_set(fs, "size", digits(tmpfs->bytes, 10, number));
    if (error == 0) {
        error = pa_mounts_set(fs, "nr_inodes", digits(tmpfs->inodes, 10, number));
    }
    if (error == 0) {
        error = pa_mounts_set(fs, "mode", digits(tmpfs->mode, 8, number));
    }
    if (error == 0 && syscall(SYS_fsconfig, fs, CONFIG_CREATE, NULL, NULL, 0) != 0) {
        error = errno;
    }
    if (error == 0) {
        *call = "fsmount";
        *mount_fd = (int)syscall(SYS_fsmount, fs, FS_CLOEXEC, pa_mounts_attributes(tmpfs->flags));
        error = *mount_fd >= 0 ? 0 : errno;
    }
    (void)close(fs);
    return error;
}

static int set_attributes(int mount_fd, uint32_t flags, const char **call) {
    mount_attributes wanted;
    memset(&wanted, 0, sizeof wanted);
    wanted.set = pa_mounts_attributes(flags);
    wanted.propagation = MS_PRIVATE;
    *call = "mount_setattr";
    return syscall(SYS_mount_setattr, mount_fd, "",
                   EMPTY_PATH | (flags & PA_MOUNT_RECURSIVE ? TREE_RECURSIVE : 0u), &wanted,
                   sizeof wanted) == 0
               ? 0
               : errno;
}

int pa_mounts_put(int mount_fd, int root, const char *path, const char **call) {
    const int target = pa_mounts_open(root, path, O_PATH, call);
    int error = target < 0 ? -target : 0;
    if (error == 0) {
        *call = "move_mount";
        if (syscall(SYS_move_mount, mount_fd, "", target, "",
                    MOVE_FROM_EMPTY_PATH | MOVE_TO_EMPTY_PATH) != 0) {
            error = errno;
        }
        (void)close(target);
    }
    (void)close(mount_fd);
    return error;
}

int pa_step_root(const pa_step *step, int *root, const char **call) {
    pa_plan_tmpfs tmpfs;
    int mount_fd, error;
    memcpy(&tmpfs, step->data, sizeof tmpfs);
    if (*root >= 0) {
        *call = "a second root";
        return EBUSY;
    }
    /* Before anything is mounted: a mount here must not be one in the host's namespace. */
    *call = "mount";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return errno;
    }
    error = pa_mounts_tmpfs(&tmpfs, &mount_fd, call);
    if (error != 0) {
        return error;
    }
    /* On top of the root that is still this process's: no directory has to be there for it. */
    *call = "move_mount";
    if (syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, "/", MOVE_FROM_EMPTY_PATH) != 0) {
        error = errno;
        (void)close(mount_fd);
        return error;
    }
    *root = mount_fd;
    return 0;
}

int pa_step_dir(const pa_step *step, int root, const char **call) {
    pa_path_text path;
    char *slash = path.text;
    const mode_t mode = pa_step_u32(step, 0);
    (void)pa_step_rest(step, 8, &path);
    for (;;) {
        pa_path_text part;
        const char *name;
        int above, error = 0;
        slash = strchr(slash, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        memcpy(part.text, path.text, sizeof part.text);
        above = open_above(root, part.text, &name, call);
        if (above < 0) {
            return -above;
        }
        *call = "mkdir";
        if (mkdirat(above, name, 0700) != 0) {
            error = errno == EEXIST ? 0 : errno;
        } else if (fchmodat(above, name, slash != NULL ? 0755 : mode, 0) != 0) {
            /* Whatever the umask is. */
            *call = "chmod";
            error = errno;
        }
        (void)close(above);
        if (error != 0 || slash == NULL) {
            return error;
        }
        *slash++ = '/';
    }
}

int pa_step_file(const pa_step *step, int root, const char **call) {
    pa_path_text path;
    const char *name;
    int fd, error = 0;
    const int above = open_above(root, (char *)(uintptr_t)pa_step_rest(step, 8, &path), &name, call);
    if (above < 0) {
        return -above;
    }
    *call = "open";
    fd = openat(above, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, pa_step_u32(step, 0));
    if (fd < 0) {
        error = errno;
    } else {
        (void)close(fd);
    }
    (void)close(above);
    return error;
}

int pa_step_link(const pa_step *step, int root, const char **call) {
    pa_path_text path, target;
    const char *name;
    const size_t size = pa_step_u32(step, 0);
    int error = 0;
    const int above =
        open_above(root, (char *)(uintptr_t)pa_step_path(step, 8, size, &path), &name, call);
    if (above < 0) {
        return -above;
    }
    *call = "symlink";
    if (symlinkat(pa_step_rest(step, 8 + size, &target), above, name) != 0) {
        error = errno;
    }
    (void)close(above);
    return error;
}

/* Open the source of a bind in this mount namespace, and see that it is what the descriptor is of:
 * names may have been swapped since that was checked. */
static int open_source(const char *path, int checked, const char **call) {
    struct open_how how;
    struct stat wanted, found;
    int fd;
    memset(&how, 0, sizeof how);
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    *call = "openat2";
    fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0) {
        return -errno;
    }
    *call = "fstat";
    if (fstat(checked, &wanted) != 0 || fstat(fd, &found) != 0) {
        const int error = errno;
        (void)close(fd);
        return -error;
    }
    *call = "another file is there by now";
    if (wanted.st_dev != found.st_dev || wanted.st_ino != found.st_ino) {
        (void)close(fd);
        return -ESTALE;
    }
    return fd;
}

int pa_step_bind(const pa_step *step, int root, const int *fds, const char **call) {
    pa_path_text path;
    const uint32_t flags = pa_step_u32(step, 4);
    const size_t size = pa_step_u32(step, 8);
    int error, tree;
    const int source =
        open_source(pa_step_rest(step, 16 + size, &path), fds[pa_step_u32(step, 0)], call);
    if (source < 0) {
        return -source;
    }
    *call = "open_tree";
    tree = (int)syscall(SYS_open_tree, source, "",
                        TREE_CLONE | TREE_CLOEXEC | EMPTY_PATH |
                            (flags & PA_MOUNT_RECURSIVE ? TREE_RECURSIVE : 0u));
    error = tree < 0 ? errno : 0;
    (void)close(source);
    if (error != 0) {
        return error;
    }
    /* Before it can be reached. */
    error = set_attributes(tree, flags, call);
    if (error != 0) {
        (void)close(tree);
        return error;
    }
    return pa_mounts_put(tree, root, pa_step_path(step, 16, size, &path), call);
}

int pa_step_tmpfs(const pa_step *step, int root, const char **call) {
    pa_path_text path;
    pa_plan_tmpfs tmpfs;
    int mount_fd, error;
    memcpy(&tmpfs, step->data, sizeof tmpfs);
    error = pa_mounts_tmpfs(&tmpfs, &mount_fd, call);
    return error != 0 ? error : pa_mounts_put(mount_fd, root, pa_step_rest(step, sizeof tmpfs, &path), call);
}

int pa_step_proc(const pa_step *step, int root, const char **call) {
    pa_path_text path;
    int mount_fd = -1, error = 0;
    const int fs = (int)syscall(SYS_fsopen, "proc", FS_CLOEXEC);
    *call = "fsopen";
    if (fs < 0) {
        return errno;
    }
    *call = "fsconfig";
    error = pa_step_u32(step, 4) != 0 ? pa_mounts_set(fs, "subset", "pid") : 0;
    if (error == 0 && syscall(SYS_fsconfig, fs, CONFIG_CREATE, NULL, NULL, 0) != 0) {
        error = errno;
    }
    if (error == 0) {
        *call = "fsmount";
        mount_fd = (int)syscall(SYS_fsmount, fs, FS_CLOEXEC, pa_mounts_attributes(pa_step_u32(step, 0)));
        error = mount_fd >= 0 ? 0 : errno;
    }
    (void)close(fs);
    return error != 0 ? error : pa_mounts_put(mount_fd, root, pa_step_rest(step, 8, &path), call);
}

int pa_step_seal(const pa_step *step, int root, const char **call) {
    pa_path_text path;
    const char *const text = pa_step_rest(step, 8, &path);
    int error;
    const int fd = pa_mounts_open(root, text, O_PATH, call);
    if (fd < 0) {
        return -fd;
    }
    error = set_attributes(fd, pa_step_u32(step, 0), call);
    (void)close(fd);
    return error;
}

int pa_step_pivot(const pa_step *step, int *root, const char **call) {
    int error;
    *call = "no root was begun";
    if (*root < 0) {
        return EINVAL;
    }
    error = set_attributes(*root, pa_step_u32(step, 0), call);
    if (error != 0) {
        return error;
    }
    *call = "fchdir";
    if (fchdir(*root) != 0) {
        return errno;
    }
    /* The old root comes to lie on top of the new one, and is taken off; pivot_root(2), notes. */
    *call = "pivot_root";
    if (syscall(SYS_pivot_root, ".", ".") != 0) {
        return errno;
    }
    *call = "umount";
    if (umount2(".", MNT_DETACH) != 0) {
        return errno;
    }
    *call = "chdir";
    if (chdir("/") != 0) {
        return errno;
    }
    (void)close(*root);
    *root = -1;
    return 0;
}
