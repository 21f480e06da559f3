/* How a worker joins a channel: it greets, the host welcomes it and may hand it shared memory.
 *
 *     worker -> host  HELLO, 16 bytes:  u32 magic, u16 lowest version, u16 highest version,
 *                                       u32 features, u32 zero
 *     host -> worker  HELLO, 48 bytes:  u32 magic, u16 version, u16 zero, u32 features,
 *                                       u32 longest body, u64 ring capacity, u64 area capacity,
 *                                       u64 nanoseconds to spin, u64 zero
 *
 * With the feature SHARED the welcome brings one descriptor, the memory file; both sides use the
 * rings from then on. A host that refuses just closes the channel. */
#ifndef PLUGINAPI_CHANNEL_JOIN_H
#define PLUGINAPI_CHANNEL_JOIN_H

#include <stdint.h>

#include "link.h"

#define PA_JOIN_MAGIC UINT32_C(0x31434150) /* "PAC1" */
#define PA_JOIN_VERSION 1                  /* the lowest and highest that this code speaks */
#define PA_JOIN_HELLO ((size_t)16)
#define PA_JOIN_WELCOME ((size_t)48)
#define PA_JOIN_SHARED 1u /* feature: the rings */

typedef struct pa_welcome {
    uint16_t version;
    uint32_t features;
    uint32_t max_len;
    uint64_t capacity;
    uint64_t area_capacity;
    uint64_t spin_ns;
} pa_welcome;

/* Write what a worker sends first, header included. */
void pa_join_write_hello(uint8_t out[PA_FRAME_HEADER + PA_JOIN_HELLO], uint32_t features);

/* Read a welcome, header included; everything in it is bounded. BAD_* when it makes no sense. */
pa_channel_status pa_join_read_welcome(pa_welcome *welcome,
                                       const uint8_t in[PA_FRAME_HEADER + PA_JOIN_WELCOME]);

/* Greet over a connected socket, wait for the welcome, and open the link as it says. The link owns
 * the socket when this succeeds; otherwise it stays the caller's. *error is an errno value when it
 * is IO. */
pa_channel_status pa_join(pa_link *link, int fd, uint32_t features, uint64_t timeout_ns,
                          int *error);

#endif
