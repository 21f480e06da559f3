#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pluginapi.h"

#define FIRST_SLOTS 64
#define DEFAULT_ALIGN 16
#define MARKER_BYTES sizeof(uint64_t)

static size_t slot_of(const pa_memory *memory, const void *block) {
    /* Fibonacci hashing: the low bits of addresses are all alike. */
    const uint64_t spread = (uint64_t)(uintptr_t)block * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(spread >> 32) & (memory->slots - 1);
}

/* Return the slot that holds the block, or the empty one where it belongs. */
static size_t find(const pa_memory *memory, const void *block) {
    size_t slot = slot_of(memory, block);
    while (memory->records[slot].block != NULL && memory->records[slot].block != block) {
        slot = (slot + 1) & (memory->slots - 1);
    }
    return slot;
}

static void insert(pa_memory *memory, pa_memory_record record) {
    memory->records[find(memory, record.block)] = record;
}

/* Empty a slot and move up the records behind it that probing could no longer reach. */
static void erase(pa_memory *memory, size_t slot) {
    const size_t mask = memory->slots - 1;
    size_t next = slot;
    memory->records[slot].block = NULL;
    for (;;) {
        size_t home;
        next = (next + 1) & mask;
        if (memory->records[next].block == NULL) {
            return;
        }
        home = slot_of(memory, memory->records[next].block);
        if (((next - home) & mask) >= ((next - slot) & mask)) {
            memory->records[slot] = memory->records[next];
            memory->records[next].block = NULL;
            slot = next;
        }
    }
}

/* Make room for one more record at a load of one half; 0 when there is no memory for it. */
static int reserve(pa_memory *memory) {
    pa_memory_record *const old = memory->records;
    const size_t old_slots = memory->slots;
    size_t slot;
    pa_memory_record *grown;
    if ((memory->stats.live_blocks + 1) * 2 <= old_slots) {
        return 1;
    }
    grown = calloc(old_slots == 0 ? FIRST_SLOTS : old_slots * 2, sizeof *grown);
    if (grown == NULL) {
        return 0;
    }
    memory->records = grown;
    memory->slots = old_slots == 0 ? FIRST_SLOTS : old_slots * 2;
    for (slot = 0; slot < old_slots; slot++) {
        if (old[slot].block != NULL) {
            insert(memory, old[slot]);
        }
    }
    free(old);
    return 1;
}

static uint64_t marker_of(const void *block, size_t size) {
    return ((uint64_t)(uintptr_t)block ^ (uint64_t)size) * UINT64_C(0xD6E8FEB86659FD93);
}

static void mark_end(void *block, size_t size) {
    const uint64_t marker = marker_of(block, size);
    memcpy((char *)block + size, &marker, MARKER_BYTES);
}

static int end_is_marked(const void *block, size_t size) {
    uint64_t found;
    memcpy(&found, (const char *)block + size, MARKER_BYTES);
    return found == marker_of(block, size);
}

static size_t normal_align(size_t align) {
    return align < DEFAULT_ALIGN ? DEFAULT_ALIGN : align;
}

static int possible(size_t size, size_t align) {
    return size > 0 && size <= SIZE_MAX - MARKER_BYTES - PA_MAX_ALIGN - PA_MEMORY_BLOCK_COST &&
           align <= PA_MAX_ALIGN && (align & (align - 1)) == 0;
}

/* Tell whether live bytes may grow by `added` after `removed` were given back. */
static int fits(const pa_memory *memory, uint64_t removed, uint64_t added) {
    const uint64_t kept = memory->stats.live_bytes - removed;
    return added <= memory->stats.limit_bytes && kept <= memory->stats.limit_bytes - added;
}

static void charge(pa_memory *memory, uint64_t removed, uint64_t added) {
    memory->stats.live_bytes = memory->stats.live_bytes - removed + added;
    if (memory->stats.live_bytes > memory->stats.peak_bytes) {
        memory->stats.peak_bytes = memory->stats.live_bytes;
    }
}

/* Get memory for a block and its end marker from the system. free() releases it. */
static void *obtain(size_t size, size_t align) {
    const size_t total = size + MARKER_BYTES;
    const size_t unit = normal_align(align);
    if (unit == DEFAULT_ALIGN) {
        return malloc(total);
    }
    /* C11 wants the size to be a multiple of the alignment. */
    return aligned_alloc(unit, (total + unit - 1) & ~(unit - 1));
}

/* Look a block up and check what the caller says about it. The lock is held. */
static pa_memory_report examine(const pa_memory *memory, const void *block, size_t size,
                                size_t align, size_t *slot) {
    pa_memory_report report = {PA_MEMORY_NOT_LIVE, 0, 0};
    const pa_memory_record *record;
    if (memory->slots == 0) {
        return report;
    }
    *slot = find(memory, block);
    record = &memory->records[*slot];
    if (record->block == NULL) {
        return report;
    }
    report.size = record->size;
    report.align = record->align;
    if (!end_is_marked(block, record->size)) {
        report.fault = PA_MEMORY_OVERRUN;
    } else if (record->size != size) {
        report.fault = PA_MEMORY_WRONG_SIZE;
    } else if (normal_align(record->align) != normal_align(align)) {
        report.fault = PA_MEMORY_WRONG_ALIGN;
    } else {
        report.fault = PA_MEMORY_OK;
    }
    return report;
}

