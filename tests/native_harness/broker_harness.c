/* The broker without Python: a process behind a filter connects, binds and listens, and another
 * thread answers. Prints "ok". */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/broker.h"

#define ROUNDS 200

#define ALLOWED 4711
#define PUBLISHED 4712

#define CHECK(holds) check((holds), #holds, __LINE__)

static void check(int holds, const char *what, int line) {
    if (!holds) {
        (void)fprintf(stderr, "line %d: %s (errno %d)\n", line, what, errno);
        _exit(1);
    }
}

static struct sockaddr_in at(const char octets[4], uint16_t port) {
    struct sockaddr_in in;
    memset(&in, 0, sizeof in);
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    memcpy(&in.sin_addr, octets, 4);
    return in;
}

static int tcp(void) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    return fd;
}

static int filtered(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bind, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_listen, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    long listener;
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 8u, &program);
    CHECK(listener >= 0);
    return (int)listener;
}

/* In a network of its own, behind the filter. */
static void plugin(int over) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    const struct sockaddr_in good = at("\xc6\x12\0\1", 80), bad = at("\xc6\x12\0\2", 80);
    const struct sockaddr_in port = at("\0\0\0\0", 80), other = at("\0\0\0\0", 81);
    struct iovec part = {(char[]){'f'}, 1};
    struct msghdr message;
    int listener, i, fd;
    char byte = 0;
    CHECK(unshare(getuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) == 0);
    listener = filtered();
    memset(&control, 0, sizeof control);
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control.space;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
    CHECK(sendmsg(over, &message, 0) == 1);
    (void)close(listener);
    for (i = 0; i < ROUNDS; i++) {
        fd = tcp();
        CHECK(connect(fd, (const struct sockaddr *)&bad, sizeof bad) == -1 && errno == EACCES);
        CHECK(connect(fd, (const struct sockaddr *)&good, sizeof good) == 0);
        CHECK(read(fd, &byte, 1) == 1 && byte == '!');
        CHECK(connect(fd, (const struct sockaddr *)&good, sizeof good) == -1);
        CHECK(bind(fd, (const struct sockaddr *)&port, sizeof port) == -1 && errno == EINVAL);
        CHECK(listen(fd, 1) == -1 && errno == EACCES);
        (void)close(fd);
    }
    CHECK(connect(tcp(), NULL, 16) == -1 && errno == EFAULT);
    CHECK(connect(tcp(), (const struct sockaddr *)&good, 5) == -1 && errno == EINVAL);
    CHECK(connect(-1, (const struct sockaddr *)&good, sizeof good) == -1 && errno == EBADF);
    fd = tcp();
    CHECK(bind(fd, (const struct sockaddr *)&other, sizeof other) == -1 && errno == EACCES);
    CHECK(bind(fd, (const struct sockaddr *)&port, sizeof port) == 0);
    CHECK(listen(fd, 5) == 0);
    _exit(0);
}

static pa_broker *broker;
static int server, published;

/* As whoever decides does. */
static void *answers(void *unused) {
    (void)unused;
    for (;;) {
        pa_broker_event event;
        pa_verdict to;
        CHECK(pa_broker_run(broker, &event) == 0);
        if (event.kind == PA_BROKER_WOKEN) {
            return NULL;
        }
        if (event.kind == PA_BROKER_GONE) {
            pa_broker_remove(broker, event.plugin);
            return NULL;
        }
        if (event.kind == PA_BROKER_BINDS) {
            if (event.wanted.port == 80) {
                CHECK(pa_broker_give(broker, event.token, published, 0) == 0);
            } else {
                (void)pa_broker_answer(broker, event.token, EACCES, NULL);
            }
            continue;
        }
        /* What was decided, and was forgotten, is asked when it has as many as it may, too. */
        if (event.wanted.address[3] == 1) {
            uint64_t inodes[4];
            const uint32_t count = pa_broker_sockets(broker, event.plugin, inodes, 4);
            uint32_t i;
            for (i = 0; i < count; i++) {
                pa_broker_closed(broker, event.plugin, inodes[i]);
            }
        }
        memset(&to, 0, sizeof to);
        to.count = 1;
        to.expires = UINT64_MAX;
        to.to[0].family = 4;
        memcpy(to.to[0].address, "\x7f\0\0\1", 4);
        to.to[0].port = ALLOWED;
        (void)pa_broker_answer(broker, event.token, event.wanted.address[3] == 1 ? 0 : EACCES, &to);
    }
}

/* The loop of accepting, on a thread of its own: a connect waits for it where the backlog is full. */
static void *serves(void *unused) {
    (void)unused;
    for (;;) {
        const int taken = accept(server, NULL, NULL);
        if (taken < 0) {
            return NULL;
        }
        (void)write(taken, "!", 1);
        (void)close(taken);
    }
}

static int listening(uint16_t port) {
    const struct sockaddr_in in = at("\x7f\0\0\1", port);
    const int fd = tcp(), on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(bind(fd, (const struct sockaddr *)&in, sizeof in) == 0);
    CHECK(listen(fd, 64) == 0);
    return fd;
}

static int received(int over) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message;
    int fd;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control.space;
    CHECK(recvmsg(over, &message, MSG_CMSG_CLOEXEC) == 1);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

int main(void) {
    pthread_t deciding, serving;
    pa_broker_counts counts;
    uint64_t number;
    int pair[2], status, listener;
    pid_t pid;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        plugin(pair[1]);
    }
    (void)close(pair[1]);
    server = listening(ALLOWED);
    published = listening(PUBLISHED);
    CHECK(pa_broker_new(&broker) == 0);
    listener = received(pair[0]);
    CHECK(pa_broker_add(broker, listener, 4, &number) == 0);
    CHECK(pthread_create(&serving, NULL, serves, NULL) == 0);
    CHECK(pthread_create(&deciding, NULL, answers, NULL) == 0);
    while (pa_broker_count(broker, number, &counts) && counts.connected < ROUNDS / 2) {
        (void)usleep(1000);
    }
    /* While it runs: what was decided is asked anew. */
    pa_broker_forget(broker, number);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(pthread_join(deciding, NULL) == 0);
    CHECK(!pa_broker_count(broker, number, &counts));
    pa_broker_wake(broker);
    CHECK(pthread_create(&deciding, NULL, answers, NULL) == 0);
    CHECK(pthread_join(deciding, NULL) == 0);
    pa_broker_free(broker);
    (void)shutdown(server, SHUT_RDWR);
    CHECK(pthread_join(serving, NULL) == 0);
    (void)close(server);
    (void)close(published);
    (void)close(pair[0]);
    (void)puts("ok");
    return 0;
}
