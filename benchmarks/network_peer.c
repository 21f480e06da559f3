/* A client and a server of TCP, to measure connecting and connections: see bench_network.py.
 *
 *   network_peer serve PORT                 on 127.0.0.1, until it is killed
 *   network_peer connect HOST PORT TIMES    median and smallest time of connect(2), ns
 *   network_peer turn HOST PORT TIMES       median time of 64 bytes there and back, ns
 *   network_peer stream HOST PORT MIB       bytes per microsecond
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 16)
#define TURN ((size_t)64)

static char buffer[1 << 16];

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static uint64_t now(void) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * UINT64_C(1000000000) + (uint64_t)at.tv_nsec;
}

static struct sockaddr_in place(const char *host, const char *port) {
    struct sockaddr_in at;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_port = htons((uint16_t)atoi(port));
    check(inet_pton(AF_INET, host, &at.sin_addr) == 1, "inet_pton");
    return at;
}

static void read_all(int fd, size_t size) {
    size_t done = 0;
    while (done < size) {
        const ssize_t got = read(fd, buffer, size - done < CHUNK ? size - done : CHUNK);
        check(got > 0, "read");
        done += (size_t)got;
    }
}

static void write_all(int fd, size_t size) {
    size_t done = 0;
    while (done < size) {
        const ssize_t put = write(fd, buffer, size - done < CHUNK ? size - done : CHUNK);
        check(put > 0, "write");
        done += (size_t)put;
    }
}

static void answer(int fd) {
    const int on = 1;
    uint32_t mib;
    char what;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (read(fd, &what, 1) != 1) {
        return;
    }
    if (what == 's') {
        check(read(fd, &mib, sizeof mib) == (ssize_t)sizeof mib, "read");
        read_all(fd, (size_t)mib << 20);
        write_all(fd, 1);
    }
    while (what == 't' && read(fd, buffer, TURN) == (ssize_t)TURN) {
        write_all(fd, TURN);
    }
}

static void serve(const char *port) {
    const struct sockaddr_in at = place("127.0.0.1", port);
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    check(bind(listener, (const struct sockaddr *)&at, sizeof at) == 0, "bind");
    check(listen(listener, 4096) == 0, "listen");
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        const int taken = accept(listener, NULL, NULL);
        check(taken >= 0, "accept");
        answer(taken);
        (void)close(taken);
    }
}

static int by_size(const void *one, const void *other) {
    const uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static int opened(const struct sockaddr_in *to, uint64_t *took) {
    const struct linger reset = {1, 0};
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t start;
    check(fd >= 0, "socket");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    start = now();
    check(connect(fd, (const struct sockaddr *)to, sizeof *to) == 0, "connect");
    *took = now() - start;
    /* Nothing stays in TIME_WAIT, of which there would be too many. */
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return fd;
}

int main(int count, char **words) {
    struct sockaddr_in to;
    uint64_t *took;
    size_t times, i;
    int fd;
    (void)signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(words[1], "serve") == 0) {
        serve(words[2]);
    }
    if (count != 5) {
        return 2;
    }
    to = place(words[2], words[3]);
    times = (size_t)atol(words[4]);
    took = calloc(times + 1, sizeof *took);
    check(took != NULL, "calloc");
    if (strcmp(words[1], "connect") == 0) {
        for (i = 0; i < times; i++) {
            (void)close(opened(&to, &took[i]));
        }
    } else if (strcmp(words[1], "turn") == 0) {
        fd = opened(&to, &took[0]);
        check(write(fd, "t", 1) == 1, "write");
        for (i = 0; i < times; i++) {
            const uint64_t start = now();
            write_all(fd, TURN);
            read_all(fd, TURN);
            took[i] = now() - start;
        }
    } else {
        const uint32_t mib = (uint32_t)times;
        uint64_t start;
        fd = opened(&to, &took[0]);
        check(write(fd, "s", 1) == 1 && write(fd, &mib, sizeof mib) == (ssize_t)sizeof mib, "write");
        start = now();
        write_all(fd, (size_t)mib << 20);
        read_all(fd, 1);
        (void)printf("%.1f\n", (double)((uint64_t)mib << 20) * 1e3 / (double)(now() - start));
        return 0;
    }
    qsort(took, times, sizeof *took, by_size);
    (void)printf("%llu %llu\n", (unsigned long long)took[times / 2], (unsigned long long)took[0]);
    return 0;
}
