#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "holder.h"
#include "steps.h"

int pa_step_setns(const pa_step *step, const int *fds, const char **call) {
    *call = "setns";
    return setns(fds[pa_step_u32(step, 0)], (int)pa_step_u32(step, 4)) == 0 ? 0 : errno;
}

int pa_step_unshare(const pa_step *step, const char **call) {
    *call = "unshare";
    return unshare((int)pa_step_u32(step, 0)) == 0 ? 0 : errno;
}

/* "inside outside 1"; snprintf may not be called here. */
static size_t map_line(uint32_t inside, uint32_t outside, char *line) {
    const uint32_t numbers[2] = {inside, outside};
    size_t at = 0, i;
    for (i = 0; i < 2; i++) {
        char digits[10];
        size_t count = 0;
        uint32_t left = numbers[i];
        do {
            digits[count++] = (char)('0' + left % 10);
            left /= 10;
        } while (left != 0);
        while (count > 0) {
            line[at++] = digits[--count];
        }
        line[at++] = ' ';
    }
    line[at++] = '1';
    return at;
}

static int write_file(int directory, const char *name, const char *text, size_t size) {
    int error = 0;
    const int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    if (write(fd, text, size) != (ssize_t)size) {
        error = errno != 0 ? errno : EIO;
    }
    (void)close(fd);
    return error;
}

static int write_map(int directory, const char *name, uint32_t inside, uint32_t outside) {
    char line[32];
    return write_file(directory, name, line, map_line(inside, outside, line));
}

int pa_userns_map(int directory, const pa_id_map *uid, const pa_id_map *gid, int keep_groups,
                  const char **call) {
    int error = 0;
    if (keep_groups) {
        *call = "write to setgroups";
        error = write_file(directory, "setgroups", "deny", 4);
    }
    if (error == 0) {
        *call = "write to gid_map";
        error = write_map(directory, "gid_map", gid->inside, gid->outside);
    }
    if (error == 0) {
        *call = "write to uid_map";
        error = write_map(directory, "uid_map", uid->inside, uid->outside);
    }
    return error;
}

int pa_step_userns(const pa_step *step, const char **call) {
    const pa_id_map uid = {pa_step_u32(step, 0), geteuid()};
    const pa_id_map gid = {pa_step_u32(step, 4), getegid()};
    int error, directory;
    *call = "unshare(CLONE_NEWUSER)";
    if (unshare(CLONE_NEWUSER) != 0) {
        return errno;
    }
    *call = "open /proc/self";
    directory = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        return errno;
    }
    error = pa_userns_map(directory, &uid, &gid, 1, call);
    (void)close(directory);
    return error;
}
