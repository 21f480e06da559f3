#define _GNU_SOURCE
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>

#include "notify.h"
#include "replace.h"

#define MOST_ADDRESS ((uint32_t)128)
#define MOST_CALLS ((size_t)65536)
/* A connect that waits gives up after this, whatever the kernel's own patience is. */
#define PATIENCE UINT64_C(60000000000)
/* How often those are looked at that connect. */
#define LOOK UINT64_C(500000000)

/* What an event of epoll is about: the low byte says which, the rest a number. */
enum { BELL = 0, LISTENER = 1, CALL = 2, WATCHED = 3 };

typedef struct plugin {
    uint64_t number; /* 0: free; the low half is its place, the high half counts its users */
    int listener;
    uint32_t most, open;
    uint64_t *inodes;
    pa_broker_counts counts;
    pa_notify_who latest; /* who made its latest call */
} plugin;

/* A connect that waits: for an answer, or for its destination. */
typedef struct call {
    uint64_t token;  /* 0: free */
    uint64_t plugin; /* number */
    uint64_t id;     /* of the notification */
    pa_endpoint wanted;
    uint64_t deadline;
    uint32_t turn, tried; /* which address is tried first, and how many were */
    uint32_t count;
    int theirs;    /* their socket, as a descriptor of this process */
    int number;    /* as theirs */
    int waits;     /* they do */
    int family;    /* of their socket, AF_* */
    int own;       /* their socket is connected, and none takes its place */
    int socket;    /* that is being connected, or -1 */
    pa_endpoint to[PA_VERDICT_ADDRESSES];
} call;

struct pa_broker {
    pthread_mutex_t lock;
    int epoll, bell;
    uint64_t network, generation;
    pa_verdicts verdicts;
    pa_socket_usual *usual;
    plugin *plugins;
    size_t plugin_room;
    call *calls;
    size_t call_room;
    size_t connecting; /* calls with a deadline */
    uint64_t looked;   /* when they were looked at */
};

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int watch(pa_broker *self, int fd, uint32_t events, unsigned kind, uint64_t number) {
    struct epoll_event wanted = {.events = events, .data.u64 = number << 2 | kind};
    return epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &wanted) == 0 ? 0 : errno;
}

static void unwatch(pa_broker *self, int fd) {
    (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, fd, NULL);
}

int pa_broker_new(pa_broker **out) {
    pa_broker *self = calloc(1, sizeof *self);
    int error, probe;
    if (self == NULL) {
        return ENOMEM;
    }
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    error = self->epoll < 0 || self->bell < 0 || probe < 0 ? errno : 0;
    if (error == 0) {
        error = pa_socket_network(probe, &self->network) == 0 ? 0 : ENOTSUP;
    }
    if (error == 0) {
        error = pa_socket_usual_read(&self->usual);
    }
    if (error == 0) {
        error = watch(self, self->bell, EPOLLIN, BELL, 0);
    }
    if (probe >= 0) {
        (void)close(probe);
    }
    if (error == 0) {
        error = pthread_mutex_init(&self->lock, NULL);
    }
    if (error != 0) {
        if (self->epoll >= 0) {
            (void)close(self->epoll);
        }
        if (self->bell >= 0) {
            (void)close(self->bell);
        }
        free(self->usual);
        free(self);
        return error;
    }
    *out = self;
    return 0;
}

/* ---- Plugins ---- */

static plugin *find(pa_broker *self, uint64_t number) {
    const size_t place = (size_t)(number & UINT32_MAX);
    return number != 0 && place < self->plugin_room && self->plugins[place].number == number
               ? &self->plugins[place]
               : NULL;
}

static void forget_call(pa_broker *self, call *it) {
    if (it->socket >= 0) {
        unwatch(self, it->socket);
        (void)close(it->socket);
        self->connecting--;
    }
    if (it->theirs >= 0) {
        (void)close(it->theirs);
    }
    memset(it, 0, sizeof *it);
    it->socket = it->theirs = -1;
}

static void remove_plugin(pa_broker *self, plugin *it) {
    size_t i;
    for (i = 0; i < self->call_room; i++) {
        if (self->calls[i].token != 0 && self->calls[i].plugin == it->number) {
            forget_call(self, &self->calls[i]);
        }
    }
    pa_verdicts_forget(&self->verdicts, it->number);
    unwatch(self, it->listener);
    (void)close(it->listener);
    pa_notify_forget(&it->latest);
    free(it->inodes);
    memset(it, 0, sizeof *it);
}

