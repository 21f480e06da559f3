/* An allocator over another one that knows whose each block is.
 *
 * What is asked for on behalf of nobody goes through as it is. A block of an account has a header
 * before it; a block without one is told apart by it, so that blocks which are older than this
 * allocator are freed and resized as well. A block stays its first owner's. Calls are serialised by
 * the caller. Blocks are aligned as those below are, to 8 bytes at least. */
#ifndef PLUGINAPI_HEAP_OWNED_H
#define PLUGINAPI_HEAP_OWNED_H

#include <stddef.h>

typedef struct pa_heap_below {
    void *context;
    void *(*allocate)(void *context, size_t size);
    void *(*zeroed)(void *context, size_t count, size_t size);
    void *(*resize)(void *context, void *block, size_t size);
    void (*release)(void *context, void *block);
} pa_heap_below;

/* `below` is a pa_heap_below, to have the shape of its own functions. */
void *pa_owned_allocate(void *below, size_t size);
void *pa_owned_zeroed(void *below, size_t count, size_t size);
void *pa_owned_resize(void *below, void *block, size_t size);
void pa_owned_release(void *below, void *block);

/* Choose what headers are marked with; before the first block. */
void pa_owned_mark(unsigned long long mark);

#endif
