#define _GNU_SOURCE
#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int pa_socket_network(int socket, uint64_t *out) {
    socklen_t size = sizeof *out;
    *out = 0;
    return getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, out, &size) == 0 ? 0 : errno;
}

static int option(int socket, int name, int *out) {
    socklen_t size = sizeof *out;
    return getsockopt(socket, SOL_SOCKET, name, out, &size) == 0 ? 0 : errno;
}

int pa_socket_look(int socket, uint64_t network, pa_socket_facts *out) {
    uint64_t own;
    int flags, error;
    if ((error = option(socket, SO_DOMAIN, &out->family)) != 0 ||
        (error = option(socket, SO_TYPE, &out->type)) != 0 ||
        (error = option(socket, SO_PROTOCOL, &out->protocol)) != 0 ||
        (error = pa_socket_network(socket, &own)) != 0) {
        return error;
    }
    flags = fcntl(socket, F_GETFL);
    if (flags < 0) {
        return errno;
    }
    out->waits = (flags & O_NONBLOCK) == 0;
    out->is_hosts = own == network;
    return 0;
}

/* Options that programs set before they connect. What the kernel doubles is halved. */
static const struct {
    int level, name, doubled;
} kept[] = {
    {SOL_SOCKET, SO_OOBINLINE, 0},       {SOL_SOCKET, SO_RCVBUF, 1},
    {SOL_SOCKET, SO_SNDBUF, 1},          {SOL_SOCKET, SO_RCVLOWAT, 0},
    {IPPROTO_TCP, TCP_NODELAY, 0},       {IPPROTO_TCP, TCP_USER_TIMEOUT, 0},
    {IPPROTO_TCP, TCP_SYNCNT, 0},        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0},
    {SOL_SOCKET, SO_KEEPALIVE, 0},       /* Those below mean something with it alone. */
    {IPPROTO_TCP, TCP_KEEPIDLE, 0},      {IPPROTO_TCP, TCP_KEEPINTVL, 0},
    {IPPROTO_TCP, TCP_KEEPCNT, 0},
};
#define KEPT (sizeof kept / sizeof *kept)
#define WITHOUT_KEEPALIVE (KEPT - 3) /* the last one says whether there are more */

struct pa_socket_usual {
    int values[KEPT];
};

/* Not all of a plugin's values can be had by the host, whose limits may be others: those are left. */
static void copy_options(const pa_socket_usual *usual, int from, int to) {
    static const int timeouts[] = {SO_RCVTIMEO, SO_SNDTIMEO};
    struct linger linger;
    struct timeval time;
    socklen_t size;
    size_t i, count = WITHOUT_KEEPALIVE;
    for (i = 0; i < count; i++) {
        int wanted = 0;
        size = sizeof wanted;
        if (getsockopt(from, kept[i].level, kept[i].name, &wanted, &size) != 0) {
            continue;
        }
        if (kept[i].name == SO_KEEPALIVE && kept[i].level == SOL_SOCKET && wanted != 0) {
            count = KEPT;
        }
        if (usual->values[i] != wanted) {
            wanted /= 1 + kept[i].doubled;
            (void)setsockopt(to, kept[i].level, kept[i].name, &wanted, sizeof wanted);
        }
    }
    size = sizeof linger;
    if (getsockopt(from, SOL_SOCKET, SO_LINGER, &linger, &size) == 0 && linger.l_onoff != 0) {
        (void)setsockopt(to, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    for (i = 0; i < 2; i++) {
        size = sizeof time;
        if (getsockopt(from, SOL_SOCKET, timeouts[i], &time, &size) == 0 &&
            (time.tv_sec != 0 || time.tv_usec != 0)) {
            (void)setsockopt(to, SOL_SOCKET, timeouts[i], &time, sizeof time);
        }
    }
}

int pa_socket_usual_read(pa_socket_usual **out) {
    pa_socket_usual *const read = calloc(1, sizeof *read);
    const int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    const int error = read == NULL ? ENOMEM : made < 0 ? errno : 0;
    size_t i;
    for (i = 0; error == 0 && i < KEPT; i++) {
        socklen_t size = sizeof read->values[i];
        (void)getsockopt(made, kept[i].level, kept[i].name, &read->values[i], &size);
    }
    if (made >= 0) {
        (void)close(made);
    }
    if (error != 0) {
        free(read);
        return error;
    }
    *out = read;
    return 0;
}

static socklen_t fill(const pa_endpoint *from, int family, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(from->port);
        memcpy(&in->sin_addr, from->address, 4);
        return sizeof *in;
    } else {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
        in->sin6_family = AF_INET6;
        in->sin6_port = htons(from->port);
        if (from->family == 4) {
            in->sin6_addr.s6_addr[10] = in->sin6_addr.s6_addr[11] = 0xff;
            memcpy(in->sin6_addr.s6_addr + 12, from->address, 4);
        } else {
            memcpy(&in->sin6_addr, from->address, 16);
        }
        return sizeof *in;
    }
}

int pa_socket_listens(int socket) {
    int listens = 0;
    return option(socket, SO_ACCEPTCONN, &listens) == 0 && listens;
}

int pa_socket_begin(const pa_socket_usual *usual, const pa_endpoint *to, int options_of,
                    int *out) {
    struct sockaddr_storage address;
    const int family = to->family == 4 ? AF_INET : AF_INET6;
    const socklen_t size = fill(to, family, &address);
    const int made = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int error;
    if (made < 0) {
        return errno;
    }
    copy_options(usual, options_of, made);
    error = connect(made, (const struct sockaddr *)&address, size) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        /* To a place on this machine it is done by now. */
        error = pa_socket_outcome(made);
    }
    if (error != 0 && error != EINPROGRESS) {
        (void)close(made);
        return error;
    }
    *out = made;
    return error;
}