void pa_broker_free(pa_broker *self) {
    size_t i;
    /* First: after a fork the list of what is watched is still the parent's too. */
    (void)close(self->epoll);
    self->epoll = -1;
    for (i = 0; i < self->plugin_room; i++) {
        if (self->plugins[i].number != 0) {
            remove_plugin(self, &self->plugins[i]);
        }
    }
    pa_verdicts_clear(&self->verdicts);
    free(self->plugins);
    free(self->calls);
    free(self->usual);
    (void)close(self->bell);
    (void)pthread_mutex_destroy(&self->lock);
    free(self);
}

static int grow(void **list, size_t *room, size_t size) {
    const size_t wanted = *room == 0 ? 16 : *room * 2;
    void *const more = realloc(*list, wanted * size);
    if (more == NULL) {
        return ENOMEM;
    }
    memset((char *)more + *room * size, 0, (wanted - *room) * size);
    *list = more;
    *room = wanted;
    return 0;
}

int pa_broker_add(pa_broker *self, int listener, uint32_t most, uint64_t *number) {
    uint64_t *inodes = calloc((size_t)most + 1, sizeof *inodes);
    size_t place = 0;
    int error = inodes == NULL ? ENOMEM : 0;
    (void)pthread_mutex_lock(&self->lock);
    while (place < self->plugin_room && self->plugins[place].number != 0) {
        place++;
    }
    if (error == 0 && place == self->plugin_room) {
        error = grow((void **)&self->plugins, &self->plugin_room, sizeof *self->plugins);
    }
    if (error == 0) {
        plugin *const it = &self->plugins[place];
        /* Its users are counted in 30 bits: two are left for the kinds of events. */
        self->generation = (self->generation + 1) & UINT32_C(0x3fffffff);
        self->generation += self->generation == 0;
        it->number = self->generation << 32 | place;
        it->listener = listener;
        it->most = most;
        it->inodes = inodes;
        *number = it->number;
        pa_notify_take_turns(listener);
        error = watch(self, listener, EPOLLIN, LISTENER, it->number);
        if (error != 0) {
            memset(it, 0, sizeof *it);
        }
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (error != 0) {
        free(inodes);
        (void)close(listener);
    }
    return error;
}

void pa_broker_remove(pa_broker *self, uint64_t number) {
    plugin *it;
    (void)pthread_mutex_lock(&self->lock);
    it = find(self, number);
    if (it != NULL) {
        remove_plugin(self, it);
    }
    (void)pthread_mutex_unlock(&self->lock);
}

int pa_broker_watch(pa_broker *self, int fd, uint64_t number) {
    return watch(self, fd, EPOLLIN, WATCHED, number);
}

void pa_broker_unwatch(pa_broker *self, int fd) {
    unwatch(self, fd);
}

void pa_broker_forget(pa_broker *self, uint64_t number) {
    (void)pthread_mutex_lock(&self->lock);
    pa_verdicts_forget(&self->verdicts, number);
    (void)pthread_mutex_unlock(&self->lock);
}

uint32_t pa_broker_sockets(pa_broker *self, uint64_t number, uint64_t *inodes, uint32_t most) {
    const plugin *it;
    uint32_t count = 0;
    (void)pthread_mutex_lock(&self->lock);
    it = find(self, number);
    if (it != NULL) {
        count = it->open < most ? it->open : most;
        memcpy(inodes, it->inodes, count * sizeof *inodes);
    }
    (void)pthread_mutex_unlock(&self->lock);
    return count;
}

void pa_broker_closed(pa_broker *self, uint64_t number, uint64_t inode) {
    plugin *it;
    uint32_t i;
    (void)pthread_mutex_lock(&self->lock);
    it = find(self, number);
    for (i = 0; it != NULL && i < it->open; i++) {
        if (it->inodes[i] == inode) {
            it->inodes[i] = it->inodes[--it->open];
            break;
        }
    }
    (void)pthread_mutex_unlock(&self->lock);
}

int pa_broker_count(pa_broker *self, uint64_t number, pa_broker_counts *out) {
    const plugin *it;
    (void)pthread_mutex_lock(&self->lock);
    it = find(self, number);
    if (it != NULL) {
        *out = it->counts;
    }
    (void)pthread_mutex_unlock(&self->lock);
    return it != NULL;
}

/* ---- Calls ---- */

static call *find_call(pa_broker *self, uint64_t token) {
    const size_t place = (size_t)(token & UINT32_MAX);
    return token != 0 && place < self->call_room && self->calls[place].token == token
               ? &self->calls[place]
               : NULL;
}

static call *new_call(pa_broker *self) {
    size_t place = 0;
    while (place < self->call_room && self->calls[place].token != 0) {
        place++;
    }
    if (place == self->call_room &&
        (place >= MOST_CALLS ||
         grow((void **)&self->calls, &self->call_room, sizeof *self->calls) != 0)) {
        return NULL;
    }
    self->generation = (self->generation + 1) & UINT32_C(0x3fffffff);
    self->generation += self->generation == 0;
    self->calls[place].token = self->generation << 32 | place;
    self->calls[place].socket = self->calls[place].theirs = -1;
    return &self->calls[place];
}

/* Put a socket of the host's in the place of theirs; `connected` ones are counted. EMFILE when it
 * has as many as it may, which others that began to connect with it may have taken. */
static int put(plugin *of, const call *it, int socket, int connected) {
    struct stat found;
    int error;
    if (connected && of->open >= of->most) {
        of->counts.refused++;
        return EMFILE;
    }
    error = pa_socket_waits(socket, it->waits);
    if (error == 0 && fstat(socket, &found) != 0) {
        error = errno;
    }
    if (error == 0) {
        error = pa_notify_replace(of->listener, it->id, socket, it->number);
    }
    if (error == 0 && connected) {
        of->inodes[of->open++] = found.st_ino;
        of->counts.connected++;
    }
    return error;
}

/* Give them a socket that is connected or on its way to be; or let their own be. */
static void hand_over(pa_broker *self, plugin *of, call *it, int socket, int outcome) {
    int error;
    if (it->own) {
        error = pa_socket_waits(socket, it->waits);
        of->counts.connected += error == 0;
    } else {
        error = put(of, it, socket, 1);
    }
    /* Before they go on: who closes it last has to take the connection down. */
    (void)close(socket);
    (void)pa_notify_finish(of->listener, it->id, error != 0 ? error : outcome);
    forget_call(self, it);
}

static void fail(pa_broker *self, plugin *of, call *it, int error) {
    of->counts.failed++;
    if (it->own) {
        (void)pa_socket_waits(it->theirs, it->waits);
    }
    (void)pa_notify_finish(of->listener, it->id, error);
    forget_call(self, it);
}

/* Begin to connect their own socket: calls on it do not wait meanwhile. *out is another descriptor of
 * it, where it did not fail. */
static int begin_own(const call *it, const pa_endpoint *to, int *out) {
    int error = pa_socket_waits(it->theirs, 0);
    if (error == 0) {
        error = pa_socket_connect_own(it->theirs, to, it->family);
    }
    if (error == 0 || error == EINPROGRESS) {
        *out = fcntl(it->theirs, F_DUPFD_CLOEXEC, 3);
        if (*out >= 0) {
            return error;
        }
        error = errno;
    }
    (void)pa_socket_waits(it->theirs, it->waits);
    return error;
}

/* Try the addresses that are left, until one is on its way. */
static void try_next(pa_broker *self, plugin *of, call *it, int error) {
    while (it->tried < it->count) {
        const pa_endpoint *const to = &it->to[(it->turn + it->tried++) % it->count];
        int socket = -1;
        error = it->own ? begin_own(it, to, &socket)
                        : pa_socket_begin(self->usual, to, it->theirs, &socket);
        if (error == 0 || (error == EINPROGRESS && !it->waits)) {
            hand_over(self, of, it, socket, error);
            return;
        }
        if (error == EINPROGRESS) {
            if ((error = watch(self, socket, EPOLLOUT, CALL, it->token)) == 0) {
                it->socket = socket;
                self->connecting++;
                return;
            }
            (void)close(socket);
        }
    }
    fail(self, of, it, error);
}

static void start(pa_broker *self, plugin *of, call *it, pa_verdict *verdict, uint64_t now) {
    it->count = verdict->count;
    it->own = (int)verdict->own;
    it->turn = verdict->next;
    memcpy(it->to, verdict->to, sizeof it->to);
    if (!it->waits) {
        /* They are told before it is known whether it succeeds: the next one tries the next. */
        verdict->next = (verdict->next + 1) % verdict->count;
    }
    it->deadline = now + PATIENCE;
    try_next(self, of, it, ECONNREFUSED);
}

/* Begin what is permitted; 1 when somebody has to be asked. */
static int decide(pa_broker *self, plugin *of, call *it, pa_broker_event *out) {
    const uint64_t now = now_ns();
    pa_verdict *const known = pa_verdicts_find(&self->verdicts, of->number, &it->wanted, now);
    if (known != NULL && of->open < of->most) {
        start(self, of, it, known, now);
        return 0;
    }
    out->kind = known == NULL ? PA_BROKER_ASKED : PA_BROKER_FULL;
    out->plugin = of->number;
    out->token = it->token;
    out->wanted = it->wanted;
    return 1;
}

/* A bind or a listen: 0, or what the call ends with; *decided says that it has. */
static int look_bind(const pa_notify_call *asked, const pa_socket_facts *facts, call *it,
                     int *decided) {
    if (asked->number == SYS_listen) {
        if (pa_socket_listens(it->theirs)) {
            return 0; /* What listens was given to them listening. */
        }
        it->wanted.port = 0;
    } else if (facts->is_hosts) {
        return EINVAL;
    } else if (it->wanted.port == 0) {
        /* In their own network this is of no use, but programs do so before they connect. */
        return pa_socket_bind_own(it->theirs, &it->wanted, facts->family);
    }
    *decided = 0;
    return 0;
}

static int is_loopback(const pa_endpoint *at) {
    static const uint8_t six[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return at->family == 4 ? at->address[0] == 127 : memcmp(at->address, six, sizeof six) == 0;
}

/* Read what they want to connect or bind to: 0, or what the call ends with; *decided says that it
 * has. */
static int look(pa_broker *self, plugin *of, const pa_notify_call *asked, call *it,
                int *decided) {
    uint8_t address[MOST_ADDRESS];
    pa_socket_facts facts;
    const int connects = asked->number == SYS_connect;
    const int32_t size = asked->number == SYS_listen ? 0 : (int32_t)asked->arguments[2];
    int error;
    *decided = 1;
    it->number = (int)asked->arguments[0];
    if (!connects && asked->number != SYS_bind && asked->number != SYS_listen) {
        return EPERM;
    }
    if (size < 0 || (uint32_t)size > sizeof address) {
        return EINVAL;
    }
    if ((error = pa_notify_copy(asked, asked->arguments[1], address, (size_t)size)) != 0 ||
        (error = pa_notify_borrow(&of->latest, asked, it->number, &it->theirs)) != 0 ||
        (error = pa_notify_waits(of->listener, asked->id)) != 0 ||
        (error = pa_socket_look(it->theirs, self->network, &facts)) != 0) {
        return error;
    }
    if (facts.family != AF_INET && facts.family != AF_INET6) {
        return EACCES;
    }
    it->wanted.family = facts.family == AF_INET ? 4 : 6;
    if (connects && facts.is_hosts) {
        return facts.type == SOCK_STREAM ? pa_socket_again(it->theirs) : EACCES;
    }
    if (asked->number != SYS_listen && !facts.is_hosts &&
        (error = pa_endpoint_read(address, (uint32_t)size, &it->wanted)) != 0) {
        return error;
    }
    it->wanted.udp = facts.type == SOCK_DGRAM;
    it->waits = facts.waits;
    it->family = facts.family;
    if (!connects) {
        return look_bind(asked, &facts, it, decided);
    }
    if (it->wanted.udp && is_loopback(&it->wanted)) {
        /* In their own network, where the name server is. */
        return pa_socket_connect_own(it->theirs, &it->wanted, facts.family);
    }
    if (facts.type != SOCK_STREAM && facts.type != SOCK_DGRAM) {
        return EPROTONOSUPPORT;
    }
    if (facts.type == SOCK_STREAM && facts.protocol != IPPROTO_TCP) {
        return EPROTONOSUPPORT;
    }
    *decided = 0;
    return 0;
}

/* Take a call of a plugin; 1 when there is something to tell. */
static int serve(pa_broker *self, uint64_t number, uint32_t events, pa_broker_event *out) {
    plugin *const of = find(self, number);
    pa_notify_call asked;
    call *it;
    int error, decided;
    if (of == NULL) {
        return 0;
    }
    if ((events & EPOLLIN) == 0) {
        /* Once: it is not looked at any more. */
        unwatch(self, of->listener);
        out->kind = PA_BROKER_GONE;
        out->plugin = number;
        return 1;
    }
    if (pa_notify_take(of->listener, &asked) != 0) {
        return 0;
    }
    it = new_call(self);
    if (it == NULL) {
        (void)pa_notify_finish(of->listener, asked.id, ENOBUFS);
        return 0;
    }
    it->plugin = number;
    it->id = asked.id;
    error = look(self, of, &asked, it, &decided);
    if (!decided && asked.number == SYS_connect) {
        return decide(self, of, it, out);
    }
    if (!decided) {
        out->kind = PA_BROKER_BINDS;
        out->plugin = number;
        out->token = it->token;
        out->wanted = it->wanted;
        return 1;
    }
    of->counts.refused += error == EACCES || error == EPERM || error == EAFNOSUPPORT;
    (void)pa_notify_finish(of->listener, asked.id, error);
    forget_call(self, it);
    return 0;
}

/* A socket of ours is connected, or will not be. */
static void arrived(pa_broker *self, uint64_t token) {
    call *const it = find_call(self, token);
    plugin *const of = it == NULL ? NULL : find(self, it->plugin);
    int error, socket;
    if (of == NULL || it->socket < 0 || (error = pa_socket_outcome(it->socket)) == EINPROGRESS) {
        return;
    }
    socket = it->socket;
    it->socket = -1;
    self->connecting--;
    unwatch(self, socket);
    if (error == 0) {
        hand_over(self, of, it, socket, 0);
        return;
    }
    (void)close(socket);
    try_next(self, of, it, error);
}

/* Give up what took too long, or what nobody waits for; ms until it is to be looked at again. */
static int expire(pa_broker *self) {
    const uint64_t now = now_ns();
    size_t i;
    if (self->connecting == 0) {
        return -1;
    }
    if (now - self->looked < LOOK) {
        return (int)(LOOK / 1000000);
    }
    self->looked = now;
    for (i = 0; i < self->call_room; i++) {
        call *const it = &self->calls[i];
        if (it->token != 0 && it->socket >= 0) {
            plugin *const of = find(self, it->plugin);
            if (it->deadline <= now) {
                fail(self, of, it, ETIMEDOUT);
            } else if (pa_notify_waits(of->listener, it->id) != 0) {
                forget_call(self, it);
            }
        }
    }
    return self->connecting == 0 ? -1 : (int)(LOOK / 1000000);
}

int pa_broker_answer(pa_broker *self, uint64_t token, int error, const pa_verdict *verdict) {
    const uint64_t now = now_ns();
    pa_verdict to;
    call *it;
    plugin *of;
    (void)pthread_mutex_lock(&self->lock);
    it = find_call(self, token);
    of = it == NULL ? NULL : find(self, it->plugin);
    if (of == NULL) {
        (void)pthread_mutex_unlock(&self->lock);
        return ENOENT;
    }
    if (error == 0 && of->open >= of->most) {
        error = EMFILE;
    }
    if (error == 0) {
        to = *verdict;
        to.plugin = of->number;
        to.wanted = it->wanted;
        if (to.expires > now) {
            /* Without memory for it the next one asks again. */
            (void)pa_verdicts_put(&self->verdicts, &to, now);
        }
        start(self, of, it, &to, now);
    } else {
        of->counts.refused += error == EACCES || error == EMFILE;
        of->counts.failed += error != EACCES && error != EMFILE;
        (void)pa_notify_finish(of->listener, it->id, error);
        forget_call(self, it);
    }
    (void)pthread_mutex_unlock(&self->lock);
    return error == EMFILE ? EMFILE : 0;
}

int pa_broker_give(pa_broker *self, uint64_t token, int socket, int connected) {
    call *it;
    plugin *of;
    int error = ENOENT;
    (void)pthread_mutex_lock(&self->lock);
    it = find_call(self, token);
    of = it == NULL ? NULL : find(self, it->plugin);
    if (of != NULL) {
        error = put(of, it, socket, connected);
        (void)pa_notify_finish(of->listener, it->id, error);
        forget_call(self, it);
    }
    (void)pthread_mutex_unlock(&self->lock);
    return error;
}

void pa_broker_wake(pa_broker *self) {
    (void)eventfd_write(self->bell, 1);
}

int pa_broker_run(pa_broker *self, pa_broker_event *out) {
    memset(out, 0, sizeof *out);
    for (;;) {
        /* One at a time: what it says is still so when it is looked at. */
        struct epoll_event event;
        eventfd_t rings;
        int count, timeout, told = 0;
        (void)pthread_mutex_lock(&self->lock);
        timeout = expire(self);
        (void)pthread_mutex_unlock(&self->lock);
        count = epoll_wait(self->epoll, &event, 1, timeout);
        if (count < 0 && errno != EINTR) {
            return errno;
        }
        if (count <= 0) {
            continue;
        }
        (void)pthread_mutex_lock(&self->lock);
        switch (event.data.u64 & 3) {
        case LISTENER:
            told = serve(self, event.data.u64 >> 2, event.events, out);
            break;
        case CALL:
            arrived(self, event.data.u64 >> 2);
            break;
        case WATCHED:
            out->kind = PA_BROKER_READABLE;
            out->plugin = event.data.u64 >> 2;
            told = 1;
            break;
        default:
            (void)eventfd_read(self->bell, &rings);
            out->kind = PA_BROKER_WOKEN;
            told = 1;
            break;
        }
        (void)pthread_mutex_unlock(&self->lock);
        if (told) {
            return 0;
        }
    }
}
