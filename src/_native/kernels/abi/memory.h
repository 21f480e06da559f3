/* An accounted heap with a hard limit: what a plugin allocates from its host.
 *
 * Every block is recorded outside of itself, so that a wrong pointer, size or alignment is found
 * without reading through it, and carries an end marker that shows writes past its end. A faulty
 * free changes nothing: the block stays allocated until the heap is cleared.
 *
 * Thread-safe, except pa_memory_open and pa_memory_close. */
#ifndef PLUGINAPI_ABI_MEMORY_H
#define PLUGINAPI_ABI_MEMORY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* What each block is charged beside its size: its record, its end marker, the allocator's own. */
#define PA_MEMORY_BLOCK_COST 48

typedef enum pa_memory_fault {
    PA_MEMORY_OK = 0,
    PA_MEMORY_REFUSED,      /* over the limit, out of memory, or impossible arguments */
    PA_MEMORY_NOT_LIVE,     /* the pointer is no live block: never allocated or freed already */
    PA_MEMORY_WRONG_SIZE,   /* the size given is not the block's */
    PA_MEMORY_WRONG_ALIGN,  /* the alignment given is not the block's */
    PA_MEMORY_OVERRUN       /* the end marker is damaged: something wrote past the end */
} pa_memory_fault;

typedef struct pa_memory_stats {
    uint64_t live_blocks;
    uint64_t live_bytes; /* sizes and PA_MEMORY_BLOCK_COST for each block; never above limit */
    uint64_t peak_bytes;
    uint64_t limit_bytes;
    uint64_t refused; /* requests that did not fit the limit */
    uint64_t faults;  /* faulty calls to free and realloc */
} pa_memory_stats;

typedef struct pa_memory_record {
    void *block; /* NULL: the slot is empty */
    size_t size;
    size_t align;
} pa_memory_record;

typedef struct pa_memory {
    pthread_mutex_t lock;
    pa_memory_record *records; /* open addressing with linear probing; a power of two of slots */
    size_t slots;
    pa_memory_stats stats;
} pa_memory;

/* What a faulty call found: the recorded size and alignment of the block, 0 when not live. */
typedef struct pa_memory_report {
    pa_memory_fault fault;
    size_t size;
    size_t align;
} pa_memory_report;

/* Prepare an empty heap. Returns 0, or an errno value. */
int pa_memory_open(pa_memory *memory, uint64_t limit_bytes);

/* Release every block that is still live and set the limit to 0; returns how many those were. */
uint64_t pa_memory_clear(pa_memory *memory);

/* Release the heap with every block that is still live. */
void pa_memory_close(pa_memory *memory);

/* Allocate `size` > 0 bytes. align is 0 or a power of two up to PA_MAX_ALIGN. NULL when refused. */
void *pa_memory_alloc(pa_memory *memory, size_t size, size_t align);

/* Resize a block, keeping its contents. NULL leaves it as it was; *report says why. */
void *pa_memory_realloc(pa_memory *memory, void *block, size_t old_size, size_t size, size_t align,
                        pa_memory_report *report);

/* Free a block; a fault leaves it as it was. NULL is no fault. */
pa_memory_report pa_memory_free(pa_memory *memory, void *block, size_t size, size_t align);

/* Copy the figures as of now. */
pa_memory_stats pa_memory_read_stats(pa_memory *memory);

#endif
