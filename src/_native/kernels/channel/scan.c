#include "scan.h"

/* Big-endian number of 1, 2 or 4 bytes. */
static uint32_t number(const uint8_t *data, size_t size) {
    uint32_t value = 0;
    size_t i;
    for (i = 0; i < size; i++) {
        value = value << 8 | data[i];
    }
    return value;
}

typedef struct item {
    uint32_t children; /* values that follow inside of it */
    size_t size;       /* bytes of it that stand before those */
    int container;
} item;

/* Read what stands at the start of data, size > 0. 0 when it is cut off or of a forbidden type. */
static int read_item(const uint8_t *data, size_t size, item *found) {
    const uint8_t tag = data[0];
    size_t width;
    found->children = 0;
    found->container = 0;
    found->size = 1;
    if (tag <= 0x7f || tag >= 0xe0) { /* fixint */
        return 1;
    }
    if (tag <= 0x8f) { /* fixmap */
        found->container = 1;
        found->children = 2u * (tag & 0x0fu);
        return 1;
    }
    if (tag <= 0x9f) { /* fixarray */
        found->container = 1;
        found->children = tag & 0x0fu;
        return 1;
    }
    if (tag <= 0xbf) { /* fixstr */
        found->size = 1 + (size_t)(tag & 0x1f);
        return found->size <= size;
    }
    switch (tag) {
    case 0xc0: /* nil, false, true */
    case 0xc2:
    case 0xc3:
        return 1;
    case 0xc4: /* bin 8, 16, 32; str 8, 16, 32 */
    case 0xc5:
    case 0xc6:
    case 0xd9:
    case 0xda:
    case 0xdb:
        width = (size_t)1 << (tag >= 0xd9 ? tag - 0xd9 : tag - 0xc4);
        if (size < 1 + width) {
            return 0;
        }
        found->size = 1 + width;
        if (number(data + 1, width) > size - found->size) {
            return 0;
        }
        found->size += number(data + 1, width);
        return 1;
    case 0xca: /* float 32, 64 */
        found->size = 5;
        return size >= 5;
    case 0xcb:
        found->size = 9;
        return size >= 9;
    case 0xcc: /* uint and int of 8, 16, 32, 64 bits */
    case 0xcd:
    case 0xce:
    case 0xcf:
        found->size = 1 + ((size_t)1 << (tag - 0xcc));
        return size >= found->size;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        found->size = 1 + ((size_t)1 << (tag - 0xd0));
        return size >= found->size;
    case 0xdc: /* array 16, 32; map 16, 32 */
    case 0xdd:
    case 0xde:
    case 0xdf:
        width = tag & 1 ? 4 : 2;
        if (size < 1 + width) {
            return 0;
        }
        found->size = 1 + width;
        found->container = 1;
        found->children = number(data + 1, width);
        if (tag >= 0xde) {
            if (found->children > UINT32_MAX / 2) {
                return 0;
            }
            found->children *= 2;
        }
        return 1;
    default: /* never used, and extension types */
        return 0;
    }
}

pa_channel_status pa_scan(const uint8_t *data, size_t size, const pa_scan_limits *limits) {
    uint32_t left[PA_SCAN_MOST_DEPTH]; /* values missing in each open container */
    const uint32_t most =
        limits->depth < PA_SCAN_MOST_DEPTH ? limits->depth : (uint32_t)PA_SCAN_MOST_DEPTH;
    uint32_t depth = 0;
    uint32_t containers = 0;
    uint32_t items = 0;
    item found;
    do {
        if (size == 0 || items++ >= limits->items || !read_item(data, size, &found)) {
            return PA_CHANNEL_BAD_PAYLOAD;
        }
        data += found.size;
        size -= found.size;
        /* The value is one less to come; a container that it completes is so too. */
        if (depth != 0) {
            left[depth - 1]--;
        }
        if (found.container) {
            /* Every value to come takes a byte at least. */
            if (depth == most || containers++ >= limits->containers || found.children > size) {
                return PA_CHANNEL_BAD_PAYLOAD;
            }
            left[depth++] = found.children;
        }
        while (depth != 0 && left[depth - 1] == 0) {
            depth--;
        }
    } while (depth != 0);
    return size == 0 ? PA_CHANNEL_OK : PA_CHANNEL_BAD_PAYLOAD;
}