int pa_socket_outcome(int socket) {
    struct pollfd wait = {socket, POLLOUT, 0};
    int error = 0;
    if (poll(&wait, 1, 0) <= 0) {
        return EINPROGRESS;
    }
    if ((wait.revents & (POLLERR | POLLHUP)) == 0) {
        return 0;
    }
    return option(socket, SO_ERROR, &error) == 0 ? error : errno;
}

int pa_socket_again(int socket) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int error = 0;
    memset(&info, 0, sizeof info);
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        return EISCONN;
    }
    if (info.tcpi_state == TCP_SYN_SENT || info.tcpi_state == TCP_SYN_RECV) {
        return EALREADY;
    }
    if (info.tcpi_state != TCP_CLOSE) {
        return EISCONN;
    }
    /* A socket of the host's network is connected once. */
    return option(socket, SO_ERROR, &error) == 0 && error != 0 ? error : ECONNABORTED;
}

int pa_socket_waits(int socket, int waits) {
    const int flags = fcntl(socket, F_GETFL);
    const int wanted = waits ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    return flags >= 0 && (flags == wanted || fcntl(socket, F_SETFL, wanted) == 0) ? 0 : errno;
}

int pa_socket_connect_own(int socket, const pa_endpoint *to, int family) {
    struct sockaddr_storage address;
    const socklen_t size = fill(to, family, &address);
    return connect(socket, (const struct sockaddr *)&address, size) == 0 ? 0 : errno;
}

int pa_socket_bind_own(int socket, const pa_endpoint *to, int family) {
    struct sockaddr_storage address;
    const socklen_t size = fill(to, family, &address);
    return bind(socket, (const struct sockaddr *)&address, size) == 0 ? 0 : errno;
}

int pa_endpoint_read(const void *address, uint32_t size, pa_endpoint *out) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    sa_family_t family;
    memset(out, 0, sizeof *out);
    if (size < sizeof family) {
        return EINVAL;
    }
    memcpy(&family, address, sizeof family);
    if (family == AF_INET) {
        if (size < sizeof in) {
            return EINVAL;
        }
        memcpy(&in, address, sizeof in);
        out->family = 4;
        out->port = ntohs(in.sin_port);
        memcpy(out->address, &in.sin_addr, 4);
        return 0;
    }
    if (family != AF_INET6) {
        return EAFNOSUPPORT;
    }
    /* RFC 2133 had no scope, and the kernel takes that. */
    if (size < sizeof in6 - sizeof in6.sin6_scope_id) {
        return EINVAL;
    }
    memset(&in6, 0, sizeof in6);
    memcpy(&in6, address, size < sizeof in6 ? size : sizeof in6);
    out->port = ntohs(in6.sin6_port);
    if (memcmp(&in6.sin6_addr, mapped, sizeof mapped) == 0) {
        out->family = 4;
        memcpy(out->address, in6.sin6_addr.s6_addr + 12, 4);
        return 0;
    }
    out->family = 6;
    memcpy(out->address, &in6.sin6_addr, 16);
    return 0;
}
