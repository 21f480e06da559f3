/* What was decided for destinations: which addresses a plugin's connects to one lead to.
 *
 * Knows no Python. Not thread-safe: the owner has a lock. */
#ifndef PLUGINAPI_BROKER_VERDICTS_H
#define PLUGINAPI_BROKER_VERDICTS_H

#include <stddef.h>
#include <stdint.h>

#define PA_VERDICT_ADDRESSES 8u

/* An address and a port. IPv4 addresses that are written as IPv6 ones are IPv4 addresses. */
typedef struct pa_endpoint {
    uint8_t address[16]; /* of IPv4 the first 4, the rest 0 */
    uint16_t port;       /* in the machine's order */
    uint8_t family;      /* 4 or 6 */
    uint8_t udp;         /* 1: UDP, 0: TCP */
} pa_endpoint;

typedef struct pa_verdict {
    uint64_t plugin;
    pa_endpoint wanted;
    uint64_t expires; /* ns of the monotonic clock */
    uint32_t count;   /* 0: the slot is free */
    uint32_t next;    /* the one of `to` that is tried first */
    uint32_t own;     /* 1: connect the plugin's own socket, in its own network, to the first */
    pa_endpoint to[PA_VERDICT_ADDRESSES];
} pa_verdict;

typedef struct pa_verdicts {
    pa_verdict *slots;
    size_t room, used;
} pa_verdicts;

/* Find what holds at a time, or NULL. */
pa_verdict *pa_verdicts_find(pa_verdicts *self, uint64_t plugin, const pa_endpoint *wanted,
                             uint64_t now);

/* Remember; replaces what was there. 0, or ENOMEM. */
int pa_verdicts_put(pa_verdicts *self, const pa_verdict *made, uint64_t now);

/* Forget what is of a plugin. */
void pa_verdicts_forget(pa_verdicts *self, uint64_t plugin);

void pa_verdicts_clear(pa_verdicts *self);

#endif
