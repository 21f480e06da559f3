#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef NETLINK_SOCK_DIAG
#define NETLINK_SOCK_DIAG 4
#endif
#define FIRST_ROOM ((size_t)1024)
#define RECEIVE_ROOM ((size_t)32768)
/* <net/tcp_states.h>: TCP_TIME_WAIT, TCP_CLOSE, TCP_LISTEN, TCP_NEW_SYN_RECV. */
#define NOT_CONNECTED (1u << 6 | 1u << 7 | 1u << 10 | 1u << 12)
#define CONNECTED (0xfffu & ~NOT_CONNECTED)

int pa_socket_connects(unsigned state) {
    return state < 12 && (CONNECTED >> state & 1u) != 0;
}

static pa_socket *slot_of(pa_socket *slots, size_t room, uint32_t inode) {
    /* Knuth's multiplicative hash: inodes are given out in turn. */
    size_t at = (uint32_t)(inode * 2654435761u) & (room - 1);
    while (slots[at].inode != 0 && slots[at].inode != inode) {
        at = (at + 1) & (room - 1);
    }
    return &slots[at];
}

/* Make room, leaving behind what the latest look did not find. */
static int rebuild(pa_sockets *self, size_t room) {
    pa_socket *made = calloc(room, sizeof *made);
    size_t used = 0;
    if (made == NULL) {
        return ENOMEM;
    }
    for (size_t i = 0; i < self->room; i++) {
        const pa_socket *each = &self->slots[i];
        if (each->inode != 0 && each->look == self->look) {
            *slot_of(made, room, each->inode) = *each;
            used++;
        }
    }
    free(self->slots);
    self->slots = made;
    self->room = room;
    self->used = used;
    return 0;
}

static int saw(pa_sockets *self, uint32_t inode, uint32_t *fresh) {
    pa_socket *slot;
    /* Open addressing stays short while half of the slots are free. */
    if (self->used * 2 >= self->room) {
        const int error = rebuild(self, self->room == 0 ? FIRST_ROOM : self->room * 2);
        if (error != 0) {
            return error;
        }
    }
    slot = slot_of(self->slots, self->room, inode);
    if (slot->inode == 0) {
        slot->inode = inode;
        self->used++;
        ++*fresh;
    }
    slot->look = self->look;
    return 0;
}

static int ask(int link) {
    struct {
        struct nlmsghdr head;
        struct inet_diag_req body;
    } request;
    memset(&request, 0, sizeof request);
    /* The older request: the newer one asks for IPv4 and for IPv6 apart, each a scan of all. */
    request.head.nlmsg_type = TCPDIAG_GETSOCK;
    request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.head.nlmsg_len = sizeof request;
    request.body.idiag_family = AF_INET;
    request.body.idiag_states = CONNECTED;
    return send(link, &request, sizeof request, MSG_NOSIGNAL) < 0 ? errno : 0;
}

/* Take what one message says. Returns 0, an errno value, or -1 when it was the last. */
static int take(pa_sockets *self, const char *text, size_t size, uint32_t *fresh) {
    size_t at = 0;
    while (at + sizeof(struct nlmsghdr) <= size) {
        struct nlmsghdr head;
        memcpy(&head, text + at, sizeof head);
        if (head.nlmsg_len < sizeof head || head.nlmsg_len > size - at) {
            return EBADMSG;
        }
        if (head.nlmsg_type == NLMSG_DONE) {
            return -1;
        }
        if (head.nlmsg_type == NLMSG_ERROR) {
            struct nlmsgerr told;
            if (head.nlmsg_len < sizeof head + sizeof told) {
                return EBADMSG;
            }
            memcpy(&told, text + at + sizeof head, sizeof told);
            return told.error < 0 ? -told.error : EBADMSG;
        }
        if (head.nlmsg_len >= sizeof head + sizeof(struct inet_diag_msg)) {
            struct inet_diag_msg told;
            memcpy(&told, text + at + sizeof head, sizeof told);
            /* Nobody has those without. */
            if (told.idiag_inode != 0) {
                const int error = saw(self, told.idiag_inode, fresh);
                if (error != 0) {
                    return error;
                }
            }
        }
        at += NLMSG_ALIGN(head.nlmsg_len);
    }
    return 0;
}

static void hang_up(pa_sockets *self) {
    if (self->link != 0) {
        close(self->link - 1);
        self->link = 0;
    }
}

int pa_sockets_look(pa_sockets *self, uint32_t *fresh) {
    alignas(struct nlmsghdr) char room[RECEIVE_ROOM];
    int error;
    *fresh = 0;
    self->look++;
    if (self->link == 0) {
        const int made = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (made < 0) {
            return errno;
        }
        self->link = made + 1;
    }
    error = ask(self->link - 1);
    while (error == 0) {
        const ssize_t size = recv(self->link - 1, room, sizeof room, 0);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        error = size <= 0 ? (size < 0 ? errno : EBADMSG) : take(self, room, (size_t)size, fresh);
    }
    if (error != -1) {
        /* Answers to this request must not be taken for answers to the next one. */
        hang_up(self);
        return error;
    }
    if (self->room != 0) {
        size_t room_wanted = self->room;
        size_t there = 0;
        for (size_t i = 0; i < self->room; i++) {
            there += self->slots[i].inode != 0 && self->slots[i].look == self->look;
        }
        if (there == self->used) {
            return 0;
        }
        while (room_wanted > FIRST_ROOM && there * 8 < room_wanted) {
            room_wanted /= 2;
        }
        return rebuild(self, room_wanted);
    }
    return 0;
}

pa_socket *pa_sockets_find(pa_sockets *self, uint32_t inode) {
    pa_socket *found;
    if (self->room == 0 || inode == 0) {
        return NULL;
    }
    found = slot_of(self->slots, self->room, inode);
    return found->inode == inode && found->look == self->look ? found : NULL;
}

void pa_sockets_free(pa_sockets *self) {
    free(self->slots);
    hang_up(self);
    memset(self, 0, sizeof *self);
}
