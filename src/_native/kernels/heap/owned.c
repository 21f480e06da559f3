#include "heap/owned.h"

#include <stdint.h>

#include "heap/account.h"
#include "heap/edges.h"

#define HEADER 16u
#define SIZE_MASK ((1ull << PA_HEAP_SHIFT) - 1)

typedef struct header {
    uint64_t mark; /* the secret and the block's address, in one */
    uint64_t word; /* account above PA_HEAP_SHIFT, bytes below, 1 at least */
} header;

static uint64_t secret;

void pa_owned_mark(unsigned long long mark) {
    secret = mark;
}

static inline header *header_of(void *block) {
    return (header *)((char *)block - HEADER);
}

static inline uint64_t mark_of(const void *block) {
    return secret ^ (uint64_t)(uintptr_t)block;
}

/* Before such a block begins another page, which nobody may read if the block is not ours: of ours,
 * the set of edges knows. */
static inline int begins_page(const void *block) {
    return (uintptr_t)block % PA_HEAP_PAGE < HEADER;
}

/* What is before a block of somebody else is theirs: read, never believed without the mark. */
#if defined(__has_attribute)
#if __has_attribute(no_sanitize)
__attribute__((no_sanitize("address")))
#endif
#endif
static int is_owned(void *block) {
    const uintptr_t address = (uintptr_t)block;
    if (PA_HEAP_RARE(begins_page(block))) {
        return pa_edges_have(address);
    }
    return address % sizeof(uint64_t) == 0 && header_of(block)->mark == mark_of(block);
}

/* A block of no bytes would begin where the block below ends, and another one may begin. */
static inline size_t at_least_one(size_t size) {
    return size + (size == 0);
}

static inline void *owned_at(void *base, uint64_t word) {
    void *const block = (char *)base + HEADER;
    header *const made = header_of(block);
    made->word = word;
    made->mark = mark_of(block);
    return block;
}

/* There is no block below, or ours is to begin a page. */
PA_HEAP_APART static void *odd_owned(const pa_heap_below *below, void *base, uint64_t word) {
    if (base != NULL && pa_edges_reserve() == 0) {
        pa_edges_add((uintptr_t)base + HEADER);
        return owned_at(base, word);
    }
    if (base != NULL) {
        below->release(below->context, base);
    }
    pa_heap_discharge(pa_heap_of(word), (size_t)(word & SIZE_MASK) + HEADER);
    return NULL;
}

/* Apart, so that what is asked for on behalf of nobody has no registers to save. */
PA_HEAP_APART static void *new_owned(const pa_heap_below *below, size_t asked, int zero) {
    const size_t size = at_least_one(asked);
    const uint64_t word = pa_heap_entered | size;
    void *base;
    if (PA_HEAP_RARE(size > SIZE_MASK - HEADER ||
                     pa_heap_charge(pa_heap_of(word), size + HEADER) < 0)) {
        return NULL;
    }
    base = zero ? below->zeroed(below->context, 1, size + HEADER)
                : below->allocate(below->context, size + HEADER);
    if (PA_HEAP_RARE(base == NULL || begins_page((char *)base + HEADER))) {
        return odd_owned(below, base, word);
    }
    return owned_at(base, word);
}

void *pa_owned_allocate(void *context, size_t size) {
    const pa_heap_below *const below = context;
    if (pa_heap_entered == 0) {
        return below->allocate(below->context, size);
    }
    return new_owned(below, size, 0);
}

void *pa_owned_zeroed(void *context, size_t count, size_t size) {
    const pa_heap_below *const below = context;
    if (pa_heap_entered == 0) {
        return below->zeroed(below->context, count, size);
    }
    if (size != 0 && count > SIZE_MASK / size) {
        return NULL;
    }
    return new_owned(below, count * size, 1);
}

void *pa_owned_resize(void *context, void *block, size_t size) {
    const pa_heap_below *const below = context;
    uint64_t word;
    size_t before;
    char *base;
    if (block == NULL) {
        return pa_owned_allocate(context, size);
    }
    if (!is_owned(block)) {
        return below->resize(below->context, block, size);
    }
    size = at_least_one(size);
    word = header_of(block)->word;
    before = (size_t)(word & SIZE_MASK);
    /* Once the block below is another one there is no way back. */
    if (size > SIZE_MASK - HEADER || pa_edges_reserve() < 0 ||
        (size > before && pa_heap_charge(pa_heap_of(word), size - before) < 0)) {
        return NULL;
    }
    /* What is copied, or stays where it was, must not look like a block. */
    header_of(block)->mark = 0;
    base = below->resize(below->context, header_of(block), size + HEADER);
    if (base == NULL) {
        header_of(block)->mark = mark_of(block);
        if (size > before) {
            pa_heap_discharge(pa_heap_of(word), size - before);
        }
        return NULL;
    }
    if (size < before) {
        pa_heap_discharge(pa_heap_of(word), before - size);
    }
    if (base + HEADER != (char *)block) {
        if (begins_page(block)) {
            pa_edges_remove((uintptr_t)block);
        }
        if (begins_page(base + HEADER)) {
            pa_edges_add((uintptr_t)base + HEADER);
        }
    }
    return owned_at(base, (word & ~SIZE_MASK) | size);
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
    if (PA_HEAP_RARE(begins_page(block))) {
        pa_edges_remove((uintptr_t)block);
    }
    pa_heap_discharge(pa_heap_of(word), (size_t)(word & SIZE_MASK) + HEADER);
    below->release(below->context, header_of(block));
}
