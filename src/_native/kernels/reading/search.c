#include "search.h"

#include <string.h>

/* Places that are looked at together. A compiler turns the loop over them into vector code. */
#define TOGETHER 128

/* Tell whether the needle's first and last byte stand where they should for any of the places. */
static int any_candidate(const uint8_t *heads, const uint8_t *tails, uint8_t first, uint8_t last) {
    uint8_t found = 0;
    size_t i;
    for (i = 0; i < TOGETHER; i++) {
        found |= (uint8_t)((heads[i] == first) & (tails[i] == last));
    }
    return found;
}

size_t pa_find(const uint8_t *data, size_t length, const uint8_t *needle, size_t needle_length,
               size_t start) {
    const size_t behind = needle_length - 1;
    size_t places, at, end;
    if (length < needle_length || start > length - needle_length) {
        return PA_NOT_FOUND;
    }
    places = length - behind;
    for (at = start; at < places; at = end) {
        end = places - at < TOGETHER ? places : at + TOGETHER;
        if (end - at == TOGETHER &&
            !any_candidate(data + at, data + at + behind, needle[0], needle[behind])) {
            continue;
        }
        for (; at < end; at++) {
            if (data[at] == needle[0] && data[at + behind] == needle[behind] &&
                memcmp(data + at, needle, needle_length) == 0) {
                return at;
            }
        }
    }
    return PA_NOT_FOUND;
}
