/* Look through msgpack before anybody decodes it: bounded time, no memory, no recursion.
 *
 * Knows no Python. Thread-safe: no state. */
#ifndef PLUGINAPI_CHANNEL_SCAN_H
#define PLUGINAPI_CHANNEL_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define PA_SCAN_MOST_DEPTH 256

typedef struct pa_scan_limits {
    uint32_t depth;      /* containers within each other, at most PA_SCAN_MOST_DEPTH */
    uint32_t containers; /* arrays and maps in all: each costs the decoder an allocation */
    uint32_t items;      /* values in all, the containers among them */
} pa_scan_limits;

/* OK when the bytes are exactly one msgpack value within the limits, without extension types;
 * BAD_PAYLOAD otherwise. Text is not checked for UTF-8: the decoder does that. */
pa_channel_status pa_scan(const uint8_t *data, size_t size, const pa_scan_limits *limits);

#endif
