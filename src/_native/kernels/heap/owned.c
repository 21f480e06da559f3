#include "heap/owned.h"

#include <stdint.h>
#include <string.h>

#include "heap/account.h"

/* A header is looked for before any block, so it is never where that would be another page: the
 * smallest page there is. */
#define PAGE 4096u
#define HEADER 16u
/* Twice as far from where the block below begins, where once would be the beginning of a page. */
#define FAR_BIT (1ull << 47)
#define SIZE_MASK (FAR_BIT - 1)
#define ACCOUNT_SHIFT 48

typedef struct header {
    uint64_t mark; /* the secret, the address and what follows, all in one */
    uint64_t word; /* account, FAR_BIT, bytes asked for */
} header;

static uint64_t secret;

void pa_owned_mark(unsigned long long mark) {
    secret = mark;
}

static inline header *header_of(void *block) {
    return (header *)((char *)block - HEADER);
}

static inline uint64_t mark_of(const void *block, uint64_t word) {
    return secret ^ (uint64_t)(uintptr_t)block ^ (word * 0x9e3779b97f4a7c15ull);
}

/* What is before a block of somebody else is theirs: read, never believed without the mark. */
#if defined(__has_attribute)
#if __has_attribute(no_sanitize)
__attribute__((no_sanitize("address")))
#endif
#endif
static int is_owned(void *block) {
    const uintptr_t address = (uintptr_t)block;
    const header *found;
    if (address % PAGE < HEADER || address % sizeof(uint64_t) != 0) {
        return 0;
    }
    found = header_of(block);
    return found->mark == mark_of(block, found->word);
}

static inline size_t far_of(uint64_t word) {
    return word & FAR_BIT ? 2 * HEADER : HEADER;
}

/* Write the header of a block that begins `distance` into what is below. */
static void *owned_at(void *base, size_t distance, uint32_t account, size_t size) {
    void *const block = (char *)base + distance;
    header *const made = header_of(block);
    made->word = (uint64_t)account << ACCOUNT_SHIFT | (distance == HEADER ? 0 : FAR_BIT) | size;
    made->mark = mark_of(block, made->word);
    return block;
}

static inline int begins_page(const void *base, size_t distance) {
    return ((uintptr_t)base + distance) % PAGE < HEADER;
}

static void *new_owned(const pa_heap_below *below, uint32_t account, size_t size, int zero) {
    size_t distance = HEADER;
    void *base;
    if (size > SIZE_MASK - 2 * HEADER || pa_heap_charge(account, size + HEADER, 1) < 0) {
        return NULL;
    }
    base = zero ? below->zeroed(below->context, 1, size + HEADER)
                : below->allocate(below->context, size + HEADER);
    if (base != NULL && begins_page(base, HEADER)) {
        below->release(below->context, base);
        base = zero ? below->zeroed(below->context, 1, size + 2 * HEADER)
                    : below->allocate(below->context, size + 2 * HEADER);
        if (base != NULL && begins_page(base, HEADER)) {
            distance = 2 * HEADER;
        }
    }
    if (base == NULL) {
        pa_heap_discharge(account, size + HEADER, 1);
        return NULL;
    }
    return owned_at(base, distance, account, size);
}

void *pa_owned_allocate(void *context, size_t size) {
    const pa_heap_below *const below = context;
    const uint32_t account = pa_heap_entered;
    if (account == 0) {
        return below->allocate(below->context, size);
    }
    return new_owned(below, account, size, 0);
}

void *pa_owned_zeroed(void *context, size_t count, size_t size) {
    const pa_heap_below *const below = context;
    const uint32_t account = pa_heap_entered;
    if (account == 0) {
        return below->zeroed(below->context, count, size);
    }
    if (size != 0 && count > SIZE_MASK / size) {
        return NULL;
    }
    return new_owned(below, account, count * size, 1);
}

void *pa_owned_resize(void *context, void *block, size_t size) {
    const pa_heap_below *const below = context;
    uint64_t word;
    uint32_t account;
    size_t distance, before;
    char *base;
    if (block == NULL) {
        return pa_owned_allocate(context, size);
    }
    if (!is_owned(block)) {
        return below->resize(below->context, block, size);
    }
    word = header_of(block)->word;
    account = (uint32_t)(word >> ACCOUNT_SHIFT);
    before = (size_t)(word & SIZE_MASK);
    distance = far_of(word);
    if (size > SIZE_MASK - 2 * HEADER ||
        (size > before && pa_heap_charge(account, size - before, 0) < 0)) {
        return NULL;
    }
    /* What is copied, or stays where it was, must not look like a block. */
    header_of(block)->mark = 0;
    base = below->resize(below->context, (char *)block - distance, size + 2 * HEADER);
    if (base == NULL) {
        header_of(block)->mark = mark_of(block, word);
        if (size > before) {
            pa_heap_discharge(account, size - before, 0);
        }
        return NULL;
    }
    if (size < before) {
        pa_heap_discharge(account, before - size, 0);
    }
    if (begins_page(base, distance)) {
        const size_t other = distance == HEADER ? 2 * HEADER : HEADER;
        memmove(base + other, base + distance, size < before ? size : before);
        distance = other;
    }
    return owned_at(base, distance, account, size);
}

void pa_owned_release(void *context, void *block) {
    const pa_heap_below *const below = context;
    uint64_t word;
    if (block == NULL) {
        return;
    }
    if (!is_owned(block)) {
        below->release(below->context, block);
        return;
    }
    word = header_of(block)->word;
    header_of(block)->mark = 0;
    pa_heap_discharge((uint32_t)(word >> ACCOUNT_SHIFT), (size_t)(word & SIZE_MASK) + HEADER, 1);
    below->release(below->context, (char *)block - far_of(word));
}