int pa_memory_open(pa_memory *memory, uint64_t limit_bytes) {
    memset(memory, 0, sizeof *memory);
    memory->stats.limit_bytes = limit_bytes;
    return pthread_mutex_init(&memory->lock, NULL);
}

uint64_t pa_memory_clear(pa_memory *memory) {
    uint64_t live;
    size_t slot;
    pthread_mutex_lock(&memory->lock);
    live = memory->stats.live_blocks;
    for (slot = 0; slot < memory->slots; slot++) {
        free(memory->records[slot].block);
    }
    free(memory->records);
    memory->records = NULL;
    memory->slots = 0;
    memory->stats.live_blocks = 0;
    memory->stats.live_bytes = 0;
    memory->stats.limit_bytes = 0;
    pthread_mutex_unlock(&memory->lock);
    return live;
}

void pa_memory_close(pa_memory *memory) {
    (void)pa_memory_clear(memory);
    pthread_mutex_destroy(&memory->lock);
}

void *pa_memory_alloc(pa_memory *memory, size_t size, size_t align) {
    void *block = NULL;
    if (!possible(size, align)) {
        return NULL;
    }
    pthread_mutex_lock(&memory->lock);
    if (!fits(memory, 0, (uint64_t)size + PA_MEMORY_BLOCK_COST)) {
        memory->stats.refused++;
    } else if (reserve(memory) && (block = obtain(size, align)) != NULL) {
        const pa_memory_record record = {block, size, align};
        mark_end(block, size);
        insert(memory, record);
        memory->stats.live_blocks++;
        charge(memory, 0, (uint64_t)size + PA_MEMORY_BLOCK_COST);
    }
    pthread_mutex_unlock(&memory->lock);
    return block;
}

void *pa_memory_realloc(pa_memory *memory, void *block, size_t old_size, size_t size, size_t align,
                        pa_memory_report *report) {
    const pa_memory_report refused = {PA_MEMORY_REFUSED, 0, 0};
    pa_memory_record record;
    size_t slot = 0;
    *report = refused;
    if (block == NULL) {
        void *fresh = pa_memory_alloc(memory, size, align);
        report->fault = fresh == NULL ? PA_MEMORY_REFUSED : PA_MEMORY_OK;
        return fresh;
    }
    record.block = NULL;
    pthread_mutex_lock(&memory->lock);
    *report = examine(memory, block, old_size, align, &slot);
    if (report->fault != PA_MEMORY_OK) {
        memory->stats.faults++;
    } else if (!possible(size, align)) {
        report->fault = PA_MEMORY_REFUSED;
    } else if (!fits(memory, old_size, size)) {
        report->fault = PA_MEMORY_REFUSED;
        memory->stats.refused++;
    } else {
        record = memory->records[slot];
        if (normal_align(align) == DEFAULT_ALIGN) {
            /* The record goes first: the old address must not be compared once it is free. */
            erase(memory, slot);
            record.block = realloc(block, size + MARKER_BYTES);
            if (record.block == NULL) {
                record.block = block;
                insert(memory, record);
                record.block = NULL;
            }
        } else {
            record.block = obtain(size, align);
            if (record.block != NULL) {
                memcpy(record.block, block, old_size < size ? old_size : size);
                erase(memory, slot);
                free(block);
            }
        }
        if (record.block == NULL) {
            report->fault = PA_MEMORY_REFUSED;
        } else {
            record.size = size;
            mark_end(record.block, size);
            insert(memory, record);
            charge(memory, old_size, size);
        }
    }
    pthread_mutex_unlock(&memory->lock);
    return record.block;
}

pa_memory_report pa_memory_free(pa_memory *memory, void *block, size_t size, size_t align) {
    pa_memory_report report = {PA_MEMORY_OK, 0, 0};
    size_t slot = 0;
    if (block == NULL) {
        return report;
    }
    pthread_mutex_lock(&memory->lock);
    report = examine(memory, block, size, align, &slot);
    if (report.fault == PA_MEMORY_OK) {
        erase(memory, slot);
        memory->stats.live_blocks--;
        charge(memory, (uint64_t)size + PA_MEMORY_BLOCK_COST, 0);
    } else {
        memory->stats.faults++;
    }
    pthread_mutex_unlock(&memory->lock);
    if (report.fault == PA_MEMORY_OK) {
        free(block);
    }
    return report;
}

pa_memory_stats pa_memory_read_stats(pa_memory *memory) {
    pa_memory_stats stats;
    pthread_mutex_lock(&memory->lock);
    stats = memory->stats;
    pthread_mutex_unlock(&memory->lock);
    return stats;
}
