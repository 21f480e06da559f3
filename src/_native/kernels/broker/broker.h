/* The broker: connects to what plugins may reach, on their behalf, and gives them the connections.
 *
 * A plugin's process is in a network of its own in which there is nothing. Its connect(2) stops at
 * a filter (notify.h); the broker looks up what was decided for the destination, connects a socket
 * of the host's network, puts it in the place of the plugin's, and lets the call return: what comes
 * after is between the plugin and the kernel. What was not decided yet is asked of whoever runs it.
 *
 * A socket that a plugin got this way is connected once: connect(2) on it is answered, never done.
 * The filter has to see to what else could connect it anew: bind and listen come here, too, and
 * MSG_FASTOPEN has to be refused.
 *
 * Knows no Python. Linux 5.14 or newer. One thread at a time runs it; all else is thread-safe. */
#ifndef PLUGINAPI_BROKER_BROKER_H
#define PLUGINAPI_BROKER_BROKER_H

#include <stdint.h>

#include "verdicts.h"

typedef struct pa_broker pa_broker;

typedef enum pa_broker_kind {
    PA_BROKER_WOKEN = 0,    /* pa_broker_wake was called */
    PA_BROKER_ASKED = 1,    /* a destination that nothing was decided for: pa_broker_answer */
    PA_BROKER_FULL = 2,     /* as ASKED; decided, but the plugin has as many connections as it may */
    PA_BROKER_READABLE = 3, /* what was given to pa_broker_watch */
    PA_BROKER_GONE = 4,     /* all processes of a plugin have ended; pa_broker_remove it */
    PA_BROKER_BINDS = 5     /* bind(2) to a port, or listen(2) without one: pa_broker_give, or an
                             * error as pa_broker_answer */
} pa_broker_kind;

typedef struct pa_broker_event {
    pa_broker_kind kind;
    uint64_t plugin; /* the number of the plugin, or what was watched for */
    uint64_t token;  /* of ASKED, FULL and BINDS */
    pa_endpoint wanted;
} pa_broker_event;

typedef struct pa_broker_counts {
    uint64_t connected; /* handed over; of sockets that do not wait, before it is known how it ends */
    uint64_t failed;    /* the destination did not take it */
    uint64_t refused;   /* by an answer, or as no destination at all */
} pa_broker_counts;

/* Make one; ENOTSUP where the kernel cannot tell the networks of sockets apart. */
int pa_broker_new(pa_broker **out);

/* Nobody runs it any more. Every call that waits is refused. */
void pa_broker_free(pa_broker *self);

/* Serve a plugin's filter; takes the listener, also when it fails. `most` connections at a time.
 * *plugin is its number, never 0. */
int pa_broker_add(pa_broker *self, int listener, uint32_t most, uint64_t *plugin);

/* Serve it no more; its calls fail with ENOSYS from now on. */
void pa_broker_remove(pa_broker *self, uint64_t plugin);

/* Tell when a descriptor is readable, under this number; it stays the caller's, who forgets it
 * before it closes it. */
int pa_broker_watch(pa_broker *self, int fd, uint64_t number);
void pa_broker_unwatch(pa_broker *self, int fd);

/* Forget what was decided for a plugin. */
void pa_broker_forget(pa_broker *self, uint64_t plugin);

/* Answer what was asked: refuse with an errno value; or with 0 connect to one of the addresses of a
 * verdict, which is remembered until it expires. EMFILE when the plugin has as many connections as
 * it may; ENOENT when nobody waits any more. Either way it is answered. */
int pa_broker_answer(pa_broker *self, uint64_t token, int error, const pa_verdict *verdict);

/* Answer what was asked with a socket of the caller's, which takes the place of the plugin's: a
 * connected one, or one that listens already where it may. A connected one counts as one of its
 * connections. The caller's descriptor stays the caller's. EMFILE and ENOENT as above, or why it
 * could not be given, which is what the plugin is told. */
int pa_broker_give(pa_broker *self, uint64_t token, int socket, int connected);

/* The inodes of the sockets that a plugin was given and that may still be open, `most` of them at
 * most; returns how many. */
uint32_t pa_broker_sockets(pa_broker *self, uint64_t plugin, uint64_t *inodes, uint32_t most);

/* Say that one of them is closed. */
void pa_broker_closed(pa_broker *self, uint64_t plugin, uint64_t inode);

/* How often; 0 when there is no such plugin. */
int pa_broker_count(pa_broker *self, uint64_t plugin, pa_broker_counts *out);

/* Serve until there is something to tell. Returns 0, or an errno value. */
int pa_broker_run(pa_broker *self, pa_broker_event *out);

/* Let it return PA_BROKER_WOKEN. */
void pa_broker_wake(pa_broker *self);

#endif
