/* The socket that takes the place of a plugin's: made in the host's network, with its options.
 *
 * Knows no Python. Linux. Thread-safe: no state. Functions return 0 or an errno value. */
#ifndef PLUGINAPI_BROKER_REPLACE_H
#define PLUGINAPI_BROKER_REPLACE_H

#include <stdint.h>

#include "verdicts.h"

/* What is to be known of a socket that is to be connected. */
typedef struct pa_socket_facts {
    int family;    /* AF_* */
    int type;      /* SOCK_* */
    int protocol;  /* IPPROTO_* */
    int waits;     /* 0: O_NONBLOCK */
    int is_hosts;  /* of the host's network: given to the plugin before */
} pa_socket_facts;

/* A number that says which network a socket is of; 0 and ENOPROTOOPT before Linux 5.14. */
int pa_socket_network(int socket, uint64_t *out);

/* Look at a socket; `network` is the host's. ENOTSOCK when it is none. */
int pa_socket_look(int socket, uint64_t network, pa_socket_facts *out);

/* What a TCP socket that was just made has set; free(3) takes it back. */
typedef struct pa_socket_usual pa_socket_usual;
int pa_socket_usual_read(pa_socket_usual **out);

/* Whether listen(2) was called on a socket. */
int pa_socket_listens(int socket);

/* Make a TCP socket with the options of another, not waiting, and begin to connect it: 0 when it is
 * connected, EINPROGRESS while it is not. *out is the caller's to close then. */
int pa_socket_begin(const pa_socket_usual *usual, const pa_endpoint *to, int options_of,
                    int *out);

/* Whether the connecting of a socket has ended: 0 connected, EINPROGRESS, or why not. */
int pa_socket_outcome(int socket);

/* What connect(2) says of a socket that was connected before: EISCONN, EALREADY, or why it is not
 * connected any more. */
int pa_socket_again(int socket);

/* Let calls on it wait, as those on the plugin's do, or not. */
int pa_socket_waits(int socket, int waits);

/* Connect, or bind, the plugin's own socket, in the plugin's own network. Neither waits where calls
 * on it do not, and UDP sockets never do: EINPROGRESS. */
int pa_socket_connect_own(int socket, const pa_endpoint *to, int family);
int pa_socket_bind_own(int socket, const pa_endpoint *to, int family);

/* Read an address as connect(2) takes it: EAFNOSUPPORT for other families than INET and INET6, or
 * EINVAL. IPv4 addresses that are written as IPv6 ones are IPv4 addresses. */
int pa_endpoint_read(const void *address, uint32_t size, pa_endpoint *out);

#endif
