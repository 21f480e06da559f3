/* What the steps that mount share: the new mount calls, and places in the tree found without links. */
#ifndef PLUGINAPI_CONFINE_MOUNTS_PRIVATE_H
#define PLUGINAPI_CONFINE_MOUNTS_PRIVATE_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

#include "steps.h"

/* <linux/mount.h>, written out: it cannot stand beside <sys/mount.h> of every C library. */
#define TREE_CLONE 1u
#define TREE_CLOEXEC ((unsigned)O_CLOEXEC)
#define TREE_RECURSIVE 0x8000u
#define EMPTY_PATH 0x1000u
#define MOVE_FROM_EMPTY_PATH 4u
#define MOVE_TO_EMPTY_PATH 0x40u
#define FS_CLOEXEC 1u
#define CONFIG_SET_FLAG 0u
#define CONFIG_SET_STRING 1u
#define CONFIG_CREATE 6u
#define ATTR_READ_ONLY 1u
#define ATTR_NO_SUID 2u
#define ATTR_NO_DEV 4u
#define ATTR_NO_EXEC 8u

/* The path of a step, with the 0 that calls want. The check has bounded it. */
typedef struct pa_path_text {
    char text[4096];
} pa_path_text;

/* `size` bytes of a step from `from` on; all from there. */
const char *pa_step_path(const pa_step *step, size_t from, size_t size, pa_path_text *path);
const char *pa_step_rest(const pa_step *step, size_t from, pa_path_text *path);

/* PA_MOUNT_* as the calls have them. */
uint64_t pa_mounts_attributes(uint32_t flags);

/* Open what is there, below the root, or / where that is -1, and over no link: whoever can swap a
 * directory for a link at this moment gets an error, never another place. A descriptor, or less than
 * 0: an errno value. */
int pa_mounts_open(int root, const char *path, int flags, const char **call);

/* Configure a file system that was opened; 0 or an errno value, as from all below. */
int pa_mounts_set(int fs, const char *key, const char *value);

/* Make a file system in memory that is mounted nowhere yet. */
int pa_mounts_tmpfs(const pa_plan_tmpfs *tmpfs, int *mount_fd, const char **call);

/* Put a mount where a path is, and close it. */
int pa_mounts_put(int mount_fd, int root, const char *path, const char **call);

#endif
