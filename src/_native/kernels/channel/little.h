/* Little-endian numbers in bytes. */
#ifndef PLUGINAPI_CHANNEL_LITTLE_H
#define PLUGINAPI_CHANNEL_LITTLE_H

#include <stddef.h>
#include <stdint.h>

static inline void pa_put_little(uint8_t *out, uint64_t value, size_t size) {
    size_t i;
    for (i = 0; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint64_t pa_get_little(const uint8_t *in, size_t size) {
    uint64_t value = 0;
    size_t i;
    for (i = 0; i < size; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

#endif
