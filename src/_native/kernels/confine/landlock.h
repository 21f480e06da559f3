/* Landlock rulesets, landlock(7): what paths and ports a process may use. Made once for each policy;
 * the descriptor of a ruleset restricts as many processes as one likes.
 *
 * Knows no Python. Linux 5.13 or newer; the calls return ENOSYS or EOPNOTSUPP where it is not there.
 * Thread-safe. */
#ifndef PLUGINAPI_CONFINE_LANDLOCK_H
#define PLUGINAPI_CONFINE_LANDLOCK_H

#include <stdint.h>

/* The version of the kernel's interface, 1 or more; or minus an errno value. */
int pa_landlock_abi(void);

/* Make a ruleset that denies these accesses where no rule allows them: LANDLOCK_ACCESS_FS_*,
 * LANDLOCK_ACCESS_NET_*, LANDLOCK_SCOPE_*. Returns 0 with *fd, or an errno value. */
int pa_landlock_ruleset(uint64_t fs, uint64_t net, uint64_t scoped, int *fd);

/* Allow accesses at and below a file that is open with O_PATH. Returns 0 or an errno value. */
int pa_landlock_allow_path(int ruleset, int path_fd, uint64_t access);

/* Allow accesses to a TCP port. Returns 0 or an errno value. */
int pa_landlock_allow_port(int ruleset, uint64_t port, uint64_t access);

#endif
