/* The TCP sockets of this network, and who has them: sock_diag(7).
 *
 * Knows no Python. Not thread-safe: the owner has a lock. Functions that return int return 0 or an
 * errno value. */
#ifndef PLUGINAPI_PROCFS_SOCKETS_H
#define PLUGINAPI_PROCFS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

typedef struct pa_socket {
    uint32_t inode; /* 0: the slot is free */
    uint32_t look;  /* the last look that found it */
    /* For who searches: whose it is, and in which search that was found; 0: in none. */
    uint32_t search, owner;
} pa_socket;

/* What was found; zeros are none. */
typedef struct pa_sockets {
    pa_socket *slots;
    size_t room, used;
    uint32_t look;
    int link; /* to the kernel, plus 1 */
} pa_sockets;

/* Whether a TCP socket in this state is a connection: it is connected, or about to be. */
int pa_socket_connects(unsigned state);

/* Look which connections there are. *fresh is how many were not there before. Those that are gone
 * are forgotten. */
int pa_sockets_look(pa_sockets *self, uint32_t *fresh);

/* Find a connection by its inode, or NULL. */
pa_socket *pa_sockets_find(pa_sockets *self, uint32_t inode);

void pa_sockets_free(pa_sockets *self);

#endif
