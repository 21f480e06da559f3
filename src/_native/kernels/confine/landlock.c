#define _GNU_SOURCE
#include "landlock.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#endif

/* <linux/landlock.h>, written out: headers of older systems lack what newer kernels know. */
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
#define RULE_NET_PORT 2

typedef struct ruleset_attr {
    uint64_t fs, net, scoped;
} ruleset_attr;

typedef struct path_beneath_attr {
    uint64_t access;
    int32_t parent_fd;
} __attribute__((packed)) path_beneath_attr;

typedef struct net_port_attr {
    uint64_t access, port;
} net_port_attr;

int pa_landlock_abi(void) {
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_RULESET_VERSION);
    return abi < 0 ? -errno : (int)abi;
}

int pa_landlock_ruleset(uint64_t fs, uint64_t net, uint64_t scoped, int *fd) {
    ruleset_attr attr;
    /* An older kernel takes a shorter structure, and a longer one as long as the rest is zero. */
    memset(&attr, 0, sizeof attr);
    attr.fs = fs;
    attr.net = net;
    attr.scoped = scoped;
    *fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0u);
    return *fd >= 0 ? 0 : errno;
}

int pa_landlock_allow_path(int ruleset, int path_fd, uint64_t access) {
    path_beneath_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.access = access;
    attr.parent_fd = path_fd;
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &attr, 0u) == 0 ? 0 : errno;
}

int pa_landlock_allow_port(int ruleset, uint64_t port, uint64_t access) {
    net_port_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.access = access;
    attr.port = port;
    return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &attr, 0u) == 0 ? 0 : errno;
}
